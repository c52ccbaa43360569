"""Options of earlier versions are refused with a message that says what to use now."""

import subprocess
import sys

import pytest

from mvp_data.config import removed as removed_module
from mvp_data.config.options import from_options
from mvp_data.config.removed import REMOVED, refuse_removed, removed
from mvp_data.core.errors import ConfigError


def test_the_quiz_server_is_refused_in_one_line() -> None:
    command = [sys.executable, "-m", "mvp_data.cli.main", "quiz", "shards/", "--serve", "--results", "results.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mvp-data: {removed('quiz', '--serve')}\n"
    assert "--out" in done.stderr
    assert "--grade" in done.stderr


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in REMOVED.items() for o in options])
def test_each_removed_option_is_refused(command: str, option: str) -> None:
    for arguments in ([command, option], [command, "x", f"{option}=1"]):
        with pytest.raises(ConfigError, match=f"{command} {option} was removed: ."):
            refuse_removed(arguments)


def test_other_arguments_are_not_refused() -> None:
    for arguments in ([], ["--version"], ["quiz", "--", "--serve"], ["inspect", "--serve"], ["quiz", "--out", "x"]):
        refuse_removed(arguments)


def test_a_removed_build_option_is_refused_in_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(removed_module.REMOVED, "build", {"--old-name": "use --fps"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown option: old_name; build --old-name was removed: use --fps"):
        from_options({"old_name": 3})
