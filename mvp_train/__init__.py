"""Train and evaluate video language models on shards: recipes, dataset rows, reward weights, GRPO and evaluation.

It must not know how shards are made: it imports only `core`, `system`, `tasks` and `shards` of `mvp_data`.
"""
