"""Folders and patterns, on a disk and behind URLs."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mvp_data.sources import folders
from mvp_data.sources.scan import scan
from mvp_data.system import http_limits, urls
from tests.web import serve


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/remote"):
        system.rm("/remote", recursive=True)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folders.folder_entries(str(folder)) if not entry.fault)


def faults(folder: Path) -> dict[str, str]:
    return {entry.name: entry.fault for entry in folders.folder_entries(str(folder)) if entry.fault}


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def test_every_file_is_found_at_any_depth(tmp_path: Path) -> None:
    deep = "/".join("d" for _ in range(300)) + "/x.mp4"
    touch(tmp_path, "a.mp4", "b/c.mp4", deep)
    assert names(tmp_path) == sorted(["a.mp4", "b/c.mp4", deep])
    assert faults(tmp_path) == {}


def test_circular_links_are_followed_once_and_files_have_their_real_names(tmp_path: Path) -> None:
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


def test_broken_links_and_special_files_are_faults(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "self.mp4").symlink_to(tmp_path / "self.mp4")
    (tmp_path / "null.mp4").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo.mp4")
    found = faults(tmp_path)
    assert set(found) == {"gone.mp4", "self.mp4", "null.mp4", "fifo.mp4"}
    assert "No such file" in found["gone.mp4"]
    assert "symbolic links" in found["self.mp4"]
    assert found["null.mp4"] == found["fifo.mp4"] == folders.NO_FILE


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
    found = [entry.name for entry in folders.glob_entries(f"{tmp_path}/{pattern}")]
    assert sorted(found) == expected


def test_a_deep_glob_does_not_follow_links_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "d/x.mp4")
    for number in range(6):  # a walk that follows them would visit 6 to the power of 40 folders
        (tmp_path / f"d/loop{number}").symlink_to(tmp_path)
    assert [entry.name for entry in folders.glob_entries(f"{tmp_path}/**/*.mp4")] == ["d/x.mp4"]


def test_path_fault(tmp_path: Path) -> None:
    touch(tmp_path, "x.mp4")
    assert folders.path_fault(str(tmp_path / "x.mp4")) == ""
    assert folders.path_fault(str(tmp_path)) == "a folder, not a file"
    assert folders.path_fault("/dev/null") == folders.NO_FILE
    assert "No such file" in folders.path_fault(str(tmp_path / "y.mp4"))
    assert "null" in folders.path_fault("a\0b")
    assert folders.path_fault("\ud800")


def test_a_folder_in_memory(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/remote/a.mp4": b"1", "/remote/b/c d.mp4": b"2", "/remote/.x/y.mp4": b"3"})
    expected = {"memory://remote/a.mp4": "a.mp4", "memory://remote/b/c d.mp4": "b/c d.mp4", "memory://remote/.x": ".x"}
    for url in ("memory://remote", "memory://remote/"):
        assert {found.path: found.name for found in folders.remote_entries(url)} == expected


def test_patterns_and_single_files_in_memory(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/remote/a.mp4": b"1", "/remote/b/c.mp4": b"2", "/remote/b/d.txt": b"3", "/remote/[1].mp4": b"4"})
    names = {url: [found.name for found in folders.remote_entries(url)] for url in PATTERNS}
    assert names == PATTERNS
    with pytest.raises(FileNotFoundError):
        list(folders.remote_entries("memory://remote/none.mp4"))


def test_hidden_names_match_only_a_pattern_that_names_them(memory: fsspec.AbstractFileSystem) -> None:
    names = ("a/x.mp4", "a/.y.mp4", ".h/a/z.mp4", "d/.h/z.mp4")
    memory.pipe({f"/remote/{name}": b"1" for name in names})
    expected = {
        "**/*.mp4": ["a/x.mp4"],
        "*/*.mp4": ["a/x.mp4"],
        "*": ["a/.y.mp4", "a/x.mp4", "d/.h"],  # all that is in a folder that matches
        "*/": ["a/x.mp4"],
        "*/.h/*.mp4": ["d/.h/z.mp4"],
        ".h/*/*": ["a/z.mp4"],
    }
    found = {
        tail: sorted(entry.name for entry in folders.remote_entries(f"memory://remote/{tail}")) for tail in expected
    }
    assert found == expected


def test_a_folder_that_a_pattern_cannot_search_is_a_fault(tmp_path: Path) -> None:
    for name in ("ok/x.mp4", "broken.mp4/y.mp4", "private.mp4/z.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    with serve(tmp_path) as site:
        found = list(folders.remote_entries(f"{site.url}/**/*.mp4"))
    assert [entry.name for entry in found if not entry.fault] == ["ok/x.mp4"]
    faults = {entry.name.rstrip("/"): entry.fault for entry in found if entry.fault}
    assert sorted(faults) == ["broken.mp4", "private.mp4"]
    assert "403" in faults["private.mp4"]


def test_a_pattern_asks_only_for_folders_that_may_match(memory: fsspec.AbstractFileSystem) -> None:
    asked: list[str] = []

    class System:
        def ls(self, folder: str, detail: bool) -> object:
            asked.append(folder)
            return memory.ls(folder, detail=detail)

    memory.pipe({f"/remote/{name}/x.mp4": b"1" for name in ("a/1", "a/2/deep", "b/1")})
    found = folders._RemoteSearch(System(), "memory://remote/", "/remote", ["a", "[12]", "*.mp4"]).entries()
    assert [entry.name for entry in found] == ["a/1/x.mp4"]
    assert sorted(asked) == ["/remote", "/remote/a", "/remote/a/1", "/remote/a/2"]


PATTERNS = {
    "memory://remote/*.mp4": ["[1].mp4", "a.mp4"],
    "memory://remote/**/*.mp4": ["[1].mp4", "a.mp4", "b/c.mp4"],
    "memory://remote/b*": ["b/c.mp4", "b/d.txt"],
    "memory://remote/[1].mp4": ["[1].mp4"],
    "memory://remote/b/c.mp4": ["c.mp4"],
}


@pytest.mark.parametrize("ranges", [True, False])
def test_a_folder_behind_http(tmp_path: Path, ranges: bool) -> None:
    for name in ("a.mp4", "sub/b c.mp4", "sub/é#1?.mp4", ".hidden/x.mp4", "100%.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with serve(tmp_path, ranges=ranges) as site:
        for url in (f"{site.url}/", site.url):
            found = list(folders.remote_entries(url))
            assert sorted(entry.name for entry in found) == [
                ".hidden", "100%.mp4", "a.mp4", "sub/b c.mp4", "sub/é#1?.mp4",
            ]  # fmt: skip
        for entry in found:
            if entry.name != ".hidden":
                with urls.open_binary(entry.path, streaming=True) as file:
                    assert file.read() == b"x", entry.path
        assert sorted(entry.name for entry in folders.remote_entries(f"{site.url}/sub/*.mp4")) == [
            "b c.mp4",
            "é#1?.mp4",
        ]
        url = f"{site.url}/a.mp4?key=1"
        assert list(folders.remote_entries(url)) == [folders.Entry(path=url, name="a.mp4")]


@pytest.mark.parametrize("pattern", ["", "**/*.mp4"])
def test_circular_and_upward_links_of_pages_are_not_followed(tmp_path: Path, pattern: str) -> None:
    links = ("?C=N;O=D", "../", "/", "loop/", "x.mp4")
    page = " ".join(f'<a href="{link}">{link}</a>' for link in links)
    folder = tmp_path
    for _ in range(4):
        (folder / "index.html").write_text(page)
        (folder / "x.mp4").write_bytes(b"x")
        folder = folder / "loop"
        folder.mkdir()
    folder.rmdir()
    folder.symlink_to(tmp_path)  # the server follows it for ever
    with serve(tmp_path) as site:
        found = list(folders.remote_entries(f"{site.url}/{pattern}"))
    assert sum(entry.name.endswith("x.mp4") for entry in found) == folders.MAX_DEPTH + 1
    assert [entry.fault for entry in found if entry.fault] == [
        f"more than {folders.MAX_DEPTH} folders deep: not searched"
    ]


HOSTILE_LINKS = ("file:///etc/passwd", "javascript:alert(1)", "../../up.mp4", "a/../../../up.mp4", "//evil/x.mp4",
                 "http://evil/x.mp4", "http://[", "&#46;&#46;/up.mp4", "ok.mp4")  # fmt: skip


def test_only_links_below_a_page_are_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ok.mp4").write_bytes(b"x")
    with serve(tmp_path) as site:
        whole = [f"{site.url}/in/../up.mp4", f"{site.url}/in/x::file:///etc/passwd.tar"]
        links = " ".join(f'<a href="{link}">x</a>' for link in (*HOSTILE_LINKS, *whole))
        (tmp_path / "in/index.html").write_text(links)
        found = scan([f"{site.url}/in/"])
        assert [source.location for source in found.sources] == [f"{site.url}/in/ok.mp4"]
    assert [(p.path, p.reason) for p in found.problems] == [("x::file:///etc/passwd.tar", "unreadable")]


def test_an_endless_page_is_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_limits, "MAX_ANSWER_BYTES", 1_000_000)
    (tmp_path / "index.html").write_text('<a href="endless.html/">x</a>')
    with serve(tmp_path) as site:
        (found,) = folders.remote_entries(f"{site.url}/")
    assert found.name.rstrip("/") == "endless.html"
    assert "more than 1000000 bytes" in found.fault


def test_endless_folders_of_a_server_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_LISTED", 4)
    for name in "abcdef":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp4").write_bytes(b"x")
    with serve(tmp_path) as site:
        found = list(folders.remote_entries(f"{site.url}/"))
    limit = "more than 4 names or 3600 s to list them: the rest is ignored"
    assert [entry.fault for entry in found if entry.fault] == [limit]
