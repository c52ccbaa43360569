"""Pass 1: brings every source into the bank, decoded in worker processes and then embedded; also merges banks.

`states` is the map of it: what can become of a video, and what happens next. Only `scheduler` knows the whole
configuration. This package must not know puzzles or shards.
"""
