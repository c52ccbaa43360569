"""Train and evaluate video language models on the shards of `mvp_data`: recipes, rows, reward, training and evaluation.

Must not know how shards are made: it uses only the core, system, tasks and shards modules of `mvp_data`.
"""
