"""One video file in; shots, sampled frames, their quality and JPEGs out, in chunks where the file is long.

It must not know the bank, another video or a puzzle.
"""
