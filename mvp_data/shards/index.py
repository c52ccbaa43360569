"""`index.json`, the list of shards in a folder. It is written last, so a folder with an index is a complete build."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ShardError
from mvp_data.shards.record import REBUILD, SCHEMA_VERSION, SPLITS, as_list, build, check_version, parse_object
from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS

INDEX_NAME = "index.json"
MAX_INDEX_BYTES = 64 << 20  # 300,000 shards; parsed JSON can take twenty times as much memory
_SHARD_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.tar")


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardInfo:
    """A finished shard, as listed in the index."""

    name: str
    task: str
    split: str
    samples: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Check types; the name must be a plain file name, so an index cannot point outside its folder."""
        if not (
            isinstance(self.name, str)
            and _SHARD_NAME.fullmatch(self.name)
            and self.split in SPLITS
            and isinstance(self.task, str)
            and self.task in TASKS
        ):
            raise ShardError(
                f"not a shard of an index: {self.name!r:.200} ({self.split!r:.40}, {self.task!r:.40}): {REBUILD}"
            )
        counts = (self.samples, self.bytes)
        if not all(type(count) is int and 0 < count < 1 << 63 for count in counts):
            raise ShardError(f"{self.name}: {self.samples!r:.40} samples, {self.bytes!r:.40} bytes: {REBUILD}")
        if not (isinstance(self.sha256, str) and re.fullmatch("[0-9a-f]{64}", self.sha256)):
            raise ShardError(f"{self.name}: {self.sha256!r:.80} is not a sha256: {REBUILD}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """The content of `index.json`. `counts` has `samples`, `videos` and one number per split."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    config: dict[str, Any]
    config_hash: str
    counts: dict[str, int]
    shards: tuple[ShardInfo, ...]

    def __post_init__(self) -> None:
        """Check types, and that the counts agree with the shards."""
        texts_ok = isinstance(self.tool_version, str) and isinstance(self.config_hash, str)
        if not (texts_ok and isinstance(self.config, dict) and isinstance(self.counts, dict)):
            raise ShardError(f"the index has fields of the wrong type: {REBUILD}")
        check_version(self.schema_version)
        per_split = dict.fromkeys(SPLITS, 0)
        for shard in self.shards:
            per_split[shard.split] += shard.samples
        counts = {**per_split, "samples": sum(per_split.values()), "videos": self.counts.get("videos")}
        if self.counts != counts or type(self.counts["videos"]) is not int:
            raise ShardError(f"the index counts {self.counts!r:.200}, its shards say {counts}: {REBUILD}")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ShardError(f"the index names a shard twice: {REBUILD}")


def write_index(folder: Path, index: Index) -> None:
    """Write `index.json` in `folder` atomically: the last step of a build."""
    with atomic_write(folder / INDEX_NAME) as file:
        file.write((json.dumps(asdict(index), sort_keys=True, indent=1, allow_nan=False) + "\n").encode())


def read_index(folder: str | Path) -> Index:
    """The index of a folder of shards; raises `ShardError` if it is missing or damaged."""
    return parse_index(index_bytes(folder), str(Path(folder) / INDEX_NAME))


def index_bytes(folder: str | Path) -> bytes:
    """The bytes of `index.json` in a folder; raises `ShardError` if it is missing."""
    path = Path(folder) / INDEX_NAME
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would block
            raise ShardError(f"{path}: is not a file: {REBUILD}")
        with path.open("rb") as file:
            return file.read(MAX_INDEX_BYTES + 1)
    except FileNotFoundError as error:
        raise ShardError(
            f"{folder}: no {INDEX_NAME}, so no finished build: run the same `mvp-data build` "
            "command again to finish it, or name one .tar file"
        ) from error
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error.strerror}): check the path") from error


def parse_index(data: bytes, where: str) -> Index:
    """Parse the bytes of an `index.json`; raises `ShardError`, with `where` first, if they are damaged."""
    try:
        values = parse_object(data, limit_bytes=MAX_INDEX_BYTES)
        check_version(values.get("schema_version"))
        values["shards"] = tuple(build(ShardInfo, item, "a shard") for item in as_list(values, "shards"))
        return build(Index, values, "the index")
    except ShardError as error:
        raise ShardError(f"{where}: {error}") from error
