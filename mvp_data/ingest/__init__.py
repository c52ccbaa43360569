"""Pass 1: decodes every source in worker processes, embeds its frames, and stores both in the bank; also merges banks.

Start with `states`, the state machine of a source. Only `scheduler` reads the whole configuration. This package must
not import puzzles or shards.
"""
