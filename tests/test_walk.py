"""Folders and globs on a real disk."""

import os
from pathlib import Path

import pytest

from mvp_data import walk


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in walk.folder_entries(str(folder)) if not entry.fault)


def faults(folder: Path) -> dict[str, str]:
    return {entry.name: entry.fault for entry in walk.folder_entries(str(folder)) if entry.fault}


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def test_every_file_is_found_at_any_depth(tmp_path: Path) -> None:
    deep = "/".join("d" for _ in range(300)) + "/x.mp4"
    touch(tmp_path, "a.mp4", "b/c.mp4", deep)
    assert names(tmp_path) == sorted(["a.mp4", "b/c.mp4", deep])
    assert faults(tmp_path) == {}


def test_links_in_circles_are_walked_once_and_files_bear_their_real_names(tmp_path: Path) -> None:
    touch(tmp_path, "real/x.mp4")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "real/up2").symlink_to(tmp_path)
    (tmp_path / "a_link").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["real/x.mp4"]
    assert faults(tmp_path) == {}


def test_links_to_files_and_to_folders_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x.mp4", "src/y.mp4")
    (tmp_path / "src/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "src/z.mp4").symlink_to(tmp_path / "elsewhere/x.mp4")
    assert names(tmp_path / "src") == ["folder/x.mp4", "y.mp4", "z.mp4"]


def test_links_to_nothing_and_special_files_are_faults(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    (tmp_path / "null.mp4").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo.mp4")
    found = faults(tmp_path)
    assert set(found) == {"gone.mp4", "self.mp4", "null.mp4", "fifo.mp4"}
    assert "No such file" in found["gone.mp4"]
    assert "symbolic links" in found["self.mp4"]
    assert found["null.mp4"] == found["fifo.mp4"] == walk.NO_FILE


def test_a_refused_folder_is_one_fault_and_the_rest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.mp4", "secret/b.mp4", "z/c.mp4")
    real = os.scandir

    def refuse(path: str) -> object:
        if os.path.basename(path) == "secret":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a.mp4", "z/c.mp4"]
    assert faults(tmp_path) == {"secret": "folder cannot be read: Permission denied"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "secret/b.mp4")
    (tmp_path / "secret").chmod(0)
    try:
        assert names(tmp_path) == ["a.mp4"]
        assert list(faults(tmp_path)) == ["secret"]
    finally:
        (tmp_path / "secret").chmod(0o700)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.mp4", ["x.mp4"]),
        ("*", ["a/b/v.mp4", "a/u.mp4", "a/u.webm", "b/w.mp4", "x.mp4"]),
        ("a/*.mp4", ["u.mp4"]),
        ("[ab]/*.mp4", ["a/u.mp4", "b/w.mp4"]),
        ("**", ["a/b/v.mp4", "a/u.mp4", "a/u.webm", "b/w.mp4", "x.mp4"]),
        ("**/*.mp4", ["a/b/v.mp4", "a/u.mp4", "b/w.mp4", "x.mp4"]),
        ("**/b/*.mp4", ["a/b/v.mp4", "b/w.mp4"]),
        ("*/**/*.mp4", ["a/b/v.mp4", "a/u.mp4", "b/w.mp4"]),
        ("a/**", ["b/v.mp4", "u.mp4", "u.webm"]),
        ("nothing*", []),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(tmp_path, "x.mp4", "a/u.mp4", "a/u.webm", "a/b/v.mp4", "b/w.mp4")
    found = [entry.name for entry in walk.glob_entries(f"{tmp_path}/{pattern}")]
    assert sorted(found) == expected


def test_a_deep_glob_does_not_follow_links_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "d/x.mp4")
    for number in range(6):  # a walk that follows them would visit 6 to the power of 40 folders
        (tmp_path / f"d/loop{number}").symlink_to(tmp_path)
    assert [entry.name for entry in walk.glob_entries(f"{tmp_path}/**/*.mp4")] == ["d/x.mp4"]


def test_path_fault(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4")
    assert walk.path_fault(str(tmp_path / "x.mp4")) == ""
    assert walk.path_fault(str(tmp_path)) == "a folder, not a file"
    assert walk.path_fault("/dev/null") == walk.NO_FILE
    assert "No such file" in walk.path_fault(str(tmp_path / "y.mp4"))
    assert "null" in walk.path_fault("a\0b")
    assert walk.path_fault("\ud800")
