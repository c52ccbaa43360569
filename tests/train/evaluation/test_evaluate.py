"""Evaluation of a fake model that looks at the images, of its probes, and of a real untrained model."""

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvp_data.core.errors import ConfigError, OutputError
from mvp_data.core.seeds import shuffled, unit
from mvp_data.shards.prompt import Message, PromptConfig
from mvp_data.shards.record import LABELS
from mvp_data.shards.tar import read_shard, write_shard
from mvp_train.dataset import Samples, select
from mvp_train.evaluation.ask import PROBES, AskConfig, probed
from mvp_train.evaluation.compare import compare, to_text
from mvp_train.evaluation.evaluate import evaluate, read_completions
from mvp_train.models.load import Sampling
from mvp_train.recipe import DataConfig, ShardsConfig
from tests.samples import make_folder, make_sample, make_shard, make_twins

ABOUT = {"model": {"path": "looker"}}


class Looker:
    """Solves the test samples by their images: distractors are greener, and the disc moves right with time.

    A share `slips` of its answers is a guess, and every answer if all candidates look the same. It keeps the texts and
    images of its prompts.
    """

    def __init__(self, k: int = 2, slips: float = 0.0) -> None:
        self.k, self.slips = k, slips
        self.texts: list[str] = []
        self.pictures: list[list[bytes]] = []
        self.batches = 0

    def answer(
        self, prompts: Sequence[Sequence[Message]], images: Sequence[Sequence[Any]], sampling: Sampling
    ) -> list[list[str]]:
        self.batches += 1
        answers = []
        for number, (prompt, pictures) in enumerate(zip(prompts, images, strict=True)):
            pieces: Any = prompt[0]["content"]
            self.texts.append("".join(piece.get("text", "#") for piece in pieces))
            self.pictures.append([picture.tobytes() for picture in pictures])
            assert self.texts[-1].count("#") == len(pictures)
            labels = re.findall(r"\n([A-Z]): #", self.texts[-1])
            pool, draws = pictures[-len(labels) :], range(sampling.samples)
            answers.append([self._say(labels, pool, sampling.seed, number, i) for i in draws])
        return answers

    def _say(self, labels: list[str], pool: Sequence[Any], *seed: int) -> str:
        arrays = [np.asarray(picture).astype(int) for picture in pool]
        discs = [np.nonzero((a[:, :, 0] > 200) & (a[:, :, 2] < 160))[1] for a in arrays]
        if all(len(d) for d in discs) and unit("slip", *seed) >= self.slips:
            hidden = [i for i, a in enumerate(arrays) if a[2, 2, 1] < 110]
            chosen = [labels[i] for i in sorted(hidden, key=lambda i: discs[i].mean())]
        else:
            chosen = shuffled(labels, "guess", *seed)[: self.k]
        return f"I see. <answer>{', '.join(chosen)}</answer>"


def make_samples(folder: Path, count: int = 12, **record: Any) -> Samples:
    """The samples of a new folder of shards, in the order of the shard: three of each video."""
    folder.mkdir()
    shape = {"k": 2, "distractors": 2, "context": 4, "mask_start": 2, "split": "val", **record}
    make_folder(folder, [make_shard(folder / "shard-000000.tar", count, **shape)])
    return chosen(folder)


def chosen(folder: Path, **data: Any) -> Samples:
    return select(DataConfig(shards=(ShardsConfig(path=str(folder)),), split="val", order="as_written", **data))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return make_samples(tmp_path_factory.mktemp("set") / "shards")


def test_a_model_that_sees_is_right(samples: Samples, tmp_path: Path) -> None:
    report = evaluate(Looker, samples, tmp_path / "out", AskConfig(batch_size=5), ABOUT)
    exact = report.rows[0].estimates["exact"]
    assert (exact.mean, exact.high, exact.corrected) == (1, 1, 1)
    assert exact.chance == pytest.approx(1 / 12)
    assert exact.low < 0.8  # four videos do not prove more
    assert (report.samples, report.completions) == (12, 12)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["completions.parquet", "page.html", "report.json"]


