"""The tasks: no other module compares their names, and each answer follows from the candidates."""

import ast
import re
from dataclasses import replace

import pytest

from mvp_data.tasks.catalogue import ARROW, JIGSAW, MVP, NEXT, ODD_ONE_OUT, SELECT, TASKS
from tests import ROOT
from tests.samples import make_record
from tests.task_samples import make_task_sample

OURS = sorted((ROOT / "mvp_data" / "tasks").glob("*.py"))
OTHERS = sorted({*(ROOT / "mvp_data").rglob("*.py"), *(ROOT / "mvp_train").rglob("*.py")} - {*OURS})


def task_names(tree: ast.AST) -> set[str]:
    """Names of tasks in a syntax tree."""
    return {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in TASKS}


def comparisons(tree: ast.AST) -> list[str]:
    """The code of each comparison with a task's name, each match on one, and each dictionary with such a key.

    Tuples, lists and sets of several names count too, since code can compare with them without a literal.
    """
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.match_case):
            named = task_names(node) if isinstance(node, ast.Compare) else task_names(node.pattern)
        elif isinstance(node, ast.Dict):
            named = set().union(*(task_names(key) for key in node.keys if key is not None))
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            named = task_names(node) if len(task_names(node)) > 1 else set()
        elif isinstance(node, ast.Subscript):
            named = task_names(node.slice)
        else:
            continue
        if named:
            found.append(ast.unparse(node) if isinstance(node, ast.expr) else ast.unparse(node.pattern))
    return found


def test_no_module_outside_the_package_compares_a_task_name() -> None:
    found = {str(path): comparisons(ast.parse(path.read_text(encoding="utf-8"))) for path in OTHERS}
    assert len(found) > 100
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "code",
    [
        "x = task == 'arrow'",
        "x = task in ('jigsaw', 'arrow')",
        "x = 'select' in shares",
        "WORDS = {'arrow': 1}",
        "ALONE = ('jigsaw', 'arrow')",
        "x = TASKS['next']",
        "match task:\n    case 'odd-one-out':\n        pass",
    ],
)
def test_the_search_finds_comparisons(code: str) -> None:
    assert comparisons(ast.parse(code))


def test_the_search_lets_defaults_pass() -> None:
    assert not comparisons(ast.parse("def f(task='mvp', shares=(('mvp', 1.0),)): return ['mvp'] * 3"))


def test_the_package_imports_errors_seeds_and_itself() -> None:
    """So all packages can use it. NumPy is imported by one function."""
    for path in OURS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mvp_"):
                assert re.fullmatch(r"mvp_data\.(core\.errors|core\.seeds|tasks\.\w+)", node.module or ""), path.name
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            assert not isinstance(statement, ast.Import) or "numpy" not in ast.unparse(statement), path.name


def test_the_catalogue() -> None:
    assert [task.name for task in TASKS.values()] == list(TASKS)
    assert [task for task in TASKS.values() if task.main] == [MVP]
    assert [task for task in TASKS.values() if not task.lettered] == [ARROW]


def test_right_answers_of_one_pool() -> None:
    """Candidates A to D are hidden frames 2, 0, 3 and 1."""
    record = make_record(0, k=4, distractors=0)
    pool = [replace(c, order=order) for c, order in zip(record.candidates, (2, 0, 3, 1), strict=True)]
    assert MVP.right_answer(pool) == JIGSAW.right_answer(pool) == NEXT.right_answer(pool) == ("B", "D", "A", "C")
    assert SELECT.right_answer(pool) == ("A", "B", "C", "D")
    assert ARROW.right_answer(pool) == ("A",)  # frame 0 is before frame 3 in the pool
    odd = [replace(pool[0], order=-1, origin="corpus"), *pool[1:]]
    assert ODD_ONE_OUT.right_answer(odd) == ("A",)


def test_the_answer_of_a_solver_that_chooses_frames() -> None:
    assert MVP.form.from_chosen((5, 0, 3), 8, "") == (5, 0, 3)
    assert ARROW.form.from_chosen((0, 1, 2, 3), 2, "") == (0,)
    assert ARROW.form.from_chosen((3, 1, 2, 0), 2, "") == (1,)
    assert ODD_ONE_OUT.form.from_chosen((4, 0, 2, 1), 5, "") == (3,)
    ties = [ARROW.form.from_chosen((1, 2, 3, 0), 2, str(key)) for key in range(60)]
    assert 15 < ties.count((0,)) < 45
    assert ties == [ARROW.form.from_chosen((1, 2, 3, 0), 2, str(key)) for key in range(60)]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_solver_that_chooses_the_hidden_frames_in_order_is_right(task) -> None:  # type: ignore[no-untyped-def]
    for number in range(4):
        record = make_task_sample(task.name, number).record
        hidden = sorted((c.order, place) for place, c in enumerate(record.candidates) if c.order >= 0)
        answer = task.form.from_chosen([place for _, place in hidden], record.question.choices, record.key)
        assert {"ABCDEFGH"[place] for place in answer} == set(record.answer)
        assert not record.question.ordered or tuple("ABCDEFGH"[place] for place in answer) == record.answer


@pytest.mark.parametrize(
    ("task", "orders", "context_after", "problem"),
    [
        ("jigsaw", (1, 0, 2, 3, -1), 6, "jigsaw with k 4, l 1"),
        ("jigsaw", (0,), 6, "jigsaw with k 1, l 0"),
        ("odd-one-out", (0, -1, 1, -1, 2, 3), 6, "odd-one-out with k 4, l 2"),
        ("next", (1, 0, -1), 5, "next with context frames after the gap"),
        ("next", (1, 0, -1), 0, ""),
        ("mvp", (1, 0), 6, ""),
        ("arrow", (0, 1, 2, 3), 6, ""),
        ("arrow", (3, 2, 1, 0), 6, ""),
        ("arrow", (0, 2, 1, 3), 6, "arrow with candidates in the order [0, 2, 1, 3], neither forwards nor backwards"),
    ],
)
def test_samples_that_break_a_rule_of_their_task(
    task: str, orders: tuple[int, ...], context_after: int, problem: str
) -> None:
    assert TASKS[task].problem(orders, context_after) == problem


@pytest.mark.parametrize("task", TASKS)
def test_the_samples_of_the_tests_keep_the_rules(task: str) -> None:
    record = make_task_sample(task).record
    orders = [c.order for c in record.candidates]
    assert TASKS[task].problem(orders, len(record.context) - record.mask_start) == ""


def test_names_of_shards_and_keys() -> None:
    assert (MVP.shard_stem("val"), MVP.key_suffix) == ("val", "")
    assert (JIGSAW.shard_stem("shard"), JIGSAW.key_suffix) == ("jigsaw-shard", "-jigsaw")
