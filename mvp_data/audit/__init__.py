"""`mvp-data audit`: solvers that must not win try to solve finished shards, and each is scored against chance.

It must not read the bank or the configuration: a finished shard is all that it sees.
"""
