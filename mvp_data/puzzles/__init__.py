"""Makes puzzles from the frames of the bank: hides segments, finds distractors, and measures the difficulty.

It reads vectors and thumbnails of the bank. It must not know how videos are decoded, nor how shards are written.
"""
