"""Pass 1: every source through a pool of killable processes into the bank."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mvp_data.bank import SPOOL, Bank, skipped
from mvp_data.config import BuildConfig
from mvp_data.engine import Engine, Local
from mvp_data.errors import Skip, SkipReason, SourceError
from mvp_data.fetch import fingerprint, local_file, sweep
from mvp_data.interrupts import STOPPING, Interrupts
from mvp_data.long_videos import PASSING, Feed, Job, Long, LongVideos, PartStore, entry_of, surely
from mvp_data.seen import Seen, remote_stamp, sight, size_bytes, stamp
from mvp_data.stored_bank import StoredBank, bank_at, scratch
from mvp_data.types import Source, VideoEntry
from mvp_data.workers import Limits, Lost, Usage, goes_on, note

if TYPE_CHECKING:
    from mvp_data.frames import Part

WINDOW = 256  # sources looked at together, to begin with the largest; few, so that no look is old when its turn comes
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one source: a video in the bank, or the reason why not."""

    source: Source
    video_id: str = ""  # "" where not even the bytes could be had
    skip: str = ""  # a SkipReason, "" for a video in the bank
    detail: str = ""
    known: bool = field(default=False, compare=False)  # from an earlier run


@dataclass(frozen=True, slots=True)
class _Done:
    """What a worker says of a source, and by what stamp its file will be known again."""

    outcome: Outcome
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the bytes behind a URL are known by; they have not been fetched."""

    stamp: str


def extract_all(
    sources: Sequence[Source],
    config: BuildConfig,
    on_done: Callable[[Outcome], object] = lambda _: None,
    usage: Usage | None = None,
    news: str = f"\n{STOPPING}\n",
    engine: Engine | None = None,
) -> tuple[Outcome, ...]:
    """Bring every source into the bank; the outcomes in the order of `sources`.

    A video that breaks a limit, crashes its process or meets a defect of this program becomes an outcome; only what
    would hit every video alike (a full disk, a missing package) ends the run. Ctrl-C lets the videos in hand end, and
    `news` is said then. Without an `engine`, processes of this machine do the work.

    Raises:
        MvpError: as above, or `max_failures` videos failed and none went well.
        Stopped: Ctrl-C or SIGTERM came; what was done lies in the bank.
    """
    engine = engine or Local(config.worker_count)
    Bank(config.bank_folder, config.extract_hash()).create()
    limits = Limits(timeout_s=config.video_timeout_s, memory_mb=config.video_memory_mb)
    with Interrupts(news) as signals, Seen(config.bank_folder) as seen, ExitStack() as spooled:
        work = _Extraction(config, seen, on_done, engine.unread_hint)
        jobs = Feed(work.long.jobs, work.jobs(sources, spooled))
        for job, result in engine.run_all(_work, jobs, limits=limits, stop=signals.came, usage=usage):
            if isinstance(result, Lost) and result.kind == "crash":
                sweep(config.bank_folder / SPOOL, result.process_id, result.host)
                work.crashed.append(job)
            else:
                work.take(job, result)
        # Once more and alone: a process that was killed for another one's memory must not cost a video.
        work.long.jobs.extend(work.crashed)
        jobs = Feed(work.long.jobs, iter(()))
        for job, result in engine.run_all(_work, jobs, limits=limits, stop=signals.came, usage=usage, alone=True):
            work.take(job, result)
        signals.raise_if_any()
        return tuple(work.done[source] for source in sources)


class _Extraction:
    """The parent's side of pass 1: which sources need work, and what became of each."""

    def __init__(self, config: BuildConfig, seen: Seen, on_done: Callable[[Outcome], object], hint: str) -> None:
        self._config, self._seen, self._on_done, self._unread_hint = config, seen, on_done, hint
        self._extract_hash = config.extract_hash()
        self._bank = bank_at(config.bank_folder, self._extract_hash, store=config.store)
        self.long = LongVideos(bank_at(config.bank_folder, self._extract_hash, "parts", store=config.store))
        self._failed: list[Outcome] = []
        self._went_well = 0
        self.done: dict[Source, Outcome] = {}
        self.crashed: list[Job] = []

    def jobs(self, sources: Iterable[Source], spooled: ExitStack) -> Iterator[Job]:
        """A job for every source that the bank cannot answer for."""
        for window in _windows(sources):
            for source in self._unknown(window):
                yield Job(
                    source=source,
                    uri=_reachable(source, self._config.bank_folder / SPOOL, spooled),
                    bank_root=self._config.bank_folder.absolute(),  # on a cluster it is read from another folder
                    extract_hash=self._extract_hash,
                    decode=self._config.decode,
                    frames=self._config.frames,
                    seed=self._config.seed,
                    retried=self._config.retried,
                    store=self._config.store,
                    ask=bool(self._seen),
                )

    def _unknown(self, window: Sequence[Source]) -> list[Source]:
        """The sources that need work, the largest first: begun last, a large one would leave all other workers idle."""
        sizes: dict[Source, int] = {}
        for source in window:
            seen = sight(source.uri)
            outcome = self._known(source, stamp(source.uri, seen))
            if outcome is None:
                sizes[source] = size_bytes(source.uri, seen)
            else:
                self._end(outcome)
        return sorted(sizes, key=lambda source: -sizes[source])

    def take(self, job: Job, result: "_Done | _Asked | Long | Lost | None") -> None:
        """Note what a worker found, or what became of it; the bank remembers either."""
        if isinstance(result, _Asked):
            outcome = self._known(job.source, result.stamp)
            if outcome is None:
                self.long.jobs.append(replace(job, ask=False, stamp=result.stamp))
            else:
                self._end(outcome)
            return
        if isinstance(result, Long):
            self.long.begin(job, result)
            return
        if result is None:
            self.long.part_done(job)
            return
        ended = self.long.end(job) if job.long else {job.source: result.stamp if isinstance(result, _Done) else ""}
        if ended:  # not so for a part of a video that has failed before
            outcome = self._brought(result.outcome) if isinstance(result, _Done) else self._lost(job, result)
            if outcome.skip == SkipReason.UNREADABLE and self._unread_hint and sight(job.uri):
                outcome = replace(outcome, detail=f"{outcome.detail}; {self._unread_hint}")
            for source, seen_as in ended.items():
                self._seen.add(seen_as if outcome.video_id else "", outcome.video_id)
                self._end(replace(outcome, source=source))

    def _brought(self, outcome: Outcome) -> Outcome:
        """What a worker has finished, also where it has another bank than this process."""
        if not outcome.video_id or not isinstance(self._bank, StoredBank):
            return outcome
        skip, detail = self._bank.bring(outcome.video_id)
        return replace(outcome, skip=skip, detail=detail)

    def _lost(self, job: Job, lost: Lost) -> Outcome:
        sweep(self._config.bank_folder / SPOOL, lost.process_id, lost.host)
        reason, detail = SkipReason(lost.kind), f"{lost.detail}; {ADVICE[lost.kind]}"
        if lost.note:
            self._bank.write_facts(skipped(lost.note, reason, detail))
        return Outcome(source=job.source, video_id=lost.note, skip=reason.value, detail=detail)

    def _known(self, source: Source, seen_as: str) -> Outcome | None:
        """What an earlier run found, if its file has not changed since and nothing is to be tried again."""
        video_id = self._seen.video_id(seen_as)
        if not video_id or not self._bank.has(video_id):
            return None
        skip, detail = self._bank.facts(video_id)
        if skip in self._config.retried:
            return None
        return Outcome(source=source, video_id=video_id, skip=skip, detail=detail, known=True)

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


