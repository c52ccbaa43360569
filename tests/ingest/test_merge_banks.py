"""Merged banks of several machines give the same shards as one machine."""

import os
import shutil
from pathlib import Path

import pytest

from mvp_data import BuildConfig, BuildReport, build, index, read_index
from mvp_data.bank.bank import Bank, skipped
from mvp_data.config.options import from_options
from mvp_data.core.errors import ConfigError, OutputError, SkipReason
from mvp_data.ingest import merge_banks as module
from mvp_data.ingest.merge_banks import merge


@pytest.fixture(scope="module")
def config(films: Path, tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    folder = tmp_path_factory.mktemp("whole")
    (folder / "films").mkdir()
    for name in ("film 0.mp4", "film 1.mp4", "text.mp4"):
        shutil.copy2(films / name, folder / "films")
    small = {"hidden_frames": 2, "context_frames": 2, "distractors": 2, "fps": 1.0, "min_frames": 2, "max_pixels": 6272}
    options = {
        "embedder": tinyvit,
        "workers": 1,
        "reversible": "keep",
        "decoy_share": 0.0,
        "val_share": 0.0,
        "test_share": 0.0,
        **small,
    }
    return from_options({"src": str(folder / "films"), "out": folder / "shards", **options})


@pytest.fixture(scope="module")
def built(config: BuildConfig) -> BuildReport:
    return build(config)


@pytest.fixture(scope="module")
def banks(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The banks that two tasks have filled."""
    folder = tmp_path_factory.mktemp("tasks")
    found = [folder / f"bank-{n}" for n in range(2)]
    reports = [
        index(from_options({**config.to_options(), "bank": bank}), num_tasks=2, task_index=n)
        for n, bank in enumerate(found)
    ]
    assert sum(report.sources for report in reports) == 3
    assert all(report.videos for report in reports)
    return found


def content(bank: Path) -> dict[str, bytes]:
    return {str(path.relative_to(bank)): path.read_bytes() for path in sorted(bank.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("links", [True, False], ids=["linked", "copied"])
def test_merged_banks_give_the_same_shards(
    config: BuildConfig,
    built: BuildReport,
    banks: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    before = [content(bank) for bank in banks]
    report = merge(banks, tmp_path / "bank")
    whole, merged = content(built.bank), content(tmp_path / "bank")
    assert {name for name in merged if name != "seen.txt"} == {name for name in whole if name != "seen.txt"}
    assert all(merged[name] == whole[name] for name in merged if name != "seen.txt")
    stamps = [set(found.get("seen.txt", b"").splitlines()) for found in (*before, merged)]  # young files have none
    assert stamps[-1] == set().union(*stamps[:-1])
    assert report.copied + report.known == sum(len(list(bank.rglob("*.parquet"))) for bank in banks)
    assert merge(banks, tmp_path / "bank").copied == 0
    assert [content(bank) for bank in banks] == before
    if links:
        again = build(from_options({**config.to_options(), "out": tmp_path / "out", "bank": tmp_path / "bank"}))
        assert read_index(again.out).shards == read_index(built.out).shards


def no_links(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")


def test_a_failure_gives_way_to_a_video(config: BuildConfig, banks: list[Path], tmp_path: Path) -> None:
    ours = Bank(tmp_path / "bank", config.extract_hash())
    ours.create()
    good = next((banks[0] / config.extract_hash()).rglob("*.npy")).stem
    ours.write_facts(skipped(good, SkipReason.TIMEOUT, "not done"))
    assert merge([banks[0]], tmp_path / "bank").replaced == 1
    assert ours.facts(good) == ("", "")
    assert len(list((tmp_path / "bank").rglob(f"{good}.*"))) == 3
    lost = skipped(good, SkipReason.CRASH, "")
    shutil.copytree(banks[0], tmp_path / "worse")
    Bank(tmp_path / "worse", config.extract_hash()).write_facts(lost)
    assert merge([tmp_path / "worse"], tmp_path / "bank").replaced == 0
    assert ours.facts(good) == ("", "")


def test_a_folder_that_is_not_a_bank(banks: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for bank, problem in (("missing", "no such folder"), ("empty", "is not a bank"), ("bank", "no such folder")):
        with pytest.raises(OutputError, match=problem):
            merge([banks[0], tmp_path / bank], tmp_path / "bank")
    assert not (tmp_path / "bank").exists()
    with pytest.raises(OutputError, match="remove it from the list"):
        merge(banks, banks[0])


def test_nothing_but_plain_files_of_a_bank_is_taken(config: BuildConfig, banks: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(banks[0], bad)
    frames = bad / config.extract_hash() / "frames"
    (frames / "ab").mkdir(exist_ok=True)
    for name in ("..parquet", "notes.parquet", "ab" * 10 + ".txt"):
        (frames / "ab" / name).write_bytes(b"x")
    (frames / "cd").mkdir(exist_ok=True)
    (frames / "cd" / f"{'ab' * 10}.parquet").write_bytes(b"in the wrong folder")
    merge([bad], tmp_path / "bank")
    assert sorted(content(tmp_path / "bank")) == sorted(content(banks[0]))
    victim = next(frames.rglob("*.jpgs"))
    victim.unlink()
    victim.symlink_to("/etc/passwd")
    with pytest.raises(OutputError, match="is not a plain file"):
        merge([bad], tmp_path / "other")


def test_tasks_are_numbered_from_zero(config: BuildConfig) -> None:
    for number in (-1, 3):
        with pytest.raises(ConfigError, match=f"{number} is not between 0 and 2"):
            index(config, num_tasks=3, task_index=number)


def test_a_killed_merge_resumes(banks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, done = module._copy, []

    def killed(source: Path, target: Path, workspace: Path) -> None:
        done.append(target)
        if len(done) == 4:
            raise KeyboardInterrupt
        copy(source, target, workspace)

    monkeypatch.setattr(module, "_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        merge(banks, tmp_path / "bank")
    monkeypatch.undo()
    merge(banks, tmp_path / "bank")
    merge(banks, tmp_path / "whole")
    assert content(tmp_path / "bank") == content(tmp_path / "whole")
