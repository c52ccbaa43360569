"""Exports shards as datasets for other trainers: one file for each split, in the layout of the chosen target.

Each trainer has a `Target` in `mvp_data.export.targets`. This module handles splits, images, files and the output
folder for all targets.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.core.text import counts, one_line
from mvp_data.export.catalogue import TARGETS
from mvp_data.export.target import HUB_SPLITS, ExportReport, Item, Row, Target
from mvp_data.shards.index import read_index
from mvp_data.shards.prompt import PromptConfig, prompt_images
from mvp_data.shards.record import REBUILD, SPLITS
from mvp_data.shards.tar import Sample, iter_samples
from mvp_data.system.files import atomic_write
from mvp_data.system.progress import Progress
from mvp_data.tasks.catalogue import TASKS

ABOUT_NAME = "export.json"  # marks the folder as an export; describes the export once it is complete
UNFINISHED = '{"complete": false}\n'
IMAGES_NAME = "images"
GROUP_BYTES = 32 << 20  # images in one Parquet row group
GROUP_ROWS = 1000  # maximum rows in a row group, and maximum samples in a folder of images
# `datasets` needs this to decode a list of bytes as images; versions 3 to 5 read this spelling.
_HUB_FEATURES = {"info": {"features": {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}}}
_IMAGE = re.compile(r"[0-9]{5}(/[a-z0-9_-]{1,84}\.(context_[0-9]{2}|candidate_[a-z])\.jpg)?")
_OWN_NAMES = re.compile(
    rf"(({'|'.join(SPLITS)})\.(parquet|jsonl)|\..*\.tmp|"
    + "|".join(map(re.escape, (IMAGES_NAME, ABOUT_NAME, "README.md", *(n for t in TARGETS.values() for n in t.files))))
    + ")"
)

_README = """---
configs:
- config_name: default
  data_files:
{data_files}
---

# Masked video prediction puzzles, for {to}

Made by `mvp-data export`. Samples: {counts}. Tasks: {tasks}. Up to {images} images per sample, up to {size} px;
a Qwen2.5-VL prompt has fewer than {prompt_tokens} tokens.

## Train

{training}
"""


def export(
    shards: Path, out: Path, *, to: str, prompt: PromptConfig, pass_rates: Path | None = None, overwrite: bool = False
) -> ExportReport:
    """Write the samples of one shard, or of a folder of shards, to `out` in the layout of the target `to`.

    At most one row group and the keys of `pass_rates` are in memory. Images are written before the rows that name them,
    and `export.json` is completed last. With `pass_rates` (Parquet: key, pair_id, rollouts, reward_std) only pairs and
    single samples are exported whose completions earned different rewards; the others have zero advantage in GRPO.

    Raises:
        ConfigError: unknown target, a thinking prompt for supervised fine-tuning, unreadable pass rates, or no sample
            is left.
        OutputError: `out` is not empty, or with `overwrite` it holds files that no export wrote.
        ShardError: a damaged or unfinished set of shards.
    """
    target = _target(to, prompt)
    samples, total = iter_samples(shards), read_index(shards).counts["samples"] if shards.is_dir() else 0
    reasons = _read_pass_rates(pass_rates) if pass_rates is not None else None
    _prepare(out, overwrite=overwrite)
    splits: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    most = {"pictures": 0, "width_px": 0, "height_px": 0}
    with ExitStack() as files, Progress(total, "export", "samples") as progress:
        writers: dict[str, Callable[[Row], None]] = {}
        for sample in samples:
            progress.update()
            record = sample.record
            if reasons is not None and (reason := reasons.get(record.pair_id or record.key, "not_measured")):
                left_out[reason] += 1
                continue
            if record.split not in writers:
                writers[record.split] = files.enter_context(_writer(out / target.file(record.split), target))
            inline = target.format == "parquet"
            images = _inline(sample, prompt) if inline else _write_images(out, sample, prompt, splits.total())
            item = Item(record=record, prompt=prompt, images=images, number=splits[record.split])
            writers[record.split](target.row(item))
            splits[record.split] += 1
            tasks[record.task] += 1
            sizes = {"pictures": len(images), "width_px": record.width_px, "height_px": record.height_px}
            most = {name: max(most[name], size) for name, size in sizes.items()}
        if not splits:
            raise ConfigError(
                f"{pass_rates}: leaves no sample of {shards} ({counts(left_out)}); export without --pass-rates"
            )
        _sync()
    report = ExportReport(
        out=out,
        to=to,
        samples=splits.total(),
        splits={split: splits[split] for split in SPLITS if splits[split]},
        tasks={task: tasks[task] for task in TASKS if tasks[task]},
        left_out=dict(sorted(left_out.items())),
        thinking=prompt.thinking,
        timestamps=prompt.timestamps,
        **most,
    )
    _write(out, _texts(report, target))
    return report


def _target(to: str, prompt: PromptConfig) -> Target:
    target = TARGETS.get(to)
    if target is None:
        raise ConfigError(f"--to {to}: unknown target; choose one of {', '.join(TARGETS)}")
    if prompt.thinking and not target.reward:
        raise ConfigError(f"--to {to}: this target has no examples of reasoning; remove --thinking")
    return target


def _inline(sample: Sample, prompt: PromptConfig) -> list[dict[str, Any]]:
    """Images as `datasets.Image` stores them; `path` only shows the format."""
    names = sample.record.member_names
    data = prompt_images(sample, prompt)
    return [{"bytes": jpeg, "path": name} for name, jpeg in zip(names[-len(data) :], data, strict=True)]


def _write_images(out: Path, sample: Sample, prompt: PromptConfig, number: int) -> list[str]:
    """Write the images of a sample, named as in the shard; return their paths relative to `out`, with slashes."""
    folder = out / IMAGES_NAME / f"{number // GROUP_ROWS:05d}"
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image in _inline(sample, prompt):
            paths.append(f"{IMAGES_NAME}/{folder.name}/{image['path']}")
            with (out / paths[-1]).open("xb") as file:
                file.write(image["bytes"])
    except FileExistsError as error:
        raise ShardError(f"{sample.record.key}: the key occurs twice: {REBUILD}") from error
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written ({error.strerror}): free space or give another --out"
        ) from error
    return paths


@contextmanager
def _writer(path: Path, target: Target) -> Iterator[Callable[[Row], None]]:
    """Yield a function that adds a row to a file. The file appears if the block ends without an error."""

    def add_line(row: Row) -> None:
        file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())

    with atomic_write(path) as file:
        if target.format == "jsonl":
            yield add_line
        else:
            with closing(_ParquetRows(file)) as rows:
                yield rows.add


class _ParquetRows:
    """Writes rows to a Parquet file, one row group for every 32 MiB of images. The first group sets the schema."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._rows, self._bytes = file, list[Row](), 0
        self._schema: Any = None
        self._writer: Any = None

    def add(self, row: Row) -> None:
        self._rows.append(row)
        self._bytes += sum(len(image["bytes"]) for image in row["images"])
        if self._bytes >= GROUP_BYTES or len(self._rows) >= GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        if self._writer is None:
            self._schema = table.schema.with_metadata({"huggingface": json.dumps(_HUB_FEATURES)})
            options = {"use_dictionary": False, "write_statistics": False}  # both are large and do not help with images
            self._writer = pq.ParquetWriter(self._file, self._schema, **options)
        self._writer.write_table(table)
        self._rows, self._bytes = [], 0


