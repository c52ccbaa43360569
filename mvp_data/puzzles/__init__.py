"""Makes puzzles from the kept frames of videos: what to hide, which distractors to show, and how hard it is.

It reads the bank's vectors and thumbnails. It must not know how videos are decoded, nor how shards are written.
"""
