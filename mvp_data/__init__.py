"""Masked Video Prediction data: any pile of videos in, verifiable puzzles for video language models out.

    >>> from pathlib import Path
    >>> from mvp_data import BuildConfig, build, read_shard
    >>> report = build(BuildConfig(src=("videos",), out=Path("shards")))  # doctest: +SKIP
    >>> sample = next(read_shard(Path("shards/shard-000000.tar")))  # doctest: +SKIP

Importing this package loads no decoder, no FAISS and no neural network.
"""

__version__ = "0.1.0"

from mvp_data.config import (
    BuildConfig,
    DecodeConfig,
    EmbedConfig,
    FramesConfig,
    MaskConfig,
    MineConfig,
    PackConfig,
    PuzzleConfig,
)
from mvp_data.errors import (
    ConfigError,
    MissingDependencyError,
    MvpError,
    OutputError,
    ShardError,
    SkipReason,
    SourceError,
    WeightsError,
)
from mvp_data.pipeline import build, index
from mvp_data.report import BuildReport
from mvp_data.schema import SCHEMA_VERSION, CandidateFrame, ContextFrame, Record
from mvp_data.shard_index import Index, ShardInfo, read_index
from mvp_data.shards import Sample, read_shard, shard_paths

__all__ = [
    "SCHEMA_VERSION",
    "BuildConfig",
    "BuildReport",
    "CandidateFrame",
    "ConfigError",
    "ContextFrame",
    "DecodeConfig",
    "EmbedConfig",
    "FramesConfig",
    "Index",
    "MaskConfig",
    "MineConfig",
    "MissingDependencyError",
    "MvpError",
    "OutputError",
    "PackConfig",
    "PuzzleConfig",
    "Record",
    "Sample",
    "ShardError",
    "ShardInfo",
    "SkipReason",
    "SourceError",
    "WeightsError",
    "build",
    "index",
    "read_index",
    "read_shard",
    "shard_paths",
]
