"""Asks a model the samples of some shards, scores its answers, and reports them with confidence intervals.

It must not know how models are loaded or trained: a model is anything that answers prompts.
"""
