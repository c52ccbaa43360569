"""Pass 2: hides segments, finds distractors, checks that a puzzle has one right answer, and rates its difficulty.

It reads vectors and thumbnails of the bank. It must not know how videos are decoded or how shards are written.
"""
