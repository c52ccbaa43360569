"""Each kind of damage to a finished folder is found and named, and a repair restores the same bytes."""

import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from mvp_data.bank.bank import Bank
from mvp_data.cli.verify import verify_command
from mvp_data.config.options import BuildConfig
from mvp_data.core.errors import OutputError
from mvp_data.core.jpeg import jpeg_settings
from mvp_data.core.seeds import shuffled, unit
from mvp_data.core.types import Source
from mvp_data.embedding.calibration import Calibration
from mvp_data.ingest.jobs import Outcome
from mvp_data.pipeline import build
from mvp_data.pipeline.output_folder import locked
from mvp_data.pipeline.run_log import RunLog
from mvp_data.pipeline.sample_table import write_samples
from mvp_data.shards.index import read_index, write_index
from mvp_data.shards.tar import Sample, read_shard, write_shard
from mvp_data.sources.scan import ScanResult
from mvp_data.verify.findings import Verification, to_text
from mvp_data.verify.repair import repair
from mvp_data.verify.run import HashingReader, verify
from tests.builders import ENCODER, config, films, store

CORPUS_ONLY = {"decoy_share": 0.0, "neighbourhood_share": 0.0, "same_video_share": 0.0}  # only from other videos
TIMES = ("seconds", "cpu_seconds", "rates", "workers")  # fields of a report that a repair cannot restore


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    return small_build(tmp_path_factory.mktemp("verify") / "shards")


def small_build(out: Path, count: int = 4, **options: Any) -> BuildConfig:
    """A small build of two tasks and splits, from films in its bank and one that failed to decode."""
    made = config(
        out=out,
        hidden_frames=2,
        context_frames=4,
        distractors=2,
        **{"samples_per_video": 3, "val_share": 0.3, "decoy_share": 0.5, "max_overlap": 1.0, **options},
        reversible="keep",
        shard_samples=2,
        test_share=0.0,
        tasks="mvp=0.7,jigsaw=0.3",
    )
    bank = Bank(made.bank_folder, made.extract_hash())
    videos = films(count, frames=24)
    for video in videos:
        store(bank, video)
        bank.write_vectors(video.entry.video_id, ENCODER, video.vectors)
    outcomes = [Outcome(source=v.source, video_id=v.entry.video_id) for v in videos]
    outcomes += [Outcome(source=Source(location="/copy.mp4", path="g copy.mp4"), video_id=videos[0].entry.video_id)]
    outcomes += [Outcome(source=Source(location="/slow.mp4", path="slow.mp4"), skip="timeout", detail="too slow")]
    done = build._Indexed(
        found=ScanResult(sources=tuple(o.source for o in outcomes), problems=()),
        outcomes=tuple(outcomes),
        entries={v.entry.video_id: v.entry for v in videos},
        bank=bank,
        encoder=ENCODER,
        calibration=Calibration(repeat=0.95, ambiguous=0.9, scene=0.5, unrelated=-0.4),
    )
    made.out.mkdir()
    build._make(made, build.build_hash(made, ENCODER), done, RunLog())
    return made


@pytest.fixture
def folder(built: BuildConfig, tmp_path: Path) -> Path:
    """A copy of the build, to be damaged, and its bank in the same parent folder."""
    shutil.copytree(built.out, tmp_path / "shards")
    shutil.copytree(built.bank_folder, tmp_path / "shards.bank")
    return tmp_path / "shards"


