"""Jobs for workers that may be lost, with workers made of nothing."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mvp_data import fleet
from mvp_data.errors import MvpError, OutputError
from mvp_data.fleet import Answer, Gone, Hand, run_fleet
from mvp_data.workers import Lost, Usage


@dataclass(eq=False)
class Fake(Hand):
    number: int
    said: deque[Answer | Gone] = field(default_factory=deque)
    jobs: list[Any] = field(default_factory=list)


class Places:
    """Workers that answer at once; `act(hand, job)` says what, and None keeps silent."""

    def __init__(self, act: Callable[[Fake, Any], Answer | Gone | None], room: int = 2) -> None:
        self.act, self.size, self.hired, self.there = act, room, list[Fake](), set[Fake]()
        self.start: Iterator[Answer | Gone | None] = itertools.repeat(Answer())

    def room(self) -> int:
        return self.size

    def hire(self) -> Hand:
        hand = Fake(len(self.hired))
        self._say(hand, next(self.start))
        self.hired.append(hand)
        self.there.add(hand)
        return hand

    def give(self, hand: Hand, job: Any) -> None:
        assert isinstance(hand, Fake)
        assert hand in self.there
        hand.jobs.append(job)
        self._say(hand, self.act(hand, job))

    def hear(self, hands: Iterable[Hand], timeout_s: float) -> tuple[Hand, Answer | Gone] | None:
        return next(((hand, hand.said.popleft()) for hand in hands if isinstance(hand, Fake) and hand.said), None)

    def dismiss(self, hand: Hand) -> None:
        assert isinstance(hand, Fake)
        self.there.discard(hand)

    def _say(self, hand: Fake, answer: Answer | Gone | None) -> None:
        if answer is not None:
            hand.said.append(answer)


def double(hand: Fake, job: int) -> Answer:
    return Answer(result=2 * job, busy_s=0.5, peak_mb=10.0 * job)


def test_every_job_has_its_result_and_all_workers_their_share() -> None:
    place, usage = Places(double, room=3), Usage()
    done = dict(run_fleet(place, range(9), usage=usage))
    assert done == {job: 2 * job for job in range(9)}
    assert (usage.busy_s, usage.peak_mb) == (4.5, 80.0)
    assert [len(hand.jobs) for hand in place.hired] == [3, 3, 3]
    assert not place.there, "all are dismissed"


def test_nobody_is_hired_where_there_is_nothing_to_do() -> None:
    place = Places(double)
    assert list(run_fleet(place, iter(()))) == []
    assert not place.hired


def test_jobs_may_bring_about_more_when_others_have_run_dry() -> None:
    """As a long video does whose parts come after its beginning."""
    further = deque([1])

    class Todo:
        def __iter__(self) -> "Todo":
            return self

        def __next__(self) -> int:
            if not further:
                raise StopIteration
            return further.popleft()

    done = []
    for job, _ in run_fleet(Places(double), Todo()):
        done.append(job)
        further.extend({1: [2, 3], 3: [4]}.get(job, []))
    assert sorted(done) == [1, 2, 3, 4]


def test_the_job_of_a_lost_worker_is_given_to_another() -> None:
    said: list[str] = []
    place = Places(lambda hand, job: Gone("node down") if hand.number == 0 else double(hand, job))
    done = dict(run_fleet(place, range(5), warn=said.append))
    assert done == {job: 2 * job for job in range(5)}
    assert said == ["a worker of the cluster is lost (node down); what it had in hand is given to another"]
    assert len(place.hired) == 3, "and the worker is replaced"


def test_nobody_is_hired_in_place_of_a_node_that_is_gone() -> None:
    place = Places(double)

    def act(hand: Fake, job: int) -> Answer | Gone:
        if hand.number == 0:
            place.size = 1
            return Gone("node down")
        return double(hand, job)

    place.act = act
    assert len(dict(run_fleet(place, range(5)))) == 5
    assert len(place.hired) == 2


def test_a_job_that_costs_worker_after_worker_is_lost_itself() -> None:
    place = Places(lambda hand, job: Gone("killed") if job == 1 else double(hand, job))
    done = dict(run_fleet(place, range(4)))
    assert done == {0: 0, 1: Lost("crash", "3 workers of the cluster were lost with it"), 2: 4, 3: 6}


def test_a_cluster_on_which_no_worker_starts_is_given_up() -> None:
    place = Places(double)
    place.start = itertools.repeat(Gone("ModuleNotFoundError: no module named mvp_data"))
    with pytest.raises(MvpError, match="no worker can be started on the cluster: ModuleNotFoundError"):
        list(run_fleet(place, range(4)))
    assert not place.there


def test_a_start_that_fails_now_and_then_does_not_matter() -> None:
    place = Places(double)
    place.start = iter([Gone("x"), Gone("x"), *[Answer()] * 9])
    assert len(dict(run_fleet(place, range(4)))) == 4


def test_a_cluster_without_room_is_waited_for_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "NO_WORKER_S", 0.05)
    place = Places(double)
    place.start = itertools.repeat(None)
    with pytest.raises(MvpError, match="no node of the cluster has had a free CPU"):
        list(run_fleet(place, range(4)))
    assert not place.there


@pytest.mark.parametrize("at_start", [True, False])
def test_what_would_hit_every_job_ends_the_run(at_start: bool) -> None:
    full = Answer(result=OutputError("disk full"))
    place = Places(double if at_start else lambda hand, job: full)
    if at_start:
        place.start = itertools.repeat(full)
    with pytest.raises(OutputError, match="disk full"):
        list(run_fleet(place, range(4)))
    assert not place.there


def test_told_to_stop_no_further_job_is_begun_and_none_again() -> None:
    done: list[int] = []
    place = Places(lambda hand, job: Gone("killed as well") if job == 3 else double(hand, job))
    for job, _ in run_fleet(place, range(99), stop=lambda: len(done) >= 2):
        done.append(job)
    assert 2 <= len(done) <= 3
    assert not place.there


def test_a_caller_that_stops_early_leaves_nobody() -> None:
    place = Places(double)
    results = run_fleet(place, range(9))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert place.hired
    assert not place.there
