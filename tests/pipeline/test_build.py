"""Whole builds of short synthetic videos, with a real decoder, encoder and FAISS."""

import dataclasses
import json
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from mvp_data import BuildConfig, BuildReport, OutputError, build, index, read_index, read_shard, shard_paths
from mvp_data.config.options import from_options
from mvp_data.engines import local
from mvp_data.engines.base import Lost
from mvp_data.pipeline.ledger import LedgerRow, read_ledger
from mvp_data.pipeline.run_log import STATUS_NAME
from mvp_data.pipeline.status import read_status


@pytest.fixture(scope="module")
def config(films: Path, tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """The configuration that most tests vary."""
    out = tmp_path_factory.mktemp("out") / "shards"
    return from_options({"src": str(films), "out": out, "embedder": tinyvit, "workers": 2, "val_share": 0.0})


@pytest.fixture(scope="module")
def before(films: Path) -> dict[Path, tuple[bytes, int]]:
    """Bytes and modification time of every source before the build."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in films.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(config: BuildConfig, before: dict[Path, tuple[bytes, int]]) -> BuildReport:
    """One finished build."""
    assert before
    return build(config)


def vary(config: BuildConfig, out: Path, **options: Any) -> BuildConfig:
    """Return the configuration with another output folder and other options; the bank is the same by default."""
    return from_options({**config.to_options(), "bank": config.bank_folder, "out": out, **options})


def shas(folder: Path) -> list[str]:
    """The hashes of all shards, from the index."""
    return [shard.sha256 for shard in read_index(folder).shards]


def ledger(folder: Path) -> dict[str, LedgerRow]:
    """The ledger by path."""
    return {row.path: row for row in read_ledger(folder)}


def forgetful_bank(built: BuildReport, bank: Path, *, frames: str, vectors: str = "none") -> Path:
    """Copy the bank without the entries and the vectors of these videos; `*` stands for all."""
    ids = {path: row.video_id for path, row in ledger(built.out).items()} | {"*": "*", "none": "none"}
    shutil.copytree(built.bank, bank)
    for lost in [*bank.rglob(f"{ids[vectors]}.npy"), *bank.rglob(f"frames/*/{ids[frames]}.*")]:
        lost.unlink()
    return bank


def test_every_file_is_used_or_skipped_with_its_reason(built: BuildReport, films: Path) -> None:
    rows = ledger(built.out)
    on_disk = {p.relative_to(films).as_posix() for p in films.rglob("*") if p.is_file()}
    assert set(rows) == on_disk
    reasons = {path: row.reason for path, row in rows.items() if row.outcome == "skipped"}
    assert reasons.pop("film 0.mp4") == "duplicate"  # `deep/er/copy.mp4` sorts before it
    assert reasons == {
        "short.mp4": "too_short",
        "still.mp4": "static",
        "text.mp4": "not_a_video",
        "empty.mp4": "empty_file",
        "notes.txt": "not_a_video",
        "cut off.mp4": "not_a_video",
    }
    assert all(row.samples > 0 for row in rows.values() if row.outcome == "used")
    assert built.samples == sum(row.samples for row in rows.values()) >= 8
    assert built.used + sum(built.skipped.values()) == built.sources == len(on_disk)


def test_the_tables_agree_with_the_shards(built: BuildReport) -> None:
    records = [sample.record for path in shard_paths(built.out) for sample in read_shard(path)]
    rows = pq.read_table(built.out / "samples.parquet").to_pylist()
    assert [row["key"] for row in rows] == [record.key for record in records]
    assert [row["answer"].split(", ") for row in rows] == [list(record.answer) for record in records]
    index_file = read_index(built.out)
    assert index_file.counts["samples"] == len(records) == built.samples
    report = json.loads((built.out / "report.json").read_text())
    assert report["samples"] == built.samples
    assert report["skipped"] == built.skipped
    assert report["encoder"].startswith("builtin:tinyvit, onnxruntime-")  # and the device
    origins = [c.origin for record in records for c in record.candidates if c.order < 0]
    assert {origin: origins.count(origin) for origin in set(origins)} == built.origins
    assert not list(built.out.glob(".*")), "no temporary files are left"
    assert not (built.out / "started.json").exists()


def test_every_puzzle_obeys_the_rules(built: BuildReport) -> None:
    for path in shard_paths(built.out):
        for sample in read_shard(path):
            record = sample.record
            assert (record.k, record.l, len(record.context)) == (4, 4, 12)
            assert record.width_px % 28 == 0 == record.height_px % 28
            hidden = [c for c in record.candidates if c.order >= 0]
            wrong = [c for c in record.candidates if c.order < 0]
            assert all(c.similarity < built.thresholds["repeat"] for c in hidden)
            assert all(built.thresholds["low"] <= c.similarity < built.thresholds["ambiguous"] for c in wrong)
            shown = {(record.video_id, c.frame) for c in record.context}
            assert not shown & {(c.video_id, c.frame) for c in record.candidates}
            assert not any(
                c.video_id == record.video_id and record.hidden_start_s <= c.time_s <= record.hidden_end_s
                for c in wrong
            )


def test_workers_do_not_change_a_byte(config: BuildConfig, built: BuildReport, tmp_path: Path) -> None:
    """One worker instead of two, and `index` fills half of the bank first."""
    one = vary(config, tmp_path / "one", bank=tmp_path / "fresh", workers=1)
    assert index(vary(one, tmp_path / "never made", limit=6, bank=one.bank_folder)).videos == 3
    build(one)
    assert shas(tmp_path / "one") == shas(built.out)
    assert (tmp_path / "one" / "index.json").read_bytes() == (built.out / "index.json").read_bytes()
    assert ledger(tmp_path / "one") == ledger(built.out)


def test_renaming_the_folder_changes_nothing(
    config: BuildConfig, built: BuildReport, films: Path, tmp_path: Path
) -> None:
    shutil.copytree(films, tmp_path / "other name")
    build(vary(config, tmp_path / "out", src=str(tmp_path / "other name")))
    assert shas(tmp_path / "out") == shas(built.out)


@pytest.mark.usefixtures("built")
def test_inputs_are_left_as_they_are(films: Path, before: dict[Path, tuple[bytes, int]]) -> None:
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in films.rglob("*") if path.is_file()}
    assert after == before


def test_a_build_uses_no_network(
    config: BuildConfig, built: BuildReport, decoded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it decodes each video once."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    bank = forgetful_bank(built, tmp_path / "bank", frames="*", vectors="film 1.mp4")
    build(vary(config, tmp_path / "out", bank=bank))
    readable = [name for name in decoded if name not in ("text.mp4", "empty.mp4", "cut off.mp4")]
    assert sorted(readable) == ["copy.mp4", "film 1.mp4", "film 2.mp4", "film 3.mp4", "short.mp4", "still.mp4"]
    assert shas(tmp_path / "out") == shas(built.out)


def test_a_seed_changes_the_samples(config: BuildConfig, built: BuildReport, tmp_path: Path) -> None:
    build(vary(config, tmp_path / "out", seed=1, limit=3))
    first = {s.record.key for p in shard_paths(tmp_path / "out") for s in read_shard(p)}
    assert first
    assert not first & {s.record.key for p in shard_paths(built.out) for s in read_shard(p)}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths that are opened for decoding; the jobs run in this process."""
    from mvp_data.video import extract

    paths: list[str] = []
    open_video = extract.open_video

    def watched(path: Path, **options: Any) -> Any:
        paths.append(path.name)
        return open_video(path, **options)

    monkeypatch.setattr(extract, "open_video", watched)
    monkeypatch.setattr(local, "run_all", lambda work, jobs, **_: ((job, work(job)) for job in jobs))
    return paths


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_frames": 3, "context_frames": 8},
        {"distractors": 6},
        {"mask_policy": "free", "samples_per_video": 2},
        {"neighbourhood_share": 0.0, "same_video_share": 0.0, "similarity_low": -0.5},
        {"shard_samples": 3, "test_share": 0.5},
        {"dedup_threshold": 0.9},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.usefixtures("built")
def test_other_puzzle_options_need_no_decoding(
    config: BuildConfig, decoded: list[str], options: dict[str, Any], tmp_path: Path
) -> None:
    report = build(vary(config, tmp_path / "out", **options))
    assert decoded == []
    assert report.samples > 0
    sample = next(read_shard(shard_paths(tmp_path / "out")[0]))
    assert sample.record.k == options.get("hidden_frames", 4)
    assert sample.record.l == options.get("distractors", 4)


def test_without_distractors_only_the_order_is_asked(config: BuildConfig, built: BuildReport, tmp_path: Path) -> None:
    report = build(vary(config, tmp_path / "order", distractors=0))
    assert report.samples >= built.samples
    for path in shard_paths(report.out):
        for sample in read_shard(path):
            assert len(sample.candidates) == sample.record.k == 4
            assert sorted(sample.record.answer) == list("ABCD")
            assert 0 <= sample.record.difficulty <= 1


def test_a_finished_build_is_left_alone(config: BuildConfig, built: BuildReport, tmp_path: Path) -> None:
    before = (built.out / "index.json").stat().st_mtime_ns
    assert build(config) == dataclasses.replace(built, already_complete=True)
    assert (built.out / "index.json").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="another configuration"):
        build(vary(config, built.out, hidden_frames=3))
    shutil.copytree(built.out, tmp_path / "copy")
    assert build(vary(config, tmp_path / "copy", hidden_frames=3), overwrite=True).samples
    assert read_index(tmp_path / "copy").config["options"]["mask"]["hidden_frames"] == 3


