"""The output folder in each state that a run can find, and the files next to the shards."""

import json
import os
from pathlib import Path

import pytest
import yaml

from mvp_data.core.errors import MvpError, OutputError
from mvp_data.pipeline.dataset_card import write_card
from mvp_data.pipeline.output_folder import (
    CARD_NAME,
    REPORT_NAME,
    SAMPLES_NAME,
    STARTED_NAME,
    finish,
    locked,
    prepare,
    start,
)
from mvp_data.pipeline.report import write_report
from mvp_data.pipeline.sample_table import write_samples
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo
from mvp_data.shards.reader import open_shards
from tests.samples import make_folder, make_record, make_shard

OWN = "c0ffee"  # the hash that tests.samples writes
OTHER = "decaf0"
OWN_FILES = (
    "shard-000000.tar",
    "val-000001.tar",
    "test-000000.tar",
    SAMPLES_NAME,
    "ledger.parquet",
    REPORT_NAME,
    CARD_NAME,
)
LEFTOVERS = (".shard-000001.tar.123.tmp", ".index.json.7.tmp", f".{STARTED_NAME}.99.tmp", ".samples.parquet.1.tmp")


def claim(out: Path, config_hash: str, *, overwrite: bool) -> Index | None:
    """Do as a build does with its folder: check it, and start if there is work to do."""
    with locked(out):
        index = prepare(out, config_hash, overwrite=overwrite)
        if index is None:
            start(out, config_hash)
    return index


def finished(out: Path) -> None:
    """Make the files of a finished build of OWN."""
    out.mkdir(exist_ok=True)
    make_folder(out, [make_shard(out / "shard-000000.tar", 2)])
    for name in (SAMPLES_NAME, "ledger.parquet", REPORT_NAME, CARD_NAME):
        (out / name).write_bytes(b"x")


def unfinished(out: Path, config_hash: str = OWN) -> None:
    """Make the files that a killed build leaves."""
    out.mkdir(exist_ok=True)
    (out / STARTED_NAME).write_text(json.dumps({"config_hash": config_hash}))
    for name in (*OWN_FILES[:2], *LEFTOVERS):
        (out / name).write_bytes(b"half")


def content(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}


def started(out: Path) -> bool:
    return {p.name for p in out.iterdir()} == {STARTED_NAME} and OWN in (out / STARTED_NAME).read_text()


@pytest.mark.parametrize("overwrite", [False, True])
def test_new_and_empty_folders(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "a/b/c", "empty"):
        assert claim(tmp_path / name, OWN, overwrite=overwrite) is None
        assert started(tmp_path / name)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("state", ["alone", "beside a build", "beside an unfinished build"])
@pytest.mark.parametrize(
    "name",
    [
        "film.mp4",
        "shard-000000.tar.bak",
        "shard-1.tar",
        "xshard-000000.tar",
        ".hidden",
        "index.json.old",
        "notes.tmp",
        ".notes.txt.123.tmp",
        "README.md.123.tmp",
        "data-000000.tar",
        "INDEX.JSON",
    ],
)
def test_foreign_files_are_never_touched(tmp_path: Path, name: str, state: str, overwrite: bool) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if state == "beside a build":
        finished(out)
    elif state == "beside an unfinished build":
        unfinished(out)
    (out / name).write_bytes(b"mine")
    before = content(out)
    with pytest.raises(OutputError, match="not a build's") as caught:
        claim(out, OWN, overwrite=overwrite)
    assert name in str(caught.value)
    assert content(out) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_are_foreign_whatever_their_name(tmp_path: Path, overwrite: bool) -> None:
    finished(tmp_path)
    (tmp_path / "shard-000007.tar").mkdir()
    (tmp_path / "shard-000007.tar" / "film.mp4").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"shard-000007\.tar"):
        claim(tmp_path, OTHER, overwrite=overwrite)
    assert (tmp_path / "shard-000007.tar" / "film.mp4").read_bytes() == b"mine"


@pytest.mark.parametrize("name", [CARD_NAME, "shard-000000.tar", REPORT_NAME])
def test_a_build_is_recognised_by_its_index_or_its_mark(tmp_path: Path, name: str) -> None:
    """A lone README.md, or someone else's shards, only look like a build's."""
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(OutputError, match="not a build's"):
        claim(tmp_path, OWN, overwrite=True)
    assert content(tmp_path) == {name: b"mine"}


