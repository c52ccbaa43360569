"""`mvp-data quiz`: a page on which a person solves puzzles, and the scores of the saved answers.

It must read only the shards and the answers.
"""
