"""The doctor on this machine, and on machines that lack something."""

import importlib.metadata
import json
import os
import tomllib
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mvp_data.cli.doctor import doctor_command
from mvp_data.core.errors import MissingDependencyError, Skip, SkipReason, WeightsError
from mvp_data.engines.base import Limits
from mvp_data.pipeline import doctor
from mvp_data.pipeline.doctor import Check, checks, examine, to_json, to_text, unfit
from mvp_data.video.decode import codec_check
from mvp_data.video.decode.open import open_video
from mvp_data.video.decode.pyav import probe
from tests import ROOT

CODECS = {
    "H.264": "h264",
    "H.264 10 bit": "h264",
    "HEVC": "hevc",
    "VP8": "vp8",
    "VP9": "vp9",
    "AV1": "av1",
    "MPEG-4": "mpeg4",
    "MPEG-2": "mpeg2video",
    "MJPEG": "mjpeg",
    "ProRes": "prores",
}


def test_each_clip_holds_the_codec_it_is_named_after(tmp_path: Path) -> None:
    found = {}
    with ZipFile(codec_check.CLIPS) as clips:
        for name in clips.namelist():
            found[name.partition("/")[0]] = probe(clips.extract(name, tmp_path)).info.codec
    assert found == CODECS


def test_pyav_decodes_every_common_codec() -> None:
    assert codec_check.undecodable("pyav") == ()


def test_decord_decodes_only_some_codecs() -> None:
    pytest.importorskip("decord")
    assert codec_check.undecodable("decord") == ("VP9", "AV1", "MPEG-2", "MJPEG", "ProRes")


def test_a_missing_or_wrong_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def __init__(self, video):  # type: ignore[no-untyped-def]
            self.video = video

        def frames(self):  # type: ignore[no-untyped-def]
            return list(self.video.frames())[::-1][:1] * 2

    @contextmanager
    def lacking(path: Path, *, backend: str):  # type: ignore[no-untyped-def]
        if path.name == "av1.mp4":
            raise Skip(SkipReason.UNSUPPORTED_CODEC, "no decoder for the video stream")
        with open_video(path, backend=backend) as video:
            yield Wrong(video) if path.name == "vp9.webm" else video

    monkeypatch.setattr(codec_check, "open_video", lacking)
    assert codec_check.undecodable("pyav") == ("VP9", "AV1")
    assert codec_check.trial("pyav")["AV1"] == "no decoder for the video stream"
    assert doctor._decoder("pyav", "av")[0] == "warning"


def test_without_decord_no_codec_is_reported_as_undecodable(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(path: Path, *, backend: str) -> None:
        raise MissingDependencyError("the decord back end needs decord: pip install 'x[decord]'")

    monkeypatch.setattr(codec_check, "open_video", absent)
    assert codec_check.undecodable("decord") == ()
    assert doctor._decoder("decord", "decord") == (
        "missing",
        "the decord back end needs decord",
        "pip install 'x[decord]'",
    )


def crash() -> tuple[str, str, str]:
    os.abort()


def good() -> tuple[str, str, str]:
    return "ok", "fine", ""


def lacks_weights() -> tuple[str, str, str]:
    raise WeightsError("no weights")


def test_a_library_that_crashes_costs_one_row() -> None:
    rows = examine(
        [
            Check(name="a", examine=good),
            Check(name="b", examine=crash, needed=True),
            Check(name="c", examine=lacks_weights),
        ]
    )
    assert [(r.name, r.state) for r in rows] == [
        ("worker processes", "ok"),
        ("a", "ok"),
        ("b", "missing"),
        ("c", "missing"),
    ]
    assert "SIGABRT" in rows[2].detail
    assert (rows[3].detail, rows[3].needed) == ("no weights", False)
    assert unfit(rows) == ["b"]
    assert json.loads(to_json(rows))["ok"] is False
    assert to_text(rows).splitlines()[-1] == "cannot build here: see b"
    assert "absent   c" in to_text(rows)


def test_without_worker_processes_every_check_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, workers: int, limits: Limits) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(doctor, "run_all", refuse)
    rows = examine([Check(name="a", examine=good, needed=True)])
    assert [(r.state, r.needed) for r in rows] == [("missing", True), ("missing", True)]
    assert "Resource temporarily unavailable" in rows[0].detail


def test_the_checks_of_this_machine(tinyvit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All but torch, whose import takes longer than all the rest of this file."""
    light = tuple(c for c in checks(tmp_path) if c.name not in ("gpu", "decoder ffmpeg"))
    monkeypatch.setattr(doctor, "checks", lambda _: light)
    app = typer.Typer()
    app.command()(doctor_command)
    done = CliRunner().invoke(app, ["--json"])
    found = json.loads(done.stdout)
    rows = {row["name"]: row for row in found["rows"]}
    assert (done.exit_code, found["ok"]) == (0, True), found
    assert [*rows] == ["worker processes", *(check.name for check in light)]
    needed = ["worker processes", "packages", "decoder pyav", "encoder tinyvit", "neighbours"]
    assert [name for name, row in rows.items() if row["needed"]] == needed
    assert {rows[name]["state"] for name in needed} == {"ok"}
    assert all(row["remedy"] for row in rows.values() if row["state"] != "ok")
    assert "onnxruntime-cpu" in rows["encoder tinyvit"]["detail"] or "cuda" in rows["encoder tinyvit"]["detail"]


def test_missing_weights_fail_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MVP_CACHE", str(tmp_path))
    (check,) = (c for c in checks(tmp_path) if c.name == "encoder tinyvit")
    monkeypatch.setattr(doctor, "checks", lambda _: (check,))
    app = typer.Typer()
    app.command()(doctor_command)
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 1
    assert "-> mvp-data weights fetch tinyvit" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "cannot build here: see encoder tinyvit"


def test_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*doctor.EXTRAS} == {*declared} - {"dev"}


def test_required_packages_are_those_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=1.26", "av<19,>=17.1", "nosuch-thing>=1; extra == 'clip'", 'typer>=999; extra == "train"']
    wanted.append("decord>=0.6; (sys_platform != 'darwin' and platform_machine != 'aarch64') and extra == 'decord'")
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    state, detail, _ = doctor._packages("")
    assert (state, [word.split()[0] for word in detail.split(", ")]) == ("ok", ["numpy", "av"])
    assert doctor._packages("clip") == (
        "missing",
        "no nosuch-thing",
        "pip install --upgrade 'masked-video-prediction[clip]'",
    )
    state, detail, _ = doctor._packages("train")
    assert (state, detail.endswith("is older than 999")) == ("missing", True)
    assert "decord" in doctor._packages("decord")[1]


def test_scarce_resources_give_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor._space(tmp_path / "nowhere")[0] == "warning"
    assert doctor._space(tmp_path)[0] == "ok"
    monkeypatch.setattr(doctor, "LEAST_FREE_MB", 1e12)
    assert doctor._space(tmp_path)[0] == "warning"
    monkeypatch.setattr(doctor, "WORKER_MB", 1e9)
    assert doctor._memory()[0] == "warning" or not Path("/proc/meminfo").exists()
    monkeypatch.setattr(doctor, "LEAST_DESCRIPTORS", 1e9)
    assert doctor._descriptors()[0] == "warning"


def test_an_index_that_finds_the_wrong_rows_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from mvp_data.embedding.search import Neighbours

    right = Neighbours.search
    monkeypatch.setattr(Neighbours, "search", lambda self, q, k: right(self, np.roll(q, 1, axis=0), k))
    assert doctor._neighbours()[0] == "missing"
