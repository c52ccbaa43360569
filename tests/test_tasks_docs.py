"""docs/tasks.md agrees with the code. To update its table and questions: python -m tests.test_tasks_docs."""

import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from math import sqrt

import pytest

from mvp_data.shards.prompt import PromptConfig, flat_text
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.chance import chance, reward_chance
from mvp_train.reward import RewardConfig, score_record
from tests import ROOT
from tests.task_samples import make_task_sample

PAGE = ROOT / "docs" / "tasks.md"
WEIGHTS = RewardConfig()


def chance_table() -> list[str]:
    names = ("exact", "recall", "order")
    lines = [f"| task | letters | {' | '.join(names)} | reward | best |", "|---" * 7 + "|"]
    for task in TASKS:
        record = make_task_sample(task).record
        asked = record.question
        size = (asked.slots, asked.choices - asked.slots)
        levels = [chance(name, *size, ordered=asked.ordered) for name in names]
        levels.append(reward_chance(*size, asdict(WEIGHTS), ordered=asked.ordered))
        shown = " | ".join(f"{level.mean:.4f} ± {sqrt(level.variance):.3f}" for level in levels)
        best = score_record(f"<answer>{', '.join(record.answer)}</answer>", record, WEIGHTS).reward
        lines.append(f"| `{task}` | {asked.slots} of {asked.choices} | {shown} | {best:.1f} |")
    return lines


def questions() -> list[str]:
    lines = []
    for task in TASKS:
        text = flat_text(make_task_sample(task, context=4).record, PromptConfig())
        lines += [f"`{task}`:", "", "```", *text.splitlines(), "```", ""]
    return lines[:-1]


PARTS = {"chance": chance_table, "questions": questions}


def marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize(("name", "part"), PARTS.items())
def test_the_page_is_up_to_date(name: str, part: Callable[[], list[str]]) -> None:
    found = marked(name).search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[2].splitlines() == part(), "run: python -m tests.test_tasks_docs"


def test_every_task_is_in_the_table() -> None:
    table = PAGE.read_text(encoding="utf-8").split("| task | shown")[1].split("\n\n")[0]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == tuple(TASKS)


def test_shown_results_are_real() -> None:
    names: dict[str, object] = {}
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    shown = [line.partition("  # ") for line in block.splitlines()]
    for code, _, result in shown:
        if result:
            assert repr(eval(code, names)) == result
        else:
            exec(code, names)
    assert sum(bool(result) for _, _, result in shown) == 2


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for name, part in PARTS.items():
        lines = "\n".join(part()) + "\n"
        text = marked(name).sub(lambda m, lines=lines: m[1] + lines + m[3], text)
    PAGE.write_text(text, encoding="utf-8")
    sys.exit(0)
