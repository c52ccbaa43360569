"""Turns images into unit vectors, with one module per kind of embedder; also thresholds and nearest-neighbour search.

It must not know videos or puzzles.
"""
