"""Jobs on workers that may be lost; the workers are fakes in this process."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from mvp_data.core.errors import MvpError, OutputError
from mvp_data.engines import fleet
from mvp_data.engines.base import Lost, Usage
from mvp_data.engines.fleet import Answer, Worker, WorkerDied, run_fleet


@dataclass(eq=False)
class Fake(Worker):
    number: int
    said: deque[Answer | WorkerDied] = field(default_factory=deque)
    jobs: list[Any] = field(default_factory=list)


class FakeHost:
    """Workers that answer at once; `act(worker, job)` is the answer, or None for no answer."""

    def __init__(self, act: Callable[[Fake, Any], Answer | WorkerDied | None], room: int = 2) -> None:
        self.act, self.size, self.started, self.there = act, room, list[Fake](), set[Fake]()
        self.starts: Iterator[Answer | WorkerDied | None] = itertools.repeat(Answer())

    def room(self) -> int:
        return self.size

    def start(self) -> Worker:
        worker = Fake(len(self.started))
        self._say(worker, next(self.starts))
        self.started.append(worker)
        self.there.add(worker)
        return worker

    def send(self, worker: Worker, job: Any) -> None:
        assert isinstance(worker, Fake)
        assert worker in self.there
        worker.jobs.append(job)
        self._say(worker, self.act(worker, job))

    def receive(self, workers: Iterable[Worker], timeout_s: float) -> tuple[Worker, Answer | WorkerDied] | None:
        return next(
            ((worker, worker.said.popleft()) for worker in workers if isinstance(worker, Fake) and worker.said), None
        )

    def end(self, worker: Worker) -> None:
        assert isinstance(worker, Fake)
        self.there.discard(worker)

    def _say(self, worker: Fake, answer: Answer | WorkerDied | None) -> None:
        if answer is not None:
            worker.said.append(answer)


def double(worker: Fake, job: int) -> Answer:
    return Answer(result=2 * job, busy_s=0.5, peak_mb=10.0 * job)


def test_every_job_has_its_result_and_all_workers_their_share() -> None:
    host, usage = FakeHost(double, room=3), Usage()
    done = dict(run_fleet(host, range(9), usage=usage))
    assert done == {job: 2 * job for job in range(9)}
    assert (usage.busy_s, usage.peak_mb) == (4.5, 80.0)
    assert [len(worker.jobs) for worker in host.started] == [3, 3, 3]
    assert not host.there, "all are ended"


def test_no_worker_is_started_without_a_job() -> None:
    host = FakeHost(double)
    assert list(run_fleet(host, iter(()))) == []
    assert not host.started


def test_a_result_may_cause_further_jobs() -> None:
    """A long video causes the jobs of its chunks."""
    further = deque([1])

    class Todo:
        def __iter__(self) -> "Todo":
            return self

        def __next__(self) -> int:
            if not further:
                raise StopIteration
            return further.popleft()

    done = []
    for job, _ in run_fleet(FakeHost(double), Todo()):
        done.append(job)
        further.extend({1: [2, 3], 3: [4]}.get(job, []))
    assert sorted(done) == [1, 2, 3, 4]


def test_the_job_of_a_lost_worker_is_given_to_another() -> None:
    said: list[str] = []
    host = FakeHost(lambda worker, job: WorkerDied("node down") if worker.number == 0 else double(worker, job))
    done = dict(run_fleet(host, range(5), warn=said.append))
    assert done == {job: 2 * job for job in range(5)}
    assert said == ["a worker of the cluster is lost (node down); another worker takes its job"]
    assert len(host.started) == 3, "and the worker is replaced"


def test_no_worker_replaces_that_of_a_lost_node() -> None:
    host = FakeHost(double)

    def act(worker: Fake, job: int) -> Answer | WorkerDied:
        if worker.number == 0:
            host.size = 1
            return WorkerDied("node down")
        return double(worker, job)

    host.act = act
    assert len(dict(run_fleet(host, range(5)))) == 5
    assert len(host.started) == 2


def test_a_job_that_costs_worker_after_worker_is_lost_itself() -> None:
    host = FakeHost(lambda worker, job: WorkerDied("killed") if job == 1 else double(worker, job))
    done = dict(run_fleet(host, range(4)))
    assert done == {0: 0, 1: Lost("crash", "3 workers of the cluster were lost with it"), 2: 4, 3: 6}


def test_a_cluster_on_which_no_worker_starts_is_given_up() -> None:
    host = FakeHost(double)
    host.starts = itertools.repeat(WorkerDied("ModuleNotFoundError: no module named mvp_data"))
    with pytest.raises(MvpError, match="no worker can be started on the cluster: ModuleNotFoundError"):
        list(run_fleet(host, range(4)))
    assert not host.there


def test_a_start_that_fails_now_and_then_does_not_matter() -> None:
    host = FakeHost(double)
    host.starts = iter([WorkerDied("x"), WorkerDied("x"), *[Answer()] * 9])
    assert len(dict(run_fleet(host, range(4)))) == 4


def test_a_cluster_without_room_is_waited_for_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "NO_WORKER_S", 0.05)
    host = FakeHost(double)
    host.starts = itertools.repeat(None)
    with pytest.raises(MvpError, match="no node of the cluster has had a free CPU"):
        list(run_fleet(host, range(4)))
    assert not host.there


@pytest.mark.parametrize("at_start", [True, False])
def test_an_error_that_would_hit_every_job_ends_the_run(at_start: bool) -> None:
    full = Answer(result=OutputError("disk full"))
    host = FakeHost(double if at_start else lambda worker, job: full)
    if at_start:
        host.starts = itertools.repeat(full)
    with pytest.raises(OutputError, match="disk full"):
        list(run_fleet(host, range(4)))
    assert not host.there


def test_after_stop_no_job_is_begun_or_repeated() -> None:
    done: list[int] = []
    host = FakeHost(lambda worker, job: WorkerDied("killed as well") if job == 3 else double(worker, job))
    for job, _ in run_fleet(host, range(99), stop=lambda: len(done) >= 2):
        done.append(job)
    assert 2 <= len(done) <= 3
    assert not host.there


def test_a_caller_that_stops_early_leaves_no_worker() -> None:
    host = FakeHost(double)
    results = run_fleet(host, range(9))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert host.started
    assert not host.there
