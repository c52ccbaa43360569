"""A long video as jobs: first its beginning, then its other parts side by side, then one that joins them.

What is finished lies in the bank, so a run that was killed loses a part at most. Parts and their order have no
influence on the result: see `parts`.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mvp_data.bank import Bank, skipped
from mvp_data.config import DecodeConfig, FramesConfig
from mvp_data.errors import Skip, SkipReason
from mvp_data.seen import Sight
from mvp_data.stored_bank import bank_at
from mvp_data.types import FrameTable, Source, VideoEntry
from mvp_data.workers import goes_on

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from mvp_data.frames import Extract, Part

# Not facts about the bytes: such a source is not remembered, and every run tries it again.
PASSING: tuple[SkipReason, ...] = (SkipReason.UNREADABLE, SkipReason.CHANGED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Long:
    """What the jobs of one long video know of it."""

    video_id: str
    parts: "tuple[Part, ...]"  # the first is done, the others have its picture size and crop
    seen: Sight | None  # of the file when its id was computed
    stamp: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """All that a worker needs to know; small, since it is pickled for every source and part."""

    source: Source
    uri: str  # where the bytes can be had in a worker
    bank_root: Path
    extract_hash: str
    decode: DecodeConfig
    frames: FramesConfig
    seed: int
    retried: frozenset[str]
    store: str = ""  # URL of what nodes have in common; `bank_root` is then the worker's own
    ask: bool = False  # only what a URL's video is known by, before any of it is fetched
    stamp: str = ""  # the answer
    long: Long | None = None  # None: a whole source, of which nothing is known yet
    number: int = 0  # of the part; one more than there are: join them

    @property
    def is_part(self) -> bool:
        """Whether it is about one part alone."""
        return self.long is not None and self.number < len(self.long.parts)

    @property
    def is_local(self) -> bool:
        """Whether the file lies where other workers can read it as well, and stays there."""
        return os.path.isabs(self.uri)

    def bank(self, kind: str = "frames") -> Bank:
        """Where the result goes."""
        return bank_at(self.bank_root, self.extract_hash, kind, store=self.store)


class PartStore:
    """The worker's side: extracts parts, and keeps them in the bank until all are there."""

    def __init__(self, path: Path, video_id: str, job: Job, check: Callable[[], None]) -> None:
        """`check` raises Skip where the file has changed meanwhile."""
        self._path, self._video_id, self._job, self._check = path, video_id, job, check
        self._bank = job.bank("parts")
        self.parts: tuple[Part, ...] = job.long.parts if job.long else ()

    def leaves_to_others(self) -> bool:
        """Do what the job is about; whether the video then needs other jobs. If not, all its parts are here.

        A copy of what is no local file is this worker's alone, so it extracts all parts itself.
        """
        from mvp_data.parts import plan_parts

        job = self._job
        if job.is_part:
            self._keep(job.number)
            return True
        if not job.long:
            self.parts = plan_parts(self._path, video_id=self._video_id, decode=job.decode, frames=job.frames)
            if self.parts:
                self._begin()
            if job.is_local and len(self.parts) > 1:
                return True
        for number in range(len(self.parts)):
            self._keep(number)
        return False

    def _begin(self) -> None:
        """Extract the first part, which settles the others; it is alone where it went on to the end."""
        from mvp_data.parts import is_whole, settled

        self._keep(0)
        first = self._read(0)
        later = () if is_whole(self.parts, first) else self.parts[1:]
        self.parts = (self.parts[0], *(settled(part, first) for part in later))

    def _keep(self, number: int) -> None:
        """Extract a part, unless that was done before; what forbids the whole video is kept as well."""
        from mvp_data.frames import extract_part

        job, part, name = self._job, self.parts[number], part_name(self._video_id, number)

        def make(blob: IO[bytes]) -> VideoEntry:
            run = partial(
                extract_part,
                self._path,
                part,
                decode=job.decode,
                frames=job.frames,
                seed=job.seed,
                on_stretch=goes_on,
            )
            found = surely(run, blob, self._check)
            self._check()
            return entry_of(name, found)

        if not self._bank.has(name):
            try:
                self._bank.write(name, make)
            except Skip as skip:
                if skip.reason in PASSING:
                    raise
                self._check()
                self._bank.write_facts(skipped(name, skip.reason, skip.detail))
        goes_on()

    def remove(self) -> None:
        """Forget all parts: the video is done."""
        for number in range(len(self.parts)):
            self._bank.remove(part_name(self._video_id, number))

    def join(self, blob: IO[bytes]) -> "Extract":
        """The whole video; raises the Skip of the first part that has one."""
        from mvp_data.parts import merge

        found = [self._read(number) for number in range(len(self.parts))]
        for number in range(len(self.parts)):
            self._bank.copy_pictures(part_name(self._video_id, number), blob)
        return merge(found, self._job.frames.trim_s)

    def _read(self, number: int) -> "Extract":
        from mvp_data.frames import Extract

        entry = self._bank.read(part_name(self._video_id, number))
        if entry.skip:
            raise Skip(SkipReason(entry.skip), entry.detail)
        facts = {f.name: getattr(entry, f.name) for f in fields(Extract)}
        return Extract(**facts | {"frames": tuple(entry.frames)})


