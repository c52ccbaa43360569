"""Frames in, unit vectors out, with one module for each embedder; `load` picks one by name.

It also has the weights, the thresholds of each encoder and nearest-neighbour search. It must not know about
videos or puzzles.
"""
