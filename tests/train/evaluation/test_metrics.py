"""The metrics, against guessers with known chance levels and against values computed by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mvp_data.core.seeds import shuffled, unit
from mvp_data.core.statistics import clusters, intervals
from mvp_data.shards.record import LABELS
from mvp_data.tasks.chance import chance, reward_chance
from mvp_train.evaluation.metrics import METRICS, Outcome, least_values, sample_values, table, to_text
from mvp_train.reward import RewardConfig, score

WEIGHTS = RewardConfig()


def outcome(
    number: int, completion: str, *, k: int = 2, distractors: int = 2, rollout: int = 0, **facts: object
) -> Outcome:
    """Sample `number`, of video group `number // 4`; the right answer is A, B, ..."""
    answer = LABELS[:k]
    made = Outcome(
        key=f"s{number:05d}",
        pair_id="",
        rollout=rollout,
        config_hash="c0ffee",
        task="mvp",
        video=f"clips/{number // 4}.mp4",
        video_group=f"g{number // 4}",
        difficulty=unit("difficulty", number),
        origins=("corpus", "corpus + same_video")[number % 2],
        k=k,
        l=distractors,
        answer=answer,
        completion=completion,
        score=score(completion, answer, k + distractors, WEIGHTS),
    )
    return replace(made, **facts)  # type: ignore[arg-type]


def guess(k: int, distractors: int, *seed: int | str) -> str:
    """A random valid answer."""
    return f"<answer>{', '.join(shuffled(LABELS[: k + distractors], 'guess', *seed)[:k])}</answer>"


def test_means_and_chance_by_hand() -> None:
    texts = ["<answer>A, B</answer>", "<answer>B, A</answer>", "<answer>A, C</answer>", "no idea"]
    row = table([outcome(i, text) for i, text in enumerate(texts)], WEIGHTS)[0]
    means = {name: e.mean for name, e in row.estimates.items()}
    assert means == pytest.approx(
        {
            "exact": 1 / 4,
            "set": 2 / 4,
            "recall": (1 + 1 + 1 / 2) / 4,
            "selection": (1 + 1 + 0) / 4,
            "order": 1 / 4,
            "position": (1 + 0 + 1 / 2) / 4,
            "reward": (1 + (0.2 + 0.2) + (0.2 + 0.125)) / 4,
            "valid": 3 / 4,
        }
    )
    exact = row.estimates["exact"]
    assert exact.chance == pytest.approx(1 / 12)
    assert exact.corrected == pytest.approx((1 / 4 - 1 / 12) / (11 / 12))
    assert row.estimates["valid"].chance is None
    assert (row.samples, row.video_groups, row.resampled) == (4, 1, "samples")


def test_chance_is_that_of_each_samples_own_shape() -> None:
    shapes = [(2, 2), (4, 4), (3, 0), (1, 5)]
    made = [outcome(i, "", k=k, distractors=other) for i, (k, other) in enumerate(shapes)]
    row = table(made, WEIGHTS)[0]
    for name in METRICS[:6]:
        wanted = sum(chance(name, k, other).mean for k, other in shapes) / 4
        assert row.estimates[name].chance == pytest.approx(wanted), name
    weights = {name: getattr(WEIGHTS, name) for name in ("format", "selection", "order", "position", "exact")}
    wanted = sum(reward_chance(k, other, weights).mean for k, other in shapes) / 4
    assert row.estimates["reward"].chance == pytest.approx(wanted)
    only_right = table([outcome(0, "<answer>A, B</answer>", distractors=0)], WEIGHTS)[0].estimates["set"]
    assert (only_right.chance, only_right.corrected) == (1.0, None)


def test_rows_partition_the_samples() -> None:
    made = [outcome(i, guess(2, 2, i)) for i in range(40)]
    rows = table(made, WEIGHTS)
    assert [r.by for r in rows][:1] == ["all"]
    for by, names in (("origins", 2), ("video", 10)):
        parts = [r for r in rows if r.by == by]
        assert (len(parts), sum(r.samples for r in parts)) == (names, 40)
    tenths = [r for r in rows if r.by == "difficulty"]
    wanted = {f"{int(o.difficulty * 10) / 10:.1f}" for o in made}
    assert {r.name[:3] for r in tenths} == wanted
    assert sum(r.samples * r.estimates["exact"].mean for r in tenths) == pytest.approx(
        rows[0].samples * rows[0].estimates["exact"].mean
    )
    assert {r.resampled for r in rows if r.by == "video"} == {"samples"}
    assert rows[0].resampled == "video groups"
    assert {r.task for r in rows} == {"mvp"}
    assert to_text(rows).startswith("mvp: 40 samples of 10 video groups; intervals over video groups\n")
    assert "exact" in to_text(rows)


def test_same_seed_same_intervals() -> None:
    made = [outcome(i, guess(2, 2, i)) for i in range(40)]
    assert table(made, WEIGHTS, seed=1) == table(made, WEIGHTS, seed=1)
    assert table(made, WEIGHTS, seed=1) != table(made, WEIGHTS, seed=2)


def test_several_completions_of_a_sample() -> None:
    """Means are over samples first; pass@k counts a sample with one exact completion among k."""
    right, wrong = "<answer>A, B</answer>", "<answer>C, D</answer>"
    texts = [(right, wrong, wrong), (wrong, wrong, wrong), (right, right, right), (wrong, right, wrong)]
    made = [outcome(i, text, rollout=r) for i, sample in enumerate(texts) for r, text in enumerate(sample)]
    estimates = table(made, WEIGHTS)[0].estimates
    assert estimates["exact"].mean == pytest.approx((1 / 3 + 0 + 1 + 1 / 3) / 4)
    assert estimates["pass@3"].mean == pytest.approx(3 / 4)
    assert estimates["pass@3"].chance == pytest.approx(1 - (11 / 12) ** 3)
    assert "pass@1" not in table(made[::3], WEIGHTS)[0].estimates


def paired(*answers: tuple[str, str]) -> list[Outcome]:
    """One pair for each two answers, with right answers of K = 2 and l = 2, and a sample without a pair."""
    made = [
        outcome(2 * number + half, f"<answer>{', '.join(text)}</answer>", pair_id=f"p{number}")
        for number, pair in enumerate(answers)
        for half, text in enumerate(pair)
    ]
    return [*made, outcome(99, "<answer>A, B</answer>")]


def test_the_pair_score_needs_both_answers() -> None:
    """The same answer to both samples of a pair is right for one of them at most: exact .5, pair score 0."""
    blind = table(paired(*[("AB", "CD")] * 8), WEIGHTS)[0]
    assert list(blind.estimates)[:4] == ["pair_score", "pair_set", "twin_set", "exact"]
    assert (blind.pairs, blind.samples) == (8, 17)
    means = {name: e.mean for name, e in blind.estimates.items()}
    assert (means["pair_score"], means["pair_set"], means["twin_set"]) == (0, 0, 0.5)
    assert means["exact"] == 9 / 17
    score_of = {
        name: e.mean
        for name, e in table(paired(("AB", "AB"), ("AB", "BA"), ("AC", "AB")), WEIGHTS)[0].estimates.items()
    }
    assert (score_of["pair_score"], score_of["pair_set"], score_of["twin_set"]) == pytest.approx((1 / 3, 2 / 3, 0))
    assert "mvp: 17 samples (8 pairs) of" in to_text([blind])


def test_the_pair_score_of_guesses_is_the_chance_level() -> None:
    """The right pairs among all answers to two samples: 1 in 12 squared, and 1 set in 6 squared."""
    every = [f"{a}{b}" for a in LABELS[:4] for b in LABELS[:4] if a != b]
    row = table(paired(*[(one, other) for one in every for other in every]), WEIGHTS)[0]
    for name, level in (("pair_score", 1 / 144), ("pair_set", 1 / 36), ("twin_set", 1 / 6)):
        assert row.estimates[name].chance == pytest.approx(level)
        assert row.estimates[name].mean == pytest.approx(level)


def test_several_completions_of_a_pair_and_orphans() -> None:
    """Of 2 x 2 ways to take an answer of each sample, one is right twice; a pair with one sample is not counted."""
    texts = [("<answer>A, B</answer>", "no"), ("no", "<answer>A, B</answer>")]
    made = [outcome(i, text, rollout=r, pair_id="p") for i, both in enumerate(texts) for r, text in enumerate(both)]
    orphan = [outcome(2, "<answer>A, B</answer>", rollout=r, pair_id="q") for r in range(2)]
    row = table([*made, *orphan], WEIGHTS)[0]
    assert (row.pairs, row.samples, row.estimates["pair_score"].mean) == (1, 3, 0.25)
    assert "pair_score" not in table(orphan, WEIGHTS)[0].estimates


def coverage(trials: int, groups: int, draw: Callable[[int], Sequence[Outcome]]) -> dict[str, float]:
    """The share of simulated evaluations whose interval contains the exact chance level."""
    hits = dict.fromkeys(METRICS[:7], 0)
    for trial in range(trials):
        made = draw(trial)
        values = sample_values([[o] for o in made], 1)
        codes, _ = clusters([o.video_group for o in made])
        assert codes.max() == groups - 1
        least = least_values([[o] for o in made], values)
        columns = np.stack(list(values.values()), axis=1)
        low, high = intervals(columns, codes, trial, least=least, most=np.ones_like(least))
        weights = {name: getattr(WEIGHTS, name) for name in ("format", "selection", "order", "position", "exact")}
        for column, name in enumerate(values):
            if name in hits:
                k, other = made[0].k, made[0].l
                level = (reward_chance(k, other, weights) if name == "reward" else chance(name, k, other)).mean
                hits[name] += bool(low[column] <= level <= high[column])
    return {name: count / trials for name, count in hits.items()}


@pytest.mark.parametrize(("k", "groups"), [(2, 5), (2, 25), (3, 60), (4, 10)])
def test_intervals_of_a_guesser_contain_the_chance_level(k: int, groups: int) -> None:
    """In about 95 % of the trials, also for few videos and rare hits: with K = 4 one guess in 1,680 is exact.

    150 trials have a standard error of 1.8 %; discrete metrics cannot hit 95 % exactly.
    """

    def draw(trial: int) -> list[Outcome]:
        return [outcome(i, guess(k, k, trial, i), k=k, distractors=k) for i in range(4 * groups)]

    found = coverage(150, groups, draw)
    assert all(share > 0.9 for share in found.values()), found
    dense = {name: found[name] for name in ("recall", "selection", "position", "reward")}
    assert all(share < 0.99 for share in dense.values()), found  # the intervals are not too wide


def test_one_sample_has_the_whole_range_as_interval() -> None:
    estimate = table([outcome(0, "<answer>A, B</answer>")], WEIGHTS)[0].estimates
    assert (estimate["exact"].low, estimate["exact"].high) == (0, 1)
    assert (estimate["selection"].low, estimate["selection"].high) == (-1, 1)