def test_a_finished_build_of_other_files_is_refused_before_any_is_decoded(
    config: BuildConfig, built: BuildReport, films: Path, decoded: list[str], tmp_path: Path
) -> None:
    shutil.copytree(films, tmp_path / "more")
    shutil.copy(films / "film 0.mp4", tmp_path / "more" / "another.mp4")
    more = vary(config, built.out, src=str(tmp_path / "more"))
    with pytest.raises(OutputError, match=r"other sources .* pass --overwrite"):
        build(more)
    assert decoded == []
    status = read_status(built.out)
    assert (status.state, status.samples) == ("complete", built.samples), "as it was before"
    assert status.message == "", "and nothing of the refusal is left"
    assert build(config).already_complete
    assert not (built.out / STATUS_NAME).exists()


def test_a_video_that_succeeds_on_retry_is_added(
    config: BuildConfig, built: BuildReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A timeout: --retry tries it again, without --overwrite."""
    run_all = local.run_all

    def one_is_killed(work: Any, jobs: Any, **limits: Any) -> Iterator[Any]:
        for job, result in run_all(work, jobs, **limits):
            unlucky = job.source.path == "film 1.mp4"
            yield job, Lost("timeout", "not done", result.video_id) if unlucky else result

    bank = forgetful_bank(built, tmp_path / "bank", frames="film 1.mp4", vectors="film 1.mp4")
    again = vary(config, tmp_path / "out", bank=bank, workers=1)
    monkeypatch.setattr(local, "run_all", one_is_killed)
    assert build(again).skipped["timeout"] == 1
    assert ledger(again.out)["film 1.mp4"].reason == "timeout"
    monkeypatch.undo()
    assert build(again).already_complete, "nothing was asked for"
    assert build(vary(again, again.out, bank=bank, retry="crash")).already_complete, "not what failed"
    assert not build(vary(again, again.out, bank=bank, retry="timeout")).already_complete
    assert shas(again.out) == shas(built.out)


def test_a_crash_is_tried_once_more(
    config: BuildConfig, built: BuildReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all, crashed = local.run_all, []

    def first_time_killed(work: Any, jobs: Any, **limits: Any) -> Iterator[Any]:
        for job, result in run_all(work, jobs, **limits):
            unlucky = job.source.path == "film 1.mp4" and not crashed
            crashed.extend([job] * unlucky)
            yield job, Lost("crash", "its process died (signal SIGKILL)") if unlucky else result

    monkeypatch.setattr(local, "run_all", first_time_killed)
    bank = forgetful_bank(built, tmp_path / "bank", frames="film 1.mp4", vectors="film 1.mp4")
    build(vary(config, tmp_path / "out", bank=bank))
    assert len(crashed) == 1
    assert shas(tmp_path / "out") == shas(built.out)


def test_an_interrupted_build_resumes(config: BuildConfig, built: BuildReport, tmp_path: Path) -> None:
    """A folder without its index, with a part of the bank, an incomplete temporary file and an old shard."""
    out = tmp_path / "out"
    shutil.copytree(built.out, out)
    stamp = {"config_hash": read_index(out).config_hash}
    (out / "index.json").unlink()
    (out / "started.json").write_text(json.dumps(stamp))
    (out / ".shard-000000.tar.99.tmp").write_bytes(b"torn")
    (out / "shard-000009.tar").write_bytes(b"stale")
    bank = forgetful_bank(built, tmp_path / "bank", frames="film 1.mp4", vectors="film 2.mp4")
    for entry in sorted(bank.rglob("*.parquet"))[::2]:
        entry.unlink()
    build(vary(config, out, bank=bank))
    assert shas(out) == shas(built.out)
    assert not list(out.glob(".*"))
    assert not (out / "shard-000009.tar").exists()


def test_sources_from_a_manifest_keep_their_columns(config: BuildConfig, films: Path, tmp_path: Path) -> None:
    rows = [{"path": str(films / "film 2.mp4"), "caption": "a <pan>", "stars": 4}, {"path": "gone.mp4"}]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    build(vary(config, tmp_path / "out", src=str(manifest)))
    record = next(read_shard(shard_paths(tmp_path / "out")[0])).record
    assert json.loads(record.extra) == {"caption": "a <pan>", "stars": "4"}
    assert ledger(tmp_path / "out")["gone.mp4"].reason == "unreadable"


def test_sources_that_are_not_local_files(config: BuildConfig, built: BuildReport, films: Path, tmp_path: Path) -> None:
    """A video from memory, from a tar and from a file URL gives the same samples."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/film.mp4", (films / "film 2.mp4").read_bytes())
    with tarfile.open(tmp_path / "videos.tar", "w") as tar:
        tar.add(films / "film 2.mp4", "000.mp4")
    urls = ["memory://bucket/film.mp4", str(tmp_path / "videos.tar"), (films / "film 2.mp4").as_uri()]
    bank = forgetful_bank(built, tmp_path / "bank", frames="film 2.mp4")
    found: list[list[tuple[str, tuple[str, ...], tuple[bytes, ...]]]] = []
    for number, url in enumerate(urls):
        out = tmp_path / f"out{number}"
        build(vary(config, out, src=url, bank=bank if number == 0 else config.bank_folder))
        samples = [s for p in shard_paths(out) for s in read_shard(p)]
        found.append([(s.record.key, s.record.answer, s.candidates) for s in samples])
    assert found[0] == found[1] == found[2]
    assert not list((bank / "spool").iterdir())


def test_nothing_usable(config: BuildConfig, tmp_path: Path) -> None:
    """The folder has no index, so it cannot be taken for a dataset; the ledger has the reasons."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    report = build(vary(config, tmp_path / "out", src=str(tmp_path / "videos")))
    assert report.samples == 0
    assert ledger(tmp_path / "out")["text.mp4"].reason == "not_a_video"
    assert not (tmp_path / "out" / "index.json").exists()


def test_the_folder_opens_as_a_dataset(built: BuildReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is loaded through the header of its card, without a mention of tars or splits."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded = datasets.load_dataset(str(built.out), cache_dir=str(tmp_path))
    names = {"train": "train", "val": "validation", "test": "test"}
    assert {name: len(rows) for name, rows in loaded.items()} == {
        names[split]: count for split, count in built.splits.items() if count
    }
    rows = loaded["train"]
    records = {s.record.key: s.record for path in shard_paths(built.out) for s in read_shard(path)}
    for row in rows:
        assert tuple(row["json"]["answer"]) == records[row["__key__"]].answer
        assert row["candidate_h.jpg"].size == row["context_11.jpg"].size
