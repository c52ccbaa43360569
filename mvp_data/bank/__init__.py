"""The feature cache between the two passes: frames, shots and vectors of every video, decoded once.

It must not know how they were computed or what puzzles are made of them.
"""
