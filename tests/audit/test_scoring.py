"""The scores of the audit equal those of the reward, and guessers do not win."""

import math
from itertools import permutations

import numpy as np
import pytest

from mvp_data.audit.scoring import (
    Answers,
    Result,
    families,
    guessing,
    judge,
    judged,
    luck,
    metrics,
    scores,
    seeing_runs,
    sure_level,
)
from mvp_data.audit.solvers import SOLVERS
from mvp_data.core.seeds import shuffled
from mvp_data.shards.record import LABELS
from mvp_data.tasks.catalogue import JIGSAW, TASKS
from mvp_data.tasks.catalogue import MVP as MVP_TASK
from mvp_data.tasks.grading import lowest
from mvp_data.tasks.task import Question
from mvp_train.reward import RewardConfig, score

MVP = Question(slots=4, choices=8, ordered=True)
REWARDED = ("exact", "set", "recall", "selection", "order", "position")
LEAKS = [name for name, solver in SOLVERS.items() if solver.kind == "leak"]
SHAPES = [(1, 0), (1, 1), (1, 3), (2, 0), (2, 1), (2, 2), (3, 0), (3, 2), (3, 3), (2, 4), (4, 1), (4, 2)]


@pytest.mark.parametrize(("k", "n"), [(2, 2), (2, 5), (3, 5), (4, 5)])
def test_grades_are_those_of_the_reward(k: int, n: int) -> None:
    every = list(permutations(range(n), k))
    right = np.array([[c if c < k else -1 for c in chosen] for chosen in every])
    found = scores(right, Question(slots=k, choices=n, ordered=True))
    for number, chosen in enumerate(every):
        wanted = score(f"<answer>{', '.join(LABELS[c] for c in chosen)}</answer>", LABELS[:k], n, RewardConfig())
        for metric in found.keys() & set(REWARDED):
            assert found[metric][0][number] == pytest.approx(getattr(wanted, metric)), metric


def test_the_metrics_that_the_reward_lacks() -> None:
    found = scores(np.array([[0, 1, 3, -1], [3, 2, 1, 0], [-1, -1, -1, -1], [2, -1, -1, 1]]), MVP)
    assert found["given"][0].tolist() == [1, 0, 0, 0]
    assert found["given"][1].tolist() == [3, 6, 0, 1]  # pairs among the chosen positives
    assert found["whole"][0].tolist() == [0, 1, -1, 0]


def guesses(samples: int, *seed: int | str, k: int = 4, n: int = 8) -> np.ndarray:
    right = [*range(k), *[-1] * (n - k)]
    return np.array([shuffled(right, "guess", *seed, i)[:k] for i in range(samples)])


def same(samples: int, *right: int) -> np.ndarray:
    return np.tile(right, (samples, 1))


def results(
    right: dict[str, np.ndarray], *, asked: Question = MVP, group: int = 3, level: float | None = None
) -> list[Result]:
    clusters = np.arange(len(next(iter(right.values())))) // group
    answers = Answers(task=MVP_TASK, question=asked, right=right, clusters=clusters)
    return judge(answers, level or sure_level(len(families(answers))))


def judged_as(name: str, right: np.ndarray, *, asked: Question = MVP, group: int = 3) -> Result:
    """The result at the level of nine leak solvers."""
    return results({name: right}, asked=asked, group=group, level=sure_level(9))[0]


def test_means_and_chance() -> None:
    right = guesses(60)
    result = judged_as("overlay", right)
    assert tuple(result.estimates) == tuple(guessing(MVP))
    for metric, (values, weights) in scores(right, MVP).items():
        estimate = result.estimates[metric]
        assert estimate.mean == pytest.approx((values * weights).sum() / weights.sum())
        assert estimate.chance == guessing(MVP)[metric]
        assert estimate.low <= estimate.mean <= estimate.high


