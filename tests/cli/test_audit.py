"""`mvp-data audit` from end to end: exit codes, streams, files, errors of one line."""

import json
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from mvp_data.cli.main import main
from mvp_data.shards.tar import read_shard, write_shard
from tests.audit_plants import PLANTS, plant_shard


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("leaky") / "a.tar", PLANTS["answer is ABCD"], 30)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("clean") / "a.tar", PLANTS["control"], 30)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["mvp-data", "audit", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_gate(
    leaky: Path, clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for shard, fail_on, code in ((leaky, "leak", 1), (leaky, "none", 0), (clean, "leak", 0)):
        assert run(monkeypatch, shard, "--no-embedding", "--fail-on", fail_on) == code
        out, err = capsys.readouterr()
        assert "probe-artefacts" in out
        assert err.endswith(
            "labels, positions can win by a shortcut; docs/audit.md describes what each one finds\n"
        ) == (code == 1)


def test_without_the_probes_the_gate_does_not_pass(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without scikit-learn the other solvers run; text, JSON, page and gate say that the probes did not."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    line = "pip install 'masked-video-prediction[audit]'"
    assert run(monkeypatch, clean, "--no-embedding", "--out", tmp_path / "audit") == 0
    out, _ = capsys.readouterr()
    said = " ".join(out.split())
    assert "probe-candidates and probe-artefacts did not run, so leaks can be missed: the probes of the audit" in said
    assert f"need scikit-learn: {line}" in said
    assert "no leak found, but the test is too weak: without its probes an audit cannot show that" in said
    assert "labels" in said
    values = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert line in values["probes_missing"]
    names = {result["name"] for result in values["parts"][0]["results"]}
    assert {"labels", "positions"} <= names
    assert not {"probe-candidates", "probe-artefacts"} & names
    assert line in unescape((tmp_path / "audit" / "report.html").read_text(encoding="utf-8"))
    assert run(monkeypatch, clean, "--no-embedding", "--fail-on", "leak") == 1
    assert capsys.readouterr().err.endswith(f"need scikit-learn: {line}\n")


def test_files_and_json(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, clean, "--no-embedding", "--json", "--out", tmp_path / "audit") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert err.strip() == f"report: {(tmp_path / 'audit' / 'report.html').resolve().as_uri()}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--no-embedding"], "no such shard or folder"),
        (["{shard}"], "name it with --embedder, or give --no-embedding"),
        (["{shard}", "--embedder", "magic"], "no embedder 'magic'"),
        (["{shard}", "--no-embedding", "--fail-on", "all"], "choose one of none, leak"),
        (["{shard}", "--no-embedding", "--out", "{folder}"], "must hold only shards"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *(a.format(shard=clean, folder=clean.parent) for a in arguments)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def rewritten(shard: Path, target: Path, old: bytes, new: bytes) -> Path:
    """The shard with some bytes exchanged for as many others."""
    data = shard.read_bytes()
    assert len(old) == len(new)
    assert old in data
    target.write_bytes(data.replace(old, new))
    return target


def undecodable(shard: Path, target: Path) -> Path:
    """One image has a size and no content."""
    samples = list(read_shard(shard))
    data = samples[5].candidates[0]
    broken = data[: data.index(b"\xff\xc4")] + b"\xff\xd9"
    samples[5] = replace(samples[5], candidates=(broken, *samples[5].candidates[1:]))
    write_shard(target, samples)
    return target


def without_a_member(shard: Path, target: Path) -> Path:
    with tarfile.open(shard) as old, tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in old.getmembers():
            if not member.name.endswith("candidate_c.jpg"):
                new.addfile(member, old.extractfile(member))
    return target


def two_builds(shard: Path, target: Path) -> Path:
    samples = list(read_shard(shard))
    samples[7] = replace(samples[7], record=replace(samples[7].record, config_hash="decaf"))
    write_shard(target, samples)
    return target


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a, b: rewritten(a, b, b'"schema_version":3', b'"schema_version":1'), "schema_version 1"),
        (undecodable, "video1-s005-v0: an image cannot be decoded"),
        (without_a_member, "missing files"),
        (two_builds, "samples of two builds"),
        (lambda a, b: b.write_bytes(a.read_bytes()[:-9999]) and b, "truncated"),
    ],
)
def test_bad_shards_are_one_line_too(
    spoil: Callable[[Path, Path], Path],
    message: str,
    clean: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, spoil(clean, tmp_path / "bad.tar"), "--no-embedding", "--fail-on", "leak") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_too_few_samples_do_not_pass_the_gate(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "a.tar", list(read_shard(clean))[:9])
    assert run(monkeypatch, tmp_path / "a.tar", "--no-embedding", "--fail-on", "leak") == 1
    out, err = capsys.readouterr()
    assert "too wide" in out
    assert "9 samples cannot show" in err
