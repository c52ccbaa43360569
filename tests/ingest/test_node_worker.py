"""The functions that run on a node, here in this process."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig
from mvp_data.core.errors import MissingDependencyError, MvpError, OutputError, WeightsError
from mvp_data.core.types import Encoder
from mvp_data.engines.base import Limits, Lost
from mvp_data.engines.fleet import ProcessWorker, StatefulWorker
from mvp_data.ingest import embed
from mvp_data.ingest.embed import EmbedWork
from mvp_data.ingest.node_worker import NodeCheck, node_check, version
from mvp_data.ingest.scheduler import extract_all
from mvp_data.sources.scan import scan
from tests.engines.local_jobs import act
from tests.ingest.test_scheduler import Averages, config_for


@pytest.fixture(autouse=True)
def main_file() -> Iterator[None]:
    """`ready` removes the path of the main program; later tests need it."""
    main = vars(sys.modules["__main__"])
    before = main.get("__file__")
    yield
    if before is not None:
        main["__file__"] = before


@pytest.fixture
def check(tmp_path: Path) -> NodeCheck:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mark").touch()
    return NodeCheck(mark=tmp_path / "tmp" / "mark", version=version())


def test_a_worker_runs_jobs_under_the_limits_of_one_machine(check: NodeCheck) -> None:
    worker = ProcessWorker(check, act, Limits(timeout_s=2.0))
    assert worker.ready().result is None
    first = worker.run(("a", 1))
    assert first.result == "a 1"
    assert first.peak_mb > 0
    late = worker.run(("hang", 2)).result
    assert isinstance(late, Lost)
    assert (late.kind, late.process_id > 0, late.host != "") == ("timeout", True, True)
    assert worker.run(("b", 3)).result == "b 3", "another process runs the next job"
    assert isinstance(worker.run(("stop", 4)).result, OutputError)


def test_a_node_that_does_not_see_the_bank_is_refused(check: NodeCheck) -> None:
    check.mark.unlink()
    found = ProcessWorker(check, act, Limits()).ready().result
    assert isinstance(found, OutputError)
    assert f"cannot write to the bank {check.mark.parent.parent}" in str(found)


def test_a_node_looks_for_the_run_in_the_store(check: NodeCheck, tmp_path: Path) -> None:
    there = replace(check, store=f"file://{tmp_path / 'store'}")
    check.mark.unlink()
    found = ProcessWorker(there, act, Limits()).ready().result
    assert isinstance(found, OutputError)
    assert f"does not find this run in file://{tmp_path / 'store'}" in str(found)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mark").touch()
    assert ProcessWorker(there, act, Limits()).ready().result is None


def test_a_node_with_another_version_is_refused(check: NodeCheck) -> None:
    found = ProcessWorker(replace(check, version=("9.9", "3.99")), act, Limits()).ready().result
    assert isinstance(found, MissingDependencyError)
    assert "mvp-data 9.9 on Python 3.99" in str(found)


@pytest.fixture
def bank(films: Path, tmp_path: Path) -> tuple[BuildConfig, Bank, list[str]]:
    config = config_for(films, tmp_path / "out")
    outcomes = extract_all(scan([str(films / "film 0.mp4"), str(films / "film 1.mp4")]).sources, config)
    return config, Bank(config.bank_folder, config.extract_hash()), [o.video_id for o in outcomes]


def test_an_encoder_on_a_node_fills_the_bank(
    check: NodeCheck, bank: tuple[BuildConfig, Bank, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, filled, ids = bank
    monkeypatch.setattr(embed, "load_embedder", lambda spec, *, threads: Averages())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    worker = StatefulWorker(check, partial(EmbedWork, filled, "test", Averages.encoder))
    assert worker.ready().result is None
    usable = [len(filled.read(video_id).usable) for video_id in ids]
    assert worker.run(tuple(ids)).result == sum(usable)
    for video_id, rows in zip(ids, usable, strict=True):
        assert filled.read_vectors(video_id, Averages.encoder, rows=rows).shape == (rows, 3)


def test_vectors_of_two_encoders_never_mix(check: NodeCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "load_embedder", lambda spec, *, threads: Averages())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    wanted: Encoder = replace(Averages.encoder, engine="numpy-other")
    found = StatefulWorker(check, partial(EmbedWork, Bank(tmp_path, "0" * 12), "test", wanted)).ready().result
    assert isinstance(found, WeightsError)
    assert isinstance(found, MvpError)
    assert "numpy-other" in str(found)


def test_the_mark_of_a_run_exists_during_the_run(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    store = f"file://{tmp_path / 'store'}"
    with node_check(tmp_path / "tmp", store) as check:
        check.check()
        assert check.mark.is_file()
        check.mark.unlink()
        check.check()  # the store has it too
    with pytest.raises(OutputError, match="does not find this run"):
        check.check()
    assert not [*(tmp_path / "tmp").iterdir(), *(tmp_path / "store").iterdir()]