def test_guessing_rarely_raises_a_false_alarm() -> None:
    """Nine leak solvers on 40 clean builds: at most one build in forty should fail, so more than three is a defect."""
    alarms = 0
    for trial in range(40):
        right = {name: guesses(60, trial, name) for name in LEAKS}
        alarms += any(result.verdict == "wins" for result in results(right))
    assert alarms <= 3


def run_takers(samples: int, seed: int) -> np.ndarray:
    """In each sample one of two whole runs, forwards or backwards: a solver that sees only runs."""
    rng = np.random.default_rng(seed)
    ways = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [-1] * 4, [-1] * 4])
    return ways[rng.integers(4, size=samples)]


def test_taking_a_run_does_not_win_for_a_solver_that_sees_frames() -> None:
    for seed in range(20):
        right = run_takers(90, seed)
        assert judged_as("chain-pixels", right).verdict != "wins"
        assert judged_as("labels", right).wins_on  # labels do not show runs
    assert judged_as("chain-pixels", right).estimates["exact"].low > guessing(MVP)["exact"]


@pytest.mark.parametrize(("more", "metric"), [("right", "whole"), ("forwards", "given")])
def test_knowing_which_run_or_which_way_is_a_win(more: str, metric: str) -> None:
    right = run_takers(90, 1)
    if more == "right":
        right[::2] = np.where(right[::2] >= 0, right[::2], [0, 1, 2, 3])
    else:
        right = np.where((right >= 0).all(axis=1, keepdims=True), [0, 1, 2, 3], right)
    assert metric in judged_as("chain-pixels", right).wins_on


def test_a_run_found_in_some_samples_wins_on_whole_without_selection() -> None:
    """The whole right set in one sample of five, slightly worse than a guess in the others."""
    right = same(150, 0, 1, -1, -1)
    right[::5], right[1::5] = [0, 1, 2, 3], [0, -1, -1, -1]
    right[2::5] = [0, -1, -1, -1]
    result = judged_as("chain-pixels", right, group=1)
    assert result.estimates["selection"].mean == pytest.approx(0)
    assert result.wins_on[-1] == "whole"


def test_order_is_unknown_without_two_chosen_positives() -> None:
    result = judged_as("chain-pixels", same(60, 0, -1, -1, -1))
    given = result.estimates["given"]
    assert (given.mean, given.low, given.high) == (0.5, 0, 1)
    one = same(60, 0, -1, -1, -1)
    one[0] = [0, 1, -1, -1]  # in one video group only
    given = judged_as("chain-pixels", one).estimates["given"]
    assert (given.mean, given.low, given.high) == (1, 0, 1)
    one[30] = [1, 0, 2, -1]
    assert judged_as("chain-pixels", one).estimates["given"].mean == 3 / 4  # of four pairs, not of two samples


def test_a_score_at_chance_by_construction_has_no_interval() -> None:
    """A solver that sees only the candidates finds the right run in one of each two twins."""
    twins = np.array([[0, 1, 2, 3], [-1] * 4] * 10)
    for name in ("selection", "whole"):
        estimate = judged_as("chain-pixels", twins, group=2).estimates[name]
        assert (estimate.low, estimate.mean, estimate.high) == (0, 0, 0)
        few = judged_as("chain-pixels", twins[:8], group=2).estimates[name]
        assert few.low < -0.3 < 0.3 < few.high
    assert judged_as("chain-pixels", twins, group=2).estimates["recall"].low < 0.4
    twins[1] = [0, -1, -1, -1]
    assert judged_as("chain-pixels", twins, group=2).estimates["selection"].high > 0


def test_one_lucky_hit_does_not_win() -> None:
    right = guesses(78, "unlucky")
    right[(right == np.arange(4)).all(axis=1)] = [3, 2, 1, 0]
    right[5] = [0, 1, 2, 3]
    assert "exact" not in judged_as("labels", right).wins_on


def test_hits_win_in_several_videos_and_not_in_one() -> None:
    for places, wins in (((0, 1, 2), False), ((0, 30, 60), True)):
        right = guesses(78, "hits")
        right[(right == np.arange(4)).all(axis=1)] = [3, 2, 1, 0]
        right[list(places)] = [0, 1, 2, 3]
        assert ("exact" in judged_as("labels", right).wins_on) == wins


