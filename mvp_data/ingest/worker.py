"""The job function of pass 1, which a worker process calls for each job."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mvp_data.bank.bank import SPOOL, Bank, skipped
from mvp_data.bank.remote_bank import scratch
from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import VideoEntry
from mvp_data.engines.base import extend_deadline, note
from mvp_data.ingest.chunk_jobs import ChunkStore
from mvp_data.ingest.jobs import PASSING, ChunkPlan, Job, JobResult, ResultKind
from mvp_data.ingest.read_twice import read_twice
from mvp_data.sources.fetch import fingerprint, local_file
from mvp_data.sources.known_files import FileState, file_state, remote_stamp, stamp

if TYPE_CHECKING:  # it loads the decoders
    from mvp_data.video.extract import Chunk


def work(job: Job) -> JobResult:
    """Do a job. With a store, use a temporary bank that exists for this job only."""
    if not job.store:
        return _work(job)
    with scratch() as folder:
        Bank(folder, job.extract_hash).create()
        return _work(replace(job, bank_root=folder))


def _work(job: Job) -> JobResult:
    """Read, identify and decode the video; a reason to skip it is returned as a result."""
    version = job.stamp or (remote_stamp(job.location) if not job.plan else "")
    if job.ask and version:
        return JobResult(kind=ResultKind.VERSION, stamp=version)
    bank, video_id = job.bank(), job.plan.video_id if job.plan else ""
    before = job.plan.file_state if job.plan else file_state(job.location)

    def check(path: Path, *, read_again: bool) -> None:
        """Raise Skip if the file has changed since its id was computed."""
        if file_state(job.location) != before or (read_again and fingerprint(path) != video_id):
            raise Skip(SkipReason.CHANGED, "the file changed while it was read; run again when it is complete")

    try:
        with local_file(replace(job.source, location=job.location), job.bank_root / SPOOL) as path:
            video_id = video_id or fingerprint(path)
            note(video_id)
            if not bank.has(video_id) or bank.facts(video_id)[0] in job.retried:
                chunks = _decode(path, video_id, job, check)
                if job.is_chunk:
                    return JobResult(kind=ResultKind.CHUNK)
                if chunks:
                    seen_as = version or _stamp(job, before)
                    plan = ChunkPlan(video_id=video_id, chunks=chunks, file_state=before, stamp=seen_as)
                    return JobResult(kind=ResultKind.PLANNED, plan=plan)
            else:
                check(path, read_again=False)
    except Skip as skip:
        return JobResult(kind=ResultKind.FINISHED, skip=skip.reason.value, detail=skip.detail)
    reason, detail = bank.facts(video_id)
    return JobResult(
        kind=ResultKind.FINISHED,
        video_id=video_id,
        skip=reason,
        detail=detail,
        stamp=version or _stamp(job, before),
    )


def _stamp(job: Job, before: FileState | None) -> str:
    """Return the stamp of a local file; empty for a copy, because its times are not those of the source."""
    return stamp(job.source.location, before) if job.location == job.source.location else ""


def _decode(path: Path, video_id: str, job: Job, check: Callable[..., None]) -> "tuple[Chunk, ...]":
    """Decode one video into the bank; a reason to skip it is stored too, unless it is in PASSING.

    Returns:
        The chunks of a long video that other jobs must decode; otherwise nothing.
    """
    from mvp_data.video.extract import extract

    bank = job.bank()
    store = ChunkStore(path, video_id, job, partial(check, path, read_again=False))

    def make(blob: IO[bytes]) -> VideoEntry:
        if store.chunks:
            entry = store.join(blob)
        else:
            decode = partial(
                extract,
                path,
                video_id=video_id,
                decode=job.decode,
                frames=job.frames,
                seed=job.seed,
                on_progress=extend_deadline,
            )
            entry = read_twice(decode, blob, partial(check, path, read_again=False))
        check(path, read_again=entry.damaged_packets > 0)
        return entry

    try:
        if store.leaves_work():
            return store.chunks
        bank.write(video_id, make)
    except Skip as skip:
        if skip.reason in PASSING:
            raise
        check(path, read_again=True)
        bank.write_facts(skipped(video_id, skip.reason, skip.detail))
    store.remove()
    return ()
