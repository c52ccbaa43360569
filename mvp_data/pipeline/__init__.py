"""The commands `build`, `index`, `status`, `upload` and `doctor`: runs both passes and writes the output folder.

It must not decode, embed or judge a puzzle itself: `ingest` and `puzzles` do that.
"""
