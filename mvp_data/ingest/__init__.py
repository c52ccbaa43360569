"""Pass 1: brings every source into the bank, decoded in worker processes and then embedded; merges banks.

It must not know about puzzles or shards. Only `scheduler` knows the whole configuration; an engine runs the jobs.
"""