def test_many_hits_do_not_overflow() -> None:
    """Hundreds of groups, each with hits: no overflow."""
    for name in ("labels", "overlay"):
        assert judged_as(name, same(900, 0, 1, 2, 3)).wins_on == judged(MVP, sees_frames=name != "labels")


@pytest.mark.parametrize(("hits", "samples"), [(0, 100), (1, 78), (2, 400), (5, 1680), (9, 5000)])
def test_luck_is_poissons_tail(hits: int, samples: int) -> None:
    exact = np.zeros(samples)
    exact[:hits] = 1
    expected = samples / 1680
    terms = [math.exp(-expected) * expected**count / math.factorial(count) for count in range(hits)]
    assert luck(exact, np.arange(samples), samples / 1680) == pytest.approx(1 - sum(terms), abs=1e-12)
    assert luck(exact, np.arange(samples), 0.2 * max(samples, 25)) is None


def test_a_solver_that_knows_a_little_wins_with_enough_samples() -> None:
    """It has the right set in one sample of five, in any order."""
    for samples, verdicts in ((30, {"chance", "unsure"}), (900, {"wins"})):
        right = guesses(samples, "little")
        right[::5] = guesses(samples, "set", n=4)[::5]
        for name in ("labels", "overlay"):
            result = judged_as(name, right)
            assert result.verdict in verdicts
            assert (result.verdict != "wins") or "selection" in result.wins_on


def test_unsure_is_between_chance_and_wins() -> None:
    """With a growing share of right answers: chance, then unsure, then wins, never back."""
    order = ["chance", "unsure", "wins"]
    seen = []
    for better in range(20, 40):  # of 40 groups
        right = same(120, 0, -1, -1, -1)
        right[: 3 * better] = [0, 2, 1, -1]
        right[: 3 * better : 2] = [2, 0, 1, -1]  # pairs are as often right as wrong
        seen.append(order.index(judged_as("overlay", right).verdict.replace("below", "chance")))
    assert seen == sorted(seen)
    assert set(seen) == {0, 1, 2}


def test_worse_than_a_guess_is_below() -> None:
    assert judged_as("overlay", same(300, 0, -1, -1, -1)).verdict == "below"
    assert judged_as("overlay", same(300, 3, 2, 1, 0)).verdict == "wins"  # of selection, though not of order


def test_without_distractors_order_decides() -> None:
    asked = Question(slots=3, choices=3, ordered=True)
    assert judged_as("labels", same(60, 0, 1, 2), asked=asked).wins_on == ("order", "exact")
    assert judged_as("probe-artefacts", same(60, 0, 1, 2), asked=asked).wins_on == ("order",)
    assert judged_as("labels", guesses(60, k=3, n=3), asked=asked).verdict == "chance"


def test_exact_hits_decide_for_one_slot() -> None:
    asked = Question(slots=1, choices=2, ordered=True)
    assert judged_as("labels", same(60, 0), asked=asked).wins_on == ("exact",)
    assert judged_as("labels", guesses(60, k=1, n=2), asked=asked).verdict == "chance"


def test_the_level_counts_families_of_leak_solvers() -> None:
    right = {name: guesses(9) for name in ("random", "labels", "chain-pixels", "chain-hog", "path-pixels")}
    clusters = np.arange(9)
    found = families(Answers(task=MVP_TASK, question=MVP, right=right, clusters=clusters))
    assert found == {"labels": 3, "chain": 6}
    jigsaw = Question(slots=4, choices=4, ordered=True)
    found = families(Answers(task=JIGSAW, question=jigsaw, right=right, clusters=clusters))
    assert found == {"labels": 2}  # order and exact; candidates alone are content
    assert sure_level(15) == pytest.approx(1 - 0.05 / 15)
    assert sure_level(0) == 0.95


