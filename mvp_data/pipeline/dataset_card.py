"""The dataset card: README.md in the output folder, with the YAML header of the Hugging Face Hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvp_data.core.text import counts
from mvp_data.core.version import __version__
from mvp_data.pipeline.output_folder import CARD_NAME
from mvp_data.pipeline.pack import Provenance, shard_stem
from mvp_data.pipeline.report import BuildReport
from mvp_data.shards.index import ShardInfo
from mvp_data.shards.record import SPLITS
from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS

_CARD = """---
configs:
{configs}
task_categories:
- visual-question-answering
tags:
- masked-video-prediction
- webdataset
size_categories:
- {size}
---

# Masked video prediction puzzles

Each sample hides a segment of a video. Its JSON names the
hidden key frames among the candidates, in order (`answer`); other tasks ask for a part of that. Made by
`mvp-data build`.

| | |
|---|---|
{facts}
"""
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
_HUB_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_facts(made: Provenance, distractors: int, report: BuildReport) -> dict[str, Any]:
    """Return the rows of the card's table."""
    return {
        "samples": report.samples,
        "videos": report.used,
        "tasks": counts(report.tasks),
        "samples by kind of pair": counts(report.pairs),
        "hidden frames (K)": made.mask.hidden_frames,
        "distractors (l)": distractors,
        "context frames": made.mask.context_frames,
        "mask policy": made.mask.mask_policy,
        "encoder": made.encoder.name,
        "seed": made.seed,
        "configuration": made.config_hash,
        "mvp-data": __version__,
    }


def write_card(out: Path, shards: Sequence[ShardInfo], facts: Mapping[str, Any]) -> None:
    """Write the card; its YAML header gives the files of each split to `datasets` and the Hub."""
    present = {(shard.task, shard.split) for shard in shards}
    samples = sum(shard.samples for shard in shards)
    configs: list[str] = []
    for task in (name for name in TASKS if any(name == shard.task for shard in shards)):
        first = "  default: true\n" if TASKS[task].main else ""
        configs.append(f"- config_name: {task}\n{first}  data_files:")
        splits = [split for split in SPLITS if (task, split) in present]
        configs += [f'  - split: {_HUB_SPLITS[s]}\n    path: "{shard_stem(task, s)}-*.tar"' for s in splits]
    card = _CARD.format(
        configs="\n".join(configs),
        size=next((name for limit, name in _HUB_SIZES if samples < limit), "n>1M"),
        facts="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
    )
    with atomic_write(out / CARD_NAME) as file:
        file.write(card.encode())
