"""Shards as the datasets of other trainers: each project's own layout, one file a split.

A target is one small function that makes a row of a sample (`mvp_data.export_rows`); splits, pictures, files and the
folder are shared.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from mvp_data.errors import ConfigError, OutputError, ShardError
from mvp_data.export_rows import JSONL, PARQUET, TARGETS, Item, Row
from mvp_data.export_texts import ABOUT_NAME, UNFINISHED, ExportReport, texts
from mvp_data.files import atomic_write
from mvp_data.progress import Progress
from mvp_data.prompt import PromptConfig, pictures
from mvp_data.report import counts
from mvp_data.schema import REBUILD, SPLITS
from mvp_data.shard_index import read_index
from mvp_data.shards import Sample
from mvp_data.summary import iter_samples
from mvp_data.tasks.catalogue import TASKS

IMAGES_NAME = "images"
GROUP_BYTES = 32 << 20  # pictures of one Parquet row group
GROUP_ROWS = 1000  # of one row group at most, and samples in one folder of pictures
# What `datasets` needs to show a list of bytes as pictures; this spelling is read by version 3 to 5.
_HUB_FEATURES = {"info": {"features": {"images": {"feature": {"_type": "Image"}, "_type": "Sequence"}}}}
_PICTURE = re.compile(r"[0-9]{5}(/[a-z0-9_-]{1,84}\.(context_[0-9]{2}|candidate_[a-z])\.jpg)?")
_OWN_NAMES = re.compile(
    rf"(({'|'.join(SPLITS)})\.(parquet|jsonl)|{IMAGES_NAME}|{ABOUT_NAME}|README\.md|grpo\.yaml|dataset_info\.json"
    r"|\..*\.tmp)"
)


def export(
    shards: Path,
    out: Path,
    *,
    to: str,
    prompt: PromptConfig,
    pass_rates: Path | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write the samples of a tar or of a folder of shards to `out`, in the layout of project `to`.

    Memory holds a row group and the keys of `pass_rates`. The files with the rows appear after their pictures, and
    `export.json` last of all. With `pass_rates` (Parquet: key, rollouts, reward_std) only samples whose
    completions earned different rewards are taken: the others teach GRPO nothing.

    Raises:
        ConfigError: no such project, a thinking prompt for llamafactory, unreadable pass rates, no sample left.
        OutputError: `out` is not empty, or with `overwrite` holds files that are not an export's.
        ShardError: a damaged or unfinished set of shards.
    """
    _check(to, prompt)
    samples, total = iter_samples(shards), read_index(shards).counts["samples"] if shards.is_dir() else 0
    verdicts = _read_pass_rates(pass_rates) if pass_rates is not None else None
    make_row = {**PARQUET, **JSONL}[to]
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
            if verdicts is not None and (reason := verdicts.get(record.key, "not_measured")):
                left_out[reason] += 1
                continue
            if record.split not in writers:
                writers[record.split] = files.enter_context(_writer(out, record.split, to))
            images = _images(out, sample, prompt, splits.total()) if to in JSONL else _inline(sample, prompt)
            item = Item(record=record, prompt=prompt, images=images, number=splits[record.split])
            writers[record.split](make_row(item))
            splits[record.split] += 1
            tasks[record.task] += 1
            sizes = {"pictures": len(images), "width_px": record.width_px, "height_px": record.height_px}
            most = {name: max(most[name], size) for name, size in sizes.items()}
        if not splits:
            raise ConfigError(f"{pass_rates}: leaves no sample of {shards} ({counts(left_out)}); export without it")
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
    _write(out, texts(report))
    return report


def _check(to: str, prompt: PromptConfig) -> None:
    if to not in TARGETS:
        raise ConfigError(f"--to {to}: no such project; one of {', '.join(TARGETS)}")
    if to == "llamafactory" and prompt.thinking:
        raise ConfigError("--to llamafactory: examples hold no reasoning to imitate; leave --thinking out")


def _inline(sample: Sample, prompt: PromptConfig) -> list[dict[str, Any]]:
    """Pictures as `datasets.Image` stores them; the name in `path` tells the format and nothing else."""
    names = sample.record.member_names
    data = pictures(sample, prompt)
    return [{"bytes": jpeg, "path": name} for name, jpeg in zip(names[-len(data) :], data, strict=True)]


def _images(out: Path, sample: Sample, prompt: PromptConfig, number: int) -> list[str]:
    """Write a sample's pictures under the names they have in the shard; their paths from `out`, with slashes."""
    folder = out / IMAGES_NAME / f"{number // GROUP_ROWS:05d}"
    paths = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image in _inline(sample, prompt):
            paths.append(f"{IMAGES_NAME}/{folder.name}/{image['path']}")
            with (out / paths[-1]).open("xb") as file:
                file.write(image["bytes"])
    except FileExistsError as error:
        raise ShardError(f"{sample.record.key}: the key comes twice: {REBUILD}") from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}): free space or choose another") from error
    return paths


@contextmanager
def _writer(out: Path, split: str, to: str) -> Iterator[Callable[[Row], None]]:
    """A function that adds a row to the file of a split, which appears when the block ends well."""
    with atomic_write(out / f"{split}.{'parquet' if to in PARQUET else 'jsonl'}") as file:
        if to in JSONL:
            yield lambda row: _write_line(file, row)
        else:
            rows = _ParquetRows(file)
            try:
                yield rows.add
            finally:
                rows.close()


def _write_line(file: IO[bytes], row: Row) -> None:
    file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


class _ParquetRows:
    """Rows to a Parquet file, a row group for every 32 MiB of pictures. The first rows say what the columns are."""

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
            options = {"use_dictionary": False, "write_statistics": False}  # of no use for pictures, and large
            self._writer = pq.ParquetWriter(self._file, self._schema, **options)
        self._writer.write_table(table)
        self._rows, self._bytes = [], 0


def _read_pass_rates(path: Path) -> dict[str, str]:
    """Why to leave a sample out, by key; empty for those to take."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["key", "rollouts", "reward_std"])
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return {key: _verdict(rollouts, std) for key, rollouts, std in rows}
    except (OSError, pa.ArrowException, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"{path}: not the pass rates that `mvp-train filter` writes ({problem:.200})") from error


def _verdict(rollouts: int, reward_std: float) -> str:
    """A group of completions that all earn the same has nothing to prefer."""
    return "not_measured" if rollouts <= 0 else "" if reward_std > 0 else "always_the_same"


def _prepare(out: Path, *, overwrite: bool) -> None:
    """An empty folder but for `export.json`: made, or cleared of an earlier export. Nothing else is ever removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in out.iterdir())
        foreign = [name for name in names if not _OWN_NAMES.fullmatch(name) or not _is_export(out)]
        foreign = foreign or [name for name in _pictures_in(out) if not _PICTURE.fullmatch(name)]
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
    """Whether the `export.json` there is one of ours."""
    try:
        return "complete" in json.loads((out / ABOUT_NAME).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _pictures_in(out: Path) -> Iterator[str]:
    """Names below the folder of pictures; a link there, or in its place, is named so that it is no picture."""
    folder = out / IMAGES_NAME
    if folder.is_symlink():
        yield f"{IMAGES_NAME} (a link)"
    elif folder.is_dir():
        for path in folder.rglob("*"):
            yield path.relative_to(folder).as_posix() + (" (a link)" if path.is_symlink() else "")


def _write(out: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        with atomic_write(out / name) as file:
            file.write(text.encode())


def _sync() -> None:
    """Pictures on disk before the rows that name them; one call, since an fsync for each takes longer than writing."""
    if hasattr(os, "sync"):
        os.sync()