def test_a_build_that_lost_its_index_can_be_made_again(tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(OutputError, match=r"without its index\.json; pass --overwrite"):
        claim(tmp_path, OWN, overwrite=False)
    assert claim(tmp_path, OWN, overwrite=True) is None
    assert set(content(tmp_path)) == {STARTED_NAME}


def test_finished_build_of_this_configuration_stays(tmp_path: Path) -> None:
    finished(tmp_path)
    before = content(tmp_path)
    index = claim(tmp_path, OWN, overwrite=False)
    assert index is not None
    assert (index.config_hash, index.counts["samples"]) == (OWN, 2)
    assert content(tmp_path) == before


def test_killed_between_index_and_finish(tmp_path: Path) -> None:
    finished(tmp_path)
    before = content(tmp_path)
    (tmp_path / STARTED_NAME).write_text(json.dumps({"config_hash": OWN}))
    assert claim(tmp_path, OWN, overwrite=False) is not None
    assert content(tmp_path) == before, "the mark of unfinished work is gone"


def test_finished_build_of_another_configuration(tmp_path: Path) -> None:
    finished(tmp_path)
    before = content(tmp_path)
    with pytest.raises(OutputError, match=r"another configuration \(2 samples\).*--overwrite"):
        claim(tmp_path, OTHER, overwrite=False)
    assert content(tmp_path) == before
    assert claim(tmp_path, OTHER, overwrite=True) is None
    assert content(tmp_path) == {STARTED_NAME: b'{"config_hash": "decaf0"}'}


def test_overwrite_replaces_a_build_of_this_configuration_too(tmp_path: Path) -> None:
    finished(tmp_path)
    assert claim(tmp_path, OWN, overwrite=True) is None
    assert started(tmp_path)


def test_unfinished_builds(tmp_path: Path) -> None:
    unfinished(tmp_path)
    assert claim(tmp_path, OWN, overwrite=False) is None
    assert started(tmp_path), "started again, leftovers of a killed run removed"
    unfinished(tmp_path, OTHER)
    before = content(tmp_path)
    with pytest.raises(OutputError, match=r"unfinished build of another configuration.*--overwrite"):
        claim(tmp_path, OWN, overwrite=False)
    assert content(tmp_path) == before
    assert claim(tmp_path, OWN, overwrite=True) is None
    assert started(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"x": 1}', "\xff"])
def test_a_damaged_start(tmp_path: Path, text: str) -> None:
    (tmp_path / STARTED_NAME).write_text(text, encoding="latin-1")
    with pytest.raises(OutputError, match="--overwrite"):
        claim(tmp_path, OWN, overwrite=False)
    assert claim(tmp_path, OWN, overwrite=True) is None
    assert started(tmp_path)


def test_a_damaged_index(tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / INDEX_NAME).write_text("{")
    before = content(tmp_path)
    with pytest.raises(MvpError, match=r"index\.json"):
        claim(tmp_path, OWN, overwrite=False)
    assert content(tmp_path) == before


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_killed_while_writing_the_first_file(tmp_path: Path, leftover: str) -> None:
    (tmp_path / leftover).write_bytes(b"half")
    assert claim(tmp_path, OWN, overwrite=False) is None
    assert started(tmp_path)


@pytest.mark.parametrize("state", ["new", "unfinished", "finished"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_anywhere_the_same_command_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, overwrite: bool
) -> None:
    """Stop after each single change to the disk, then run again."""

    class Killed(BaseException):
        pass

    for budget in range(40):
        out = tmp_path / f"out{budget}"
        {"new": Path.mkdir, "unfinished": unfinished, "finished": finished}[state](out)
        if state == "finished" and not overwrite:
            return
        left = [budget]

        def step(call, left=left):  # type: ignore[no-untyped-def]
            def wrapped(*args, **kwargs):  # type: ignore[no-untyped-def]
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return call(*args, **kwargs)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", step(os.replace))
            patch.setattr(Path, "unlink", step(Path.unlink))
            try:
                claim(out, OWN, overwrite=overwrite)
            except Killed:
                done = False
            else:
                done = True
        if done:
            assert budget > 0
            return
        if (out / INDEX_NAME).exists():
            assert (out / "shard-000000.tar").exists(), "if the index exists, so do all files that it names"
        again = claim(out, OWN, overwrite=overwrite)
        assert again is None
        assert started(out)
    pytest.fail("did not end")


def test_a_file_is_refused_as_output_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    for place in ("file", "file/sub"):
        with pytest.raises(OutputError, match="cannot be used as output folder"):
            claim(tmp_path / place, OWN, overwrite=True)
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(OutputError):
        claim(tmp_path / "out", OWN, overwrite=False)


def test_finish_removes_the_mark(tmp_path: Path) -> None:
    claim(tmp_path, OWN, overwrite=False)
    finish(tmp_path)
    finish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_samples_table(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    records = [("shard-000000.tar", make_record(0)), ("val-000000.tar", make_record(4, split="val", mask_start=2))]
    write_samples(tmp_path, records)
    rows = pq.read_table(tmp_path / SAMPLES_NAME).to_pylist()
    assert [r["key"] for r in rows] == [record.key for _, record in records]
    assert [(r["shard"], r["split"], r["mask_start"]) for r in rows] == [
        ("shard-000000.tar", "train", 5),
        ("val-000000.tar", "val", 2),
    ]
    for row, (_, record) in zip(rows, records, strict=True):
        wrong = [c for c in record.candidates if c.order < 0]
        assert row["answer"] == ", ".join(record.answer)
        assert (row["k"], row["l"], row["context_frames"]) == (4, 4, 12)
        assert row["distractor_similarity"] == max(c.similarity for c in wrong)
        for origin in ("neighbourhood", "same_video", "corpus"):
            assert row[origin] == sum(c.origin == origin for c in wrong)
        assert all(value is not None for value in row.values())
    write_samples(tmp_path, [])
    assert pq.read_table(tmp_path / SAMPLES_NAME).column_names == list(rows[0])


def shard(name: str, split: str, samples: int = 5) -> ShardInfo:
    return ShardInfo(
        name=name,
        task=name.partition("-shard")[0] if "-shard" in name else "mvp",
        split=split,
        samples=samples,
        bytes=10,
        sha256="0" * 64,
    )


def test_card(tmp_path: Path) -> None:
    shards = [shard("shard-000000.tar", "train", 900), shard("test-000000.tar", "test", 200)]
    write_card(tmp_path, shards, {"samples": 1100, "seed": 3})
    text = (tmp_path / CARD_NAME).read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["configs"][0]["data_files"] == [
        {"split": "train", "path": "shard-*.tar"},
        {"split": "test", "path": "test-*.tar"},
    ]
    assert header["size_categories"] == ["1K<n<10K"]
    assert "| seed | 3 |" in text


def test_card_of_several_tasks(tmp_path: Path) -> None:
    """Tasks differ in their members, so each is a configuration of its own; `mvp` is the one that opens unasked."""
    names = ["odd-one-out-shard-000000.tar", "shard-000000.tar", "jigsaw-shard-000000.tar"]
    write_card(tmp_path, [shard(name, "train") for name in names], {})
    header = yaml.safe_load((tmp_path / CARD_NAME).read_text().split("---")[1])
    assert [config["config_name"] for config in header["configs"]] == ["mvp", "jigsaw", "odd-one-out"]
    assert [config.get("default", False) for config in header["configs"]] == [True, False, False]
    assert header["configs"][1]["data_files"] == [{"split": "train", "path": "jigsaw-shard-*.tar"}]


@pytest.mark.parametrize(
    ("samples", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (100_000, "100K<n<1M")],
)
def test_size_categories_of_the_hub(tmp_path: Path, samples: int, category: str) -> None:
    write_card(tmp_path, [shard("shard-000000.tar", "train", samples)], {})
    assert yaml.safe_load((tmp_path / CARD_NAME).read_text().split("---")[1])["size_categories"] == [category]


def test_report(tmp_path: Path) -> None:
    write_report(tmp_path, {"b": 1, "a": {"x": 0.5}})
    assert json.loads((tmp_path / REPORT_NAME).read_bytes()) == {"a": {"x": 0.5}, "b": 1}


def test_two_builds_cannot_use_one_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out"),
        pytest.raises(OutputError, match="another build is running there"),
        locked(tmp_path / "out"),
    ):
        pass
    with locked(tmp_path / "out"):
        pass


def test_a_build_without_a_sample_blocks_nothing(tmp_path: Path) -> None:
    """It leaves its ledger and report; the next try may have other options."""
    for name in ("ledger.parquet", REPORT_NAME):
        (tmp_path / name).write_bytes(b"x")
    assert claim(tmp_path, OTHER, overwrite=False) is None
    assert started_by(tmp_path) == OTHER


def started_by(out: Path) -> str:
    return str(json.loads((out / STARTED_NAME).read_bytes())["config_hash"])


@pytest.mark.parametrize("gone", [SAMPLES_NAME, "ledger.parquet", REPORT_NAME, CARD_NAME])
def test_a_build_that_lost_a_file_is_made_again(tmp_path: Path, gone: str) -> None:
    finished(tmp_path)
    (tmp_path / gone).unlink()
    assert claim(tmp_path, OWN, overwrite=False) is None


@pytest.mark.parametrize("single", [False, True])
def test_the_offset_index_of_opened_shards_is_a_builds_own(tmp_path: Path, single: bool) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "shard-000000.tar", 2, context=2, mask_start=1)])
    open_shards(tmp_path / "shard-000000.tar" if single else tmp_path, quiet=True)
    hidden = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert hidden
    assert prepare(tmp_path, "another", overwrite=True) is None
    for path in set(tmp_path.iterdir()) - set(hidden):  # as `rm shards/*` does
        path.unlink()
    assert prepare(tmp_path, "c0ffee", overwrite=False) is None
