"""The jobs and results that the scheduler of pass 1 and its workers exchange, and the outcome of a source."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from mvp_data.bank.bank import Bank
from mvp_data.bank.remote_bank import bank_at
from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.errors import SkipReason
from mvp_data.core.types import Location, Source
from mvp_data.sources.known_files import FileState

if TYPE_CHECKING:  # it loads the decoders
    from mvp_data.video.extract import Chunk

# These do not depend on the bytes of the file, so they are not stored: every run tries such a source again.
PASSING: tuple[SkipReason, ...] = (SkipReason.UNREADABLE, SkipReason.CHANGED)
# The program, the machine or a damaged file may cause these; for any other reason the file is intact but not usable.
FAILURES = frozenset(
    {*PASSING, SkipReason.TIMEOUT, SkipReason.MEMORY, SkipReason.CRASH}
    | {SkipReason.UNSUPPORTED_CODEC, SkipReason.DECODE_ERROR}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of one source: a video in the bank, or the reason why it is skipped."""

    source: Source
    video_id: str = ""  # empty if the bytes could not be read
    skip: str = ""  # a SkipReason; empty for a video in the bank
    detail: str = ""
    known: bool = field(default=False, compare=False)  # found by an earlier run


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkPlan:
    """The chunks of a long video. The first is decoded; the others have its frame size and crop."""

    video_id: str
    chunks: "tuple[Chunk, ...]"
    file_state: FileState | None  # state of the file when its id was computed
    stamp: str  # with which a later run recognises the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The input of a worker: a whole source, one chunk of a long video, or the joining of its chunks.

    It is small, because it is pickled for every source and chunk.
    """

    source: Source
    location: Location  # where a worker can read the bytes
    bank_root: Path
    extract_hash: str
    decode: DecodeConfig
    frames: FramesConfig
    seed: int
    retried: frozenset[str]
    store: str = ""  # URL of the object store that all nodes use; `bank_root` is then a folder of the worker
    ask: bool = False  # only ask the server for the version of the file
    stamp: str = ""  # of that version
    plan: ChunkPlan | None = None  # None: a whole source
    number: int = 0  # of the chunk; if it equals the number of chunks, the job joins them

    @property
    def is_chunk(self) -> bool:
        """Whether this job decodes one chunk."""
        return self.plan is not None and self.number < len(self.plan.chunks)

    @property
    def is_local(self) -> bool:
        """Whether the bytes are in a file that other workers can read too."""
        return isinstance(self.location, str) and os.path.isabs(self.location)

    def bank(self, kind: str = "frames") -> Bank:
        """Return the bank that takes the result."""
        return bank_at(self.bank_root, self.extract_hash, kind, store=self.store)


class ResultKind(StrEnum):
    """The kinds of result of a job."""

    VERSION = "version"  # `stamp` is the version of the file on the server
    PLANNED = "planned"  # a long video: its first chunk is in the bank; `plan` lists all
    CHUNK = "chunk"  # this chunk is in the bank
    FINISHED = "finished"  # the video is in the bank, or `skip` is the reason why not


@dataclass(frozen=True, kw_only=True, slots=True)
class JobResult:
    """The result of any job."""

    kind: ResultKind
    stamp: str = ""  # with which a later run recognises the file; empty if it cannot
    plan: ChunkPlan | None = None
    video_id: str = ""
    skip: str = ""  # a SkipReason
    detail: str = ""