def _windows(sources: Iterable[Source]) -> Iterator[list[Source]]:
    """The sources in runs of WINDOW."""
    rest = iter(sources)
    while window := list(islice(rest, WINDOW)):
        yield window


def _reachable(source: Source, spool: Path, stack: ExitStack) -> str:
    """The source's uri as a worker can open it: what lies in this process's memory is put on disk first."""
    if "memory://" in source.uri:
        with suppress(Skip):  # the worker meets the same problem and reports it
            return str(stack.enter_context(local_file(source, spool)))
    return source.uri


def _work(job: Job) -> "_Done | _Asked | Long | None":
    """One job in a worker process; see `_result`."""
    if not job.store:
        return _result(job)
    with scratch() as folder:
        Bank(folder, job.extract_hash).create()
        return _result(replace(job, bank_root=folder))


def _result(job: Job) -> "_Done | _Asked | Long | None":
    """What came of a source, or what a long video has come to; None for a part that is in the bank."""
    seen_as = job.stamp or (remote_stamp(job.uri) if not job.long else "")
    if job.ask and seen_as:
        return _Asked(seen_as)
    bank, video_id = job.bank(), job.long.video_id if job.long else ""
    before = job.long.seen if job.long else sight(job.uri)

    def check(path: Path, *, read_again: bool) -> None:
        """Raise Skip if the file is no longer the one that the id was computed of."""
        if sight(job.uri) != before or (read_again and fingerprint(path) != video_id):
            raise Skip(SkipReason.CHANGED, "it changed while it was read; run again when it is at rest")

    try:
        with local_file(replace(job.source, uri=job.uri), job.bank_root / SPOOL) as path:
            video_id = video_id or fingerprint(path)
            note(video_id)
            if not bank.has(video_id) or bank.facts(video_id)[0] in job.retried:
                parts = _extract(path, video_id, job, check)
                if job.is_part:
                    return None
                if parts:
                    seen_as = seen_as or (stamp(job.source.uri, before) if job.uri == job.source.uri else "")
                    return Long(video_id=video_id, parts=parts, seen=before, stamp=seen_as)
            else:
                check(path, read_again=False)
    except Skip as skip:
        return _Done(Outcome(source=job.source, skip=skip.reason.value, detail=skip.detail))
    skip_reason, detail = bank.facts(video_id)
    outcome = Outcome(source=job.source, video_id=video_id, skip=skip_reason, detail=detail)
    return _Done(outcome, seen_as or (stamp(job.source.uri, before) if job.uri == job.source.uri else ""))


def _extract(path: Path, video_id: str, job: Job, check: Callable[..., None]) -> "tuple[Part, ...]":
    """Decode one video into the bank; a reason to skip it is as final as a result, so it is stored as well.

    Of a long video that other workers can read too, only the first part, or that of the job: returns all parts then.
    """
    from mvp_data.frames import extract

    bank = job.bank()
    store = PartStore(path, video_id, job, partial(check, path, read_again=False))

    def make(blob: IO[bytes]) -> VideoEntry:
        if store.parts:
            found = store.join(blob)
        else:
            run = partial(
                extract,
                path,
                video_id=video_id,
                decode=job.decode,
                frames=job.frames,
                seed=job.seed,
                on_stretch=goes_on,
            )
            found = surely(run, blob, partial(check, path, read_again=False))
        check(path, read_again=found.damaged_packets > 0)
        return entry_of(video_id, found)

    try:
        if store.leaves_to_others():
            return store.parts
        bank.write(video_id, make)
    except Skip as skip:
        if skip.reason in PASSING:
            raise
        check(path, read_again=True)
        bank.write_facts(skipped(video_id, skip.reason, skip.detail))
    store.remove()
    return ()
