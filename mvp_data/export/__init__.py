"""Exports finished shards in the dataset formats of other trainers; `catalogue` lists the targets.

It may import shards and prompts, but not the code that makes puzzles, nor a trainer.
"""
