"""Files, locks, signals, progress bars, YAML, Parquet, tars, URLs and object stores, with limits on sizes and times.

It must not depend on videos, puzzles or shards.
"""
