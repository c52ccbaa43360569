"""A task is one object: the tests register a toy task, and build, inspect, audit and grade it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from mvp_data import BuildReport, Record, build, read_index, read_shard, shard_paths
from mvp_data.audit.run import audit
from mvp_data.cli.main import app
from mvp_data.config.options import from_options
from mvp_data.shards.prompt import PromptConfig, flat_text
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.task import Labelled, Question, Task
from mvp_data.verify.run import verify
from mvp_data.viewer.summary import summarize
from mvp_data.viewer.tables import asked, puzzle_in_words
from mvp_train.reward import MvpReward, RewardConfig, score_record
from tests.scenes import film


@dataclass(frozen=True)
class First:
    """The label of the first hidden frame."""

    words: tuple[str, ...] = ()

    def question(self, k: int, l: int) -> Question:  # noqa: E741
        return Question(slots=1, choices=k + l, ordered=True)

    def right(self, pool: Sequence[Labelled]) -> tuple[str, ...]:
        return tuple(c.label for c in pool if c.order == 0)

    def from_chosen(self, chosen: Sequence[int], choices: int, key: str) -> tuple[int, ...]:
        return (chosen[0],)


TOY = Task(
    name="toy-first",
    form=First(),
    asks="Which candidate fills the start of the gap?",
    asks_briefly="which of the {n} comes first in the gap?",
    gap_at_end=True,
)


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, TOY.name, TOY)
        yield


@pytest.fixture(scope="module")
def built(registered: None, tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    """A build of the toy task and `mvp`. Two worker processes decode the videos."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "films").mkdir()
    for seed in range(2):
        film(folder / "films" / f"film {seed}.mp4", seed=seed, seconds=20)
    options = {"src": str(folder / "films"), "out": folder / "shards", "embedder": tinyvit, "workers": 2}
    tasks = {"tasks": f"mvp,{TOY.name}=3", "decoy_share": 0.0}
    return build(from_options({**options, **tasks, "val_share": 0.0, "test_share": 0.0}))


@pytest.fixture(scope="module")
def records(built: BuildReport) -> list[Record]:
    found = [sample.record for shard in shard_paths(built.out) for sample in read_shard(shard)]
    return [record for record in found if record.task == TOY.name]


def test_build(built: BuildReport, records: list[Record]) -> None:
    assert built.tasks[TOY.name] == len(records) > 3
    assert {shard.name for shard in read_index(built.out).shards} == {"shard-000000.tar", "toy-first-shard-000000.tar"}
    assert "- config_name: toy-first\n  data_files:" in (built.out / "README.md").read_text()
    for record in records:
        assert record.key.endswith("-toy-first")
        (first,) = record.answer
        assert [c.label for c in record.candidates if c.order == 0] == [first]
        assert record.mask_start == len(record.context)
    assert len(Counter(record.answer for record in records)) > 1


def test_verify(built: BuildReport) -> None:
    found = verify(built.out)
    assert found.ok
    assert found.samples == built.samples


def test_prompt(records: list[Record]) -> None:
    text = flat_text(records[0], PromptConfig())
    assert "8 candidates, shuffled; 4 of them fill the gap, the others do not:\nA: <image>" in text
    assert text.endswith("Which candidate fills the start of the gap? Give one letter, like this: <answer>Z</answer>")


def test_inspect(built: BuildReport, records: list[Record]) -> None:
    summary = summarize(built.out, TOY.name)
    assert (summary.task, summary.samples, summary.slots) == (TOY.name, len(records), 1)
    assert asked(records[0]) == "which of the 8 comes first in the gap?"
    sample = next(read_shard(built.out / "toy-first-shard-000000.tar"))
    assert puzzle_in_words(sample).endswith(f"answer  {sample.record.answer[0]}")
    done = CliRunner().invoke(app, ["inspect", str(built.out), "--task", TOY.name])
    assert done.exit_code == 0
    assert "task         toy-first (also here: mvp" in done.output


def test_audit(built: BuildReport, records: list[Record]) -> None:
    part = next(part for part in audit(built.out).parts if part.task == TOY.name)
    assert part.samples == len(records)
    assert part.chance["exact"] == pytest.approx(1 / 8)
    results = {result.name: result for result in part.results}
    assert results["chain-pixels"].kind == "leak"  # its pools may have decoys, so the context must decide
    assert results["path-pixels"].judged == ("exact",)


def test_reward(records: list[Record]) -> None:
    weights = RewardConfig()
    for record in records:
        (right,) = record.answer
        second = next(c.label for c in record.candidates if c.order == 1)
        assert score_record(f"<answer>{right}</answer>", record, weights).reward == 1
        assert score_record(f"<answer>{second}</answer>", record, weights).exact == 0
        assert not score_record(f"<answer>{right}, {second}</answer>", record, weights).valid
    logged: dict[str, float] = {}
    completions = [f"<answer>{record.answer[0]}</answer>" for record in records]
    answers, tasks = [record.answer[0] for record in records], [record.task for record in records]
    reward = MvpReward(weights)
    pools, ordered = [8] * len(records), [True] * len(records)
    earned = reward(
        completions=completions, answer=answers, pool=pools, ordered=ordered, task=tasks, log_metric=logged.__setitem__
    )
    assert earned == [1.0] * len(records)
    assert logged["toy-first/exact"] == 1