def test_more_spaces_do_not_weaken_other_solvers() -> None:
    right = guesses(90, "little")
    right[::4] = guesses(90, "set", n=4)[::4]
    some = {name: guesses(90, name) for name in ("chain-pixels", "labels")}
    many = some | {name: guesses(90, name) for name in LEAKS if name.startswith("chain")}
    for others in (some, many):
        found = {result.name: result for result in results({"probe-artefacts": right, **others}, level=sure_level(9))}
        assert found["probe-artefacts"].wins_on == ("selection", "whole")


def means(right: list[tuple[int, ...]], asked: Question) -> dict[str, float]:
    """The mean of each metric over the answers."""
    graded = scores(np.array(right), asked)
    return {m: float((v * w).sum() / w.sum()) if w.sum() else 0.5 for m, (v, w) in graded.items()}


@pytest.mark.parametrize(("k", "others"), SHAPES)
@pytest.mark.parametrize("ordered", [True, False])
def test_guessing_is_the_mean_over_all_answers(k: int, others: int, ordered: bool) -> None:
    asked = Question(slots=k, choices=k + others, ordered=ordered)
    every = [tuple(c if c < k else -1 for c in chosen) for chosen in permutations(range(k + others), k)]
    assert means(every, asked) == pytest.approx(guessing(asked))
    assert tuple(guessing(asked)) == metrics(asked)
    graded = scores(np.array(every), asked)
    for metric, (values, _) in graded.items():
        assert values.min() >= lowest(metric, asked) - 1e-12
        assert values.max() <= 1


