"""Pass 1: every source through a pool of killable processes into the bank, then its frames through the encoder."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO

import numpy as np

from mvp_data.bank import Bank, VideoEntry, skipped
from mvp_data.calibrate import MAX_PICTURES_PER_VIDEO, MAX_VIDEOS, SHIPPED, Calibration, calibrate
from mvp_data.config import BuildConfig, DecodeConfig, FramesConfig, digest
from mvp_data.embed import Embedder
from mvp_data.errors import Skip, SkipReason
from mvp_data.fetch import fingerprint, local_file
from mvp_data.files import atomic_write
from mvp_data.seeds import stable_hash
from mvp_data.types import Picture, Source, Vectors
from mvp_data.workers import Lost, run_all

TRANSIENT = (SkipReason.TIMEOUT.value, SkipReason.CRASH.value)  # reasons that another run may not meet again
SPOOL = "spool"  # folder in the bank for copies of sources that are no local files; made when there is one
EMBED_BATCH = 64  # pictures decoded ahead of the encoder; bounds memory, has no influence on the vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one source: a video in the bank, or the reason why not."""

    source: Source
    video_id: str = ""  # "" where not even the bytes could be had
    skip: str = ""  # a SkipReason, "" for a video in the bank
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """All that a worker needs to know; small, since it is pickled for every source."""

    source: Source
    uri: str  # where the bytes can be had in a worker
    bank_root: Path
    extract_hash: str
    decode: DecodeConfig
    frames: FramesConfig
    seed: int


def extract_all(
    sources: Sequence[Source], config: BuildConfig, on_done: Callable[[Outcome], object] = lambda _: None
) -> tuple[Outcome, ...]:
    """Bring every source into the bank; the outcomes in the order of `sources`.

    A video that runs out of time, crashes its process or meets a defect of this program becomes an outcome; only what
    would hit every video alike (a full disk, a missing package) ends the run.

    Raises:
        MvpError: as above.
    """
    bank_root, extract_hash = config.bank_folder, config.extract_hash()
    bank = Bank(bank_root, extract_hash)
    bank.create()
    spool = bank_root / SPOOL
    done: dict[Source, Outcome] = {}
    crashed: list[_Job] = []
    with ExitStack() as stack:
        jobs = (
            _Job(
                source=source,
                uri=_reachable(source, spool, stack),
                bank_root=bank_root,
                extract_hash=extract_hash,
                decode=config.decode,
                frames=config.frames,
                seed=config.seed,
            )
            for source in sources
        )
        for job, result in run_all(_work, jobs, workers=config.worker_count, timeout_s=config.video_timeout_s):
            if isinstance(result, Lost) and result.kind == "crash":
                crashed.append(job)
                continue
            on_done(done.setdefault(job.source, _outcome(job, result)))
        # Once more and alone: a process that was killed for another one's memory must not cost a video.
        for job, result in run_all(_work, crashed, workers=1, timeout_s=config.video_timeout_s):
            on_done(done.setdefault(job.source, _outcome(job, result)))
    return tuple(done[source] for source in sources)


def _reachable(source: Source, spool: Path, stack: ExitStack) -> str:
    """The source's uri as a worker can open it: what lies in this process's memory is put on disk first."""
    if "memory://" in source.uri:
        with suppress(Skip):  # the worker meets the same problem and reports it
            return str(stack.enter_context(local_file(source, spool)))
    return source.uri


def _outcome(job: _Job, result: Outcome | Lost) -> Outcome:
    """What a worker found, or what became of it; the latter is not kept in the bank, so the next run tries again."""
    if isinstance(result, Outcome):
        return result
    advice = "; raise --video-timeout-s to give it more" if result.kind == "timeout" else ""
    return Outcome(source=job.source, skip=SkipReason(result.kind).value, detail=result.detail + advice)


