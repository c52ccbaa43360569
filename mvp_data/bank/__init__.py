"""The bank, a feature cache between the two passes: frames, shots and vectors of every video, decoded once.

It must not depend on how vectors are computed or which puzzles use them.
"""