def content(folder: Path) -> dict[str, str]:
    """The sha256 of each file."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def failed(found: Verification) -> dict[str, str]:
    """The checks that failed, with their lines."""
    return {check.name: "\n".join(check.lines) for check in found.checks if check.problems}


def first_shard(folder: Path) -> Path:
    """A shard of several samples."""
    return folder / "shard-000000.tar"


def test_a_good_build_has_no_findings(built: BuildConfig) -> None:
    before = content(built.out)
    found = verify(built.out)
    assert found.ok
    assert failed(found) == {}
    assert not [check.lines for check in found.checks if check.lines], "not even a warning"
    assert all(check.looked_at for check in found.checks if check.name != "pairs"), "it has no pair"
    index = read_index(built.out)
    assert (found.samples, found.shards) == (index.counts["samples"], len(index.shards))
    assert {shard.task for shard in index.shards} == {"mvp", "jigsaw"}
    assert {shard.split for shard in index.shards} == {"train", "val"}
    assert to_text(found).endswith("no problem found")
    assert content(built.out) == before


def regions(path: Path) -> dict[str, int]:
    """A byte in each region of a tar."""
    with tarfile.open(path) as tar:
        members = tar.getmembers()
    record, picture = members[0], members[2]
    padded = next(m for m in members if m.size % 512)
    last = members[-1]
    end = last.offset_data + -(-last.size // 512) * 512
    return {
        "name": record.offset + 3,
        "size": record.offset + 128,
        "unused part of a header": record.offset + 500,
        "json": record.offset_data + record.size // 2,
        "jpeg header": picture.offset_data + 30,
        "jpeg body": picture.offset_data + picture.size - 20,
        "padding": padded.offset_data + padded.size,
        "end of archive": end + 100,
        "end of file": path.stat().st_size - 1,
    }


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("region", [
    "name", "size", "unused part of a header", "json", "jpeg header", "jpeg body", "padding", "end of archive",
    "end of file",
])  # fmt: skip
def test_a_flipped_bit_is_found_and_repaired(folder: Path, region: str) -> None:
    before = content(folder)
    flip(first_shard(folder), regions(first_shard(folder))[region], bit=4)
    found = verify(folder)
    assert found.broken == ("shard-000000.tar",)
    assert "shard-000000.tar" in failed(found)["bytes"]
    assert f"`mvp-data verify {folder} --repair`" in failed(found)["bytes"]
    done = repair(folder)
    assert done.rebuilt == ("shard-000000.tar",)
    assert done.after.ok
    assert content(folder) == before


def test_a_build_in_partitions_is_repaired(tmp_path: Path) -> None:
    folder = small_build(tmp_path / "shards", count=8, **CORPUS_ONLY, mine_cells=4).out
    before = content(folder)
    for shard in folder.glob("*.tar"):
        shard.unlink()
    assert repair(folder).after.ok
    assert content(folder) == before


def test_a_cut_at_any_block_is_found(folder: Path) -> None:
    shard = min(folder.glob("*.tar"), key=lambda p: (p.stat().st_size, p.name))
    before, whole = content(folder), shard.read_bytes()
    cuts = [*range(0, len(whole), 512), len(whole) - 1]
    for size in cuts:
        shard.write_bytes(whole[:size])
        found = verify(folder)
        assert found.broken == (shard.name,), size
        assert f"has {size} bytes" in failed(found)["bytes"]
    shard.write_bytes(whole + bytes(512))
    assert verify(folder).broken == (shard.name,)
    assert repair(folder).after.ok
    assert content(folder) == before


def test_missing_swapped_and_extra_shards(folder: Path) -> None:
    before = content(folder)
    first, second, third = sorted(folder.glob("shard-*.tar"))[:3]
    first_bytes = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(first_bytes)
    third.unlink()
    third.mkdir()
    (folder / "val-000077.tar").write_bytes(first_bytes)
    (folder / "notes.txt").write_text("mine")
    (folder / ".shard-000001.tar.12-ab.tmp").write_bytes(b"torn")
    found = verify(folder)
    assert set(found.broken) == {first.name, second.name, third.name}
    assert found.foreign == (".shard-000001.tar.12-ab.tmp", "notes.txt", "val-000077.tar")
    assert "val-000077.tar: a shard that is not in index.json: move it away" in failed(found)["folder"]
    assert "notes.txt: not a file of a build" in failed(found)["folder"]
    (warning,) = (line for check in found.checks for line in check.lines if ".tmp" in line)
    assert "left by a killed run: remove it" in warning
    third.rmdir()
    done = repair(folder)
    assert set(done.rebuilt) == {first.name, second.name, third.name}
    assert set(failed(done.after)) == {"folder"}, "named, and not removed"
    for name in found.foreign:
        (folder / name).unlink()
    assert content(folder) == before
    assert verify(folder).ok


def test_a_repair_leaves_whole_files_alone(folder: Path) -> None:
    times = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert repair(folder).rebuilt == ()
    first_shard(folder).unlink()
    repair(folder)
    after = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert {name for name in times if after[name] != times[name]} == {"shard-000000.tar"}


def edit(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Change the rows of a Parquet file."""
    table = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), schema=table.schema), path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [{**rows[0], "difficulty": 0.123}, *rows[1:]], "row 1 does not match sample"),
        (lambda rows: [*rows[:-2], rows[-1], rows[-2]], "does not match sample"),
        (lambda rows: rows[:-1], "does not match sample"),
        (lambda rows: [*rows, rows[0]], "has more rows than there are samples"),
        (lambda rows: [{**rows[0], "extra": None}, *rows[1:]], "has a value of the wrong type"),
    ],
)
def test_an_edited_table_of_samples(folder: Path, change: Any, words: str) -> None:
    before = content(folder)
    edit(folder / "samples.parquet", change)
    found = verify(folder)
    assert found.broken == ("samples.parquet",)
    assert words in failed(found)["samples.parquet"]
    assert repair(folder).rebuilt == ("samples.parquet",)
    assert content(folder) == before


