"""Selecting and ordering samples, and the rows that TRL gets."""

import io
import json
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mvp_data.core.errors import ConfigError, ShardError
from mvp_data.shards.prompt import PromptConfig, prompt_images
from mvp_data.shards.reader import open_shards
from mvp_data.shards.record import to_json
from mvp_data.shards.tar import write_shard
from mvp_train.dataset import Samples, select, to_dataset, to_row
from mvp_train.recipe import DataConfig, ShardsConfig
from tests.samples import make_folder, make_sample, make_shard, make_twins
from tests.web import serve

PROMPT = PromptConfig()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 samples to train on, in two shards, and 3 for validation."""
    folder = tmp_path / "shards"
    folder.mkdir()
    small = {"context": 1, "mask_start": 1, "k": 1, "distractors": 1}
    train = [make_sample(i, **small) for i in range(40)]
    val = [make_sample(i, split="val", **small) for i in range(50, 53)]
    parts = {"shard-000000.tar": train[:25], "shard-000001.tar": train[25:], "val-000000.tar": val}
    make_folder(folder, [write_shard(folder / name, samples) for name, samples in parts.items()])
    return folder


def config(*paths: Path, weights: Sequence[float] = (), **data: object) -> DataConfig:
    shown = [ShardsConfig(path=str(p), weight=w) for p, w in zip(paths, weights or [1.0] * len(paths), strict=True)]
    return DataConfig(shards=tuple(shown), **data)  # type: ignore[arg-type]


def keys(path: Path) -> list[str]:
    return list(open_shards(path, quiet=True).table["key"].to_pylist())


def write_rates(path: Path, rates: dict[str, tuple[int, int]], pair_ids: Sequence[str] = ()) -> str:
    """Write pass rates like `mvp-train filter`: key -> rollouts, correct."""
    columns = {
        "key": list(rates),
        "pair_id": list(pair_ids) or [""] * len(rates),
        "rollouts": pa.array([n for n, _ in rates.values()], pa.int32()),
        "correct": pa.array([n for _, n in rates.values()], pa.int32()),
        "mean_reward": [0.5] * len(rates),
        "reward_std": [0.0 if n in (0, of) else 0.1 for of, n in rates.values()],
    }
    pq.write_table(pa.table(columns), path)
    return str(path)


def test_split(folder: Path) -> None:
    train, val = select(config(folder)), select(config(folder, split="val"))
    assert sorted(train.keys) == sorted(keys(folder)[:40])
    assert sorted(val.keys) == sorted(keys(folder)[40:])
    assert [train[i].record.key for i in range(40)] == train.keys
    assert {val[i].record.split for i in range(len(val))} == {"val"}


def test_a_missing_split(folder: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2)
    with pytest.raises(
        ConfigError, match=r"no samples of split 'test' \(.*shards: train 40, val 3; .*a.tar: train 2\)"
    ):
        select(config(folder, tmp_path / "a.tar", split="test"))
    make_folder(tmp_path, [])
    with pytest.raises(ConfigError, match=r"no samples of split 'train' \(.*: none\)"):
        select(config(tmp_path))


def test_a_set_without_the_split_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shard(tmp_path / "a.tar", 2)
    assert len(select(config(tmp_path / "a.tar", folder, split="val"))) == 3
    assert f"{tmp_path / 'a.tar'}: no sample of it is used (train 2)" in capsys.readouterr().err


def test_order_as_written(folder: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2)
    both = select(config(tmp_path / "a.tar", folder, order="as_written"))
    assert both.keys == [*keys(tmp_path / "a.tar"), *keys(folder)[:40]]


def test_shuffled_is_a_function_of_the_seed(folder: Path) -> None:
    first, again, other = (select(config(folder, seed=seed)).keys for seed in (0, 0, 1))
    assert first == again != other
    assert sorted(first) == sorted(other) == sorted(keys(folder)[:40])


def test_curriculum(folder: Path) -> None:
    chosen = select(config(folder, order="curriculum"))
    shown = [(chosen[i].record.difficulty, chosen[i].record.key) for i in range(len(chosen))]
    assert shown == sorted(shown)
    assert len(shown) == 40
    easiest = select(config(folder, order="curriculum", limit=5))
    assert easiest.keys == chosen.keys[:5]


def test_equal_difficulty_goes_by_key(tmp_path: Path) -> None:
    made = [make_sample(i, context=1) for i in (5, 2, 9, 0)]
    write_shard(tmp_path / "a.tar", [replace(s, record=replace(s.record, difficulty=0.5)) for s in made])
    chosen = select(config(tmp_path / "a.tar", order="curriculum"))
    assert chosen.keys == sorted(s.record.key for s in made)


def test_limit(folder: Path) -> None:
    """A shuffled order draws from all shards: 25 of 40 samples are in the first."""
    assert select(config(folder, limit=3, order="as_written")).keys == keys(folder)[:3]
    assert len(select(config(folder, limit=1000))) == 40
    of_first = sum(
        key in keys(folder)[:25] for seed in range(50) for key in select(config(folder, limit=8, seed=seed)).keys
    )
    assert 0.5 < of_first / 400 < 0.75  # expected .625; a standard error is .024


def test_whole_weights(folder: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2)
    chosen = select(config(folder, tmp_path / "a.tar", weights=(1, 3)))
    own = keys(tmp_path / "a.tar")
    assert Counter(chosen.keys) == Counter(keys(folder)[:40]) + Counter(own * 3)


def test_fractional_weights_are_shares_of_samples(folder: Path) -> None:
    """2.5 shows each sample twice and about half of them a third time, chosen by key and seed."""
    counts = [Counter(select(config(folder, weights=[2.5], seed=seed)).keys) for seed in range(10)]
    assert {count for counter in counts for count in counter.values()} == {2, 3}
    thrice = [{key for key, count in counter.items() if count == 3} for counter in counts]
    assert thrice[0] != thrice[1]
    assert 0.4 < sum(map(len, thrice)) / 400 < 0.6  # a standard error is .025
    less = Counter(select(config(folder, weights=[0.5])).keys)
    assert set(less) == thrice[0]
    assert set(less.values()) == {1}
    alone = Counter(select(config(folder, folder / "shard-000001.tar", weights=[0.5, 0.5])).keys)
    assert set(alone) == set(less)  # the same samples, wherever they lie


def test_weights_that_leave_no_sample(folder: Path) -> None:
    with pytest.raises(ConfigError, match="the weights leave no sample: raise them"):
        select(config(folder, weights=[1e-9]))


def test_pass_rates(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_keys = keys(folder)[:40]
    rates = {key: (8, i % 9) for i, key in enumerate(all_keys[:30])} | {"elsewhere": (8, 4)}
    path = write_rates(tmp_path / "rates.parquet", rates)
    kept = [key for i, key in enumerate(all_keys[:30]) if 0 < i % 9 < 8]
    assert select(config(folder, pass_rates=path, order="as_written")).keys == kept
    said = (
        f"pass rates: {len(kept)} of 40 samples are left; {30 - len(kept)} always earn the same, "
        "0 are outside [0, 1], 10 have no rate\n"
    )
    assert capsys.readouterr().err == said
    narrow = config(folder, pass_rates=path, order="as_written", min_pass_rate=0.25, max_pass_rate=0.75)
    assert select(narrow).keys == [key for i, key in enumerate(all_keys[:30]) if 2 <= i % 9 <= 6]
    twice = select(config(folder, weights=[2], pass_rates=path))
    assert Counter(twice.keys) == Counter(kept * 2)


@pytest.fixture
def twins(tmp_path: Path) -> Path:
    """Six pairs, the second samples after all first ones, and three samples without a pair."""
    pairs = [make_twins(number) for number in range(6)]
    path = tmp_path / "twins.tar"
    write_shard(path, [*(a for a, _ in pairs), *map(make_sample, range(20, 23)), *(b for _, b in pairs)])
    return path


def pair_ids(samples: Samples) -> Counter[str]:
    """The number of rows of each pair; of a sample without one, its key."""
    return Counter(samples.units.to_pylist())


@pytest.mark.parametrize("order", ["shuffled", "curriculum", "as_written"])
def test_no_order_and_no_limit_splits_a_pair(twins: Path, order: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = select(config(twins, order=order))
    units = whole.units.to_pylist()
    assert len(whole) == 15
    assert sum(a == b for a, b in pairwise(units)) == 6, "twins follow each other"
    for limit in range(2, 15):
        part = select(config(twins, order=order, limit=limit))
        assert part.keys == whole.keys[: len(part)]
        assert all(count == 2 or not unit.endswith("-a") for unit, count in pair_ids(part).items())
        short = f"data.limit: {limit - 1} samples instead of {limit}, because a pair is not split\n"
        assert capsys.readouterr().err == ("" if len(part) == limit else short)
    with pytest.raises(ConfigError, match="1 is less than a pair"):
        select(config(twins, limit=1, seed=next(s for s in range(99) if starts_with_a_pair(twins, s))))


def starts_with_a_pair(path: Path, seed: int) -> bool:
    return select(config(path, seed=seed)).keys[0].endswith(("-a", "-b"))


def test_a_curriculum_places_a_pair_by_its_mean_difficulty(tmp_path: Path) -> None:
    pair, single = make_twins(0), make_sample(9)
    hard = [
        replace(s, record=replace(s.record, difficulty=d))
        for s, d in zip((*pair, single), (0.1, 0.7, 0.3), strict=True)
    ]
    write_shard(tmp_path / "a.tar", hard)
    names = [sample.record.key for sample in hard]
    assert select(config(tmp_path / "a.tar", order="curriculum")).keys == [names[2], names[0], names[1]]


def test_weights_take_whole_pairs(twins: Path) -> None:
    counts = [pair_ids(select(config(twins, weights=[0.5], seed=seed))) for seed in range(10)]
    assert {n for counter in counts for unit, n in counter.items() if unit.endswith("-a")} == {2}
    assert 0.25 < sum(unit.endswith("-a") for counter in counts for unit in counter) / 60 < 0.75
    twice = select(config(twins, weights=[2], order="curriculum", limit=8)).units.to_pylist()
    assert all(a == b for a, b in zip(twice[::2], twice[1::2], strict=True) if a.endswith("-a"))


def test_pass_rates_decide_by_the_mean_of_a_pair(
    twins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pairs: one useful sample; none; a mean between two useful samples; a high mean; one unmeasured sample."""
    pairs = [[s.record for s in make_twins(number)] for number in range(5)]
    rates = [(4, 8), (8, 8), (2, 6), (7, 7), (4, 4)]
    found = {r.key: (8, n) for pair, both in zip(pairs, rates, strict=True) for r, n in zip(pair, both, strict=True)}
    ids = {r.key: r.pair_id for pair in pairs for r in pair}
    del found[pairs[4][1].key]
    path = write_rates(tmp_path / "rates.parquet", found, [ids[key] for key in found])
    kept = pair_ids(select(config(twins, pass_rates=path)))
    assert kept == {pairs[i][0].pair_id: 2 for i in (0, 2, 3)}
    assert (
        "6 of 15 samples are left; 2 always earn the same, 0 are outside [0, 1], 7 have no" in capsys.readouterr().err
    )
    narrow = config(twins, pass_rates=path, min_pass_rate=0.4, max_pass_rate=0.6)
    assert pair_ids(select(narrow)) == {pairs[2][0].pair_id: 2}


