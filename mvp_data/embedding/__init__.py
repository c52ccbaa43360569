"""Frames in, unit vectors out, one module for each embedder; also weights, thresholds and nearest-neighbour search.

It must not know videos or puzzles.
"""