def test_tables_that_are_missing_or_truncated(folder: Path) -> None:
    before, report = content(folder), json.loads((folder / "report.json").read_bytes())
    (folder / "samples.parquet").write_bytes((folder / "samples.parquet").read_bytes()[:-9])
    (folder / "README.md").unlink()
    (folder / "report.json").write_text("[" * 100_000)
    first_shard(folder).unlink()
    found = verify(folder)
    assert set(found.broken) == {"shard-000000.tar", "samples.parquet", "README.md"}
    assert "cannot be read" in failed(found)["samples.parquet"]
    done = repair(folder)
    assert done.rebuilt == ("shard-000000.tar", "samples.parquet", "report.json", "README.md")
    assert done.after.ok
    after = json.loads((folder / "report.json").read_bytes())
    same = {name: value for name, value in report.items() if name not in (*TIMES, "out", "bank")}
    assert {name: after[name] for name in same} == same
    assert {**content(folder), "report.json": ""} == {**before, "report.json": ""}


@pytest.mark.parametrize("name", ["samples", "splits", "tasks", "pairs", "origins", "thresholds"])
def test_a_report_that_contradicts_the_shards(folder: Path, name: str) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    report[name] = {"x": 1} if isinstance(report[name], dict) else report[name] + 1
    (folder / "report.json").write_text(json.dumps(report))
    assert f"{name} is " in failed(verify(folder))["report.json"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: [{**rows[0], "samples": rows[0]["samples"] + 1}, *rows[1:]], "the shards have"),
        (
            lambda rows: [{**r, "split": {"train": "val", "val": "train"}.get(r["split"], "")} for r in rows],
            "lists it as",
        ),
        (lambda rows: [{**rows[0], "path": "other.mp4"}, *rows[1:]], "lists it as 'other.mp4'"),
        (lambda rows: rows[1:], "does not list it"),
        (lambda rows: [*rows, rows[-1]], "sources is 6, ledger.parquet says 7"),
        (
            lambda rows: [*rows[:-1], {**rows[-1], "reason": "crash"}],
            "ledger.parquet says {'duplicate': 1, 'crash': 1}",
        ),
        (lambda rows: [{**rows[-1], "reason": ""}], "contradicts itself"),
    ],
)
def test_an_edited_ledger(folder: Path, change: Any, words: str) -> None:
    edit(folder / "ledger.parquet", change)
    before = content(folder)
    found = verify(folder)
    assert found.broken == ("ledger.parquet",)
    assert words in failed(found)["ledger.parquet"]
    assert "delete ledger.parquet and run the same `mvp-data build` command" in failed(found)["ledger.parquet"]
    done = repair(folder)
    assert done.rebuilt == ()
    assert "cannot be repaired from a bank" in done.failed[0]
    assert content(folder) == before


def test_without_a_ledger_no_shard_is_repaired(folder: Path) -> None:
    (folder / "ledger.parquet").write_bytes(b"PAR1 no table PAR1")
    first_shard(folder).unlink()
    before = content(folder)
    with pytest.raises(OutputError, match="without it no shard can be repaired"):
        repair(folder)
    assert content(folder) == before


