"""The scheduler of pass 1: brings every source into the bank with worker processes, which may be killed.

`states` decides which job comes next; this module uses the engine, the bank and the list of known files.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mvp_data.bank.bank import SPOOL, Bank, skipped
from mvp_data.bank.remote_bank import RemoteBank, bank_at
from mvp_data.config.options import BuildConfig
from mvp_data.core.errors import Skip, SkipReason, SourceError
from mvp_data.core.types import Location, Source, file_of
from mvp_data.engines.base import Engine, Limits, Lost, Usage
from mvp_data.engines.local import Local
from mvp_data.engines.start import start_engine
from mvp_data.ingest.chunk_jobs import remove_chunks
from mvp_data.ingest.jobs import FAILURES, Job, JobResult, Outcome, ResultKind
from mvp_data.ingest.node_worker import node_check
from mvp_data.ingest.states import ENDED, Event, JobQueue, State, Step, VideoStates
from mvp_data.ingest.worker import work
from mvp_data.sources.fetch import local_file, sweep
from mvp_data.sources.known_files import KnownFiles, file_state, size_bytes, stamp
from mvp_data.system.signals import STOPPING, Interrupts

WINDOW = 256  # sources that are sorted by size at once; few, so that a file is checked shortly before its job
ADVICE = {
    "timeout": "to give it more: --video-timeout-s and --retry timeout",
    "memory": "to give it more: --video-memory-mb and --retry memory",
    "crash": "to try it again: --retry crash",
}


def engine_for(config: BuildConfig, warn: Callable[[str], object] = lambda _: None) -> AbstractContextManager[Engine]:
    """Start the engine of a configuration; see `start_engine`.

    Raises:
        MvpError: the engine is not installed, or there is no such cluster.
    """
    return start_engine(
        config.engine,
        workers=config.workers,
        local_workers=config.worker_count,
        ray_address=config.ray_address,
        setup=node_check(Bank(config.bank_folder.absolute(), config.extract_hash()).workspace, config.store),
        warn=warn,
    )


def extract_all(
    sources: Sequence[Source],
    config: BuildConfig,
    on_done: Callable[[Outcome], object] = lambda _: None,
    usage: Usage | None = None,
    news: str = f"\n{STOPPING}\n",
    engine: Engine | None = None,
) -> tuple[Outcome, ...]:
    """Bring every source into the bank; return the outcomes in the order of `sources`.

    A video that exceeds a limit, crashes its process or triggers a bug of this program gets an outcome too. Only an
    error that would affect every video (a full disk, a missing package) ends the run. Ctrl-C prints `news` and waits
    for the running jobs. Without an `engine`, processes of this machine do the work.

    Raises:
        MvpError: an error affects every video, or `max_failures` videos failed and none succeeded.
        Stopped: Ctrl-C or SIGTERM arrived; finished work is in the bank.
    """
    engine = engine or Local(config.worker_count)
    Bank(config.bank_folder, config.extract_hash()).create()
    limits = Limits(timeout_s=config.video_timeout_s, memory_mb=config.video_memory_mb)
    with Interrupts(news) as signals, KnownFiles(config.bank_folder) as known_files, ExitStack() as spooled:
        scheduler = _Scheduler(config, known_files, on_done, engine.unread_hint)
        states = scheduler.states
        jobs = JobQueue(states.jobs, scheduler.jobs(sources, spooled))
        for job, result in engine.run_all(work, jobs, limits=limits, stop=signals.came, usage=usage):
            scheduler.take(job, result)
        # Crashed jobs run again, one at a time: the memory of another job may have caused the crash.
        states.jobs.extend(states.retries)
        jobs = JobQueue(states.jobs, iter(()))
        for job, result in engine.run_all(work, jobs, limits=limits, stop=signals.came, usage=usage, alone=True):
            scheduler.take(job, result, alone=True)
        signals.raise_if_any()
        return tuple(scheduler.outcomes[source] for source in sources)


class _Scheduler:
    """Creates the jobs of the sources, and handles their results."""

    def __init__(
        self, config: BuildConfig, known_files: KnownFiles, on_done: Callable[[Outcome], object], unread_hint: str
    ) -> None:
        self._config, self._known_files, self._on_done = config, known_files, on_done
        self._unread_hint = unread_hint
        self._extract_hash = config.extract_hash()
        self._bank = bank_at(config.bank_folder, self._extract_hash, store=config.store)
        self._chunks = bank_at(config.bank_folder, self._extract_hash, "parts", store=config.store)
        self._failed: list[Outcome] = []
        self._succeeded = 0
        self.states = VideoStates()
        self.outcomes: dict[Source, Outcome] = {}

    def jobs(self, sources: Iterable[Source], spooled: ExitStack) -> Iterator[Job]:
        """Yield a job for every source that no earlier run has finished; `spooled` removes copies of sources."""
        rest = iter(sources)
        while window := list(islice(rest, WINDOW)):
            for source in self._unknown(window):
                ask = bool(self._known_files)
                self.states.advance(source, Event.ASK if ask else Event.DECODE)
                yield Job(
                    source=source,
                    location=_reachable(source, self._config.bank_folder / SPOOL, spooled),
                    bank_root=self._config.bank_folder.absolute(),  # workers may have another working directory
                    extract_hash=self._extract_hash,
                    decode=self._config.decode,
                    frames=self._config.frames,
                    seed=self._config.seed,
                    retried=self._config.retried,
                    store=self._config.store,
                    ask=ask,
                )

    def _unknown(self, window: Sequence[Source]) -> list[Source]:
        """Return the sources that need a job, the largest first: a large one that starts last would delay the end."""
        sizes: dict[Source, int] = {}
        for source in window:
            if self.states[source] is not State.UNKNOWN:  # listed twice
                continue
            status = file_state(source.location)
            outcome = self._known(source, stamp(source.location, status))
            if outcome is None:
                sizes[source] = size_bytes(source.location, status)
            else:
                self._finish(outcome)
        return sorted(sizes, key=lambda source: -sizes[source])

    def take(self, job: Job, result: JobResult | Lost, *, alone: bool = False) -> None:
        """Handle the result of a job; `alone`: the job, or the job that led to it, has crashed before."""
        source = job.source
        if isinstance(result, Lost):
            sweep(self._config.bank_folder / SPOOL, result.process_id, result.host)
        if self.states[source] in ENDED:
            self._apply(self.states.advance(source, Event.LATE, job))
        elif isinstance(result, Lost):
            if result.kind == "crash" and not alone:
                self.states.advance(source, Event.CRASHED, job)
            else:
                self._finish(self._lost(job, result), job)
        elif result.kind is ResultKind.PLANNED:
            self.states.advance(source, Event.PLANNED, job, plan=result.plan)
        elif result.kind is ResultKind.CHUNK:
            self.states.advance(source, Event.CHUNK, job)
        elif result.kind is ResultKind.FINISHED:
            self._finish(self._finished(job, result), job, result.stamp)
        elif outcome := self._known(source, result.stamp):
            self._finish(outcome, job)
        else:
            self.states.advance(source, Event.VERSION, job, stamp=result.stamp)

    def _finished(self, job: Job, result: JobResult) -> Outcome:
        """Return the outcome of a job, after downloading its video to the bank of this process if there is a store."""
        skip, detail = result.skip, result.detail
        if result.video_id and isinstance(self._bank, RemoteBank):
            skip, detail = self._bank.download(result.video_id)
        if skip == SkipReason.UNREADABLE and self._unread_hint and file_state(job.location):
            detail = f"{detail}; {self._unread_hint}"
        return Outcome(source=job.source, video_id=result.video_id, skip=skip, detail=detail)

    def _lost(self, job: Job, lost: Lost) -> Outcome:
        """Return the outcome of a lost job; the bank keeps it if the id of the video is known."""
        reason, detail = SkipReason(lost.kind), f"{lost.detail}; {ADVICE[lost.kind]}"
        if lost.note:
            self._bank.write_facts(skipped(lost.note, reason, detail))
        return Outcome(source=job.source, video_id=lost.note, skip=reason.value, detail=detail)

    def _known(self, source: Source, seen_as: str) -> Outcome | None:
        """Return the outcome of an earlier run, if the file has not changed and the reason is not to be retried."""
        video_id = self._known_files.video_id(seen_as)
        if not video_id or not self._bank.has(video_id):
            return None
        skip, detail = self._bank.facts(video_id)
        if skip in self._config.retried:
            return None
        return Outcome(source=source, video_id=video_id, skip=skip, detail=detail, known=True)

    def _finish(self, outcome: Outcome, job: Job | None = None, seen_as: str = "") -> None:
        """Record the outcome of a source, and of the sources that wait for the same video."""
        event = Event.SKIPPED if outcome.skip else Event.SUCCEEDED
        self._apply(self.states.advance(outcome.source, event, job, stamp=seen_as), outcome)

    def _apply(self, step: Step, outcome: Outcome | None = None) -> None:
        """Carry out the work of a transition.

        Raises:
            SourceError: all videos failed so far; a missing codec must not look like an empty corpus.
        """
        if step.unneeded:
            remove_chunks(self._chunks, step.unneeded)
        for source, seen_as in step.ended.items():
            assert outcome is not None
            self._known_files.add(seen_as if outcome.video_id else "", outcome.video_id)
            self._count(replace(outcome, source=source))

    def _count(self, outcome: Outcome) -> None:
        self.outcomes[outcome.source] = outcome
        self._on_done(outcome)
        self._succeeded += not outcome.skip
        if outcome.skip in FAILURES:
            self._failed.append(outcome)
        if self._succeeded or not 0 < self._config.max_failures <= len(self._failed):
            return
        reasons = Counter(o.skip for o in self._failed)
        first = self._failed[0]
        raise SourceError(
            f"{len(self._failed)} videos failed and none succeeded "
            f"({', '.join(f'{reason} {count}' for reason, count in reasons.most_common())}; "
            f"{first.source.path}: {first.detail}); run mvp-data doctor to find the cause, then run again with "
            f"--retry {','.join(sorted(reasons))}, or with --max-failures 0 to continue"
        )


def _reachable(source: Source, spool: Path, stack: ExitStack) -> Location:
    """Return a location that a worker can open: a source in the memory of this process is copied to a file first."""
    if "memory://" in file_of(source.location):
        with suppress(Skip):  # the worker meets the same problem and reports it
            return str(stack.enter_context(local_file(source, spool)))
    return source.location
