"""The state machine of pass 1, transition by transition; nothing is decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvp_data.config.options import DecodeConfig, FramesConfig
from mvp_data.core.types import Source
from mvp_data.ingest.jobs import ChunkPlan, Job
from mvp_data.ingest.states import ENDED, TRANSITIONS, Event, JobQueue, State, Step, VideoStates

A, B, C = (Source(location=f"/videos/{name}.mp4", path=f"{name}.mp4") for name in "abc")
ID = "ab" * 10


def job_of(source: Source, **options: Any) -> Job:
    return Job(
        source=source,
        location=source.location,
        bank_root=Path("/bank"),
        extract_hash="h",
        decode=DecodeConfig(),
        frames=FramesConfig(),
        seed=0,
        retried=frozenset(),
        **options,
    )


def plan_of(source: Source, chunks: int = 3, video_id: str = ID) -> ChunkPlan:
    """A plan of so many chunks; what a chunk is does not matter here."""
    numbers: Any = tuple(range(chunks))
    return ChunkPlan(video_id=video_id, chunks=numbers, file_state=None, stamp=f"stamp of {source.path}")


def decoding(*sources: Source) -> VideoStates:
    states = VideoStates()
    for source in sources:
        assert states.advance(source, Event.DECODE) == Step()
    return states


def in_chunks(*sources: Source, chunks: int = 3) -> tuple[VideoStates, list[Job]]:
    """The first source in `chunks`, the others with the same bytes waiting; and the jobs that this caused."""
    states = decoding(*sources)
    for source in sources:
        states.advance(source, Event.PLANNED, job_of(source), plan=plan_of(source, chunks))
    jobs = list(states.jobs)
    states.jobs.clear()
    return states, jobs


def test_every_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)
    reached, before = {State.UNKNOWN}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {new for (state, _), new in TRANSITIONS.items() if state in reached}
    assert reached == set(State)
    for state in set(State) - set(ENDED):
        assert TRANSITIONS[state, Event.SUCCEEDED] is State.DONE
        assert TRANSITIONS[state, Event.SKIPPED] is State.FAILED


@pytest.mark.parametrize("state", ENDED)
def test_nothing_leaves_an_end(state: State) -> None:
    assert {event for source, event in TRANSITIONS if source is state} == {Event.LATE}
    assert TRANSITIONS[state, Event.LATE] is state


def test_a_transition_that_is_not_in_the_table_is_an_error() -> None:
    states = VideoStates()
    with pytest.raises(ValueError, match=r"a\.mp4: no transition from unknown by planned"):
        states.advance(A, Event.PLANNED, job_of(A), plan=plan_of(A))
    assert states[A] is State.UNKNOWN


@pytest.mark.parametrize(("event", "state"), [(Event.SUCCEEDED, State.DONE), (Event.SKIPPED, State.FAILED)])
def test_a_source_that_an_earlier_run_has_finished_needs_no_job(event: Event, state: State) -> None:
    states = VideoStates()
    assert states.advance(A, event) == Step(ended={A: ""})
    assert states[A] is state
    assert not states.jobs


@pytest.mark.parametrize(("event", "state"), [(Event.SUCCEEDED, State.DONE), (Event.SKIPPED, State.FAILED)])
def test_a_short_video_is_one_job(event: Event, state: State) -> None:
    states = decoding(A)
    assert states[A] is State.DECODING
    assert states.advance(A, event, job_of(A), stamp="s") == Step(ended={A: "s"})
    assert states[A] is state
    assert not states.jobs


def test_a_new_version_behind_a_url_is_decoded_by_a_second_job() -> None:
    states = VideoStates()
    states.advance(A, Event.ASK)
    assert states[A] is State.ASKED
    asked = job_of(A, ask=True)
    assert states.advance(A, Event.VERSION, asked, stamp="version 2") == Step()
    assert states[A] is State.DECODING
    assert list(states.jobs) == [replace(asked, ask=False, stamp="version 2")]


def test_a_known_version_behind_a_url_is_not_decoded() -> None:
    states = VideoStates()
    states.advance(A, Event.ASK)
    assert states.advance(A, Event.SUCCEEDED, job_of(A, ask=True)) == Step(ended={A: ""})
    assert (states[A], list(states.jobs)) == (State.DONE, [])


def test_a_source_without_a_version_is_decoded_by_the_job_that_asks() -> None:
    """A local file, or a server that names no version."""
    states = VideoStates()
    states.advance(A, Event.ASK)
    states.advance(A, Event.PLANNED, job_of(A, ask=True), plan=plan_of(A))
    assert states[A] is State.CHUNKS


def test_a_long_video_is_decoded_in_chunks_and_joined() -> None:
    states, jobs = in_chunks(A)
    assert states[A] is State.CHUNKS
    assert [(job.source, job.number, job.is_chunk) for job in jobs] == [(A, 1, True), (A, 2, True)]
    assert states.advance(A, Event.CHUNK, jobs[1]) == Step(), "the order does not matter"
    assert (states[A], list(states.jobs)) == (State.CHUNKS, [])
    assert states.advance(A, Event.CHUNK, jobs[0]) == Step()
    assert states[A] is State.JOINING
    (join,) = states.jobs
    assert (join.number, join.is_chunk, join.plan) == (3, False, jobs[0].plan)
    assert states.advance(A, Event.SUCCEEDED, join) == Step(ended={A: "stamp of a.mp4"}, unneeded=jobs[0].plan)
    assert states[A] is State.DONE


def test_chunks_that_an_earlier_run_finished_are_jobs_like_the_others() -> None:
    """Their workers find them in the bank and report them at once, here before the source's own jobs are taken."""
    states = decoding(A)
    states.advance(A, Event.PLANNED, job_of(A), plan=plan_of(A, chunks=4))
    queue = JobQueue(states.jobs, iter([job_of(B)]))
    taken = []
    for job in queue:
        taken.append((job.source, job.number))
        if job.is_chunk:
            states.advance(A, Event.CHUNK, job)
    assert taken == [(A, 1), (A, 2), (A, 3), (A, 4), (B, 0)]
    assert states[A] is State.JOINING


