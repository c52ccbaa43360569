"""Files, locks, signals, progress bars, YAML, Parquet, tars, URLs and object stores, with limits on sizes and times.

It must not know what a video, a puzzle or a shard is.
"""