def _read_pass_rates(path: Path) -> dict[str, str]:
    """Map each pair, and each key without a pair, to the reason to leave it out, or to "" to keep it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["key", "pair_id", "rollouts", "reward_std"])
        units: dict[str, list[tuple[int, float]]] = {}
        pairs = set(table["pair_id"].to_pylist())
        for key, pair_id, rollouts, std in zip(*(column.to_pylist() for column in table.columns), strict=True):
            units.setdefault(pair_id or key, []).append((rollouts, std))
        return {name: _reason(rates, 2 if name in pairs else 1) for name, rates in units.items()}
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not the pass rates that `mvp-train filter` writes ({one_line(error, 200)})"
        ) from error


def _reason(rates: Sequence[tuple[int, float]], samples: int) -> str:
    """The reason to leave out a pair or a single sample, from the rollouts and the spread of rewards of its `samples`.

    A group with equal rewards has zero advantage in GRPO. A pair is kept if the rewards of one of its samples differ.
    """
    if len(rates) < samples or any(rollouts <= 0 for rollouts, _ in rates):
        return "not_measured"
    return "" if any(std > 0 for _, std in rates) else "always_the_same"


def _prepare(out: Path, *, overwrite: bool) -> None:
    """Create the folder, or remove an earlier export from it; afterwards it has only `export.json`.

    Files that an export did not write are never removed.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in out.iterdir())
        foreign = [name for name in names if not _OWN_NAMES.fullmatch(name) or not _is_export(out)]
        foreign = foreign or [name for name in _images_in(out) if not _IMAGE.fullmatch(name)]
        if foreign or (names and not overwrite):
            advice = "" if foreign else ", or pass --overwrite to replace the export"
            shown = ", ".join((foreign or names)[:3])
            raise OutputError(f"{out}: not empty ({shown}); give an empty or new folder to --out{advice}")
        _write(out, {ABOUT_NAME: UNFINISHED})
        for name in names:
            if name == IMAGES_NAME:
                shutil.rmtree(out / name)
            elif name != ABOUT_NAME:
                (out / name).unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be used as output folder ({error.strerror or error})") from error


def _is_export(out: Path) -> bool:
    """Whether the folder has an `export.json` that an export wrote."""
    try:
        return "complete" in json.loads((out / ABOUT_NAME).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _images_in(out: Path) -> Iterator[str]:
    """Yield the names in the folder of images. A link gets a suffix, so it never matches an image of an export."""
    folder = out / IMAGES_NAME
    if folder.is_symlink():
        yield f"{IMAGES_NAME} (a link)"
    elif folder.is_dir():
        for path in folder.rglob("*"):
            yield path.relative_to(folder).as_posix() + (" (a link)" if path.is_symlink() else "")


def _texts(report: ExportReport, target: Target) -> dict[str, str]:
    """Name and content of each text file of the folder; `export.json` is the last one."""
    about = {**asdict(report), "complete": True}
    del about["out"]  # not stored, because the folder may be moved
    files = {"README.md": _readme(report, target)}
    files |= {name: content(report) for name, content in target.files.items()}
    return {**files, ABOUT_NAME: json.dumps(about, indent=1, sort_keys=True) + "\n"}


def _readme(report: ExportReport, target: Target) -> str:
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


def _write(out: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())


def _sync() -> None:
    """Flush the images to disk before the rows that name them. One call is faster than an fsync for each file."""
    if hasattr(os, "sync"):
        os.sync()
