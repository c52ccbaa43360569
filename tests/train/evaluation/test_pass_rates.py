"""Pass rates: the same after an interruption, and refused if they belong to another run."""

import json
import os
import signal
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mvp_data.core.errors import ConfigError, OutputError
from mvp_train.dataset import Samples
from mvp_train.evaluation.ask import AskConfig
from mvp_train.evaluation.pass_rates import LOG_SUFFIX, Counts, measure_pass_rates
from mvp_train.reward import score
from tests.train.evaluation.test_evaluate import ABOUT, Looker, chosen, make_samples

ROOT = Path(__file__).resolve().parents[3]
ASK = AskConfig(rollouts=4, temperature=1.0, batch_size=3, seed=5)


def half_right() -> Looker:
    return Looker(slips=0.5)


def never() -> Looker:
    pytest.fail("the model was loaded")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("set") / "shards", 13)


@pytest.fixture(scope="module")
def whole(samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run without an interruption."""
    out = tmp_path_factory.mktemp("whole") / "rates.parquet"
    measure_pass_rates(half_right, samples, out, ASK, ABOUT)
    return out


def test_rates_are_those_of_the_rollouts(samples: Samples, whole: Path) -> None:
    table = pq.read_table(whole)
    assert {f.name: str(f.type) for f in table.schema} == {
        "key": "string",
        "pair_id": "string",
        "task": "string",
        "rollouts": "int32",
        "correct": "int32",
        "mean_reward": "double",
        "reward_std": "double",
    }
    rows = table.to_pylist()
    assert [row["key"] for row in rows] == samples.keys
    assert {row["rollouts"] for row in rows} == {4}
    assert 0.2 < sum(row["correct"] for row in rows) / 52 < 0.85
    said: list[list[str]] = []

    class Noting(Looker):
        def answer(self, *args: Any, **kwargs: Any) -> list[list[str]]:
            said.extend(super().answer(*args, **kwargs))
            return said[-len(args[0]) :]

    measure_pass_rates(lambda: Noting(slips=0.5), samples, whole.with_name("noted.parquet"), ASK, ABOUT)
    for number, row in enumerate(rows):
        answer = "".join(samples[number].record.answer)
        scores = [score(text, answer, 4, ASK.reward) for text in said[number]]
        assert row["correct"] == sum(s.exact for s in scores)
        assert row["mean_reward"] == pytest.approx(sum(s.reward for s in scores) / 4)
        assert row["reward_std"] == pytest.approx(statistics.pstdev(s.reward for s in scores))


def test_counts(samples: Samples, whole: Path, tmp_path: Path) -> None:
    rows = pq.read_table(whole).to_pylist()
    counts = measure_pass_rates(never, samples, whole, ASK, ABOUT)  # a finished run
    always, none = sum(r["correct"] == 4 for r in rows), sum(r["correct"] == 0 for r in rows)
    useful = sum(r["reward_std"] > 0 for r in rows)
    assert counts == {"mvp": Counts(samples=13, always=always, never=none, useful=useful)}
    assert useful > 0
    assert measure_pass_rates(Looker, samples, tmp_path / "a.parquet", ASK, ABOUT)["mvp"].always == 13
    blank = replace(ASK, probe="blank-candidates")
    assert measure_pass_rates(Looker, samples, tmp_path / "b.parquet", blank, ABOUT)["mvp"].always == 0


def test_recipes_read_the_output(samples: Samples, whole: Path) -> None:
    rows = pq.read_table(whole).to_pylist()
    kept = chosen(samples.sets[0].paths[0].parent, pass_rates=str(whole))
    assert kept.keys == [row["key"] for row in rows if 0 < row["correct"] < 4]


def stopped_after(batches: int) -> Looker:
    class Stopped(Looker):
        def answer(self, *args: Any, **kwargs: Any) -> list[list[str]]:
            if self.batches == batches:
                raise KeyboardInterrupt
            return super().answer(*args, **kwargs)

    return Stopped(slips=0.5)


def test_a_run_resumes_from_every_cut_of_the_log(samples: Samples, whole: Path, tmp_path: Path) -> None:
    """As SIGKILL or a full disk may leave it: cut at any byte, twice."""
    out, log = tmp_path / "rates.parquet", tmp_path / "rates.parquet.journal"
    with pytest.raises(KeyboardInterrupt):
        measure_pass_rates(lambda: stopped_after(3), samples, out, ASK, ABOUT)
    assert not out.exists()
    data = log.read_bytes()
    assert data.count(b"\n") == 1 + 9
    header = data.index(b"\n") + 1
    for cut in [*range(header, len(data), 41), len(data)]:
        log.write_bytes(data[:cut])
        with pytest.raises(KeyboardInterrupt):
            measure_pass_rates(lambda: stopped_after(1), samples, out, ASK, ABOUT)
        model = half_right()
        measure_pass_rates(lambda model=model: model, samples, out, ASK, ABOUT)  # type: ignore[misc]
        assert out.read_bytes() == whole.read_bytes(), cut
        assert model.batches == 4 - (data[:cut].count(b"\n") - 1) // 3
        assert not log.exists()
        out.unlink()


def test_a_killed_process_resumes(samples: Samples, whole: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from mvp_train.evaluation.pass_rates import measure_pass_rates
from tests.train.evaluation.test_evaluate import ABOUT, Looker, chosen
from tests.train.evaluation.test_pass_rates import ASK

class Killed(Looker):
    def answer(self, *args, **kwargs):
        if self.batches == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(*args, **kwargs)

samples = chosen(Path({str(samples.sets[0].paths[0].parent)!r}))
measure_pass_rates(lambda: Killed(slips=0.5), samples, Path(sys.argv[1]), ASK, ABOUT)
"""
    out = tmp_path / "rates.parquet"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for left in (7, 1):  # 13 samples: two batches of 3 each time
        command = [sys.executable, "-c", code, str(out)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert (tmp_path / f"rates.parquet{LOG_SUFFIX}").read_bytes().count(b"\n") == 1 + 13 - left
    model = half_right()
    measure_pass_rates(lambda: model, samples, out, ASK, ABOUT)
    assert model.batches == 1
    assert out.read_bytes() == whole.read_bytes()


def test_a_run_resumes_with_smaller_batches(samples: Samples, tmp_path: Path) -> None:
    """As after running out of memory: the results of complete batches stay."""
    out = tmp_path / "rates.parquet"

    with pytest.raises(KeyboardInterrupt):
        measure_pass_rates(lambda: stopped_after(3), samples, out, ASK, ABOUT)
    model = half_right()
    assert measure_pass_rates(lambda: model, samples, out, replace(ASK, batch_size=2), ABOUT)["mvp"].samples == 13
    assert model.batches == 3  # 9 of 13 were done, 8 of them in whole batches
    assert pq.read_table(out)["key"].to_pylist() == samples.keys


def test_killed_after_the_last_batch(samples: Samples, whole: Path, tmp_path: Path) -> None:
    """No sample is left, so no model is loaded; the last of the batches is incomplete."""
    out, log = tmp_path / "rates.parquet", tmp_path / "rates.parquet.journal"
    meta = pq.read_schema(whole).metadata[b"mvp_train_filter"]
    rows = pq.read_table(whole).to_pylist()
    log.write_bytes(meta + b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    measure_pass_rates(never, samples, out, ASK, ABOUT)
    assert out.read_bytes() == whole.read_bytes()


OTHERS = [
    (ASK, {"model": {"path": "another"}}, "model"),
    (replace(ASK, rollouts=8), ABOUT, "rollouts"),
    (replace(ASK, prompt=replace(ASK.prompt, thinking=True), seed=6), ABOUT, "prompt, seed"),
]


@pytest.mark.parametrize(("ask", "about", "problem"), OTHERS)
def test_rates_of_another_run_are_refused(
    samples: Samples, whole: Path, tmp_path: Path, ask: AskConfig, about: dict[str, Any], problem: str
) -> None:
    out = tmp_path / "rates.parquet"
    out.write_bytes(whole.read_bytes())
    with pytest.raises(OutputError, match=problem):
        measure_pass_rates(never, samples, out, ask, about)
    out.rename(tmp_path / "kept")
    (tmp_path / f"rates.parquet{LOG_SUFFIX}").write_bytes(pq.read_schema(whole).metadata[b"mvp_train_filter"])
    with pytest.raises(OutputError, match=rf"{LOG_SUFFIX}: is from a run that differs in {problem}"):
        measure_pass_rates(never, samples, out, ask, about)


def test_rates_of_other_samples_are_refused(samples: Samples, whole: Path, tmp_path: Path) -> None:
    fewer = Samples(sets=samples.sets, rows=samples.rows[:5])
    other = make_samples(tmp_path / "shards", 13, distractors=3)
    assert other.keys == samples.keys
    for one in (fewer, other):
        with pytest.raises(OutputError, match="differs in samples"):
            measure_pass_rates(never, one, whole, ASK, ABOUT)


@pytest.mark.parametrize("spoil", [b"not json\n", b"[1, 2]\n", b'{"key": "x"}\n', b"\0\0\0\n"])
def test_a_damaged_log_is_refused(samples: Samples, whole: Path, tmp_path: Path, spoil: bytes) -> None:
    log = tmp_path / "rates.parquet.journal"
    log.write_bytes(pq.read_schema(whole).metadata[b"mvp_train_filter"] + 3 * spoil)
    with pytest.raises(OutputError, match="damaged; delete it"):
        measure_pass_rates(never, samples, tmp_path / "rates.parquet", ASK, ABOUT)
    log.write_bytes(spoil)
    with pytest.raises(OutputError, match=r"of mvp-train filter|is from a run"):
        measure_pass_rates(never, samples, tmp_path / "rates.parquet", ASK, ABOUT)


def test_other_files_and_no_samples(samples: Samples, tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("mine")
    with pytest.raises(OutputError, match="not a file of mvp-train filter"):
        measure_pass_rates(never, samples, tmp_path / "a.parquet", ASK, ABOUT)
    assert (tmp_path / "a.parquet").read_text() == "mine"
    with pytest.raises(OutputError, match="cannot be written"):
        measure_pass_rates(never, samples, tmp_path / "nowhere" / "a.parquet", ASK, ABOUT)
    with pytest.raises(ConfigError, match="no samples"):
        measure_pass_rates(never, Samples(sets=samples.sets, rows=samples.rows[:0]), tmp_path / "b.parquet", ASK, ABOUT)