@dataclass(slots=True)
class _Open:
    long: Long
    to_come: set[int]
    stamps: dict[Source, str] = field(default_factory=dict)


class LongVideos:
    """The parent's side: what is to be done next for each long video, and which sources wait for it."""

    def __init__(self, parts: Bank) -> None:
        """`parts` is where parts are kept."""
        self._parts = parts
        self._open: dict[str, _Open] = {}
        self.jobs: deque[Job] = deque()

    def begin(self, job: Job, long: Long) -> None:
        """A video has been planned: its other parts come next, unless another source with the same bytes saw to it."""
        count = len(long.parts)
        if long.video_id not in self._open:
            self._open[long.video_id] = _Open(long, set(range(1, count)))
            self.jobs.extend(replace(job, long=long, number=number) for number in range(1, count))
        self._open[long.video_id].stamps[job.source] = long.stamp

    def part_done(self, job: Job) -> None:
        """A part is in the bank: after the last they are joined."""
        assert job.long is not None
        video = self._open.get(job.long.video_id)
        if video is None:  # it has failed meanwhile
            self._remove(job.long)
        elif video.to_come:
            video.to_come.discard(job.number)
            if not video.to_come:
                self.jobs.append(replace(job, number=len(job.long.parts)))

    def end(self, job: Job) -> dict[Source, str]:
        """A video is done or has failed: the sources that it was, with their stamps; none where it had ended before."""
        assert job.long is not None
        video = self._open.pop(job.long.video_id, None)
        self._remove(job.long)
        waiting = [other for other in self.jobs if not other.long or other.long.video_id != job.long.video_id]
        self.jobs.clear()
        self.jobs.extend(waiting)
        return video.stamps if video else {}

    def _remove(self, long: Long) -> None:
        for number in range(len(long.parts)):
            self._parts.remove(part_name(long.video_id, number))


class Feed(Iterator[Job]):
    """Jobs that others have brought about, then those of the sources; may have more to give after its end."""

    def __init__(self, first: deque[Job], then: Iterator[Job]) -> None:
        """Both are used up."""
        self._first, self._then = first, then

    def __next__(self) -> Job:
        return self._first.popleft() if self._first else next(self._then)


def surely(run: "Callable[..., Extract]", blob: IO[bytes], check: Callable[[], None]) -> "Extract":
    """Extract, and do it again where that came out damaged or not at all: a disk or network may have failed just then.

    libavformat does not tell a read that failed from a damaged file. `run` lacks its `blob` alone; `check` raises Skip
    where the file has changed meanwhile. Raises the Skip of both passes, or Skip(UNREADABLE) where they differ.
    """
    first, skip = _attempt(run, blob)
    if first is not None and not first.damaged_packets:
        return first
    check()
    if skip is None or skip.reason not in PASSING:
        goes_on()
        again, skip_again = _attempt(run, _Nowhere())
        if _told_apart(first, skip) != _told_apart(again, skip_again):
            raise Skip(
                SkipReason.UNREADABLE, "read twice, it gave two results; look at its disk or network, and run again"
            )
    if first is None:
        assert skip is not None
        raise skip
    return first


class _Nowhere(BytesIO):
    """A file that keeps nothing, and can be cut off like any other, which the null device cannot."""

    def write(self, data: "ReadableBuffer", /) -> int:
        return memoryview(data).nbytes


def _attempt(run: "Callable[..., Extract]", blob: IO[bytes]) -> "tuple[Extract | None, Skip | None]":
    try:
        return run(blob=blob), None
    except Skip as skip:
        return None, skip


def _told_apart(found: "Extract | None", skip: Skip | None) -> tuple[object, ...]:
    """What a second pass over the same bytes must repeat; not what a decoder paints over damage, which may differ."""
    if found is None:
        return (str(skip),)
    return found.decoded_frames, found.damaged_packets, tuple(frame.time_s for frame in found.frames)


def part_name(video_id: str, number: int) -> str:
    """The name of a part in the bank."""
    return f"{video_id}-{number:04d}"


def entry_of(video_id: str, found: "Extract") -> VideoEntry:
    """What the bank keeps of a pass."""
    names = [f.name for f in fields(VideoEntry) if f.name not in ("video_id", "skip", "detail")]
    facts = {name: getattr(found, name) for name in names}
    return VideoEntry(video_id=video_id, **facts | {"frames": FrameTable.of(found.frames)})
