"""Named sets of options for a purpose. An option that is given beside a preset wins over it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mvp_data.core.errors import ConfigError

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        # For corpora of clips under a minute: more frames of each clip, shorter puzzles, and frames that are hidden in
        # two pairs, so that more of the training samples show each other's answers.
        "short": {
            "min_frames": 96,
            "max_fps": 8.0,
            "hidden_frames": 3,
            "distractors": 3,
            "context_frames": 8,
            "frame_reuse": 2,
            "max_overlap": 0.5,
        },
        # What is public of the MVP paper (arXiv 2601.03781): distractors scattered around the hidden segment, which may
        # be any run of frames. The candidates alone then give much of the answer away; docs/audit.md has the figures.
        "paper": {
            "decoy_share": 0.0,
            "neighbourhood_share": 1.0,
            "same_video_share": 0.0,
            "mask_policy": "free",
            "max_hidden_shots": 12,
            "max_overlap": 1.0,
        },
    }
)


def options_of(preset: object) -> dict[str, Any]:
    """The options of a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigError(f"preset: {preset!r:.80} is not one of {', '.join(PRESETS)}")
    return dict(PRESETS[preset])
