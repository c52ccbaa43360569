"""The paired test: it finds a planted difference, no other one, and refuses evaluations that are not comparable."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import stable_hash
from mvp_data.shards.prompt import PromptConfig
from mvp_train.evaluation.ask import AskConfig
from mvp_train.evaluation.compare import FLIPS, compare, sign_flip, to_text
from mvp_train.evaluation.evaluate import evaluate
from mvp_train.reward import RewardConfig
from tests.train.evaluation.test_evaluate import ABOUT, Looker, chosen, make_samples

GREEDY = AskConfig(batch_size=30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluations of 60 samples of 20 videos: `good` guesses a tenth of them, `bad` seven tenths."""
    root = tmp_path_factory.mktemp("runs")
    samples = make_samples(root / "shards", 60)
    for name, slips, seed in (("good", 0.1, 0), ("bad", 0.7, 0), ("bad again", 0.7, 1)):
        ask = AskConfig(batch_size=30, seed=seed)
        evaluate(lambda slips=slips: Looker(slips=slips), samples, root / name, ask, ABOUT)  # type: ignore[misc]
    return root


def report(runs: Path, name: str) -> Path:
    return runs / name / "report.json"


def test_a_planted_difference_is_found(runs: Path) -> None:
    (found,) = compare(report(runs, "bad"), report(runs, "good"))
    assert (found.task, found.samples, found.only_a, found.only_b, found.video_groups) == ("mvp", 60, 0, 0, 20)
    for name in ("exact", "recall", "position", "reward"):
        difference = found.metrics[name]
        assert difference.difference == pytest.approx(difference.b - difference.a)
        assert 0 < difference.low < difference.difference < difference.high
        assert difference.p < 0.01
    turned = compare(report(runs, "good"), report(runs, "bad"))[0].metrics["exact"]
    assert turned.difference == -found.metrics["exact"].difference
    assert turned.p == found.metrics["exact"].p
    assert "+0." in to_text(found)
    assert [found] == compare(report(runs, "bad"), report(runs, "good"))


def test_no_difference_is_found_where_there_is_none(runs: Path) -> None:
    itself = compare(report(runs, "bad"), report(runs, "bad"))[0].metrics
    assert {(d.difference, d.p) for d in itself.values()} == {(0.0, 1.0)}
    assert all(d.low < 0 < d.high for d in itself.values())
    other_luck = compare(report(runs, "bad"), report(runs, "bad again"))[0].metrics
    assert other_luck["exact"].difference != 0
    assert all(d.low <= 0 <= d.high and d.p > 0.05 for d in other_luck.values())


def test_p_values_are_those_of_all_flips() -> None:
    rng = np.random.default_rng(stable_hash("flips"))
    codes = np.array([0, 0, 1, 1, 1, 2, 3, 4, 4, 5, 6, 7])
    change = rng.normal(0.5, 1, size=(12, 3))
    sums = np.array([change[codes == g].sum(axis=0) for g in range(8)])
    flips = np.array(list(product((-1, 1), repeat=8)))
    exact = (np.abs(flips @ sums) >= np.abs(sums.sum(axis=0)) - 1e-9).mean(axis=0)
    assert sign_flip(change, codes, 0) == pytest.approx(exact, abs=4 * (0.25 / FLIPS) ** 0.5)


def test_p_is_below_a_level_no_more_often_than_the_level() -> None:
    """Under the null hypothesis, with correlated samples of a video; 400 trials, standard error 1.1 %."""
    rng = np.random.default_rng(stable_hash("null"))
    codes = np.repeat(np.arange(12), 5)
    by_group = rng.normal(size=(12, 400))
    p = sign_flip(np.repeat(by_group, 5, axis=0) + 0.1 * rng.normal(size=(60, 400)), codes, 0)
    assert 0.02 < (p < 0.05).mean() < 0.08
    alone = sign_flip(np.repeat(by_group, 5, axis=0), np.arange(60), 0)
    assert (alone < 0.05).mean() > 0.2  # if samples were treated as independent


