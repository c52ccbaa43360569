"""The offset index: the position of each sample in its shard, for random access.

It is an Arrow file with one row per sample, stored under a hidden name next to the shards, or in the cache if their
folder is read-only. It is made once from the headers of the tars and then memory-mapped. It records the state of the
shards: if they have changed, or the file is damaged, it is made again.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.core.text import one_line
from mvp_data.shards.index import INDEX_NAME, ShardInfo, index_bytes, parse_index
from mvp_data.shards.record import REBUILD, SCHEMA_VERSION, Record
from mvp_data.shards.tar import sample_spans, shard_paths
from mvp_data.system.files import atomic_write
from mvp_data.system.progress import megabytes

OFFSETS_NAME = ".offsets.arrow"
_FORMAT = 3
_ROWS_PER_BATCH = 1 << 16  # in memory while the index is made


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFiles:
    """The shard files of a folder or a single tar (then `infos` is empty); `state` changes if the files change."""

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]
    infos: tuple[ShardInfo, ...]
    state: str
    offsets: Path  # of the offset index


def shard_files(path: Path) -> ShardFiles:
    """The shards at `path`, a folder with an index or a tar; `ShardError` if one is missing or has the wrong size."""
    path = path.absolute()
    if path.is_dir():
        data = index_bytes(path)
        infos = parse_index(data, str(path / INDEX_NAME)).shards
        name, state = OFFSETS_NAME, hashlib.sha256(data).hexdigest()
        paths, folder = [path / info.name for info in infos], path
    else:
        paths, infos, folder = shard_paths(path), (), path.parent
        name, state = f".{path.name}{OFFSETS_NAME}", f"mtime {path.stat().st_mtime_ns}, {path.stat().st_size} bytes"
    sizes = tuple(shard.stat().st_size if shard.is_file() else -1 for shard in paths)
    for info, size in zip(infos, sizes, strict=bool(infos)):
        if size != info.bytes:
            found = f"has {size} bytes" if size >= 0 else "is missing"
            raise ShardError(
                f"{path / info.name}: {found}, {INDEX_NAME} says {info.bytes}: copy it again, or {REBUILD}"
            )
    state = f"format {_FORMAT}, schema {SCHEMA_VERSION}, {state}"
    return ShardFiles(paths=tuple(paths), sizes=sizes, infos=infos, state=state, offsets=folder / name)


def find_offsets(files: ShardFiles, cache: Path, *, quiet: bool) -> Path:
    """The path of the offset index of `files`, which is made if it does not exist or is outdated.

    Raises:
        ShardError: a shard is damaged, or differs from `index.json`.
        OutputError: neither the folder of the shards nor the cache can be written.
    """
    name = hashlib.sha256(str(files.offsets.resolve()).encode()).hexdigest()[:32]
    places = (files.offsets, cache / "offsets" / f"{name}.arrow")
    for place in places:
        if _fits(place, files):
            return place
    try:
        _write(files, places[0], quiet=quiet)
        return places[0]
    except OutputError:  # the shards are on a read-only disk
        try:
            places[1].parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{cache}: cannot be used as cache ({error.strerror}): choose another folder") from error
        _write(files, places[1], quiet=quiet)
        return places[1]


@lru_cache(maxsize=64)
def load_offsets(path: Path, state: str) -> Any:
    """The offset index as a `pyarrow.Table` over the memory-mapped file; cached in each process.

    Columns: key, task, pair_id, pair_kind, split, difficulty, video_group, shard (number), offset, bytes, k, l, context
    (number of frames), width_px, height_px. Raises `ShardError` if it is damaged or was made for another `state` of the
    shards.
    """
    import pyarrow as pa

    problem = "made for other shards than the opened ones"
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if reader.schema.equals(offsets_schema(state), check_metadata=True):
            table = reader.read_all()
            table.validate(full=True)  # also that no text points outside its buffers
            if not any(column.null_count for column in table.columns):
                return table
            problem = "damaged"
    except (OSError, pa.ArrowException) as error:
        problem = f"cannot be read ({one_line(error)})"
    raise ShardError(f"{path}: {problem}: open the shards again")


def row_of(record: Record) -> dict[str, Any]:
    """The row of the offset index for a sample, without its position."""
    names = ("key", "task", "pair_id", "pair_kind", "split", "difficulty", "video_group")
    sizes = {name: getattr(record, name) for name in ("k", "l", "width_px", "height_px")}
    return {name: getattr(record, name) for name in names} | sizes | {"context": len(record.context)}


def _fits(path: Path, files: ShardFiles) -> bool:
    try:
        rows = load_offsets.__wrapped__(path, files.state).num_rows  # uncached: the file may have changed
    except ShardError:
        return False
    return not files.infos or rows == sum(info.samples for info in files.infos)


def _write(files: ShardFiles, path: Path, *, quiet: bool) -> None:
    import pyarrow as pa

    schema = offsets_schema(files.state)
    with (
        megabytes(sum(files.sizes), "index", quiet=quiet) as add,
        atomic_write(path) as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        batch: list[dict[str, Any]] = []
        for row in _rows(files):
            batch.append(row)
            add(row["bytes"])
            if len(batch) == _ROWS_PER_BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                batch = []
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _rows(files: ShardFiles) -> Iterator[dict[str, Any]]:
    for number, path in enumerate(files.paths):
        splits: list[str] = []
        for span in sample_spans(path):
            splits.append(span.record.split)
            yield row_of(span.record) | {"shard": number, "offset": span.offset, "bytes": span.bytes}
        if files.infos:
            info = files.infos[number]
            if splits != [info.split] * info.samples:
                found = f"{len(splits)} samples of split {splits[0]}"
                raise ShardError(f"{path}: {found}, {INDEX_NAME} says {info.samples} of {info.split}: {REBUILD}")


def offsets_schema(state: str) -> Any:
    """The columns of an offset index, with the state of the shards in its metadata."""
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    columns = dict.fromkeys(("key", "task", "pair_id", "pair_kind", "split", "video_group"), text)
    columns |= {"difficulty": pa.float64()}
    columns |= {"shard": number, "offset": pa.int64(), "bytes": number}
    columns |= dict.fromkeys(("k", "l", "context", "width_px", "height_px"), number)
    return pa.schema(list(columns.items()), metadata={"mvp_data.shards.tar": state})
