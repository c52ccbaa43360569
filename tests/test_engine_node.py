"""What runs on a node, in this process."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mvp_data import engine_node
from mvp_data.bank import Bank
from mvp_data.config import BuildConfig
from mvp_data.embed import Encoder
from mvp_data.engine_node import EmbedHand, Terms, VideoHand, version
from mvp_data.errors import MissingDependencyError, MvpError, OutputError, WeightsError
from mvp_data.pass1 import extract_all
from mvp_data.scan import scan
from mvp_data.workers import Limits, Lost
from tests.test_pass1 import Averages, config_for
from tests.test_workers import act


@pytest.fixture(autouse=True)
def main_file() -> Iterator[None]:
    """`ready` takes the main program's file away, where it has one; later tests need it."""
    main = vars(sys.modules["__main__"])
    before = main.get("__file__")
    yield
    if before is not None:
        main["__file__"] = before


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / "mark").touch()
    return Terms(mark=tmp_path / "tmp" / "mark", version=version())


def test_a_hand_does_one_job_after_the_other_under_the_limits_of_workers(terms: Terms) -> None:
    hand = VideoHand(terms, act, Limits(timeout_s=2.0))
    assert hand.ready().result is None
    first = hand.run(("a", 1))
    assert first.result == "a 1"
    assert first.peak_mb > 0
    late = hand.run(("hang", 2)).result
    assert isinstance(late, Lost)
    assert (late.kind, late.process_id > 0, late.host != "") == ("timeout", True, True)
    assert hand.run(("b", 3)).result == "b 3", "and goes on with another process"
    assert isinstance(hand.run(("stop", 4)).result, OutputError)


def test_a_node_that_does_not_see_the_bank_is_told_so(terms: Terms) -> None:
    terms.mark.unlink()
    found = VideoHand(terms, act, Limits()).ready().result
    assert isinstance(found, OutputError)
    assert f"cannot write to the bank {terms.mark.parent.parent}" in str(found)


def test_a_node_looks_for_the_run_in_the_store_where_there_is_one(terms: Terms, tmp_path: Path) -> None:
    there = replace(terms, store=f"file://{tmp_path / 'store'}")
    terms.mark.unlink()
    found = VideoHand(there, act, Limits()).ready().result
    assert isinstance(found, OutputError)
    assert f"does not find this run in file://{tmp_path / 'store'}" in str(found)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mark").touch()
    assert VideoHand(there, act, Limits()).ready().result is None


def test_a_node_with_another_version_is_refused(terms: Terms) -> None:
    found = VideoHand(replace(terms, version=("9.9", "3.99")), act, Limits()).ready().result
    assert isinstance(found, MissingDependencyError)
    assert "mvp-data 9.9 on Python 3.99" in str(found)


@pytest.fixture
def bank(films: Path, tmp_path: Path) -> tuple[BuildConfig, Bank, list[str]]:
    config = config_for(films, tmp_path / "out")
    outcomes = extract_all(scan([str(films / "film 0.mp4"), str(films / "film 1.mp4")]).sources, config)
    return config, Bank(config.bank_folder, config.extract_hash()), [o.video_id for o in outcomes]


def test_an_encoder_on_a_node_fills_the_bank(
    terms: Terms, bank: tuple[BuildConfig, Bank, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, filled, ids = bank
    monkeypatch.setattr(engine_node, "load_embedder", lambda spec, *, threads: Averages())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    hand = EmbedHand(terms, filled, "test", Averages.encoder)
    assert hand.ready().result is None
    usable = [len(filled.read(video_id).usable) for video_id in ids]
    assert hand.run(tuple(ids)).result == sum(usable)
    for video_id, rows in zip(ids, usable, strict=True):
        assert filled.read_vectors(video_id, Averages.encoder, rows=rows).shape == (rows, 3)


def test_vectors_of_two_encoders_never_mix(terms: Terms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_node, "load_embedder", lambda spec, *, threads: Averages())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    wanted: Encoder = replace(Averages.encoder, engine="numpy-other")
    found = EmbedHand(terms, Bank(tmp_path, "0" * 12), "test", wanted).ready().result
    assert isinstance(found, WeightsError)
    assert isinstance(found, MvpError)
    assert "numpy-other" in str(found)
