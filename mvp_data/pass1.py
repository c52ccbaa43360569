"""Pass 1: every source through a pool of killable processes into the bank, then its frames through the encoder."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields, replace
from io import BytesIO
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import IO

import numpy as np

from mvp_data.bank import SPOOL, Bank, VideoEntry, skipped
from mvp_data.calibrate import MAX_PICTURES_PER_VIDEO, MAX_VIDEOS, SHIPPED, Calibration, calibrate
from mvp_data.config import BuildConfig, DecodeConfig, FramesConfig, digest
from mvp_data.embed import Embedder
from mvp_data.errors import Skip, SkipReason, SourceError
from mvp_data.fetch import fingerprint, local_file
from mvp_data.files import atomic_write
from mvp_data.interrupts import Interrupts
from mvp_data.seeds import stable_hash
from mvp_data.seen import Seen, sight, stamp
from mvp_data.types import Picture, Source, Vectors
from mvp_data.workers import Limits, Lost, Usage, note, run_all

# Not facts about the bytes: such a source is not remembered, and every run tries it again.
PASSING = (SkipReason.UNREADABLE, SkipReason.CHANGED)
# The program, the machine or a damaged file is at fault; the other reasons say that a whole file is no film.
FAILURES = frozenset(
    {*PASSING, SkipReason.TIMEOUT, SkipReason.MEMORY, SkipReason.CRASH}
    | {SkipReason.UNSUPPORTED_CODEC, SkipReason.DECODE_ERROR}
)
ADVICE = {
    "timeout": "to give it more: --video-timeout-s and --retry timeout",
    "memory": "to give it more: --video-memory-mb and --retry memory",
    "crash": "to try it again: --retry crash",
}
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
    retried: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Done:
    """What a worker says of a source, and by what stamp its file will be known again."""

    outcome: Outcome
    stamp: str = ""


def extract_all(
    sources: Sequence[Source],
    config: BuildConfig,
    on_done: Callable[[Outcome], object] = lambda _: None,
    usage: Usage | None = None,
) -> tuple[Outcome, ...]:
    """Bring every source into the bank; the outcomes in the order of `sources`.

    A video that breaks a limit, crashes its process or meets a defect of this program becomes an outcome; only what
    would hit every video alike (a full disk, a missing package) ends the run. Ctrl-C lets the videos in hand end.

    Raises:
        MvpError: as above, or `max_failures` videos failed and none went well.
        Stopped: Ctrl-C or SIGTERM came; what was done lies in the bank.
    """
    Bank(config.bank_folder, config.extract_hash()).create()
    limits = Limits(timeout_s=config.video_timeout_s, memory_mb=config.video_memory_mb)
    with Interrupts() as signals, Seen(config.bank_folder) as seen, ExitStack() as spooled:
        work = _Extraction(config, seen, on_done)
        jobs = work.jobs(sources, spooled)
        for job, result in run_all(
            _work, jobs, workers=config.worker_count, limits=limits, stop=signals.came, usage=usage
        ):
            if isinstance(result, Lost) and result.kind == "crash":
                work.crashed.append(job)
            else:
                work.take(job, result)
        # Once more and alone: a process that was killed for another one's memory must not cost a video.
        for job, result in run_all(_work, work.crashed, workers=1, limits=limits, stop=signals.came, usage=usage):
            work.take(job, result)
        signals.raise_if_any()
        return tuple(work.done[source] for source in sources)


class _Extraction:
    """The parent's side of pass 1: which sources need work, and what became of each."""

    def __init__(self, config: BuildConfig, seen: Seen, on_done: Callable[[Outcome], object]) -> None:
        self._config, self._seen, self._on_done = config, seen, on_done
        self._extract_hash = config.extract_hash()
        self._bank = Bank(config.bank_folder, self._extract_hash)
        self._failed: list[Outcome] = []
        self._went_well = 0
        self.done: dict[Source, Outcome] = {}
        self.crashed: list[_Job] = []

    def jobs(self, sources: Iterable[Source], spooled: ExitStack) -> Iterator[_Job]:
        """A job for every source that the bank cannot answer for."""
        for source in sources:
            outcome = self._known(source)
            if outcome is not None:
                self._end(outcome)
                continue
            yield _Job(
                source=source,
                uri=_reachable(source, self._config.bank_folder / SPOOL, spooled),
                bank_root=self._config.bank_folder,
                extract_hash=self._extract_hash,
                decode=self._config.decode,
                frames=self._config.frames,
                seed=self._config.seed,
                retried=self._config.retried,
            )

    def take(self, job: _Job, result: "_Done | Lost") -> None:
        """Note what a worker found, or what became of it; the bank remembers either."""
        if isinstance(result, _Done):
            self._seen.add(result.stamp, result.outcome.video_id)
            self._end(result.outcome)
            return
        reason, detail = SkipReason(result.kind), f"{result.detail}; {ADVICE[result.kind]}"
        if result.note:
            self._bank.write_facts(skipped(result.note, reason, detail))
        self._end(Outcome(source=job.source, video_id=result.note, skip=reason.value, detail=detail))

    def _known(self, source: Source) -> Outcome | None:
        """What an earlier run found, if its file has not changed since and nothing is to be tried again."""
        video_id = self._seen.video_id(stamp(source.uri, sight(source.uri)))
        if not video_id or not self._bank.has(video_id):
            return None
        skip, detail = self._bank.facts(video_id)
        if skip in self._config.retried:
            return None
        return Outcome(source=source, video_id=video_id, skip=skip, detail=detail)

    def _end(self, outcome: Outcome) -> None:
        """Raises SourceError where everything fails: a missing codec must not look like an empty corpus."""
        self.done[outcome.source] = outcome
        self._on_done(outcome)
        self._went_well += not outcome.skip
        if outcome.skip in FAILURES:
            self._failed.append(outcome)
        if self._went_well or not 0 < self._config.max_failures <= len(self._failed):
            return
        reasons = Counter(o.skip for o in self._failed)
        first = self._failed[0]
        raise SourceError(
            f"{len(self._failed)} videos failed and none went well "
            f"({', '.join(f'{reason} {count}' for reason, count in reasons.most_common())}; "
            f"{first.source.path}: {first.detail}); look at mvp-data doctor, then run again with "
            f"--retry {','.join(sorted(reasons))}, or with --max-failures 0 to go on"
        )


