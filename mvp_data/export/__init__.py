"""Writes the samples of finished shards in the dataset layouts of other trainers; `catalogue` lists the targets.

It knows shards and prompts. It must not know how puzzles are made, nor import a trainer.
"""