def test_the_files_of_an_evaluation(samples: Samples, tmp_path: Path) -> None:
    ask = AskConfig(rollouts=3, temperature=1.0, batch_size=5, seed=4, prompt=PromptConfig(thinking=True))
    model = Looker(slips=0.5)
    report = evaluate(lambda: model, samples, tmp_path / "out", ask, ABOUT)
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["about"] == ABOUT
    assert written["ask"]["prompt"] == {"thinking": True, "timestamps": False, "context": True, "gap": True}
    assert written["rows"][0]["estimates"]["pass@3"]["mean"] == report.rows[0].estimates["pass@3"].mean
    assert {row["by"] for row in written["rows"]} == {"all", "difficulty", "origins", "video"}
    rows = pq.read_table(tmp_path / "out" / "completions.parquet").to_pylist()
    assert [(row["key"], row["rollout"]) for row in rows] == [(key, i) for key in samples.keys for i in range(3)]
    exact = sum(row["exact"] for row in rows) / len(rows)
    assert exact == pytest.approx(report.rows[0].estimates["exact"].mean)
    assert 0.3 < exact < 0.9
    record = samples[0].record
    assert (rows[0]["answer"], rows[0]["k"], rows[0]["l"]) == ("".join(record.answer), 2, 2)
    assert rows[0]["origins"] == "neighbourhood + same_video"
    page = (tmp_path / "out" / "page.html").read_text()
    assert page.count("<details") == 12
    assert "First think" in model.texts[0]
    again = evaluate(lambda: Looker(slips=0.5), samples, tmp_path / "again", ask, ABOUT)
    assert again == report
    files = [(tmp_path / name / "completions.parquet").read_bytes() for name in ("out", "again")]
    assert files[0] == files[1]
    outcomes = read_completions(tmp_path / "out" / "completions.parquet")
    assert [o.score.reward for o in outcomes] == [row["reward"] for row in rows]


def asked(samples: Samples, out: Path, probe: str) -> tuple[Looker, float]:
    model = Looker()
    report = evaluate(lambda: model, samples, out / (probe or "none"), AskConfig(probe=probe), ABOUT)
    return model, report.rows[0].estimates["exact"].mean


def test_probes_change_the_prompt(samples: Samples, tmp_path: Path) -> None:
    plain, exact = asked(samples, tmp_path, "")
    assert exact == 1
    removed, exact = asked(samples, tmp_path, "removed-context")
    assert exact == 1  # this model needs no context
    assert all(pictures == whole[-4:] for pictures, whole in zip(removed.pictures, plain.pictures, strict=True))
    assert all("No other frame" in text for text in removed.texts)
    moved, exact = asked(samples, tmp_path, "shuffled-context")
    assert exact == 1
    assert moved.texts == plain.texts
    for pictures, whole in zip(moved.pictures, plain.pictures, strict=True):
        assert pictures[-4:] == whole[-4:]
        assert pictures[:-4] != whole[:-4]
        assert sorted(pictures[:-4]) == sorted(whole[:-4])
    blanked, exact = asked(samples, tmp_path, "blank-candidates")
    assert exact < 0.5
    for pictures, whole in zip(blanked.pictures, plain.pictures, strict=True):
        assert len(set(pictures[-4:])) == 1
        assert set(pictures[-1]) == {128}
        assert pictures[:-4] == whole[:-4]


