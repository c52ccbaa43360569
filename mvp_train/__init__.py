"""Train and evaluate video language models on masked-video-prediction shards: rows, reward, recipes; TRL trains.

Importing this package loads neither torch nor transformers nor TRL.
"""
