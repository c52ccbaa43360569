"""The bank, a feature cache between the two passes: frames, times, shots and vectors of every video.

    bank/<extract hash>/frames/<ab>/<video id>.parquet    one row per sampled frame; facts and outcome in its metadata
    bank/<extract hash>/frames/<ab>/<video id>.jpgs       the JPEGs, concatenated
    bank/<extract hash>/vectors/<encoder>/<ab>/<video id>.npy   float16 [usable frames, D], rows of length 1
    bank/<extract hash>/parts/       finished chunks of long videos, in the same form, until the video is complete
    bank/seen.txt                    the known files of earlier runs (`known_files`)
    bank/tmp, bank/spool             files that are being written, and copies of remote sources

Files do not change after they are written; `--retry` may replace them. The Parquet file of a video is written last, so
its presence means that the video is done.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, fields
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from mvp_data.config.options import digest
from mvp_data.core.errors import OutputError, SkipReason
from mvp_data.core.jpeg import is_whole
from mvp_data.core.types import Boundary, Encoder, Frame, FrameTable, Vectors, VideoEntry, VideoInfo
from mvp_data.system.files import atomic_write, make_folder, remove
from mvp_data.system.locks import Lock

_FACTS = b"mvp"
GROUP_ROWS = 4096  # frames per row group; writing all frames of a ten-hour video at once would take 80 MB
SPOOL = "spool"  # folder for copies of remote sources; created when one is copied


class Bank:
    """Reads and writes the bank's entries for one set of extraction options."""

    def __init__(self, root: Path, extract_hash: str, kind: str = "frames") -> None:
        """`kind` is `frames` (entries of whole videos) or `parts` (entries of chunks)."""
        self._root, self._workspace = root, root / "tmp"
        self._frames, self._parts = root / extract_hash / kind, root / extract_hash / "parts"
        self._vectors = root / extract_hash / "vectors"

    @property
    def workspace(self) -> Path:
        """The folder for unfinished files; a later run removes those of a killed run."""
        return self._workspace

    def create(self) -> None:
        """Create the folders.

        Raises:
            OutputError: they cannot be created.
        """
        try:
            self._frames.mkdir(parents=True, exist_ok=True)
            self._vectors.mkdir(parents=True, exist_ok=True)
            self._workspace.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"the bank cannot be created: {error}; choose another folder with --bank") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the bank's shared lock. At start and end, remove unfinished files if no other run holds it.

        Raises:
            OutputError: the folder is not writable.
        """
        self.create()
        lock = Lock(self._root, alone=False)
        try:
            lock.take()
        except OSError as error:
            raise OutputError(f"{self._root}: cannot lock the bank ({error.strerror}); try another --bank") from error
        try:
            self._sweep(lock)
            yield
            self._sweep(lock)  # files of workers that were killed during this run
        finally:
            lock.release()

    def _sweep(self, lock: Lock) -> None:
        """Remove the files that killed processes left, if no other run holds the lock."""
        if os.name == "nt" or not lock.only_holder():  # Windows has no lock that could tell
            return
        for folder in (self._workspace, self._root / SPOOL):
            for path in folder.glob("*"):
                remove(path)
        for path in self._parts.glob("*/*-*"):
            if self.has(path.name.partition("-")[0]):  # chunks left by a kill after the video was done
                remove(path)
        lock.share()

    def has(self, video_id: str) -> bool:
        """Whether pass 1 has finished this video, used or skipped."""
        return self._path(video_id, ".parquet").exists()

    def remove(self, video_id: str) -> None:
        """Remove an entry, if there is one."""
        for suffix in (".parquet", ".jpgs"):
            remove(self._path(video_id, suffix))

    def copy_jpegs(self, video_id: str, blob: IO[bytes]) -> None:
        """Copy all JPEGs of an entry to `blob`."""
        with self._path(video_id, ".jpgs").open("rb") as file:
            shutil.copyfileobj(file, blob)

    def write(self, video_id: str, make: Callable[[IO[bytes]], VideoEntry]) -> VideoEntry:
        """Store the entry that `make` returns and the JPEGs that it writes; store nothing if it raises."""
        make_folder(self._path(video_id, ".jpgs").parent)
        with self.file(self._path(video_id, ".jpgs")) as blob:
            entry = make(blob)
        self.write_facts(entry)
        return entry

    def write_facts(self, entry: VideoEntry) -> None:
        """Store the Parquet file of an entry, which marks its video as done."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        facts = {f.name: getattr(entry, f.name) for f in fields(VideoEntry) if f.name != "frames"}
        facts["info"] = asdict(entry.info) if entry.info else None
        facts["boundaries"] = [asdict(b) for b in entry.boundaries]
        types = {float: pa.float64(), int: pa.int64(), str: pa.string(), bytes: pa.binary()}
        schema = pa.schema(
            [(f.name, types[f.type]) for f in fields(Frame)],  # type: ignore[index]
            metadata={_FACTS: json.dumps(facts, sort_keys=True).encode()},
        )
        path = self._path(entry.video_id, ".parquet")
        make_folder(path.parent)
        with self.file(path) as file, pq.ParquetWriter(file, schema) as writer:
            for first in range(0, max(1, len(entry.frames)), GROUP_ROWS):
                frames = entry.frames[first : first + GROUP_ROWS]
                columns = {f.name: [getattr(frame, f.name) for frame in frames] for f in fields(Frame)}
                writer.write_table(pa.table(columns, schema=schema))

    def facts(self, video_id: str) -> tuple[str, str]:
        """The skip reason ("" if used) and the detail of a video in the bank; much faster than `read`.

        Raises:
            OutputError: the entry is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self._path(video_id, ".parquet")
        try:
            facts = json.loads(pq.read_metadata(path).metadata[_FACTS])
            return str(facts["skip"]), str(facts["detail"])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
            raise damaged(path, error) from error

    def read(self, video_id: str) -> VideoEntry:
        """The entry of a video in the bank.

        Raises:
            OutputError: the entry is missing or damaged.
        """
        path = self._path(video_id, ".parquet")
        return self.parse(path, path)

    def parse(self, file: Path | IO[bytes], path: Path) -> VideoEntry:
        """The entry in a Parquet file; an error names `path`. Raises OutputError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(file).read()
            facts = json.loads(table.schema.metadata[_FACTS])
            facts["info"] = VideoInfo(**facts["info"]) if facts["info"] else None
            facts["boundaries"] = tuple(Boundary(**b) for b in facts["boundaries"])
            facts["crop"] = tuple(facts["crop"])
            facts["masked"] = tuple(tuple(box) for box in facts["masked"])
            columns = {f.name: table.column(f.name).to_pylist() for f in fields(Frame)}
            return VideoEntry(frames=FrameTable(columns), **facts)
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise damaged(path, error) from error

    @contextmanager
    def jpegs(self, entry: VideoEntry) -> Iterator[Callable[[int], bytes]]:
        """Yield a function that returns the JPEG of a frame index, valid inside the `with` block.

        Raises:
            OutputError: the file of JPEGs is missing or damaged.
        """
        path = self._path(entry.video_id, ".jpgs")
        offsets = np.concatenate([[0], np.cumsum(entry.frames.jpeg_bytes)]).tolist()
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise OutputError(f"{path}: is missing; delete its .parquet and run again") from error
        except OSError as error:
            raise damaged(path, error) from error
        with file:

            def jpeg(index: int) -> bytes:
                try:
                    file.seek(offsets[index])
                    data = file.read(offsets[index + 1] - offsets[index])
                except OSError as error:
                    raise damaged(path, error) from error
                whole = len(data) == offsets[index + 1] - offsets[index]
                if not whole or not is_whole(data):
                    raise OutputError(f"{path}: damaged; delete it and its .parquet and run again")
                return data

            yield jpeg

    def has_vectors(self, video_id: str, encoder: Encoder) -> bool:
        """Whether the vectors of this video's usable frames are stored for this encoder."""
        return self._vector_path(video_id, encoder).exists()

    def write_vectors(self, video_id: str, encoder: Encoder, vectors: Vectors) -> None:
        """Store the vectors of the usable frames, in order, as float16."""
        path = self._vector_path(video_id, encoder)
        make_folder(path.parent)
        with self.file(path) as file:
            np.save(file, vectors.astype("<f2"), allow_pickle=False)

    def read_vectors(self, video_id: str, encoder: Encoder, *, rows: int) -> Vectors:
        """The vectors of the usable frames, float32 [rows, D], scaled to length 1.

        Raises:
            OutputError: the file is damaged or has another shape.
        """
        path = self._vector_path(video_id, encoder)
        header = _npy_header(rows, encoder.dimension)
        size = len(header) + 2 * rows * encoder.dimension
        try:
            with path.open("rb") as file:
                data = file.read(size + 1)
        except OSError as error:
            raise damaged(path, error) from error
        # Only one header is valid, so compare it instead of parsing it: no pickle, no zip, no other shape.
        if len(data) != size or not data.startswith(header):
            wanted = f"{rows} x {encoder.dimension} numbers"
            raise OutputError(f"{path}: damaged vectors (not {wanted}); delete this file and run again")
        vectors = np.frombuffer(data, np.float16, offset=len(header)).reshape(rows, -1).astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.allclose(lengths, 1, atol=0.01):  # float16 changes a length by less than 0.001
            raise OutputError(f"{path}: damaged vectors (not of length 1); delete this file and run again")
        return np.asarray(vectors / lengths, dtype=np.float32)

    def file(self, path: Path) -> AbstractContextManager[IO[bytes]]:
        """Open a file of this bank for an atomic write; a later run removes the unfinished file of a killed run."""
        return atomic_write(path, workspace=self._workspace)

    def calibration_path(self, encoder: Encoder, basis: str) -> Path:
        """The file of the thresholds that were measured on the videos whose ids have the hash `basis`."""
        return self._vectors / encoder_key(encoder) / f"calibration-{basis}.json"

    def _path(self, video_id: str, suffix: str) -> Path:
        return self._frames / video_id[:2] / f"{video_id}{suffix}"

    def _vector_path(self, video_id: str, encoder: Encoder) -> Path:
        return self._vectors / encoder_key(encoder) / video_id[:2] / f"{video_id}.npy"


def damaged(path: Path, error: Exception) -> OutputError:
    """The error for a file of the bank that cannot be read.

    After an error of the operating system it does not advise deleting the file, which may be intact.
    """
    if isinstance(error, FileNotFoundError):
        return OutputError(f"{path}: is missing; run again")
    if isinstance(error, OSError) and error.errno:  # PyArrow's errors about the content have no errno
        return OutputError(f"{path}: cannot be read ({os.strerror(error.errno)}); fix the cause and run again")
    return OutputError(f"{path}: damaged bank entry ({error}); delete this file and run again")


def _npy_header(rows: int, dimension: int) -> bytes:
    """The header that `np.save` writes before a float16 matrix."""
    header = BytesIO()
    description = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def encoder_key(encoder: Encoder) -> str:
    """A readable folder name for an encoder; encoders with other weights or engines have other names."""
    words = "".join(c if c.isalnum() else "-" for c in encoder.name)[-40:]
    identity: dict[str, Any] = asdict(encoder)
    return f"{words}-{digest(identity)}"


def skipped(video_id: str, reason: SkipReason, detail: str) -> VideoEntry:
    """The entry of a video that is skipped."""
    return VideoEntry(video_id=video_id, skip=reason.value, detail=detail)
