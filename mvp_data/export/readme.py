"""The text files of an export: README, the files of the target, and `export.json`."""

import json
from dataclasses import asdict

from mvp_data.export.target import HUB_SPLITS, ExportReport, Target

ABOUT_NAME = "export.json"  # marks the folder as an export; describes it once the export is complete
UNFINISHED = '{"complete": false}\n'


def texts(report: ExportReport, target: Target) -> dict[str, str]:
    """Name and content of each text file of the folder; `export.json` is the last one."""
    about = {**asdict(report), "complete": True}
    del about["out"]  # the folder may be moved
    files = {"README.md": readme(report, target)}
    files |= {name: content(report) for name, content in target.files.items()}
    return {**files, ABOUT_NAME: json.dumps(about, indent=1, sort_keys=True) + "\n"}


def readme(report: ExportReport, target: Target) -> str:
    """A dataset card with the command that trains on the folder."""
    splits = [f'  - split: {HUB_SPLITS[split]}\n    path: "{target.file(split)}"' for split in report.splits]
    counts, tasks = (
        ", ".join(f"{name} {count}" for name, count in part.items()) for part in (report.splits, report.tasks)
    )
    return _README.format(
        data_files="\n".join(splits),
        to=target.name,
        counts=counts,
        tasks=tasks,
        images=report.pictures,
        size=f"{report.width_px}x{report.height_px}",
        prompt_tokens=report.prompt_tokens,
        training=target.training(report).strip("\n"),
    )


_README = """---
configs:
- config_name: default
  data_files:
{data_files}
---

# Masked video prediction puzzles, for {to}

Made by `mvp-data export`. Samples: {counts}. Tasks: {tasks}. Up to {images} images a sample, up to {size} px;
a Qwen2.5-VL prompt has fewer than {prompt_tokens} tokens.

## Train

{training}
"""
