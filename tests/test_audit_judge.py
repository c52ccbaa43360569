"""Scores are those of the reward, and verdicts are right about guessers."""

import math
from itertools import permutations

import numpy as np
import pytest

from mvp_data.audit_judge import JUDGED, METRICS, Asked, Result, family_level, grade, judge, luck
from mvp_data.chance import chance
from mvp_data.schema import LABELS
from mvp_data.seeds import shuffled
from mvp_train.reward import RewardConfig, score


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 3), (2, 2), (2, 5), (3, 5), (4, 5)])
def test_grades_are_those_of_the_reward(k: int, n: int) -> None:
    for chosen in permutations(range(n), k):
        wanted = score(f"<answer>{', '.join(LABELS[c] for c in chosen)}</answer>", LABELS[:k], n, RewardConfig())
        found = grade([c if c < k else -1 for c in chosen], n)
        assert found == pytest.approx([getattr(wanted, metric) for metric in METRICS])


def guesses(samples: int, *seed: int | str, k: int = 4, n: int = 8) -> np.ndarray:
    right = [*range(k), *[-1] * (n - k)]
    return np.array([grade(shuffled(right, "guess", *seed, i)[:k], n) for i in range(samples)])


def judged(scores: np.ndarray, *, k: int = 4, others: int = 4, group: int = 3, leaks: int = 1) -> Result:
    asked = Asked(k=k, l=others, groups=[f"g{i // group}" for i in range(len(scores))])
    table = {f"leak {i}": ("leak", scores) for i in range(leaks)}
    return judge(table, asked)[0]


def test_means_and_chance() -> None:
    result = judged(guesses(60))
    assert tuple(result.estimates) == METRICS
    for metric, estimate in result.estimates.items():
        assert estimate.mean == pytest.approx(guesses(60)[:, METRICS.index(metric)].mean())
        assert estimate.chance == chance(metric, 4, 4).mean
        assert estimate.low <= estimate.mean <= estimate.high


def test_many_guessers_and_no_false_alarm() -> None:
    """Nine solvers of each of 40 clean builds: the gate closes for one build in forty at most, so hardly for three."""
    alarms = 0
    for trial in range(40):
        asked = Asked(k=4, l=4, groups=[f"g{i // 3}" for i in range(60)])
        results = judge({str(s): ("leak", guesses(60, trial, s)) for s in range(9)}, asked)
        alarms += any(result.verdict == "wins" for result in results)
    assert alarms <= 3


def test_one_lucky_hit_is_no_win() -> None:
    scores = guesses(78, "unlucky")
    scores = scores[scores[:, 0] == 0]
    scores[5] = grade((0, 1, 2, 3), 8)
    assert "exact" not in judged(scores, leaks=9).wins_on


def test_hits_in_several_videos_are_a_win_and_in_one_are_not() -> None:
    for places, wins in (((0, 1, 2), False), ((0, 30, 60), True)):
        scores = guesses(78, "hits")
        scores[:, 0] = 0
        scores[list(places), 0] = 1
        assert ("exact" in judged(scores, leaks=9).wins_on) == wins


def test_hits_everywhere() -> None:
    """Hundreds of groups, each with hits: no overflow."""
    result = judged(np.tile(grade((0, 1, 2, 3), 8), (900, 1)), leaks=9)
    assert set(result.wins_on) == set(JUDGED)


@pytest.mark.parametrize(("hits", "samples"), [(0, 100), (1, 78), (2, 400), (5, 1680), (9, 5000)])
def test_luck_is_poissons_tail(hits: int, samples: int) -> None:
    exact = np.zeros(samples)
    exact[:hits] = 1
    expected = samples / 1680
    terms = [math.exp(-expected) * expected**count / math.factorial(count) for count in range(hits)]
    assert luck(exact, np.arange(samples), 1 / 1680) == pytest.approx(1 - sum(terms), abs=1e-12)
    assert luck(exact, np.arange(samples), 0.2) is None


def test_a_solver_that_knows_a_little_wins_with_enough_samples() -> None:
    """In one sample of five it has the right set, in any order."""
    for samples, verdicts in ((30, {"chance", "unsure"}), (900, {"wins"})):
        scores = guesses(samples, "little")
        scores[::5] = guesses(samples, "set", n=4)[::5]
        scores[::5, METRICS.index("selection")] = 1
        result = judged(scores, leaks=9)
        assert result.verdict in verdicts
        assert (result.verdict != "wins") or "selection" in result.wins_on


def test_unsure_lies_between() -> None:
    """Found by raising the share of right answers: chance, then unsure, then wins, never back."""
    order = ["chance", "unsure", "wins"]
    seen = []
    for better in range(20, 40):  # of 40 groups
        scores = np.tile(grade((0, -1, -1, -1), 8), (120, 1))
        scores[: 3 * better] = grade((0, 1, 2, -1), 8)
        scores[:, METRICS.index("order")] = 0.1
        seen.append(order.index(judged(scores, leaks=9).verdict.replace("below", "chance")))
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


def test_worse_than_chance_is_below() -> None:
    assert judged(np.tile(grade((0, -1, -1, -1), 8), (300, 1)), leaks=9).verdict == "below"


def test_without_distractors_order_decides() -> None:
    right = np.tile(grade((0, 1, 2), 3), (60, 1))
    result = judged(right, k=3, others=0)
    assert result.wins_on == ("order", "exact")
    assert judged(guesses(60, k=3, n=3), k=3, others=0).verdict == "chance"


def test_the_level_counts_leak_solvers_alone() -> None:
    assert family_level(["leak"] * 5 + ["content"] * 4) == pytest.approx(1 - 0.05 / (5 * len(JUDGED)))
    assert family_level(["content"]) == 0.95
