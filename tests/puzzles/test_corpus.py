"""Thresholds from options and calibration, de-duplicated videos, and splits drawn by group and seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvp_data.bank.bank import Bank
from mvp_data.config.options import PackConfig
from mvp_data.core.errors import ConfigError
from mvp_data.embedding.calibration import Calibration
from mvp_data.puzzles.corpus import KeptVideo, Thresholds, kept_videos, read_entries, split_groups, stacked
from tests.builders import ENCODER, THRESHOLDS, config, films, kept_video, store, with_gram

CALIBRATION = Calibration(repeat=0.95, ambiguous=0.9, scene=0.5, unrelated=0.1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (0.95, 0.9, 0.5, 0.3)),
        ({"dedup_threshold": 0.97}, (0.97, 0.9, 0.5, 0.3)),
        ({"similarity_high": 0.7}, (0.95, 0.7, 0.5, 0.3)),
        ({"similarity_low": 0.0}, (0.95, 0.9, 0.5, 0.0)),  # 0 is a value
        ({"similarity_low": -1.0, "similarity_high": 1.0, "dedup_threshold": 1.0}, (1.0, 1.0, 0.5, -1.0)),
    ],
)
def test_options_override_the_calibration(options: dict[str, float], expected: tuple[float, ...]) -> None:
    chosen = config(**options)
    found = Thresholds.resolve(CALIBRATION, chosen.embed, chosen.mine)
    assert (found.repeat, found.ambiguous, found.scene, found.low) == expected


@pytest.mark.parametrize(
    "options",
    [{"similarity_low": 0.9}, {"similarity_high": 0.1}, {"similarity_high": -1.0}, {"dedup_threshold": 0.1}],
)
def test_options_that_leave_no_band_are_refused(options: dict[str, float]) -> None:
    chosen = config(**options)
    with pytest.raises(ConfigError, match="similarity-low"):
        Thresholds.resolve(CALIBRATION, chosen.embed, chosen.mine)


def test_kept_frames_are_indices_in_the_bank(tmp_path: Path) -> None:
    """Every other frame of the bank was rejected, and the second usable one is a repeat."""
    video = kept_video(with_gram([[1, 0.96, 0.2, 0.2], [0.96, 1, 0.2, 0.2], [0.2, 0.2, 1, 0.5], [0.2, 0.2, 0.5, 1]]))
    bank, encoder = Bank(tmp_path / "bank", "hash"), replace(ENCODER, dimension=4)
    store(bank, video)
    bank.write_vectors("v0", encoder, video.vectors)

    def kept_at(repeat: float) -> KeptVideo:
        thresholds, pack = replace(THRESHOLDS, repeat=repeat), PackConfig(val_share=1, test_share=0)
        (kept,) = kept_videos({"v0": video.source}, {"v0": video.entry}, bank, encoder, thresholds, pack, seed=0)
        return kept

    kept = kept_at(0.95)
    assert kept.kept == (1, 5, 7)
    assert kept.vectors == pytest.approx(video.vectors[[0, 2, 3]], abs=1e-3)
    assert kept.times_s == (0.0, 2.0, 3.0)
    assert (kept.group, kept.split, kept.size) == ("v0", "val", (56, 28))
    assert kept_at(0.97).kept == (1, 3, 5, 7)


def test_consecutive_rows_are_stacked_without_a_copy() -> None:
    matrix = np.arange(30, dtype=np.float32).reshape(10, 3)
    parts = [kept_video(matrix[start : start + count]) for start, count in ((2, 3), (5, 2), (7, 1))]
    a, b, c = (replace(v, matrix=matrix, first_row=row) for v, row in zip(parts, (2, 5, 7), strict=True))
    assert b.vectors.tolist() == matrix[5:7].tolist()
    assert stacked([a, b, c]).tolist() == matrix[2:8].tolist()
    assert np.shares_memory(stacked([a, b, c]), matrix)
    assert np.shares_memory(stacked([b]), matrix)


def test_other_rows_are_copied_in_order() -> None:
    matrix = np.arange(30, dtype=np.float32).reshape(10, 3)
    a, b, c = (replace(kept_video(matrix[:2]), matrix=matrix, first_row=row) for row in (2, 4, 7))
    elsewhere = replace(b, matrix=matrix.copy())
    for videos in ([b, a], [b, c], [a, a], [a, elsewhere]):
        assert stacked(videos).tolist() == np.concatenate([video.vectors for video in videos]).tolist()
        assert not np.shares_memory(stacked(videos), matrix)


def test_shots_of_kept_frames() -> None:
    video = kept_video(with_gram([[1, 0.1], [0.1, 1]]), shots=[3, 4])
    assert video.shots == (3, 4)
    assert replace(video, kept=(3,)).shots == (4,)


def test_splits_have_their_shares() -> None:
    names = [f"group{n}" for n in range(4000)]
    splits = list(split_groups(names, seed=1, val_share=0.2, test_share=0.1).values())
    assert abs(splits.count("val") - 800) < 90  # 3.5 standard deviations
    assert abs(splits.count("test") - 400) < 70


@pytest.mark.parametrize(("val", "test", "only"), [(0.0, 0.0, "train"), (1.0, 0.0, "val"), (0.0, 1.0, "test")])
def test_a_share_of_1_takes_every_group(val: float, test: float, only: str) -> None:
    names = [f"g{n}" for n in range(300)]
    assert set(split_groups(names, seed=0, val_share=val, test_share=test).values()) == {only}


def test_the_training_split_is_never_empty() -> None:
    for n in range(200):
        splits = split_groups([f"only{n}"], seed=n, val_share=0.4, test_share=0.4)
        assert splits == {f"only{n}": "train"}
        pair = split_groups([f"a{n}", f"b{n}"], seed=n, val_share=0.4, test_share=0.4)
        assert "train" in pair.values()
    assert split_groups([], seed=0, val_share=0.1, test_share=0.1) == {}


def test_splits_are_drawn_by_group_and_seed() -> None:
    def drawn(seed: int) -> list[str]:
        return list(split_groups([f"g{n}" for n in range(50)], seed=seed, val_share=0.3, test_share=0.3).values())

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_entries_are_read_with_their_thumbnails_in_one_matrix(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank", "hash")
    videos = films(3, frames=5)
    for video in videos:
        store(bank, video)
    entries = read_entries(bank, [video.entry.video_id for video in videos])
    assert list(entries.values()) == [video.entry for video in videos]
    bases = {id(entry.frames.thumbnails.base) for entry in entries.values()}
    assert len(bases) == 1
