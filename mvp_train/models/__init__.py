"""Finds vision-language models and their processors on this machine, loads them, and generates answers.

It must not know shards, rewards, or how the answers are used.
"""
