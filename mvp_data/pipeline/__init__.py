"""`mvp-data build`, `index`, `status`, `upload` and `doctor`: runs both passes and writes the output folder.

`pack` turns a puzzle into the record and images of a sample. This package must not decode a video, embed a frame or
judge a puzzle: `ingest` and `puzzles` do that.
"""
