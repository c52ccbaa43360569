"""URLs: which are taken, and what a folder behind one holds."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mvp_data import remote, remote_limits
from mvp_data.errors import SourceError
from mvp_data.scan import scan
from tests.web import serve


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/remote"):
        system.rm("/remote", recursive=True)


@pytest.mark.parametrize(
    "url",
    [
        "reference://a.json",
        "dask://x",
        "jupyter://x",
        "python://x",
        "zip://a.mp4",
        "local:///a.mp4",
        "data://x",
        "nonsense://x",
    ],
)
def test_schemes_that_are_no_places_of_files_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match="is not taken; use one of file, memory, http"):
        remote.scheme_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::http://host/a.mp4",
        "zip://a.mp4::http://host/b.zip",
        "filecache::s3://b/a.mp4",
        "http://host/a::file:///etc/passwd",
    ],
)
def test_chained_urls_are_refused(url: str) -> None:
    with pytest.raises(SourceError, match="chained"):
        remote.scheme_of(url)


@pytest.mark.parametrize(
    ("location", "scheme"),
    [
        ("/data/a.mp4", ""),
        ("a::b.mp4", ""),
        ("-a: b.mp4", ""),
        ("S3://b/a.mp4", "s3"),
        ("http://h/a::b.mp4", "http"),
        ("file:///a", "file"),
    ],
)
def test_schemes(location: str, scheme: str) -> None:
    assert remote.scheme_of(location) == scheme


def test_a_missing_driver_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SourceError, match=r"gs://.*pip install gcsfs"):
        remote.driver("gs://bucket/a.mp4")


def test_a_folder_in_memory(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/remote/a.mp4": b"1", "/remote/b/c d.mp4": b"2", "/remote/.x/y.mp4": b"3"})
    expected = {
        "memory://remote/a.mp4": "a.mp4",
        "memory://remote/b/c d.mp4": "b/c d.mp4",
        "memory://remote/.x": ".x",
    }
    for url in ("memory://remote", "memory://remote/"):
        assert {uri: name for uri, name, _ in remote.list_files(url)} == expected


def test_patterns_and_single_files_in_memory(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe({"/remote/a.mp4": b"1", "/remote/b/c.mp4": b"2", "/remote/b/d.txt": b"3", "/remote/[1].mp4": b"4"})
    names = {url: [name for _, name, _ in remote.list_files(url)] for url in PATTERNS}
    assert names == PATTERNS
    with pytest.raises(FileNotFoundError):
        remote.list_files("memory://remote/none.mp4")


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
            found = remote.list_files(url)
            assert sorted(name for _, name, _ in found) == [
                ".hidden", "100%.mp4", "a.mp4", "sub/b c.mp4", "sub/é#1?.mp4",
            ]  # fmt: skip
        for uri, name, _ in found:
            if name != ".hidden":
                with remote.open_binary(uri, streaming=True) as file:
                    assert file.read() == b"x", uri
        assert sorted(name for _, name, _ in remote.list_files(f"{site.url}/sub/*.mp4")) == [
            "b c.mp4",
            "é#1?.mp4",
        ]
        assert remote.list_files(f"{site.url}/a.mp4?key=1") == [(f"{site.url}/a.mp4?key=1", "a.mp4", "")]


def test_pages_that_link_in_circles_and_upwards_end(tmp_path: Path) -> None:
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
        found = remote.list_files(f"{site.url}/")
    assert sum(name.endswith("x.mp4") for _, name, _ in found) == remote.MAX_DEPTH + 1
    assert [fault for _, _, fault in found if fault] == [f"more than {remote.MAX_DEPTH} folders deep: not looked into"]


HOSTILE_LINKS = ("file:///etc/passwd", "javascript:alert(1)", "../../up.mp4", "a/../../../up.mp4", "//evil/x.mp4",
                 "http://evil/x.mp4", "http://[", "&#46;&#46;/up.mp4", "ok.mp4")  # fmt: skip


def test_links_of_a_page_lead_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ok.mp4").write_bytes(b"x")
    with serve(tmp_path) as site:
        whole = [f"{site.url}/in/../up.mp4", f"{site.url}/in/x::file:///etc/passwd.tar"]
        links = " ".join(f'<a href="{link}">x</a>' for link in (*HOSTILE_LINKS, *whole))
        (tmp_path / "in/index.html").write_text(links)
        found = scan([f"{site.url}/in/"])
        assert [source.uri for source in found.sources] == [f"{site.url}/in/ok.mp4"]
    assert [(p.path, p.reason) for p in found.problems] == [("x::file:///etc/passwd.tar", "unreadable")]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x.mp4", "data:text/plain,x", ""])
def test_a_redirect_leads_to_no_local_file_and_to_an_end(tmp_path: Path, target: str) -> None:
    """The last one leads to itself."""
    with serve(tmp_path) as site:
        for streaming in (True, False):
            with (
                pytest.raises(remote.failures(site.url)),
                remote.open_binary(f"{site.url}/go?{target}", streaming=streaming) as file,
            ):
                file.read(1)
        with pytest.raises(remote.failures(site.url)):
            remote.list_files(f"{site.url}/go?{target}")


def test_a_page_without_end_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_limits, "MAX_ANSWER_BYTES", 1_000_000)
    (tmp_path / "index.html").write_text('<a href="endless.html/">x</a>')
    with serve(tmp_path) as site:
        ((_, name, fault),) = remote.list_files(f"{site.url}/")
    assert name.rstrip("/") == "endless.html"
    assert "more than 1000000 bytes" in fault


def test_links_are_found_in_a_time_that_grows_with_the_page() -> None:
    start = time.process_time()
    for page in ("<a " + " " * 1_000_000, "<a href=" * 100_000, "<a href='" * 100_000, 'href="' + "x" * 1_000_000):
        assert remote_limits.links("http://h/", page) == set()
    assert time.process_time() - start < 3


def test_a_server_that_drips_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_limits, "SLOW_S", 0.2)

    def drain(url: str) -> None:
        with remote.open_binary(url, streaming=True) as file:
            while file.read(1):
                pass

    with serve(tmp_path) as site, pytest.raises(TimeoutError, match="slower than 1000 bytes a second"):
        drain(f"{site.url}/drip.mp4")


def test_a_server_that_makes_up_folders_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_LISTED", 4)
    for name in "abcdef":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mp4").write_bytes(b"x")
    with serve(tmp_path) as site:
        faults = [fault for _, _, fault in remote.list_files(f"{site.url}/") if fault]
    assert faults == ["more than 4 names, or 3600 s of them: the rest is not looked at"]


def test_failures_are_told_with_the_status(tmp_path: Path) -> None:
    with serve(tmp_path) as site:
        for name, said in (("gone.mp4", "404"), ("private.mp4", "403"), ("broken.mp4", "500")):
            with pytest.raises(remote.failures(site.url)) as caught:
                remote.size_bytes(f"{site.url}/{name}")
            assert said in remote.explain(caught.value)


def test_names_to_show_hold_no_secrets() -> None:
    assert remote.name_in("https://me:secret@host/a%20b.mp4?token=secret#x") == "https://host/a b.mp4"
    assert remote.name_in("https://host?token=secret") == "https://host"
    assert remote.name_in("sftp://me:secret@host/a?b.mp4") == "sftp://host/a?b.mp4"
    assert remote.name_in("hf://datasets/u/r@main/a.mp4") == "hf://datasets/u/r@main/a.mp4"
