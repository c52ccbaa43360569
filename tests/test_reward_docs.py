"""The tables of docs/reward.md agree with the code. To update them: python -m tests.test_reward_docs."""

import re
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from math import sqrt

import pytest

from mvp_data.tasks.chance import Chance, chance, reward_chance
from mvp_train.reward import RewardConfig, score
from tests import ROOT

PAGE = ROOT / "docs" / "reward.md"
ANSWER, POOL = "CAFB", 8
WEIGHTS = RewardConfig()
COMPLETIONS = {
    "none": "C, A, F, B",
    "two neighbours swapped": "C, F, A, B",
    "first and last swapped": "B, A, F, C",
    "rotated by one slot": "A, F, B, C",
    "reversed": "B, F, A, C",
    "one distractor": "C, A, F, H",
    "one distractor, all slots wrong": "H, C, A, F",
    "two distractors": "C, A, H, G",
    "two distractors, the rest swapped": "A, C, H, G",
    "three distractors": "C, H, G, E",
    "three distractors, no slot right": "H, C, G, E",
    "all distractors": "H, G, E, D",
    "a label twice": "C, A, F, F",
    "one label too few": "C, A, F",
    "not separated": "CAFB",
}
SIZES = [(4, 4), (3, 3), (4, 8), (5, 5)]


def weights_table() -> list[str]:
    names = [f.name for f in fields(RewardConfig)]
    return [
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
        f"| {' | '.join(f'{getattr(WEIGHTS, name):g}' for name in names)} |",
    ]


def mistakes_table() -> list[str]:
    lines = ["| mistake | answer | selection | order | position | exact | reward |", "|---|---|---|---|---|---|---|"]
    for mistake, labels in COMPLETIONS.items():
        got = score(f"<answer>{labels}</answer>", ANSWER, POOL, WEIGHTS)
        parts = (got.selection, got.order, got.position, got.exact)
        shown = " | ".join(f"{part:.2f}" if got.valid else "" for part in parts)
        lines.append(f"| {mistake} | `{labels}` | {shown} | {got.reward:.3f} |")
    return [*lines, "| no tags | | | | | | 0.000 |"]


def chance_table() -> list[str]:
    names = ("exact", "set", "recall", "selection", "position", "order")
    lines = [f"| K, l | {' | '.join(names)} | reward |", "|---" * 8 + "|"]
    for k, others in SIZES:
        levels = [chance(name, k, others) for name in names]
        levels.append(reward_chance(k, others, asdict(WEIGHTS)))
        lines.append(f"| {k}, {others} | {' | '.join(map(shown, levels))} |")
    return lines


def shown(level: Chance) -> str:
    return f"{level.mean:.4f} ± {sqrt(level.variance):.3f}"


TABLES = {"weights": weights_table, "mistakes": mistakes_table, "chance": chance_table}


def marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize(("name", "table"), TABLES.items())
def test_tables_are_up_to_date(name: str, table: Callable[[], list[str]]) -> None:
    found = marked(name).search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[2].splitlines() == table(), "run: python -m tests.test_reward_docs"


def test_shown_results_are_real() -> None:
    """Every line of Python on the page runs, and gives the result in the comment after it."""
    names: dict[str, object] = {}
    checked = 0
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.sub(r"\n# ", "  # ", block).splitlines():
            code, _, result = line.partition("  # ")
            if result:
                pattern = ".*".join(map(re.escape, result.split("...")))
                assert re.fullmatch(pattern, repr(eval(code, names))), line
                checked += 1
            else:
                exec(code, names)
    assert checked == 4


def test_an_untagged_answer_earns_what_the_table_says() -> None:
    assert score("C, A, F, B", ANSWER, POOL, WEIGHTS).reward == 0


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    for name, table in TABLES.items():
        rows = "\n".join(table()) + "\n"
        text = marked(name).sub(lambda m, rows=rows: m[1] + rows + m[3], text)
    PAGE.write_text(text, encoding="utf-8")
    sys.exit(0)