class Strip(Looker):
    """Reads time from the place of the disc. Names the candidates between the neighbours of the gap, or the first run.

    It stands for a model that uses the gap (`blind=False`) and for one that does not.
    """

    def __init__(self, *, blind: bool) -> None:
        super().__init__()
        self.blind = blind

    def answer(self, prompts: Any, images: Any, sampling: Sampling) -> list[list[str]]:
        said = []
        for prompt, pictures in zip(prompts, images, strict=True):
            text = "".join(piece.get("text", "#") for piece in prompt[0]["content"])
            self.texts.append(text)
            place = [np.nonzero(np.asarray(p).astype(int)[:, :, 0] > 200)[1].mean() for p in pictures]
            context, pool = place[:-8], place[-8:]
            gap = 0 if self.blind or "[gap" not in text else text.partition("[gap")[0].count("#")
            inside = [i for i, x in enumerate(pool) if x > context[gap - 1]] if gap else range(8)
            chosen = sorted(inside, key=lambda i: pool[i])[:4]
            said.append([f"<answer>{', '.join(LABELS[i] for i in chosen)}</answer>"])
        return said


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Six pairs of same-strip twins and a sample without a pair."""
    folder = tmp_path_factory.mktemp("twins")
    pairs = [sample for number in range(6) for sample in make_twins(number, split="val")]
    make_folder(folder, [write_shard(folder / "val-000000.tar", [*pairs, make_sample(30, split="val")])])
    return chosen(folder)


def means(twins: Samples, out: Path, probe: str, *, blind: bool) -> dict[str, float]:
    report = evaluate(lambda: Strip(blind=blind), twins, out / f"{probe}{blind}", AskConfig(probe=probe), ABOUT)
    return {name: round(e.mean, 3) for name, e in report.rows[0].estimates.items()}


def test_the_gap_probes_tell_who_uses_the_gap(
    twins: Samples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, blind = (means(twins, tmp_path, "", blind=blind) for blind in (False, True))
    assert (reader["pair_score"], blind["pair_score"], blind["pair_set"], blind["twin_set"]) == (1, 0, 0, 0.5)
    unmarked = means(twins, tmp_path, "unmarked-gap", blind=False)
    assert (unmarked["pair_score"], unmarked["twin_set"]) == (0, 0.5)
    capsys.readouterr()
    moved, stayed = (means(twins, tmp_path, "moved-gap", blind=blind) for blind in (False, True))
    assert "moved-gap: asks the 12 of 13 samples that are same-strip twins" in capsys.readouterr().err
    assert (moved["pair_score"], moved["exact"], moved["set"], moved["twin_set"]) == (1, 1, 1, 0)
    assert (stayed["pair_score"], stayed["set"], stayed["twin_set"]) == (0, 0.5, 0.5)
    reports = [tmp_path / name / "report.json" for name in ("False", "moved-gapFalse")]
    (difference,) = compare(*reports)
    assert difference.b == "looker, moved-gap"
    assert (difference.pairs, difference.metrics["pair_score"].difference) == (6, 0)
    assert "12 samples (6 pairs) of" in to_text(difference)
    page = (tmp_path / "moved-gapFalse" / "page.html").read_text()
    assert page.index("pair_score") < page.index("exact")


def test_a_moved_gap_is_the_twins_puzzle(twins: Samples) -> None:
    first, second = twins[0], twins[1]
    moved = probed(first, "moved-gap").record
    assert (moved.mask_start, moved.hidden_start_s) == (second.record.mask_start, second.record.hidden_start_s)
    frames = {c.label: c.frame for c in moved.candidates}
    theirs = {c.label: c.frame for c in second.record.candidates}
    assert [frames[label] for label in moved.answer] == [theirs[label] for label in second.record.answer]
    assert probed(probed(first, "moved-gap"), "moved-gap") == first


def test_a_moved_gap_needs_twins(samples: Samples, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--probe moved-gap: there are no same-strip twins"):
        evaluate(Looker, samples, tmp_path / "out", AskConfig(probe="moved-gap"), ABOUT)


def test_shuffling_never_keeps_the_order() -> None:
    for number in range(30):
        sample = make_sample(number, k=2, distractors=1, context=2, mask_start=1)
        assert probed(sample, "shuffled-context").context == sample.context[::-1]
    longer = make_sample(0)
    assert probed(longer, "shuffled-context") == probed(longer, "shuffled-context")
    first = [probed(s, "shuffled-context").context.index(s.context[0]) for s in map(make_sample, range(9))]
    assert len(set(first)) > 3  # each sample has an order of its own
    single = make_sample(0, k=1, distractors=2, context=1, mask_start=0)
    with pytest.raises(ConfigError, match="a single context frame cannot be shuffled"):
        probed(single, "shuffled-context")
    with Image.open(io.BytesIO(probed(longer, "blank-candidates").candidates[0])) as grey:
        assert grey.size == (longer.record.width_px, longer.record.height_px)


def test_impossible_settings() -> None:
    for wrong in ({"rollouts": 2}, {"rollouts": 0}, {"batch_size": 0}, {"temperature": -1.0}, {"probe": "no"}):
        with pytest.raises(ConfigError):
            AskConfig(**wrong)  # type: ignore[arg-type]
    assert {AskConfig(probe=name).probe for name in PROBES} == set(PROBES)


def test_errors_come_before_the_model_is_loaded(samples: Samples, tmp_path: Path) -> None:
    def load() -> Looker:
        pytest.fail("the model was loaded")

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "report.json").touch()
    with pytest.raises(OutputError, match=r"not empty, it holds report\.json"):
        evaluate(load, samples, tmp_path / "full", AskConfig(), ABOUT)
    with pytest.raises(OutputError, match="cannot be used"):
        evaluate(load, samples, tmp_path / "full" / "report.json", AskConfig(), ABOUT)
    twice = Samples(sets=samples.sets, rows=np.array([0, 1, 0]))
    with pytest.raises(ConfigError, match="occurs twice"):
        evaluate(load, twice, tmp_path / "new", AskConfig(), ABOUT)
    none = Samples(sets=samples.sets, rows=np.array([], dtype=int))
    with pytest.raises(ConfigError, match="no samples"):
        evaluate(load, none, tmp_path / "new", AskConfig(), ABOUT)


def test_an_interrupted_evaluation_leaves_no_report(samples: Samples, tmp_path: Path) -> None:
    class Stopped(Looker):
        def answer(self, *args: Any, **kwargs: Any) -> list[list[str]]:
            if self.batches:
                raise KeyboardInterrupt
            return super().answer(*args, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        evaluate(Stopped, samples, tmp_path / "out", AskConfig(batch_size=5), ABOUT)
    assert list((tmp_path / "out").iterdir()) == []
    assert evaluate(Looker, samples, tmp_path / "out", AskConfig(), ABOUT).samples == 12


def test_completions_that_are_not_valid_unicode(samples: Samples, tmp_path: Path) -> None:
    class Odd(Looker):
        def _say(self, *args: Any) -> str:
            return "\ud800\0</script>"

    evaluate(Odd, samples, tmp_path / "out", AskConfig(), ABOUT)
    assert read_completions(tmp_path / "out" / "completions.parquet")[0].completion == "?\0</script>"


def test_shards_hold_what_the_looker_needs(samples: Samples) -> None:
    """Only the model is a fake: the records come from a real shard."""
    (path,) = samples.sets[0].paths
    assert [sample.record.key for sample in read_shard(path)] == samples.keys
