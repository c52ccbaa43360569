"""GRPO training with TRL: checks a recipe, plans a run, and writes its output folder and log; a run can be resumed.

It must not know the command line, nor how a trained model is evaluated.
"""
