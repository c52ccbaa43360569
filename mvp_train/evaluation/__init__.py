"""Asking a model the samples of some shards, scoring its answers, and reporting them with confidence intervals.

Must not know how models are loaded or trained: a model is anything that answers prompts.
"""
