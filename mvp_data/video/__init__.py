"""Pass 1 for one file: detects shots, samples frames, measures their quality, writes JPEGs; a long file in chunks.

It must not know the bank, another video or a puzzle.
"""
