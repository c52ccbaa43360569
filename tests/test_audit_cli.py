"""`mvp-data audit` from end to end: exit codes, streams, files, errors of one line."""

import json
from pathlib import Path

import pytest

from mvp_data.cli import main
from tests.audit_plants import PLANTS, plant_shard


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("leaky") / "a.tar", PLANTS["answer is ABCD"], 60)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plant_shard(tmp_path_factory.mktemp("clean") / "a.tar", PLANTS["control"], 60)


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
            "labels, positions can win without the context; docs/audit.md says what each one finds\n"
        ) == (code == 1)


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
        (["{shard}", "--no-embedding", "--fail-on", "all"], "there are none, leak"),
        (["{shard}", "--no-embedding", "--out", "{folder}"], "holds the shards"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    clean: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *(a.format(shard=clean, folder=clean.parent) for a in arguments)) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
