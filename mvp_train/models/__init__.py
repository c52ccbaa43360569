"""Vision-language models and their processors: finding them on this machine, loading them, and generating answers.

Must not know shards, rewards, or what the answers are used for.
"""