def test_sources_with_the_same_bytes_wait_for_the_first() -> None:
    states, jobs = in_chunks(A, B, C)
    assert (states[A], states[B], states[C]) == (State.CHUNKS, State.WAITING, State.WAITING)
    assert {job.source for job in jobs} == {A}, "each chunk is decoded once"
    for job in jobs:
        states.advance(A, Event.CHUNK, job)
    (join,) = states.jobs
    step = states.advance(A, Event.SUCCEEDED, join)
    assert step.ended == {source: f"stamp of {source.path}" for source in (A, B, C)}
    assert (states[A], states[B], states[C]) == (State.DONE,) * 3


def test_the_same_bytes_may_be_found_when_the_chunks_are_being_joined() -> None:
    states, jobs = in_chunks(A)
    states.advance(B, Event.DECODE)
    for job in jobs:
        states.advance(A, Event.CHUNK, job)
    states.advance(B, Event.PLANNED, job_of(B), plan=plan_of(B))
    assert (states[A], states[B]) == (State.JOINING, State.WAITING)
    assert len(states.jobs) == 1, "only the join"
    assert set(states.advance(A, Event.SUCCEEDED, states.jobs.popleft()).ended) == {A, B}


def test_the_same_bytes_may_be_found_when_the_video_has_ended() -> None:
    """The second source leads then; its jobs find the video in the bank."""
    states, jobs = in_chunks(A, chunks=2)
    states.advance(B, Event.DECODE)
    states.advance(A, Event.CHUNK, jobs[0])
    states.advance(A, Event.SUCCEEDED, states.jobs.popleft())
    states.advance(B, Event.PLANNED, job_of(B), plan=plan_of(B, 2))
    assert states[B] is State.CHUNKS
    assert set(states.advance(B, Event.SUCCEEDED, states.jobs.popleft()).ended) == {B}


def test_another_long_video_is_not_waited_for() -> None:
    states, _ = in_chunks(A)
    states.advance(B, Event.DECODE)
    states.advance(B, Event.PLANNED, job_of(B), plan=plan_of(B, video_id="cd" * 10))
    assert states[B] is State.CHUNKS
    assert len(states.jobs) == 2


def test_one_failed_chunk_fails_the_video_and_drops_its_other_jobs() -> None:
    states, jobs = in_chunks(A, B, chunks=5)
    other = job_of(C)
    states.jobs.extend([jobs[2], other, jobs[3]])
    states.retries.append(jobs[1])
    step = states.advance(A, Event.SKIPPED, jobs[0])
    assert (set(step.ended), step.unneeded) == ({A, B}, jobs[0].plan)
    assert (states[A], states[B]) == (State.FAILED, State.FAILED)
    assert (list(states.jobs), list(states.retries)) == ([other], [])


@pytest.mark.parametrize("end", [Event.SUCCEEDED, Event.SKIPPED])
def test_a_late_chunk_of_a_video_that_has_ended_is_removed(end: Event) -> None:
    states, jobs = in_chunks(A)
    states.advance(A, end, jobs[0])
    before = states[A]
    assert before in ENDED
    assert states.advance(A, Event.LATE, jobs[1]) == Step(unneeded=jobs[1].plan)
    assert states[A] is before
    assert not states.jobs


def test_a_crash_changes_no_state_and_the_job_waits_to_run_alone() -> None:
    asked, whole = VideoStates(), decoding(B)
    asked.advance(A, Event.ASK)
    for states, source, state in ((asked, A, State.ASKED), (whole, B, State.DECODING)):
        assert states.advance(source, Event.CRASHED, job_of(source)) == Step()
        assert states[source] is state
        assert (list(states.jobs), list(states.retries)) == ([], [job_of(source)])


def test_a_crashed_chunk_holds_only_its_own_video_up() -> None:
    states, jobs = in_chunks(A)
    states.advance(A, Event.CRASHED, jobs[0])
    states.advance(A, Event.CHUNK, jobs[1])
    assert (states[A], list(states.jobs)) == (State.CHUNKS, [])
    assert list(states.retries) == [jobs[0]]
    states.advance(A, Event.CHUNK, states.retries.popleft())
    assert states[A] is State.JOINING
    (join,) = states.jobs
    states.advance(A, Event.CRASHED, states.jobs.popleft())
    assert (states[A], list(states.retries)) == (State.JOINING, [join])
    assert states.advance(A, Event.SKIPPED, join).ended == {A: "stamp of a.mp4"}, "the second crash is a failure"


def test_a_queue_has_more_jobs_after_its_end() -> None:
    states = VideoStates()
    queue = JobQueue(states.jobs, iter([job_of(A)]))
    assert list(queue) == [job_of(A)]
    states.jobs.append(job_of(B))
    assert list(queue) == [job_of(B)], "a result has caused another job"
