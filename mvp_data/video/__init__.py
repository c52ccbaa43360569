"""Turns one video file into shots and sampled frames with their quality and JPEGs, in chunks if the video is long.

It must not know the bank, another video or a puzzle.
"""
