"""Builds of the real clips; minutes, so not in the default suite: `pytest -m slow`."""

import hashlib
from pathlib import Path

import pytest

from mvp_data import BuildReport, Sample, build, read_index, read_shard, shard_paths
from mvp_data.config.options import from_options
from mvp_data.pipeline.ledger import read_ledger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def built(src: Path, out: Path, tinyvit: str, **options: object) -> BuildReport:
    return build(from_options({"src": str(src), "out": out, "embedder": tinyvit, **options}))


def samples(out: Path) -> dict[str, Sample]:
    return {s.record.key: s for path in shard_paths(out) for s in read_shard(path)}


@pytest.fixture(scope="module")
def clips(corpus: Path, tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> BuildReport:
    out = tmp_path_factory.mktemp("clips") / "out"
    return built(corpus / "clips", out, tinyvit, workers=2)


def test_real_clips_give_samples_and_reasons(clips: BuildReport, corpus: Path) -> None:
    assert clips.samples >= 40
    rows = read_ledger(clips.out)
    assert {row.path for row in rows} == {path.name for path in (corpus / "clips").iterdir()}
    assert all(row.samples > 0 if row.outcome == "used" else row.reason and row.detail for row in rows)


def test_one_worker_and_two_give_the_same_bytes(clips: BuildReport, corpus: Path, tinyvit: str, tmp_path: Path) -> None:
    built(corpus / "clips", tmp_path / "out", tinyvit, workers=1)
    for shard in read_index(clips.out).shards:
        assert hashlib.sha256((tmp_path / "out" / shard.name).read_bytes()).hexdigest() == shard.sha256


def test_damaged_files_take_no_sample_away(clips: BuildReport, corpus: Path, tinyvit: str, tmp_path: Path) -> None:
    """Among the nasty files the clips give the same puzzles; only corpus distractors may differ."""
    built(corpus, tmp_path / "out", tinyvit, bank=clips.bank)
    rows = {row.path for row in read_ledger(tmp_path / "out")}
    assert rows == {path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()}
    alone, together = samples(clips.out), samples(tmp_path / "out")
    for key, sample in alone.items():
        assert together[key].context == sample.context
        assert [c.frame for c in hidden(together[key])] == [c.frame for c in hidden(sample)]


def hidden(sample: Sample):  # type: ignore[no-untyped-def]
    return sorted((c for c in sample.record.candidates if c.order >= 0), key=lambda c: c.order)
