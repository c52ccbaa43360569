"""Pass 2: which segment to hide, which distractors to show, whether the puzzle is sound, and how hard it is.

It reads vectors and thumbnails of the bank. It must not know how videos are decoded or how shards are written.
"""
