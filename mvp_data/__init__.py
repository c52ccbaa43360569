"""Masked Video Prediction data: makes verifiable puzzles for video language models from a video corpus.

    >>> from pathlib import Path
    >>> from mvp_data import BuildConfig, build, read_shard
    >>> report = build(BuildConfig(src=("videos",), out=Path("shards")))  # doctest: +SKIP
    >>> sample = next(read_shard(Path("shards/shard-000000.tar")))  # doctest: +SKIP

Importing this package loads no decoder, no FAISS and no neural network.
"""

from mvp_data.config.options import (
    BuildConfig,
    DecodeConfig,
    EmbedConfig,
    FramesConfig,
    MaskConfig,
    MineConfig,
    PackConfig,
    PuzzleConfig,
)
from mvp_data.core.errors import (
    ConfigError,
    MissingDependencyError,
    MvpError,
    OutputError,
    ShardError,
    SkipReason,
    SourceError,
    WeightsError,
)
from mvp_data.core.version import __version__ as __version__
from mvp_data.pipeline.build import build, index
from mvp_data.pipeline.report import BuildReport
from mvp_data.shards.index import Index, ShardInfo, read_index
from mvp_data.shards.record import SCHEMA_VERSION, CandidateFrame, ContextFrame, Record
from mvp_data.shards.tar import Sample, read_shard, shard_paths

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