def _reachable(source: Source, spool: Path, stack: ExitStack) -> str:
    """The source's uri as a worker can open it: what lies in this process's memory is put on disk first."""
    if "memory://" in source.uri:
        with suppress(Skip):  # the worker meets the same problem and reports it
            return str(stack.enter_context(local_file(source, spool)))
    return source.uri


def _work(job: _Job) -> _Done:
    """One source in a worker process."""
    bank, video_id, before = Bank(job.bank_root, job.extract_hash), "", sight(job.uri)

    def check(path: Path, *, read_again: bool) -> None:
        """Raise Skip if the file is no longer the one that the id was computed of."""
        if sight(job.uri) != before or (read_again and fingerprint(path) != video_id):
            raise Skip(SkipReason.CHANGED, "it changed while it was read; run again when it is at rest")

    try:
        with local_file(replace(job.source, uri=job.uri), job.bank_root / SPOOL) as path:
            video_id = fingerprint(path)
            note(video_id)
            if not bank.has(video_id) or bank.facts(video_id)[0] in job.retried:
                _extract(path, video_id, job, check)
            else:
                check(path, read_again=False)
    except Skip as skip:
        return _Done(Outcome(source=job.source, skip=skip.reason.value, detail=skip.detail))
    skip_reason, detail = bank.facts(video_id)
    outcome = Outcome(source=job.source, video_id=video_id, skip=skip_reason, detail=detail)
    return _Done(outcome, stamp(job.source.uri, before) if job.uri == job.source.uri else "")


def _extract(path: Path, video_id: str, job: _Job, check: Callable[..., None]) -> None:
    """Decode one video into the bank; a reason to skip it is as final as a result, so it is stored as well."""
    from mvp_data.frames import Extract, extract

    bank = Bank(job.bank_root, job.extract_hash)

    def make(blob: IO[bytes]) -> VideoEntry:
        result = extract(path, video_id=video_id, decode=job.decode, frames=job.frames, seed=job.seed, blob=blob)
        check(path, read_again=result.damaged_packets > 0)  # damage, or a disk that could not be read just then?
        return VideoEntry(video_id=video_id, **{f.name: getattr(result, f.name) for f in fields(Extract)})

    try:
        bank.write(video_id, make)
    except Skip as skip:
        if skip.reason in PASSING:
            raise
        check(path, read_again=True)
        bank.write_facts(skipped(video_id, skip.reason, skip.detail))


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
