"""The feature cache between the two passes: frames, shots and vectors of every video, decoded once.

It must not know how the vectors are computed or which puzzles use them.
"""