def test_pass_rates_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    path = write_rates(tmp_path / "rates.parquet", dict.fromkeys(keys(folder), (8, 8)))
    with pytest.raises(ConfigError, match=r"rates.parquet leaves no sample \(40 always earn the same, 0 are outside"):
        select(config(folder, pass_rates=path))
    pq.write_table(pa.table({"key": [1], "rollouts": [8], "correct": [1]}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"key": ["a"]}), tmp_path / "columns.parquet")
    (tmp_path / "text.parquet").write_text("no")
    for name in ("missing", "numbers", "columns", "text"):
        with pytest.raises(ConfigError, match=f"{name}.parquet is not an output of `mvp-train filter`") as error:
            select(config(folder, pass_rates=str(tmp_path / f"{name}.parquet")))
        assert "\n" not in str(error.value)


def test_the_row() -> None:
    sample = make_sample(3)
    row = to_row(sample, PROMPT)
    assert {name: row[name] for name in ("answer", "pool", "key", "pair_id", "difficulty")} == {
        "answer": "".join(sample.record.answer),
        "pool": 8,
        "key": sample.record.key,
        "pair_id": "",
        "difficulty": sample.record.difficulty,
    }
    json.dumps(row["prompt"])
    assert [image.mode for image in row["images"]] == ["RGB"] * 20


