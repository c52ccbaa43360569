"""Asks a model the questions of samples, scores its answers, and reports results with confidence intervals.

It must not know how models are loaded or trained: a model is anything that answers prompts.
"""
