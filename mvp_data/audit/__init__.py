"""`mvp-data audit`: simple solvers look for shortcuts in finished shards; a shortcut is a way to beat guessing.

`solvers` has every solver, `scoring` compares each with chance. This package must not read the bank or the
configuration: it sees only finished shards.
"""
