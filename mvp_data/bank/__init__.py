"""The feature cache between the two passes (the bank): frames, shots and vectors of every video, decoded once.

It must not know how they are computed, nor which puzzles use them.
"""
