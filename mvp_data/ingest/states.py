"""The state machine of pass 1: the states of a source, the transitions between them, and the jobs that they cause.

    unknown ──┬───────────────────────────────────> done | failed    an earlier run has finished it
              └─> asked ─> decoding ─┬────────────> done | failed    asked: only if an earlier run left known files
                                     ├─> chunks ─> joining ─> done | failed    a long video
                                     └─> waiting ─> done | failed    like the source that it waits for

If the worker of a job crashes, the state does not change: the job runs once more, alone, after all other jobs. This
module does not decode, read or write files.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mvp_data.core.types import Source
from mvp_data.ingest.jobs import ChunkPlan, Job


class State(StrEnum):
    """The states of a source."""

    UNKNOWN = "unknown"  # no job has been made yet
    ASKED = "asked"  # a job asks the server for the version of the file; if there is none, it decodes at once
    DECODING = "decoding"  # a job reads the file, computes the id of the video, and decodes it or its first chunk
    CHUNKS = "chunks"  # jobs decode the other chunks of a long video
    JOINING = "joining"  # a job joins the chunks
    WAITING = "waiting"  # another source with the same bytes is in `chunks` or `joining`
    DONE = "done"  # the video is in the bank
    FAILED = "failed"  # there is a reason to skip it


class Event(StrEnum):
    """The events that change the state of a source."""

    ASK = "ask"  # the scheduler asks for the version first
    DECODE = "decode"  # the scheduler decodes at once
    VERSION = "version"  # the server has a version that no earlier run has seen
    PLANNED = "planned"  # the first chunk of a long video is in the bank, the others are planned
    SHARED = "shared"  # as PLANNED, but another source has begun this video
    CHUNK = "chunk"  # a chunk is in the bank, others are not
    LAST_CHUNK = "last chunk"  # all chunks are in the bank
    CRASHED = "crashed"  # the worker of a job died, for the first time
    SUCCEEDED = "succeeded"  # the video is in the bank
    SKIPPED = "skipped"  # there is a reason to skip the video
    LATE = "late"  # the result of a job arrives after its source has ended


WORKING = (State.ASKED, State.DECODING, State.CHUNKS, State.JOINING)
ENDED = (State.DONE, State.FAILED)
TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State.UNKNOWN, Event.ASK): State.ASKED,
    (State.UNKNOWN, Event.DECODE): State.DECODING,
    (State.ASKED, Event.VERSION): State.DECODING,
    **{(state, Event.PLANNED): State.CHUNKS for state in (State.ASKED, State.DECODING)},
    **{(state, Event.SHARED): State.WAITING for state in (State.ASKED, State.DECODING)},
    (State.CHUNKS, Event.CHUNK): State.CHUNKS,
    (State.CHUNKS, Event.LAST_CHUNK): State.JOINING,
    **{(state, Event.CRASHED): state for state in WORKING},
    **{(state, Event.SUCCEEDED): State.DONE for state in (State.UNKNOWN, State.WAITING, *WORKING)},
    **{(state, Event.SKIPPED): State.FAILED for state in (State.UNKNOWN, State.WAITING, *WORKING)},
    **{(state, Event.LATE): state for state in ENDED},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """The work that a transition leaves to the scheduler."""

    ended: Mapping[Source, str] = field(default_factory=dict)  # sources that have ended, with the stamps of their files
    unneeded: ChunkPlan | None = None  # its chunks can be removed from the bank


@dataclass(slots=True)
class _LongVideo:
    missing: set[int]  # numbers of the chunks that are not in the bank
    stamps: dict[Source, str]  # of the source that began this video, and of those that wait for it


class VideoStates:
    """The state of every source, and the jobs that the transitions cause."""

    def __init__(self) -> None:
        self._states: dict[Source, State] = {}
        self._long_videos: dict[str, _LongVideo] = {}  # by video id
        self.jobs: deque[Job] = deque()  # to be run before the jobs of further sources
        self.retries: deque[Job] = deque()  # to be run alone, after all others

    def __getitem__(self, source: Source) -> State:
        return self._states.get(source, State.UNKNOWN)

    def advance(
        self,
        source: Source,
        event: Event,
        job: Job | None = None,
        *,
        stamp: str = "",
        plan: ChunkPlan | None = None,
    ) -> Step:
        """Change the state of a source, and add the jobs that this causes.

        Args:
            source: the source.
            event: the event; pass PLANNED for SHARED too, and CHUNK for LAST_CHUNK: this method tells them apart.
            job: the job that has ended; None if there was none.
            stamp: with which a later run recognises the file; for VERSION, SUCCEEDED and SKIPPED.
            plan: the chunks; for PLANNED.

        Raises:
            ValueError: the state has no such transition.
        """
        state, event = self[source], self._specific(event, job, plan)
        if (state, event) not in TRANSITIONS:
            raise ValueError(f"{source.path}: no transition from {state} by {event}")
        self._states[source] = TRANSITIONS[state, event]
        if event in (Event.SUCCEEDED, Event.SKIPPED):
            return self._end(source, event, job.plan if job else None, stamp)
        if job is None:
            return Step()
        match event:
            case Event.VERSION:
                self.jobs.append(replace(job, ask=False, stamp=stamp))
            case Event.PLANNED:
                assert plan is not None
                numbers = range(1, len(plan.chunks))
                self._long_videos[plan.video_id] = _LongVideo(set(numbers), {source: plan.stamp})
                self.jobs.extend(replace(job, plan=plan, number=number) for number in numbers)
            case Event.SHARED:
                assert plan is not None
                self._long_videos[plan.video_id].stamps[source] = plan.stamp
            case Event.CHUNK | Event.LAST_CHUNK:
                assert job.plan is not None
                self._long_videos[job.plan.video_id].missing.discard(job.number)
                if event is Event.LAST_CHUNK:
                    self.jobs.append(replace(job, number=len(job.plan.chunks)))
            case Event.CRASHED:
                self.retries.append(job)
            case Event.LATE:
                return Step(unneeded=job.plan)
        return Step()

    def _specific(self, event: Event, job: Job | None, plan: ChunkPlan | None) -> Event:
        """Turn PLANNED into SHARED if another source has begun the video, and the last CHUNK into LAST_CHUNK."""
        if event is Event.PLANNED and plan and plan.video_id in self._long_videos:
            return Event.SHARED
        if event is Event.CHUNK and job and job.plan:
            return Event.CHUNK if self._long_videos[job.plan.video_id].missing - {job.number} else Event.LAST_CHUNK
        return event

    def _end(self, source: Source, event: Event, plan: ChunkPlan | None, stamp: str) -> Step:
        """End a source and, for a long video, the sources that wait for it; drop the other jobs of the video."""
        if plan is None:
            return Step(ended={source: stamp})
        stamps = self._long_videos.pop(plan.video_id).stamps
        for other in stamps:
            if other != source:
                self._states[other] = TRANSITIONS[self[other], event]
        for queue in (self.jobs, self.retries):
            others = [job for job in queue if not job.plan or job.plan.video_id != plan.video_id]
            queue.clear()
            queue.extend(others)
        return Step(ended=stamps, unneeded=plan)


class JobQueue(Iterator[Job]):
    """The jobs that transitions have caused, then those of new sources. It can yield more jobs after StopIteration."""

    def __init__(self, caused: deque[Job], further: Iterator[Job]) -> None:
        """Jobs are taken from `caused` first, then from `further`; both are consumed."""
        self._caused, self._further = caused, further

    def __next__(self) -> Job:
        return self._caused.popleft() if self._caused else next(self._further)
