"""The command line: its output, its errors and its exit codes."""

import json
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from mvp_data.cli import main as cli
from mvp_data.config.options import BuildConfig, all_options
from mvp_data.core.version import __version__


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A function that runs `mvp-data` in this process and returns (exit code, standard output, standard error)."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def mvp_data(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mvp-data", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        else:
            code = 0
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(code), printed.out, printed.err

    return mvp_data


COMMANDS = ("build", "index", "inspect", "ledger", "weights list", "weights fetch")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run, command: str) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run(*command.split(), "--help")
    assert code == 0
    assert "Usage: mvp-data" in out
    if "weights" not in command:
        assert re.search(rf"Examples?:\s+mvp-data {command}", out)


def test_every_option_is_on_the_command_line(run) -> None:  # type: ignore[no-untyped-def]
    _, out, _ = run("build", "--help")
    for _, option in all_options():
        assert f"--{option.name.replace('_', '-')} " in out
    assert {f.name for f in fields(BuildConfig)} >= {"src", "out"}


def test_the_version(run) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("--version")
    assert (code, out) == (0, f"mvp-data {__version__}\n")


def test_a_whole_session(run, films: Path, tinyvit: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Build from a file of options, inspect, read the ledger, resume, be refused, overwrite."""
    options = {"src": str(films), "out": str(tmp_path / "out"), "embedder": tinyvit, "limit": 3, "workers": 1}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(options))
    code, out, err = run("build", "--config", tmp_path / "build.yaml", "--limit", 4)
    assert code == 0, err
    assert re.match(r"\d+ samples in 1 shard from 1 of 5 files", out), out
    assert "empty_file 1" in out
    shard = next((tmp_path / "out").glob("*.tar"))
    code, out, _ = run("inspect", shard)
    assert code == 0
    assert "samples" in out
    code, out, _ = run("inspect", tmp_path / "out", "--json", "--html", tmp_path / "page.html")
    assert json.loads(out)["samples"] > 0
    assert (tmp_path / "page.html").stat().st_size > 100_000
    code, out, _ = run("ledger", tmp_path / "out", "--skipped")
    assert "empty.mp4\n    empty_file: " in out
    code, out, _ = run("build", "--config", tmp_path / "build.yaml", "--limit", 4)
    assert (code, "already holds this build" in out) == (0, True)
    code, _, err = run("build", "--config", tmp_path / "build.yaml", "--hidden-frames", 3)
    assert (code, "--overwrite" in err) == (1, True)
    code, out, _ = run("build", "--config", tmp_path / "build.yaml", "--hidden-frames", 3, "--overwrite", "--json")
    assert code == 0
    assert json.loads(out)["samples"] > 0


def test_a_dry_run_writes_nothing(run, films: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = run("build", "--src", films, "--out", tmp_path / "out", "--dry-run", "--fps", 2)
    assert code == 0
    assert "fps: 2.0" in out
    assert "would decode" in out
    assert not list(tmp_path.iterdir())


def test_no_samples_is_a_failure(run, tinyvit: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    code, _, err = run("build", "--src", tmp_path / "videos", "--out", tmp_path / "out", "--embedder", tinyvit)
    assert code == 1
    assert "no samples were written" in err
    assert "ledger" in err
    code, out, _ = run("ledger", tmp_path / "out")
    assert (code, "not_a_video" in out) == (0, True)


BAD = {
    "no source": (["build", "--out", "{tmp}/out"], "give --src"),
    "no output folder": (["build", "--src", "{films}"], "give --out"),
    "a source that is not there": (["build", "--src", "{tmp}/none", "--out", "{tmp}/out"], "no such file or folder"),
    "an empty folder": (["build", "--src", "{tmp}/empty", "--out", "{tmp}/out"], "empty"),
    "an unknown option": (["build", "--source", "x"], "No such option"),
    "an option of the wrong type": (["build", "--fps", "fast"], "number"),
    "an option out of range": (["build", "--src", "{films}", "--out", "{tmp}/out", "--fps", "-1"], "outside"),
    "an unknown choice": (["build", "--src", "{films}", "--out", "{tmp}/o", "--mask-policy", "all"], "anchored"),
    "an unknown embedder": (["build", "--src", "{films}", "--out", "{tmp}/o", "--embedder", "x"], "no embedder"),
    "unknown keys in a file": (["build", "--config", "{tmp}/typo.yaml"], "fsp, hiden_frames"),
    "a key of the wrong type": (["build", "--config", "{tmp}/type.yaml"], "fps: must be float"),
    "a file without a mapping": (["build", "--config", "{tmp}/list.yaml"], "mapping"),
    "a file that is not there": (["build", "--config", "{tmp}/none.yaml"], "cannot be read"),
    "an output folder with other files": (["build", "--src", "{films}", "--out", "{tmp}"], "not a build's"),
    "an output folder that is a source": (["build", "--src", "{films}", "--out", "{films}"], "also a --src"),
    "an output folder that is a file": (["build", "--src", "{films}", "--out", "{tmp}/typo.yaml"], "cannot be used"),
    "a bank that cannot be made": (
        ["build", "--src", "{films}", "--out", "{tmp}/o", "--bank", "{tmp}/typo.yaml/bank"],
        "--bank",
    ),
    "an index without a bank": (["index", "--src", "{films}"], "pass a folder with --bank"),
    "a shard that is not there": (["inspect", "{tmp}/none.tar"], "none.tar"),
    "a shard that is not a tar": (["inspect", "{tmp}/typo.yaml"], "typo.yaml"),
    "a folder without a build": (["inspect", "{tmp}/empty"], "no index.json"),
    "a ledger that is not there": (["ledger", "{tmp}/empty"], "--out folder"),
    "weights that nobody knows": (["weights", "fetch", "vgg"], "no embedder"),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_input_is_one_line_and_a_bad_exit_code(  # type: ignore[no-untyped-def]
    run, films: Path, tinyvit: str, tmp_path: Path, case: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.yaml").write_text("fsp: 2\nhiden_frames: 3\n")
    (tmp_path / "type.yaml").write_text("src: a\nout: b\nfps: fast\n")
    (tmp_path / "list.yaml").write_text("- src\n")
    before = sorted(p.name for p in films.rglob("*"))
    arguments, message = BAD[case]
    filled = [a.format(tmp=tmp_path, films=films) for a in arguments]
    if "--embedder" not in filled and filled[0] == "build" and "--config" not in filled:
        filled += ["--embedder", tinyvit]
    code, _, err = run(*filled)
    assert code in (1, 2)
    assert message in " ".join(err.split())
    if "Usage" not in err:  # typer's own messages come in a frame
        assert err.count("\n") == 1, err
    assert sorted(p.name for p in films.rglob("*")) == before
