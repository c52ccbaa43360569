"""Random numbers by name: the same on every machine, different for different names, and uniform."""

import subprocess
import sys
from itertools import permutations

import pytest

from mvp_data.core.seeds import shuffled, stable_hash, unit


@pytest.mark.parametrize(
    ("parts", "value"), [((), 16476032584258269876), (("a", 1), 6762843556093569606), ((1.5,), 14752901999092903873)]
)
def test_values_are_the_same_on_every_machine(parts: tuple[str | int | float, ...], value: int) -> None:
    assert stable_hash(*parts) == value


def test_other_parts_and_types_give_other_hashes() -> None:
    different = [("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), (1,), ("1",), (1.0,), (1, ""), ()]
    assert len({stable_hash(*parts) for parts in different}) == len(different)


def test_python_hash_randomisation_changes_nothing() -> None:
    program = "from mvp_data.core.seeds import *; print(stable_hash('x', 3), unit('x'), shuffled('abcdef', 'x'))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_unit_is_uniform() -> None:
    draws = [unit("test", i) for i in range(10_000)]
    assert all(0 <= draw < 1 for draw in draws)
    tenths = [sum(int(draw * 10) == t for draw in draws) for t in range(10)]
    assert sum((count - 1000) ** 2 / 1000 for count in tenths) < 27.9  # chi-square, 9 degrees, p = .001


def test_shuffled_reaches_every_order_equally_often() -> None:
    counts = dict.fromkeys(permutations("abc"), 0)
    for i in range(6000):
        counts[tuple(shuffled("abc", "order", i))] += 1
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 20.5  # 5 degrees, p = .001


def test_shuffled_depends_on_positions_not_on_values() -> None:
    order = shuffled(range(9), "seed")
    assert shuffled("aaabbbccc", "seed") == ["aaabbbccc"[i] for i in order]
    assert sorted(order) == list(range(9))
    assert shuffled([], "seed") == []
