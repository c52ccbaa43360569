"""The sampling grid against a direct implementation of its definition, for any frame times."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.seeds import unit
from mvp_data.video.sampling import SampleGrid, rates


@pytest.mark.parametrize(
    ("fps", "max_fps", "expected"),
    [
        (1.0, 4.0, (4.0, 2.0, 1.0)),
        (1.0, 3.9, (2.0, 1.0)),
        (1.0, 1.0, (1.0,)),
        (2.0, 2.0, (2.0,)),
        (0.1, 0.8, (0.8, 0.4, 0.2, 0.1)),
        (0.3, 2.4, (2.4, 1.2, 0.6, 0.3)),
        (3.0, 5.99, (3.0,)),
        (0.01, 120.0, tuple(0.01 * 2**n for n in range(13, -1, -1))),
    ],
)
def test_rates(fps: float, max_fps: float, expected: tuple[float, ...]) -> None:
    assert rates(fps, max_fps) == pytest.approx(expected)


def by_definition(times_s: list[float], rate: float, phase_s: float) -> dict[int, list[int]]:
    """Frame number -> the grid points it is the first one shown at or after."""
    covered: dict[int, list[int]] = {}
    base_s = math.fmod(phase_s, 1 / rate)
    for point in range(int(times_s[-1] * rate) + 2):
        first = next((n for n, t in enumerate(times_s) if t >= base_s + point / rate - 1e-6 / rate), None)
        if first is not None:
            covered.setdefault(first, []).append(point)
    return covered


GAPS = st.lists(st.integers(1, 3000), min_size=1, max_size=60)  # milliseconds: 1000 fps to a slide show


@settings(max_examples=60, deadline=None)
@given(GAPS, st.sampled_from([1.0, 0.5, 3.0, 0.3]), st.integers(0, 3), st.integers(0, 10**6))
def test_samples_are_the_first_frames_at_or_after_the_grid(
    gaps_ms: list[int], fps: float, doublings: int, seed: int
) -> None:
    times_s = [sum(gaps_ms[:i]) / 1000 for i in range(len(gaps_ms))]
    rate = fps * 2**doublings
    grid = SampleGrid(fps=fps, max_fps=rate, seed=seed, video_id="v")
    found = {n: list(c) for n, c in enumerate(map(grid.covers, times_s)) if c}
    assert found == by_definition(times_s, rate, unit("phase", seed, "v") / fps)


@settings(max_examples=80, deadline=None)
@given(
    GAPS,
    st.sampled_from([1.0, 0.5, 3.0, 0.3]),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
    st.integers(0, 10**6),
)
def test_thinning_gives_what_the_slower_rate_would_have_sampled(
    gaps_ms: list[int], fps: float, thin_at: list[int], seed: int
) -> None:
    """Whenever the rate is halved, even several times at one frame, no sample is lost, doubled or moved."""
    times_s = [sum(gaps_ms[:i]) / 1000 for i in range(len(gaps_ms))]
    rate = fps * 2 ** len(thin_at)
    grid = SampleGrid(fps=fps, max_fps=rate, seed=seed, video_id="v")
    numbers: list[int] = []
    covers: list[range] = []
    for n, time_s in enumerate(times_s):
        if covered := grid.covers(time_s):
            numbers.append(n)
            covers.append(covered)
        for _ in range(thin_at.count(n)):
            covers = grid.thin(covers)
            kept = [i for i, c in enumerate(covers) if c]
            numbers, covers = [numbers[i] for i in kept], [covers[i] for i in kept]
    slower = SampleGrid(fps=fps, max_fps=grid.rate_fps, seed=seed, video_id="v")
    expected = {n: c for n, c in enumerate(map(slower.covers, times_s)) if c}
    assert dict(zip(numbers, covers, strict=True)) == expected
    assert len(set(numbers)) == len(numbers)
    points = [p for c in covers for p in c]
    assert points == list(range(len(points))), "every grid point is covered once, in order"


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("gap_s", [0.04, 0.11, 0.3])
def test_thinning_with_every_phase(seed: int, gap_s: float) -> None:
    """The slow grid starts at the first or at the second point of the fast one: half of the phases each."""
    fast, slow = (SampleGrid(fps=1.0, max_fps=rate, seed=seed, video_id="v") for rate in (4.0, 2.0))
    times_s = [i * gap_s for i in range(60)]
    early = [fast.covers(t) for t in times_s[:30]]
    found = fast.thin(early) + [fast.covers(t) for t in times_s[30:]]
    expected = [slow.covers(t) for t in times_s]
    assert [list(c) for c in found] == [list(c) for c in expected]


def test_even_video_is_sampled_evenly() -> None:
    grid = SampleGrid(fps=1.0, max_fps=4.0, seed=3, video_id="v")
    times_s = [t for t in (i / 24 for i in range(24 * 60)) if grid.covers(t)]
    assert len(times_s) == 240
    assert all(b - a == pytest.approx(0.25, abs=0.042) for a, b in pairwise(times_s))


def test_rate_and_its_end() -> None:
    grid = SampleGrid(fps=1.0, max_fps=4.0, seed=0, video_id="v")
    seen = [grid.rate_fps]
    while not grid.is_slowest:
        grid.thin([])
        seen.append(grid.rate_fps)
    assert seen == [4.0, 2.0, 1.0]


def test_phase_is_drawn_by_seed_and_video() -> None:
    def first(seed: int, video_id: str) -> int:
        grid = SampleGrid(fps=1.0, max_fps=1.0, seed=seed, video_id=video_id)
        return next(i for i in range(1001) if grid.covers(i / 1000))

    phases = [first(seed, video) for seed in range(20) for video in ("a", "b")]
    assert len(set(phases)) > 35
    assert min(phases) < 200
    assert max(phases) > 800
    assert first(5, "a") == first(5, "a")


@given(
    steps_s=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=200),
    seed=st.integers(0, 1000),
    thin_at=st.sets(st.integers(0, 199), max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_may_cover_predicts_what_is_covered(steps_s: list[float], seed: int, thin_at: set[int]) -> None:
    """It is exact at the same rate; before the rate is halved, it may be true for more frames, never for fewer."""
    grid, early = (SampleGrid(fps=1.0, max_fps=4.0, seed=seed, video_id="v") for _ in range(2))
    assert list(grid.covers(0.0)) == list(early.covers(0.0))
    before_s = 0.0
    for number, step_s in enumerate(steps_s):
        time_s = before_s + step_s
        predicted = grid.may_cover(before_s, time_s)
        assert predicted == bool(grid.covers(time_s))
        assert early.may_cover(before_s, time_s) or not predicted
        if number in thin_at:
            grid.thin([])
        before_s = time_s
