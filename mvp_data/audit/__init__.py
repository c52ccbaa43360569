"""`mvp-data audit`: solvers without understanding try to solve finished shards; none may do better than guessing.

`solvers` has every solver, `scoring` compares each with chance. This package must not read the bank or the
configuration: it sees only finished shards.
"""
