"""Shards: their limits, the images byte for byte, and records that agree with the puzzles."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, PackConfig
from mvp_data.core.errors import OutputError
from mvp_data.pipeline.pack import Packer, Provenance, cut, shard_stem
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import make_puzzles
from mvp_data.puzzles.types import Puzzle
from mvp_data.shards.tar import read_shard
from mvp_data.tasks.catalogue import TASKS
from tests.builders import ENCODER, THRESHOLDS, config, films, jpeg_of, store

OPTIONS = {"hidden_frames": 3, "distractors": 3, "context_frames": 6}


@pytest.fixture(scope="module")
def videos() -> list[KeptVideo]:
    """Five training videos and two each for the other splits."""
    made = films(5) + [replace(v, split="val") for v in films(2, prefix="val")]
    return made + [replace(v, split="test") for v in films(2, prefix="test")]


@pytest.fixture(scope="module")
def puzzles(videos: list[KeptVideo]) -> tuple[Puzzle, ...]:
    return make_puzzles(videos, config(**OPTIONS).puzzle_options, THRESHOLDS).puzzles


@pytest.fixture(scope="module")
def bank(videos: list[KeptVideo], tmp_path_factory: pytest.TempPathFactory) -> Bank:
    bank = Bank(tmp_path_factory.mktemp("bank"), "hash")
    for video in videos:
        store(bank, video)
    return bank


def packer(videos: Sequence[KeptVideo], bank: Bank, **options: Any) -> Packer:
    made = config(**OPTIONS, **options)
    return Packer(videos, bank, made.pack, provenance(made))


def provenance(made: BuildConfig) -> Provenance:
    return Provenance(config_hash="c0ffee", encoder=ENCODER, mask=made.mask, seed=made.seed)


def stub(sizes: list[list[int]]) -> tuple[list[list[Any]], Any]:
    """Units of these sizes in bytes, as pairs (unit, number) in place of puzzles."""
    units = [[(unit, number) for number in range(len(own))] for unit, own in enumerate(sizes)]
    return units, lambda item: sizes[item[0]][item[1]]


@pytest.mark.parametrize(
    ("sizes", "samples", "kilobytes", "expected"),
    [
        ([[1]] * 5, 2, 1000, [[0, 1], [2, 3], [4]]),
        ([[1]] * 4, 2, 1000, [[0, 1], [2, 3]]),
        ([[1]] * 3, 9, 1000, [[0, 1, 2]]),
        ([], 9, 1000, []),
        ([[40_000]] * 3, 9, 100, [[0, 1], [2]]),
        ([[45_000], [44_760], [1]], 9, 100, [[0, 1], [2]]),  # 10,240 bytes end the tar: 100,000 are full, not one more
        ([[500_000], [10], [500_000]], 9, 100, [[0], [1], [2]]),  # what is larger than a shard gets its own
        ([[1, 1]] * 3, 3, 1000, [[0, 0], [1, 1], [2, 2]]),  # a pair is never divided
        ([[1], [1, 1], [1, 1]], 3, 1000, [[0, 1, 1], [2, 2]]),
        ([[40_000], [30_000, 30_000], [1]], 9, 100, [[0], [1, 1, 2]]),
        ([[1, 1]] * 2, 1, 1000, [[0, 0], [1, 1]]),
    ],
)
def test_cutting(sizes: list[list[int]], samples: int, kilobytes: int, expected: list[list[int]]) -> None:
    units, size_of = stub(sizes)
    shards = cut(units, size_of, PackConfig(shard_samples=samples, shard_mb=kilobytes / 1000))
    assert [[unit for unit, _ in shard] for shard in shards] == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 300_000), min_size=1, max_size=2), max_size=30),
    st.integers(1, 10),
    st.floats(0.1, 1.0),
)
def test_cutting_loses_nothing_and_wastes_little(sizes: list[list[int]], samples: int, megabytes: float) -> None:
    units, size_of = stub(sizes)
    shards = list(cut(units, size_of, PackConfig(shard_samples=samples, shard_mb=megabytes)))
    assert [item for members in shards for item in members] == [item for unit in units for item in unit]
    for members, following in zip(shards, [*shards[1:], []], strict=False):
        total, whole = 10_240 + sum(map(size_of, members)), {unit for unit, _ in members}
        assert len(members) == sum(len(units[unit]) for unit in whole), "no pair is divided"
        assert (len(members) <= samples and total <= megabytes * 1e6) or len(whole) == 1
        if following:
            more = units[following[0][0]]
            assert len(members) + len(more) > samples or total + sum(map(size_of, more)) > megabytes * 1e6


def test_everything_is_packed_once_in_its_split(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank, tmp_path: Path
) -> None:
    calls: list[None] = []
    packed = packer(videos, bank, shard_samples=10).pack(puzzles, tmp_path, lambda: calls.append(None))
    assert len(calls) == len(packed.records) == len(puzzles)
    assert {r.key for _, r in packed.records} == {p.key for p in puzzles}
    assert [s.name for s in packed.shards] == sorted((p.name for p in tmp_path.iterdir()), key=_order)
    stems = {"train": "shard", "val": "val", "test": "test"}
    for name, record in packed.records:
        assert name.startswith(stems[record.split])
    for shard in packed.shards:
        inside = [sample.record for sample in read_shard(tmp_path / shard.name)]
        assert inside == [r for name, r in packed.records if name == shard.name]
        assert len(inside) == shard.samples <= 10
    train = [r.video_id for name, r in packed.records if name == "shard-000000.tar"]
    assert len(set(train)) > 1, "videos are mixed"


def test_each_task_has_shards_of_its_own(videos: list[KeptVideo], bank: Bank, tmp_path: Path) -> None:
    """Real records of every task, in shards whose name says which; read back and checked."""
    options = config(**OPTIONS, tasks=",".join(TASKS), val_share=0.0, test_share=0.0)
    puzzles = make_puzzles(videos, options.puzzle_options, replace(THRESHOLDS, low=-0.5)).puzzles
    packed = Packer(videos, bank, options.pack, provenance(options)).pack(puzzles, tmp_path)
    assert {info.task for info in packed.shards} == set(TASKS)
    for info in packed.shards:
        name = info.name.removesuffix(".tar")[:-7]
        assert name == shard_stem(info.task, info.split)
        assert {s.record.task for s in read_shard(tmp_path / info.name)} == {info.task}


@pytest.mark.parametrize(
    "options",
    [
        {"shard_order": order} | limit
        for order in ("mixed", "easy_first")
        for limit in ({"shard_samples": 5}, {"shard_mb": 0.1})
    ],
    ids=str,
)
def test_both_samples_of_a_pair_are_neighbours_in_one_shard(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank, tmp_path: Path, options: dict[str, Any]
) -> None:
    """The mean of a pair decides its place in a curriculum."""
    packed = packer(videos, bank, **options).pack(puzzles, tmp_path)
    assert len(packed.shards) > 5
    pairs = [packed.records[i : i + 2] for i in range(0, len(packed.records), 2)]
    assert all(a[0] == b[0] and a[1].pair_id == b[1].pair_id != "" for a, b in pairs)
    means = [(a[1].difficulty + b[1].difficulty) / 2 for a, b in pairs if a[1].split == "train"]
    assert (np.diff(means) >= -1e-4).all() == (options["shard_order"] == "easy_first")
    assert len(set(means)) > 5


def _order(name: str) -> tuple[int, str]:
    return ["shard", "val", "test"].index(name.split("-", maxsplit=1)[0]), name


def test_images_are_those_of_the_bank(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank, tmp_path: Path
) -> None:
    by_id = {v.entry.video_id: v for v in videos}
    by_key = {p.key: p for p in puzzles}
    packed = packer(videos, bank).pack(puzzles, tmp_path)
    for shard in packed.shards:
        for sample in read_shard(tmp_path / shard.name):
            puzzle = by_key[sample.record.key]
            own = by_id[puzzle.episode.strip.video_id]
            assert sample.context == tuple(jpeg_of(own, f) for f in puzzle.episode.context)
            for candidate, picture in zip(puzzle.candidates, sample.candidates, strict=True):
                assert picture == jpeg_of(by_id[candidate.frame.video_id], candidate.frame.index)


def test_records_agree_with_their_puzzles(videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank) -> None:
    by_id = {v.entry.video_id: v for v in videos}
    pack = packer(videos, bank, seed=5)
    gaps = [p for p in puzzles if p.episode.hidden[-1] - p.episode.hidden[0] > 4]  # three in a row span 4 bank frames
    assert 0 < len(gaps) < len(puzzles), "some leave frames out between hidden ones"
    for puzzle in puzzles:
        record, video = pack.record(puzzle), by_id[puzzle.episode.strip.video_id]
        frames, episode = video.entry.frames, puzzle.episode
        assert (record.key, record.split, record.answer) == (puzzle.key, video.split, puzzle.answer)
        assert (record.k, record.l, len(record.context)) == (3, 3, 6)
        assert [c.frame for c in record.context] == list(episode.context)
        assert [c.time_s for c in record.context] == [frames[f].time_s for f in episode.context]
        assert [c.shot for c in record.context] == [frames[f].shot for f in episode.context]
        assert record.mask_start == sum(f < episode.hidden[0] for f in episode.context)
        assert record.hidden_start_s == frames[episode.hidden[0]].time_s
        assert record.hidden_end_s == frames[episode.hidden[-1]].time_s
        for mine, theirs in zip(record.candidates, puzzle.candidates, strict=True):
            frame = by_id[theirs.frame.video_id].entry.frames[theirs.frame.index]
            assert (mine.label, mine.order, mine.origin) == (theirs.label, theirs.order, theirs.origin)
            assert (mine.video_id, mine.frame) == (theirs.frame.video_id, theirs.frame.index)
            assert (mine.time_s, mine.shot) == (frame.time_s, frame.shot)
            assert mine.video_path == f"{theirs.frame.video_id}.mp4"
        assert (record.seed, record.config_hash, record.encoder_name) == (5, "c0ffee", "test:tiny")
        assert record.encoder_weights_sha256 == ENCODER.weights_sha256
        assert (record.width_px, record.height_px) == video.size
        assert (record.video_group, record.video_path) == (video.group, video.source.path)
        assert json.loads(record.extra) == {"caption": f"film {video.entry.video_id}"}


def test_shards_stay_below_their_size(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank, tmp_path: Path
) -> None:
    """With small images, headers, padding and JSON are most of a shard; they count too."""
    packed = packer(videos, bank, shard_mb=0.1).pack(puzzles, tmp_path)
    assert len(packed.shards) > 5
    for shard in packed.shards:
        assert (tmp_path / shard.name).stat().st_size == shard.bytes <= 100_000
    full = [s for s in packed.shards if s.split == "train"][:-1]
    assert min(s.bytes for s in full) > 60_000


def test_bytes_depend_on_the_puzzles_alone(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], bank: Bank, tmp_path: Path
) -> None:
    hashes = []
    for name, order in (("one", puzzles), ("two", puzzles[::-1])):
        (tmp_path / name).mkdir()
        shards = packer(videos[::-1] if name == "two" else videos, bank).pack(order, tmp_path / name).shards
        hashes.append([(s.name, s.sha256) for s in shards])
    assert hashes[0] == hashes[1]


def test_a_damaged_bank_leaves_no_half_shard(
    videos: list[KeptVideo], puzzles: tuple[Puzzle, ...], tmp_path: Path
) -> None:
    bank = Bank(tmp_path / "bank", "hash")
    for video in videos:
        store(bank, video)
    blob = next((tmp_path / "bank").rglob("film00.jpgs"))
    blob.write_bytes(blob.read_bytes()[:300])
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="damaged"):
        packer(videos, bank).pack(puzzles, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_to_pack(videos: list[KeptVideo], bank: Bank, tmp_path: Path) -> None:
    packed = packer(videos, bank).pack((), tmp_path)
    assert (packed.shards, packed.records) == ((), ())
    assert list(tmp_path.iterdir()) == []