def _work(job: _Job) -> Outcome:
    """One source in a worker process."""
    bank = Bank(job.bank_root, job.extract_hash)
    video_id = ""
    try:
        with local_file(replace(job.source, uri=job.uri), job.bank_root / SPOOL) as path:
            video_id = fingerprint(path)
            entry = bank.read(video_id) if bank.has(video_id) else _extract(path, video_id, job, bank)
    except Skip as skip:
        return Outcome(source=job.source, video_id=video_id, skip=skip.reason.value, detail=skip.detail)
    return Outcome(source=job.source, video_id=video_id, skip=entry.skip, detail=entry.detail)


def _extract(path: Path, video_id: str, job: _Job, bank: Bank) -> VideoEntry:
    """Decode one video into the bank; a reason to skip it is as final as a result, so it is stored as well."""
    from mvp_data.frames import Extract, extract

    def make(blob: IO[bytes]) -> VideoEntry:
        result = extract(path, video_id=video_id, decode=job.decode, frames=job.frames, seed=job.seed, blob=blob)
        return VideoEntry(video_id=video_id, **{f.name: getattr(result, f.name) for f in fields(Extract)})

    try:
        return bank.write(video_id, make)
    except Skip as skip:
        entry = skipped(video_id, skip.reason, skip.detail)
        bank.write_facts(entry)
        return entry


def embed_all(
    bank: Bank,
    entries: Iterable[VideoEntry],
    embedder: Embedder,
    on_frames: Callable[[int], object] = lambda _: None,
) -> None:
    """Give every video its vectors; `on_frames` is told how many frames were done.

    Pictures are read from the bank's JPEGs, so another encoder needs no decoding, and batches run across videos.
    """
    encoder = embedder.encoder
    todo = (entry for entry in entries if not bank.has_vectors(entry.video_id, encoder))
    pictures = ((entry.video_id, picture) for entry in todo for picture in _pictures(bank, entry, entry.usable))
    for video_id, rows in groupby(_embedded(pictures, embedder, on_frames), key=itemgetter(0)):
        bank.write_vectors(video_id, encoder, np.stack([vector for _, vector in rows]))


def _embedded(
    pictures: Iterator[tuple[str, Picture]], embedder: Embedder, on_frames: Callable[[int], object]
) -> Iterator[tuple[str, Vectors]]:
    """(video id, vector [D]) of each picture, in order."""
    while batch := list(islice(pictures, EMBED_BATCH)):
        vectors = embedder.embed([picture for _, picture in batch])
        on_frames(len(batch))
        yield from zip((video_id for video_id, _ in batch), vectors, strict=True)


def calibration_for(embedder: Embedder, bank: Bank, entries: Mapping[str, VideoEntry], seed: int) -> Calibration:
    """The encoder's shipped thresholds, or ones measured on frames of this corpus and kept in the bank.

    Raises:
        ConfigError: the encoder is not calibrated, and there are no frames to do it with.
    """
    if embedder.encoder.name in SHIPPED:
        return SHIPPED[embedder.encoder.name]
    chosen = sorted((v for v in entries if entries[v].usable), key=lambda v: stable_hash("calibrate", seed, v))
    chosen = chosen[:MAX_VIDEOS]
    path = bank.calibration_path(embedder.encoder, digest(chosen))
    if path.exists():
        return Calibration(**json.loads(path.read_bytes()))
    pictures = {}
    for video_id in chosen:
        usable = entries[video_id].usable
        spread = np.unique(np.linspace(0, len(usable) - 1, MAX_PICTURES_PER_VIDEO).round().astype(int))
        pictures[video_id] = list(_pictures(bank, entries[video_id], [usable[i] for i in spread]))
    measured = calibrate(embedder, pictures, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(asdict(measured)).encode())
    return measured


def _pictures(bank: Bank, entry: VideoEntry, indices: Sequence[int]) -> Iterator[Picture]:
    from PIL import Image

    with bank.pictures(entry) as jpeg:
        for index in indices:
            yield np.asarray(Image.open(BytesIO(jpeg(index))).convert("RGB"))