@pytest.mark.parametrize("context", [True, False])
def test_images_are_in_the_order_of_the_prompt(context: bool) -> None:
    sample, prompt = make_sample(3), PromptConfig(context=context)
    row = to_row(sample, prompt)
    placeholders = [piece for piece in row["prompt"][0]["content"] if piece["type"] == "image"]
    wanted = [Image.open(io.BytesIO(data)) for data in prompt_images(sample, prompt)]
    assert len(placeholders) == len(wanted) == len(row["images"])
    assert [image.tobytes() for image in row["images"]] == [image.tobytes() for image in wanted]
    pieces = row["prompt"][0]["content"]
    letters = [
        before["text"][-3]
        for before, here in pairwise(pieces)
        if here["type"] == "image" and before.get("text", "").endswith(": ")
    ]
    assert letters == list("ABCDEFGH")


def test_other_kinds_of_jpeg() -> None:
    """Grey, progressive and with restart markers, as other tools may write them."""
    kinds: dict[str, dict[str, int]] = {"L": {}, "RGB": {"progressive": 1}, "CMYK": {"restart_marker_rows": 1}}
    for mode, options in kinds.items():
        sample = make_sample(1)
        picture = Image.open(io.BytesIO(sample.context[0])).convert(mode)
        picture.save(file := io.BytesIO(), "JPEG", **options)
        row = to_row(replace(sample, context=(file.getvalue(), *sample.context[1:])), PROMPT)
        assert row["images"][0].mode == "RGB"