def other_seed(data: bytes) -> bytes:
    return data.replace(b'"seed": 0', b'"seed": 1')


@pytest.mark.parametrize(
    ("change", "words", "advice"),
    [
        (lambda data: data[:-50], "not readable as JSON", "command with --overwrite; the bank keeps"),
        (lambda data: b"", "not readable as JSON", "--overwrite"),
        (lambda data: data.replace(b'"samples"', b'"samplez"', 1), "counts", "--overwrite"),
        (other_seed, "its options do not match its config_hash", "--overwrite"),
        (lambda data: data.replace(b'"repeat"', b'"repeet"'), "has no complete configuration", "--overwrite"),
        (None, "no index.json", "empty the folder"),
    ],
)
def test_a_broken_index(folder: Path, change: Callable[[bytes], bytes] | None, words: str, advice: str) -> None:
    path = folder / "index.json"
    data = path.read_bytes()
    path.unlink()
    if change is not None:
        assert change(data) != data
        path.write_bytes(change(data))
    before = content(folder)
    found = verify(folder)
    (line,) = failed(found).values()
    assert words in line
    assert line.count("`mvp-data build` command") == 1
    assert advice in line
    with pytest.raises(OutputError, match="only the shards and the tables can be repaired"):
        repair(folder)
    assert content(folder) == before


def test_a_build_that_is_not_finished(folder: Path) -> None:
    (folder / "started.json").write_text("{}")
    assert "run the same `mvp-data build` command to finish it" in failed(verify(folder))["folder"]
    (folder / "index.json").unlink()
    assert "run the same `mvp-data build` command to finish the build" in failed(verify(folder))["index.json"]


def test_a_huge_sample_count_in_the_index_is_reported(folder: Path) -> None:
    index = read_index(folder)
    shards = (dataclasses.replace(index.shards[0], samples=10**15), *index.shards[1:])
    extra = 10**15 - index.shards[0].samples
    counts = {n: c + extra * (n in ("samples", shards[0].split)) for n, c in index.counts.items()}
    write_index(folder, dataclasses.replace(index, shards=shards, counts=counts))
    found = failed(verify(folder))
    assert "index.json says 1000000000000000" in found["records"]


def rewrite(folder: Path, name: str, change: Callable[[list[Sample]], list[Sample]]) -> None:
    """Change a shard as a faulty build would write it: index and table of samples agree with it."""
    index = read_index(folder)
    info = write_shard(folder / name, change(list(read_shard(folder / name))))
    shards = tuple(info if shard.name == name else shard for shard in index.shards)
    splits = {s: sum(shard.samples for shard in shards if shard.split == s) for s in ("train", "val", "test")}
    counts = {**splits, "samples": sum(splits.values()), "videos": index.counts["videos"]}
    write_index(folder, dataclasses.replace(index, shards=shards, counts=counts))
    write_samples(folder, [(s.name, sample.record) for s in shards for sample in read_shard(folder / s.name)])


def last_of(**changes: Any) -> Callable[[list[Sample]], list[Sample]]:
    """Give the last sample of a shard other fields in its record."""

    def change(samples: list[Sample]) -> list[Sample]:
        record = dataclasses.replace(samples[-1].record, **changes)
        return [*samples[:-1], dataclasses.replace(samples[-1], record=record)]

    return change


def images_of(change: Callable[[Sample], tuple[bytes, ...]]) -> Callable[[list[Sample]], list[Sample]]:
    """Give the last sample of a shard other candidate images."""
    return lambda samples: [*samples[:-1], dataclasses.replace(samples[-1], candidates=change(samples[-1]))]