def test_only_common_samples_count(runs: Path, tmp_path: Path) -> None:
    evaluate(Looker, chosen(runs / "shards", limit=30), tmp_path / "part", GREEDY, ABOUT)
    (found,) = compare(tmp_path / "part" / "report.json", report(runs, "bad"))
    assert (found.samples, found.only_a, found.only_b, found.video_groups) == (30, 0, 30, 10)
    assert found.metrics["exact"].a == 1


def test_probes_and_numbers_of_completions_may_differ(runs: Path, tmp_path: Path) -> None:
    ask = AskConfig(probe="blank-candidates", rollouts=2, temperature=1.0, batch_size=30)
    evaluate(Looker, chosen(runs / "shards"), tmp_path / "blank", ask, ABOUT)
    (found,) = compare(report(runs, "good"), tmp_path / "blank" / "report.json")
    assert found.metrics["exact"].high < 0
    assert "pass@2" not in found.metrics
    assert "pass@2" in compare(*[tmp_path / "blank" / "report.json"] * 2)[0].metrics


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ask": AskConfig(prompt=PromptConfig(thinking=True))}, "prompt is"),
        ({"ask": AskConfig(reward=RewardConfig(format=0.4, selection=0.0))}, "reward is"),
        ({"record": {"distractors": 3}}, "l of video0-s000-v0 is 2 in one and 3 in the other"),
        ({"record": {"k": 3}, "k": 3}, "k of video0-s000-v0 is 2 in one and 3 in the other"),
    ],
)
def test_evaluations_that_are_not_comparable(runs: Path, tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    samples = make_samples(tmp_path / "shards", 6, **change.get("record", {}))
    evaluate(lambda: Looker(change.get("k", 2)), samples, tmp_path / "out", change.get("ask", GREEDY), ABOUT)
    with pytest.raises(ConfigError, match=problem) as told:
        compare(report(runs, "good"), tmp_path / "out" / "report.json")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("column", "value"), [("config_hash", "deadbeef"), ("answer", "DC"), ("video_group", "else")])
def test_samples_of_another_build(runs: Path, tmp_path: Path, column: str, value: str) -> None:
    """Keys come from the videos, so builds with different settings share many of them."""
    table = pq.read_table(runs / "good" / "completions.parquet")
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, [[value] * len(table)]), tmp_path / "completions.parquet")
    (tmp_path / "report.json").write_bytes(report(runs, "good").read_bytes())
    with pytest.raises(ConfigError, match=f"not the same shards, {column} of video0-s000-v0 is"):
        compare(report(runs, "good"), tmp_path / "report.json")


def test_evaluations_without_a_common_sample(runs: Path, tmp_path: Path) -> None:
    """Two halves of one set."""
    whole = chosen(runs / "shards")
    for name, rows in (("a", whole.rows[:6]), ("b", whole.rows[6:12])):
        evaluate(Looker, type(whole)(sets=whole.sets, rows=rows), tmp_path / name, GREEDY, ABOUT)
    with pytest.raises(ConfigError, match="no common sample"):
        compare(tmp_path / "a" / "report.json", tmp_path / "b" / "report.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ask": 3}', '{"ask": {"prompt": {}}}', "[" * 100_000, "\x00\xff"])
def test_files_that_are_not_reports(runs: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"report\.json"):
        compare(report(runs, "good"), tmp_path / "report.json")


def test_missing_and_damaged_files(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        compare(report(runs, "good"), tmp_path / "none.json")
    (tmp_path / "report.json").write_bytes(report(runs, "good").read_bytes())
    with pytest.raises(ConfigError, match=r"completions\.parquet: not the completions"):
        compare(report(runs, "good"), tmp_path / "report.json")
    whole = (runs / "good" / "completions.parquet").read_bytes()
    (tmp_path / "completions.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"completions\.parquet: not the completions"):
        compare(report(runs, "good"), tmp_path / "report.json")
    assert json.loads(report(runs, "good").read_text())["samples"] == 60
