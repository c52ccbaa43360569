"""A set of all tasks, from the row to the report: each is asked, graded and reported on its own."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mvp_data.core.errors import ConfigError
from mvp_data.shards.prompt import PromptConfig, prompt_images
from mvp_data.tasks.catalogue import TASKS
from mvp_train.dataset import Samples, select, to_dataset, to_row
from mvp_train.evaluation.ask import AskConfig
from mvp_train.evaluation.compare import compare, to_text
from mvp_train.evaluation.evaluate import evaluate, read_completions
from mvp_train.evaluation.page import Shown, write_page
from mvp_train.evaluation.pass_rates import Counts, measure_pass_rates
from mvp_train.models.load import Sampling
from mvp_train.recipe import DataConfig, ShardsConfig, from_values
from mvp_train.reward import MvpReward, RewardConfig, score_record
from tests.task_samples import ANY_ORDER, EXACT_BY_CHANCE, make_mixed_folder, make_task_sample

WEIGHTS = RewardConfig()
ABOUT = {"model": {"path": "told"}}
EACH = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mixed_folder(tmp_path_factory.mktemp("set") / "shards", EACH, context=4)


def chosen(folder: Path, **data: Any) -> Samples:
    return select(DataConfig(shards=(ShardsConfig(path=str(folder)),), **{"order": "as_written", **data}))


def tagged(labels: Sequence[str]) -> str:
    return f"<answer>{', '.join(labels)}</answer>"


class Told:
    """Answers samples in their order: correctly for the tasks in `right`, and `select` in reverse order."""

    def __init__(self, samples: Samples, right: Sequence[str] = tuple(TASKS)) -> None:
        self._answers = self._told(samples, right)

    def answer(self, prompts: Sequence[Any], images: Sequence[Any], sampling: Sampling) -> list[list[str]]:
        return [[next(self._answers)] * sampling.samples for _ in prompts]

    @staticmethod
    def _told(samples: Samples, right: Sequence[str]) -> Iterator[str]:
        for record in (samples[i].record for i in range(len(samples))):
            labels = record.answer[::-1] if record.task == "select" else record.answer
            yield tagged(labels) if record.task in right else "no idea"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("context", [True, False])
def test_the_row_of_each_task(task: str, context: bool) -> None:
    sample, prompt = make_task_sample(task, 1), PromptConfig(context=context)
    row, asked = to_row(sample, prompt), sample.record.question
    told = {name: row[name] for name in ("answer", "pool", "ordered", "task")}
    truth = {"answer": "".join(sample.record.answer), "pool": asked.choices}
    assert told == truth | {"ordered": task != "select", "task": task}
    placeholders = [piece for piece in row["prompt"][0]["content"] if piece["type"] == "image"]
    assert len(row["images"]) == len(placeholders) == len(prompt_images(sample, prompt))


def test_each_task_is_one_shape(folder: Path) -> None:
    samples = chosen(folder)
    assert samples.tasks == dict.fromkeys(TASKS, EACH)
    assert [sample.record.key for sample in samples.one_of_each_shape()] == samples.keys[::EACH]


def test_some_tasks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(folder, tasks=("arrow", "mvp")).tasks == {"mvp": EACH, "arrow": EACH}
    easy = chosen(folder, tasks=("jigsaw", "next"), order="curriculum")
    found = [easy[i].record for i in range(len(easy))]
    assert [r.difficulty for r in found] == sorted(r.difficulty for r in found)
    assert {r.task for r in found} == {"jigsaw", "next"}
    alone = folder / "select-shard-000000.tar"
    assert chosen(alone, tasks=("select", "arrow")).tasks == {"select": EACH}
    assert capsys.readouterr().err == "data.tasks: split 'train' has no samples of arrow (select 3)\n"
    with pytest.raises(ConfigError, match=r"has no samples of arrow, mvp \(select 3\): choose other tasks, or build"):
        chosen(alone, tasks=("mvp", "arrow"))


@pytest.mark.parametrize(("given", "read"), [("arrow", ("arrow",)), (["mvp", "next"], ("mvp", "next")), (None, ())])
def test_tasks_of_a_recipe(given: object, read: tuple[str, ...]) -> None:
    made = from_values({"model": {"path": "a"}, "data": {"shards": "b", "tasks": given}})
    assert made.data.tasks == read


@pytest.mark.parametrize("given", ["sudoku", ["mvp", 3], [["mvp"]], {"mvp": 1}])
def test_unknown_tasks(given: object) -> None:
    with pytest.raises(ConfigError, match=rf"data\.tasks: unknown .*; there are {', '.join(TASKS)}"):
        from_values({"model": {"path": "a"}, "data": {"shards": "b", "tasks": given}})


def test_each_task_is_measured_separately(folder: Path, tmp_path: Path) -> None:
    samples = chosen(folder)
    report = evaluate(lambda: Told(samples, ["select", "arrow"]), samples, tmp_path / "out", AskConfig(), ABOUT)
    whole = {row.task: row for row in report.rows if row.by == "all"}
    assert list(whole) == list(TASKS)
    assert {row.samples for row in whole.values()} == {EACH}
    assert {task for task, row in whole.items() if row.estimates["exact"].mean == 1} == {"select", "arrow"}
    levels = {task: row.estimates["exact"].chance for task, row in whole.items()}
    assert levels == pytest.approx(EXACT_BY_CHANCE)
    for task in TASKS:
        parts = [row for row in report.rows if row.task == task]
        assert sum(row.samples for row in parts if row.by == "difficulty") == EACH
        assert {row.by for row in parts} == {"all", "difficulty", "origins", "video"}
    page = (tmp_path / "out" / "page.html").read_text()
    assert all(f"{task}: {EACH} samples of 1 video group; intervals over samples" in page for task in TASKS)
    assert read_completions(tmp_path / "out" / "completions.parquet")[0].task == "mvp"


def test_completions_of_an_unknown_task(folder: Path, tmp_path: Path) -> None:
    samples = chosen(folder, tasks=("arrow",))
    evaluate(lambda: Told(samples), samples, tmp_path / "out", AskConfig(), ABOUT)
    path = tmp_path / "out" / "completions.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index("task")
    pq.write_table(table.set_column(at, "task", [["sudoku"] * len(table)]), path)
    with pytest.raises(ConfigError, match="other columns or tasks"):
        read_completions(path)


def test_tasks_are_compared_separately(folder: Path, tmp_path: Path) -> None:
    sides = {"a": (TASKS, ["mvp"]), "b": (tuple(TASKS)[:5], ["mvp", "arrow"])}
    for name, (asked, right) in sides.items():
        samples = chosen(folder, tasks=asked)
        evaluate(lambda s=samples, r=right: Told(s, r), samples, tmp_path / name, AskConfig(), ABOUT)  # type: ignore[misc]
    found = compare(tmp_path / "a" / "report.json", tmp_path / "b" / "report.json")
    assert [c.task for c in found] == list(tuple(TASKS)[:5])
    assert {(c.samples, c.only_a, c.only_b) for c in found} == {(EACH, 0, 0)}
    assert {c.task: c.metrics["exact"].difference for c in found if c.metrics["exact"].difference} == {"arrow": 1.0}
    assert "arrow: 3 samples of 1 video groups in both" in to_text(found[4])


def test_pass_rates_of_each_task(folder: Path, tmp_path: Path) -> None:
    samples = chosen(folder)
    counts = measure_pass_rates(
        lambda: Told(samples, ["select"]), samples, tmp_path / "rates.parquet", AskConfig(batch_size=4), ABOUT
    )
    assert list(counts) == list(TASKS)
    assert counts["select"] == Counts(samples=EACH, always=EACH, never=0, useful=0)
    assert counts["mvp"] == Counts(samples=EACH, always=0, never=EACH, useful=0)
    tasks = pq.read_table(tmp_path / "rates.parquet")["task"].to_pylist()
    assert tasks == [task for task in TASKS for _ in range(EACH)]


def test_the_page_shows_each_task(tmp_path: Path) -> None:
    for task in TASKS:
        sample = make_task_sample(task, 1)
        text = tagged(sample.record.answer[::-1])
        shown = Shown(sample=sample, completion=text, score=score_record(text, sample.record, WEIGHTS))
        write_page(tmp_path / "page.html", [shown], task)
        page = (tmp_path / "page.html").read_text()
        right = page.count('<li class="right">')
        assert right == (len(sample.record.answer) if task in ANY_ORDER else 0)
        assert f"<span>{task}</span>" in page
        hidden = sorted((c for c in sample.record.candidates if c.order >= 0), key=lambda c: c.order)
        names = "1234" if task == "arrow" else [c.label for c in hidden]
        holes = [part.split("</figcaption>")[0] for part in page.split("</svg><figcaption>")[1:]]
        assert holes == list(names)
        assert ("<li>B backwards</li>" in page) == (task == "arrow")


def test_a_batch_of_all_tasks_is_graded_and_logged_by_task(folder: Path) -> None:
    samples = chosen(folder)
    rows = to_dataset(samples, PromptConfig())[:]
    told = [next(answers) for answers in [Told(samples)._answers] for _ in range(len(samples))]
    logged: dict[str, float] = {}
    columns = {name: rows[name] for name in ("answer", "pool", "ordered", "task", "key", "row")}
    rewards = MvpReward(WEIGHTS)(prompts=rows["prompt"], completions=told, log_metric=logged.__setitem__, **columns)
    best = {"jigsaw": 1 - WEIGHTS.selection}  # there is nothing to choose
    assert rewards == pytest.approx([best.get(task, 1.0) for task in rows["task"]])
    assert {name: value for name, value in logged.items() if name.endswith("/exact")} == {
        f"{task}/exact": 1.0 for task in TASKS
    }
    wrong = ["<answer>A</answer>" if size > 2 else "" for size in rows["pool"]]
    MvpReward(WEIGHTS)(completions=wrong, log_metric=logged.__setitem__, **columns)
    assert logged["mvp/valid"] == logged["arrow/valid"] == 0
    assert logged["odd-one-out/valid"] == 1