def encoded(data: bytes, quality: int) -> bytes:
    """The same image at another quality."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def with_similarity(value: float, **fields: Any) -> Callable[[list[Sample]], list[Sample]]:
    """Give the distractors of the last sample a similarity, and the record the margin that follows from it."""

    def change(samples: list[Sample]) -> list[Sample]:
        pool = [
            dataclasses.replace(c, similarity=value, **fields) if c.order < 0 else c
            for c in samples[-1].record.candidates
        ]
        margin = 0.9 - max(c.similarity for c in pool)
        return last_of(candidates=tuple(pool), margin=margin, pair_id="")(samples)

    return change


def half_a_pair(samples: list[Sample]) -> list[Sample]:
    """The last sample is one of a pair, without the other."""
    return last_of(pair_id="half")(with_similarity(0.5, decoy=0)(samples))


def test_a_distractor_more_similar_than_the_threshold_is_allowed(folder: Path) -> None:
    """Motion can tell two frames apart that the encoder calls the same; then the margin is negative."""
    rewrite(folder, "shard-000000.tar", with_similarity(0.95))
    assert "margin" not in failed(verify(folder))


def seen_before(samples: list[Sample]) -> list[Sample]:
    record = samples[-1].record
    pool = tuple(
        dataclasses.replace(c, video_id=record.video_id, frame=record.context[0].frame) if c.order < 0 else c
        for c in record.candidates
    )
    return last_of(candidates=pool)(samples)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (last_of(margin=0.5), "margin", "margin 0.5"),
        (with_similarity(-0.99, decoy=-1), "margin", "has similarity -0.99, below"),
        (half_a_pair, "pairs", "pair 'half' must have 2 samples in one shard, there are 1 here"),
        (last_of(config_hash="another"), "records", "config_hash is another"),
        (last_of(seed=9), "records", "seed is 9"),
        (last_of(video_path="gone.mp4"), "ledger.parquet", "lists it as"),
        (images_of(lambda s: (s.context[0], *s.candidates[1:])), "repeats", "are the same image"),
        (images_of(lambda s: (encoded(s.context[1], 70), *s.candidates[1:])), "repeats", "shows the same as"),
        (images_of(lambda s: (encoded(s.candidates[0], 95), *s.candidates[1:])), "encoding", "JPEG headers differ"),
        (images_of(lambda s: (s.candidates[0][:-40] + b"\xff\xd9", *s.candidates[1:])), "pictures", "missing or wrong"),
        (seen_before, "repeats", "shown twice"),
    ],
)
def test_a_rule_that_a_build_broke(folder: Path, change: Any, check: str, words: str) -> None:
    """The bytes match the index, so a repair would give the same bytes and the advice is different."""
    rewrite(folder, "shard-000000.tar", change)
    found = verify(folder)
    assert words in failed(found)[check]
    assert "bytes" not in failed(found)
    assert "shard-000000.tar" not in found.broken
    if check != "ledger.parquet":
        assert "shard-000000.tar: " in failed(found)[check]
        assert "build again with another version of mvp-data" in failed(found)[check]


def test_problems_across_shards(folder: Path) -> None:
    """A key that occurs twice, a group in two splits, samples of two shapes."""
    other = next(iter(read_shard(folder / "shard-000001.tar")))
    rewrite(folder, "shard-000000.tar", lambda samples: [*samples[:-1], other])
    assert f"{other.record.key}: the key occurs twice in the build" in failed(verify(folder))["keys"]
    group = other.record.video_group
    rewrite(folder, "val-000000.tar", last_of(video_group=group))
    assert f"others of its video group {group} are in train" in failed(verify(folder))["splits"]

    def shorter(samples: list[Sample]) -> list[Sample]:
        record = dataclasses.replace(samples[0].record, context=samples[0].record.context[:-1])
        record = dataclasses.replace(record, mask_start=min(record.mask_start, len(record.context)))
        return [Sample(record=record, context=samples[0].context[:-1], candidates=samples[0].candidates)]

    rewrite(folder, "shard-000000.tar", shorter)
    assert "other samples of mvp have" in failed(verify(folder))["shape"]


def special(kind: bytes, name: str = "evil.json", size: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.linkname, header.size = kind, "/etc/passwd" * (kind != tarfile.REGTYPE), size
    return header


@pytest.mark.parametrize(
    ("header", "data", "words"),
    [
        (special(tarfile.SYMTYPE), b"", "neither a plain file"),
        (special(tarfile.LNKTYPE), b"", "neither a plain file"),
        (special(tarfile.BLKTYPE), b"", "neither a plain file"),
        (special(tarfile.GNUTYPE_SPARSE, size=1 << 40), b"", "neither a plain file"),
        (special(tarfile.REGTYPE, "../../evil.json", 2), b"{}", "not the name of a sample's file"),
        (special(tarfile.REGTYPE, "/tmp/evil.json", 2), b"{}", "not the name of a sample's file"),
        (special(tarfile.REGTYPE, size=8 << 30), b"", "the limit is"),
        (special(tarfile.REGTYPE, size=400_000), b"[" * 400_000, "not readable as JSON"),
        (special(tarfile.REGTYPE, size=17), b'{"key":1,"key":2}', "a key is given twice"),
    ],
)
def test_a_hostile_shard(folder: Path, header: tarfile.TarInfo, data: bytes, words: str) -> None:
    """Its index has the right hashes; verify unpacks nothing and raises nothing."""
    shard, index = first_shard(folder), read_index(folder)
    block = header.tobuf(tarfile.GNU_FORMAT) + data
    tar = block + bytes(-len(block) % 512) + shard.read_bytes()
    shard.write_bytes(tar)
    facts = {"bytes": len(tar), "sha256": hashlib.sha256(tar).hexdigest()}
    shards = tuple(dataclasses.replace(s, **facts) if s.name == shard.name else s for s in index.shards)
    write_index(folder, dataclasses.replace(index, shards=shards))
    names = sorted(folder.parent.iterdir())
    found = failed(verify(folder))
    assert words in found["records"]
    assert "bytes" not in found
    assert sorted(folder.parent.iterdir()) == names


def test_only_regular_files_are_opened(folder: Path) -> None:
    """A pipe or an endless device instead of a shard would block a reader."""
    first, second = sorted(folder.glob("shard-*.tar"))[:2]
    first.unlink()
    second.unlink()
    os.mkfifo(first)
    second.symlink_to("/dev/zero")
    found = verify(folder)
    assert found.broken == (first.name, second.name)
    assert failed(found)["bytes"].count("missing, or not a regular file") == 2
    assert repair(folder).after.ok


def test_a_disk_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: HashingReader, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(HashingReader, "read", fail)
    found = verify(folder)
    assert "shard-000000.tar: cannot be read (Input/output error)" in failed(found)["bytes"]
    assert set(found.broken) == {shard.name for shard in read_index(folder).shards}


def test_an_index_cannot_point_outside(folder: Path) -> None:
    path = folder / "index.json"
    path.write_bytes(path.read_bytes().replace(b'"shard-000000.tar"', b'"../../etc/x.tar"'))
    assert "not a shard of an index" in failed(verify(folder))["index.json"]


def test_random_damage_to_any_file(folder: Path) -> None:
    """There is never an exception, and damage to a shard or to the index is always found."""
    for number in range(60):
        path = shuffled(sorted(folder.iterdir()), "file", number)[0]
        whole = path.read_bytes()
        damaged = bytearray(whole)
        at, length = int(unit("at", number) * len(whole)), int(unit("length", number) * 600)
        if number % 3 == 0:
            damaged[at] ^= 1 << number % 8
        elif number % 3 == 1:
            damaged[at : at + length] = b""
        else:
            damaged[at : at + length] = whole[:length]
        path.write_bytes(damaged)
        found = verify(folder)
        assert not found.ok or path.suffix not in (".tar", ".json") or path.name == "report.json" or damaged == whole
        path.write_bytes(whole)
    assert verify(folder).ok


def test_a_repair_needs_the_bank_of_the_build(folder: Path) -> None:
    first_shard(folder).unlink()
    before, bank = content(folder), folder.with_name("shards.bank")
    bank.rename(folder.with_name("elsewhere"))
    with pytest.raises(OutputError, match=r"no such bank: give the bank .* --bank"):
        repair(folder)
    assert content(folder) == before
    assert not bank.exists()
    assert repair(folder, bank=folder.with_name("elsewhere")).after.ok


def images_swapped(bank: Path) -> None:
    """Valid JPEGs of the same length but with wrong content: only the hash can detect them."""
    path = next(bank.rglob("film00.jpgs"))
    data = bytearray(path.read_bytes())
    for end in [i for i in range(len(data)) if data[i : i + 2] == b"\xff\xd9"]:
        data[end - 10] ^= 1  # in the scan of each picture
    path.write_bytes(data)


def vectors_changed(bank: Path) -> None:
    path = next(bank.rglob("film01.npy"))
    vectors = np.load(path, allow_pickle=False)
    with path.open("wb") as file:
        np.save(file, vectors[::-1], allow_pickle=False)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda bank: next(bank.rglob("film01.parquet")).unlink(), "lacks 1 of 4 videos"),
        (lambda bank: next(bank.rglob("film01.parquet")).write_bytes(b"PAR1"), "damaged bank entry"),
        (lambda bank: next(bank.rglob("film01.npy")).write_bytes(b"\x93NUMPY"), "damaged vectors"),
        (lambda bank: next(bank.rglob("film01.npy")).unlink(), "is missing"),
        (lambda bank: next(bank.rglob("film00.jpgs")).unlink(), "is missing"),
        (lambda bank: next(bank.rglob("film00.jpgs")).write_bytes(b""), "damaged"),
        (images_swapped, "these samples give other bytes"),
        (vectors_changed, "does not give the samples|these samples give other bytes"),
    ],
)
def test_a_damaged_bank_changes_nothing(folder: Path, harm: Callable[[Path], object], words: str) -> None:
    video = "film01" if harm is vectors_changed else "film00"
    shard = next(p for p in sorted(folder.glob("*.tar")) if any(s.record.video_id == video for s in read_shard(p)))
    flip(shard, 600)
    before = content(folder)
    harm(folder.with_name("shards.bank"))
    try:
        done = repair(folder)
        said = " ".join(done.failed)
        assert done.rebuilt == ()
        assert "left as it is" in said
        assert not done.after.ok
    except OutputError as error:
        said = str(error)
    assert re.search(words, said)
    assert content(folder) == before
    assert not list(folder.glob(".*"))


def test_the_columns_of_a_manifest_are_restored(folder: Path) -> None:
    """They come from the other shards where the table of samples is also missing."""
    before = content(folder)
    lost = first_shard(folder)
    assert all(json.loads(s.record.extra)["caption"].startswith("film ") for s in read_shard(lost))
    lost.unlink()
    (folder / "samples.parquet").unlink()
    assert repair(folder).after.ok
    assert content(folder) == before


def test_a_repair_refuses_while_a_build_runs(folder: Path) -> None:
    with locked(folder), pytest.raises(OutputError, match="another build is running there"):
        repair(folder)


def test_no_folder(tmp_path: Path) -> None:
    for run in (verify, repair):
        with pytest.raises(OutputError, match="no such folder"):
            run(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_command(folder: Path) -> None:
    app = typer.Typer()
    app.command()(verify_command)
    run = CliRunner().invoke
    assert run(app, [str(folder)]).exit_code == 0
    first_shard(folder).write_bytes(b"")
    done = run(app, [str(folder)])
    assert done.exit_code == 1
    assert "problems found" in done.stdout
    done = run(app, [str(folder), "--json"])
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["ok"], facts["broken"]) == (1, False, ["shard-000000.tar"])
    assert run(app, [str(folder), "--bank", "x"]).exit_code == 1
    done = run(app, [str(folder), "--repair", "--json"])
    facts = json.loads(done.stdout)
    assert (done.exit_code, facts["rebuilt"], facts["after"]["ok"]) == (0, ["shard-000000.tar"], True)
    assert "rebuilt: nothing" in run(app, [str(folder), "--repair"]).stdout


def test_settings_of_a_jpeg() -> None:
    """Quantisation, subsampling and comments count; Huffman tables and pixels do not."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8))
    flat = Image.new("RGB", (32, 32))

    def saved(picture: Image.Image, **options: Any) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", **{"quality": 80, **options})
        return jpeg_settings(buffer.getvalue())

    assert saved(noise) == saved(flat) == saved(noise, optimize=True)
    others = [
        saved(noise, quality=81),
        saved(noise, subsampling=0),
        saved(noise, comment=b"right"),
        saved(noise, dpi=(9, 9)),
    ]
    assert len({saved(noise), *others}) == 5
