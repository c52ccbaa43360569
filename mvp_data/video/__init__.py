"""Pass 1 for one file: a video in; shots, sampled frames, their quality and JPEGs out, in chunks if the file is long.

It must not know the bank, another video or a puzzle.
"""
