"""How workers process a long video: they decode its chunks into the bank, then join them.

The first job decodes the first chunk, the following jobs decode the others in parallel, and the last job joins them.
Chunks in the bank are not decoded again, so a run that is killed loses at most the chunks in progress. The result does
not depend on the order in which chunks are decoded, see `video.chunks`.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mvp_data.bank.bank import Bank, skipped
from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import VideoEntry
from mvp_data.engines.base import extend_deadline
from mvp_data.ingest.jobs import PASSING, ChunkPlan, Job
from mvp_data.ingest.read_twice import read_twice

if TYPE_CHECKING:  # it loads the decoders
    from mvp_data.video.extract import Chunk


def chunk_name(video_id: str, number: int) -> str:
    """Return the name of a chunk in the bank."""
    return f"{video_id}-{number:04d}"


def remove_chunks(bank: Bank, plan: ChunkPlan) -> None:
    """Remove the chunks of a video from the bank of chunks; missing chunks are ignored."""
    for number in range(len(plan.chunks)):
        bank.remove(chunk_name(plan.video_id, number))


class ChunkStore:
    """Decodes chunks of one video, and keeps them in the bank until all are decoded and joined."""

    def __init__(self, path: Path, video_id: str, job: Job, check: Callable[[], None]) -> None:
        """`check` raises Skip if the file has changed since the job began."""
        self._path, self._video_id, self._job, self._check = path, video_id, job, check
        self._bank = job.bank("parts")
        self.chunks: tuple[Chunk, ...] = job.plan.chunks if job.plan else ()

    def leaves_work(self) -> bool:
        """Decode the chunks that belong to this job; return whether other jobs must decode the rest.

        If False, either all chunks are in the bank, or `chunks` is empty because the video is not long. Other workers
        cannot read this worker's copy of a remote file, so this worker decodes all chunks itself.
        """
        from mvp_data.video.chunks import plan_chunks

        job = self._job
        if job.is_chunk:
            self._decode(job.number)
            return True
        if not job.plan:
            self.chunks = plan_chunks(self._path, video_id=self._video_id, decode=job.decode, frames=job.frames)
            if self.chunks:
                self._decode_first()
            if job.is_local and len(self.chunks) > 1:
                return True
        for number in range(len(self.chunks)):
            self._decode(number)
        return False

    def _decode_first(self) -> None:
        """Decode the first chunk, which sets frame size and crop; it may turn out to be the whole video."""
        from mvp_data.video.chunks import settled

        self._decode(0)
        self.chunks = settled(self.chunks, self._read(0))

    def _decode(self, number: int) -> None:
        """Decode a chunk into the bank, unless it is there; store a reason to skip the video in its place."""
        from mvp_data.video.extract import extract_chunk

        job, chunk, name = self._job, self.chunks[number], chunk_name(self._video_id, number)

        def make(blob: IO[bytes]) -> VideoEntry:
            decode = partial(
                extract_chunk,
                self._path,
                chunk,
                decode=job.decode,
                frames=job.frames,
                seed=job.seed,
                on_progress=extend_deadline,
            )
            entry = read_twice(decode, blob, self._check)
            self._check()
            return replace(entry, video_id=name)

        if not self._bank.has(name):
            try:
                self._bank.write(name, make)
            except Skip as skip:
                if skip.reason in PASSING:
                    raise
                self._check()
                self._bank.write_facts(skipped(name, skip.reason, skip.detail))
        extend_deadline()

    def join(self, blob: IO[bytes]) -> VideoEntry:
        """Write the JPEGs of all chunks to `blob` and return the entry of the video.

        Raises:
            Skip: a chunk holds a reason to skip the video; the first such chunk decides.
        """
        from mvp_data.video.chunks import merge

        entries = [self._read(number) for number in range(len(self.chunks))]
        for number in range(len(self.chunks)):
            self._bank.copy_jpegs(chunk_name(self._video_id, number), blob)
        return replace(merge(entries, self._job.frames.trim_s), video_id=self._video_id)

    def remove(self) -> None:
        """Remove all chunks: the video is in the bank."""
        for number in range(len(self.chunks)):
            self._bank.remove(chunk_name(self._video_id, number))

    def _read(self, number: int) -> VideoEntry:
        entry = self._bank.read(chunk_name(self._video_id, number))
        if entry.skip:
            raise Skip(SkipReason(entry.skip), entry.detail)
        return entry