def noise(size: tuple[int, int], number: int) -> bytes:
    """A JPEG with enough data to damage."""
    picture = Image.effect_noise(size, 80 + number).convert("RGB")
    picture.save(file := io.BytesIO(), "JPEG")
    return file.getvalue()


def test_an_image_that_cannot_be_decoded() -> None:
    """Random bytes between a valid header and end; a header without tables; data that end too early."""
    sample = make_sample(2, context=3, mask_start=1)
    good = noise((sample.record.width_px, sample.record.height_px), 0)
    start = good.index(b"\xff\xda") + 14
    body = bytes((i * 2654435761 >> 11) & 255 for i in range(len(good) - start))
    quantization = good.index(b"\xff\xdb")
    cases = {
        "random": good[:start] + body + b"\xff\xd9",
        "part": good[: start + 900] + body[:600] + good[start + 1500 :],
        "no tables": good[:quantization] + good[good.index(b"\xff\xc0") :],
        "stops": good[: start + 900] + b"\xff\xd9" + good[start + 900 :],
    }
    for data in cases.values():
        damaged = replace(sample, context=(*sample.context[:2], data))
        with pytest.raises(ShardError, match=rf"^{sample.record.key}\.context_02\.jpg: (damaged|cannot be decoded)"):
            to_row(damaged, PROMPT)
    hidden = replace(sample, candidates=(sample.candidates[0], cases["random"], *sample.candidates[2:]))
    with pytest.raises(ShardError, match=rf"^{sample.record.key}\.candidate_b\.jpg: "):
        to_row(hidden, PromptConfig(context=False))


def test_a_truncated_image_is_refused_under_any_setting_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)  # as some libraries set it for all
    sample = make_sample(2)
    with pytest.raises(ShardError, match=r"context_00.jpg: a JPEG of"):
        replace(sample, context=(sample.context[0][:-40], *sample.context[1:]))


def test_dataset(folder: Path) -> None:
    samples = select(config(folder))
    rows = to_dataset(samples, PROMPT)
    assert len(rows) == 40
    for number in (0, 39, 7):
        wanted = to_row(samples[number], PROMPT)
        assert {**rows[number], "images": 0} == {**wanted, "images": 0, "row": number}
        assert [a.tobytes() for a in rows[number]["images"]] == [b.tobytes() for b in wanted["images"]]
    batch = rows[[5, 5, 6]]
    assert batch["key"] == [samples.keys[i] for i in (5, 5, 6)]
    assert batch["images"][0][0] is batch["images"][1][0]  # decoded once
    assert rows[[6, 5]]["images"][1][0] is batch["images"][0][0]  # nor when the next batch asks for it again
    with pytest.raises(IndexError):
        rows[40]


def test_one_of_each_shape(folder: Path, tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2, k=3, distractors=2, context=4)
    chosen = select(config(tmp_path / "a.tar", folder, order="as_written"))
    assert [sample.record.key for sample in chosen.one_of_each_shape()] == [chosen.keys[0], chosen.keys[2]]


def first_images(samples: Samples, numbers: list[int]) -> list[bytes]:
    rows = to_dataset(samples, PROMPT)
    return [rows[i]["images"][0].tobytes() for i in numbers]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_get_the_same_rows(folder: Path, method: str) -> None:
    samples = select(config(folder))
    wanted = first_images(samples, list(range(40)))
    with ProcessPoolExecutor(2 if method == "fork" else 1, mp_context=multiprocessing.get_context(method)) as pool:
        parts = [pool.submit(first_images, samples, list(range(i, 40, 4))) for i in range(4)]
        assert [part.result() for part in parts] == [wanted[i::4] for i in range(4)]


def test_pickling(folder: Path) -> None:
    samples = select(config(folder, seed=3))
    again = pickle.loads(pickle.dumps(samples))
    assert again.keys == samples.keys
    assert to_json(again[11].record) == to_json(samples[11].record)
    assert len(pickle.dumps(samples)) < 5000  # names and row numbers, no table


def test_remote_shards_in_the_cache_of_the_recipe(folder: Path, tmp_path: Path) -> None:
    with serve(folder) as site:
        data = DataConfig(shards=(ShardsConfig(path=site.url),), cache=str(tmp_path / "cache"), order="as_written")
        samples = select(data)
    assert samples.keys == keys(folder)[:40]
    assert samples[0].record.key == samples.keys[0]
    assert (tmp_path / "cache" / "shards").is_dir()