@pytest.mark.parametrize(("k", "others"), [(2, 0), (3, 0), (4, 0), (2, 2), (3, 3), (4, 4), (2, 4), (3, 5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_seeing_runs_is_the_mean_over_the_runs(k: int, others: int, ordered: bool) -> None:
    """One of the whole runs, forwards or backwards."""
    asked = Question(slots=k, choices=k + others, ordered=ordered)
    run = tuple(range(k))
    answers = [run, run[::-1]] + ([(-1,) * k] * 2 if others else [])
    assert means(answers, asked) == pytest.approx(seeing_runs(asked))


def test_seeing_runs_needs_room_for_two_runs() -> None:
    assert seeing_runs(Question(slots=4, choices=6, ordered=True)) == {}
    assert seeing_runs(Question(slots=1, choices=2, ordered=True)) == {}


@pytest.mark.parametrize("shape", [(4, 4), (3, 3), (2, 2)])
def test_seeing_runs_is_at_chance_in_the_judged_metrics(shape: tuple[int, int]) -> None:
    for ordered in (True, False):
        asked = Question(slots=shape[0], choices=sum(shape), ordered=ordered)
        chance, runs = guessing(asked), seeing_runs(asked)
        assert all(runs[metric] == pytest.approx(chance[metric]) for metric in judged(asked, sees_frames=True))
        assert runs["exact"] > chance["exact"]


def test_every_task_has_metrics_that_are_judged() -> None:
    for task in TASKS.values():
        asked = task.question(4, task.pool_size(4))
        for sees_frames in (True, False):
            assert set(judged(asked, sees_frames=sees_frames)) <= set(metrics(asked))
            assert judged(asked, sees_frames=sees_frames)


def in_pairs(right: np.ndarray, name: str = "split-runs", floors: dict[str, dict[str, float]] | None = None) -> Result:
    """The result where samples 2i and 2i + 1 are a pair, and each two pairs a video."""
    pairs = np.arange(len(right)).reshape(-1, 2)
    answers = Answers(
        task=MVP_TASK,
        question=MVP,
        right={name: right},
        clusters=np.arange(len(right)) // 4,
        pairs=pairs,
        strips=pairs,
        floors=floors or {},
    )
    return judge(answers, sure_level(9))[0]


def test_a_pair_counts_only_if_both_samples_are_right() -> None:
    right = np.array(
        [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3], [-1] * 4, [0, 1, 2, 3], [1, 0, 2, 3], [-1] * 4, [-1] * 4]
    )
    found = scores(right, MVP, np.arange(8).reshape(-1, 2))
    assert [float((v * w).sum() / w.sum()) for v, w in (found["pair"], found["pair set"])] == [1 / 4, 2 / 4]
    assert found["pair"][1].sum() == 4
    some = scores(right, MVP, np.array([[2, 3], [5, 4]]))
    assert [some[metric][0].sum() / some[metric][1].sum() for metric in ("pair", "pair set")] == [0, 1 / 2]
    assert not {"pair", "pair set"} & scores(right, MVP).keys()


def test_the_pair_score_comes_first_and_has_a_chance_level() -> None:
    assert metrics(MVP, paired=True)[0] == "pair"
    chance = guessing(MVP, paired=True)
    assert chance["pair"] == pytest.approx(1 / 1680**2)
    assert chance["pair set"] == pytest.approx(1 / 70**2)
    assert seeing_runs(MVP, paired=True)["pair"] == 0
    select = Question(slots=4, choices=8, ordered=False)
    assert guessing(select, paired=True)["pair"] == pytest.approx(1 / 70**2)
    assert "pair" not in metrics(Question(slots=4, choices=4, ordered=True), paired=True)


def test_a_solver_that_gives_both_twins_one_answer_has_pair_score_0_by_construction() -> None:
    twins = np.array([[0, 1, 2, 3], [-1] * 4] * 12)
    result = in_pairs(twins)
    for metric in ("selection", "pair", "pair set"):
        estimate = result.estimates[metric]
        assert (estimate.low, estimate.mean, estimate.high) == (0, 0, 0)
    assert result.estimates["exact"].mean == 0.5
    assert (result.verdict, "pair set" in result.judged) == ("chance", True)


def test_pairs_that_are_right_in_several_videos_win() -> None:
    half = np.array([[0, 1, 2, 3], [-1] * 4] * 12)
    half[:2], half[4:6] = [1, 0, 2, 3], [1, 0, 2, 3]
    half[2], half[6] = -1, -1  # as many wrong, so selection is at chance
    result = in_pairs(half)
    assert result.estimates["selection"].mean == 0
    assert (result.verdict, result.wins_on) == ("wins", ("pair set",))
    half[4] = -1
    assert "pair set" not in in_pairs(half).wins_on  # one video may be luck


def test_a_solver_for_twins_is_scored_on_twins_alone() -> None:
    right = np.array([[0, 1, 2, 3], [-1] * 4, [0, 1, 2, 3], [0, 1, 2, 3]] * 6)
    pairs = np.arange(24).reshape(-1, 2)
    answers = Answers(
        task=MVP_TASK, question=MVP, right={"mask-start": right}, clusters=np.arange(24) // 4, pairs=pairs,
        strips=pairs[::2],
    )  # fmt: skip
    (result,) = judge(answers, 0.95)
    assert (result.estimates["pair"].mean, result.estimates["selection"].mean) == (0, 0)


def test_a_floor_replaces_chance() -> None:
    """Three of four pairs are right on one side only, and one on both: what the place of the gap allows."""
    right = np.array([[0, 1, 2, 3], [-1] * 4] * 24)
    right[1::8] = [0, 1, 2, 3]
    level = {"mask-start": dict.fromkeys(("selection", "whole", "pair", "pair set"), 0.25)}
    free, fixed = in_pairs(right, "mask-start"), in_pairs(right, "mask-start", level)
    assert free.estimates["pair"].mean == fixed.estimates["pair"].mean == 0.25
    assert (free.verdict, fixed.verdict) == ("wins", "chance")
    assert fixed.estimates["pair"].chance == 0.25
    assert in_pairs(np.tile([-1] * 4, (48, 1)), "mask-start", level).verdict == "chance"
    assert in_pairs(same(48, 0, 1, 2, 3), "mask-start", level).verdict == "wins"
