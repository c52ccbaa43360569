"""GRPO training with TRL: checking a recipe, planning a run, its output folder, its log, and resuming it.

Must not know the command line or how a trained model is evaluated, except for the page that shows completions.
"""
