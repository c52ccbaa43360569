"""Local, remote and tar sources as local files; fingerprints."""

import errno
import hashlib
import io
import os
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from mvp_data.core.errors import OutputError, Skip, SkipReason
from mvp_data.core.types import ByteRange, Location, Source
from mvp_data.sources import fetch
from mvp_data.sources.scan import scan
from mvp_data.system import urls
from tests.web import Site, serve

DATA = bytes(range(256)) * 5000  # more than one chunk


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Path]:
    """The folder of copies; it must be empty after each test."""
    folder = tmp_path / "spool" / "deep"
    yield folder
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a b.mp4").write_bytes(DATA)
    (tmp_path / "web/empty.mp4").write_bytes(b"")
    with serve(tmp_path / "web") as site:
        yield site


def skip_of(location: Location, spool: Path) -> Skip:
    with pytest.raises(Skip) as caught, fetch.local_file(Source(location=location, path="x.mp4"), spool):
        pytest.fail("gave a file")
    return caught.value


def test_fingerprint_depends_only_on_the_whole_content(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("1.mp4", "2.webm", "3.mp4"))
    one.write_bytes(DATA)
    two.write_bytes(DATA)
    for position in (0, len(DATA) // 2 + 7, len(DATA) - 1):
        flipped = bytearray(DATA)
        flipped[position] ^= 1
        three.write_bytes(flipped)
        assert fetch.fingerprint(three) != fetch.fingerprint(one)
    assert fetch.fingerprint(one) == fetch.fingerprint(two) == hashlib.sha256(DATA).hexdigest()[:20]


def test_fingerprint_takes_constant_memory(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    fetch.fingerprint(tmp_path / "big")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_fingerprint_of_an_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(Skip) as caught:
        fetch.fingerprint(tmp_path / "gone")
    assert caught.value.reason is SkipReason.UNREADABLE


@pytest.mark.parametrize("name", ["a::b.mp4", "[x]*?.mp4", "caf\udce9.mp4", "tar:1+2:x", "line\nbreak", "-f", "🎬"])
def test_a_local_file_is_given_as_it_is(tmp_path: Path, spool: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with fetch.local_file(Source(location=str(tmp_path / name), path=name), spool) as path:
        assert path == tmp_path / name
    assert path.read_bytes() == b"x"
    assert not spool.exists()


def test_local_files_that_cannot_be_used(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo.mp4")
    assert skip_of(str(tmp_path / "empty.mp4"), spool).reason is SkipReason.EMPTY_FILE
    for name in ("gone.mp4", "fifo.mp4", "", "nul\0"):  # opening the FIFO would block
        assert skip_of(f"{tmp_path}/{name}", spool).reason is SkipReason.UNREADABLE


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"x")
    (tmp_path / "x.mp4").chmod(0)
    assert "denied" in skip_of(str(tmp_path / "x.mp4"), spool).detail


def test_a_remote_file_is_copied_and_removed(site: Site, spool: Path) -> None:
    with fetch.local_file(Source(location=f"{site.url}/a%20b.mp4", path="a b.mp4"), spool) as path:
        assert path.read_bytes() == DATA
        assert (path.parent, path.suffix) == (spool, ".mp4")
        assert path.name.startswith(fetch.SPOOL_PREFIX)
    assert not path.exists()


def test_the_copy_is_removed_when_the_work_on_it_fails(site: Site, spool: Path) -> None:
    kept: list[Path] = []

    def fail(path: Path) -> None:
        assert path.exists()
        kept.append(path)
        raise RuntimeError("work")

    source = Source(location=f"{site.url}/a%20b.mp4", path="../../x.m%p4")
    with pytest.raises(RuntimeError, match="work"), fetch.local_file(source, spool) as copy:
        fail(copy)
    assert [path.suffix for path in kept] == [""]
    assert not kept[0].exists()


@pytest.mark.parametrize(
    ("name", "reason", "detail"),
    [
        ("gone.mp4", SkipReason.UNREADABLE, "404"),
        ("private.mp4", SkipReason.UNREADABLE, "403"),
        ("broken.mp4", SkipReason.UNREADABLE, "500"),
        ("cut.mp4", SkipReason.UNREADABLE, "Error"),
        ("fickle.mp4", SkipReason.UNREADABLE, "10 of 1000 bytes received"),
        ("empty.mp4", SkipReason.EMPTY_FILE, "0 bytes"),
    ],
)
def test_remote_failures(site: Site, spool: Path, name: str, reason: SkipReason, detail: str) -> None:
    skip = skip_of(f"{site.url}/{name}", spool)
    assert skip.reason is reason
    assert detail in skip.detail
    assert "\n" not in skip.detail


def test_an_unreachable_server(spool: Path) -> None:
    with serve(spool.parent) as site:
        url = site.url
    assert skip_of(f"{url}/a.mp4", spool).reason is SkipReason.UNREADABLE


def test_a_server_that_stalls(site: Site, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < urls.CONNECT_TIMEOUT_S <= 60
    monkeypatch.setattr(urls, "READ_TIMEOUT_S", 0.3)
    assert "no answer in time" in skip_of(f"{site.url}/stall.mp4", spool).detail


def test_a_server_without_head(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(DATA)
    with (
        serve(tmp_path, head=False) as site,
        fetch.local_file(Source(location=f"{site.url}/a.mp4", path="a.mp4"), spool) as path,
    ):
        assert path.read_bytes() == DATA


def test_size_limits(site: Site, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_FETCH_BYTES", 1_000_000)
    assert "limit" in skip_of(f"{site.url}/a%20b.mp4", spool).detail
    assert "more than 1000000 bytes received" in skip_of(f"{site.url}/endless.mp4", spool).detail


def test_a_full_disk_stops_the_command(site: Site, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(location=f"{site.url}/a%20b.mp4", path="x.mp4")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetch.urls, "read_chunks", full)
        with pytest.raises(OutputError, match="no room left"), fetch.local_file(source, spool):
            pass
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(OutputError, match=f"10 bytes free, {len(DATA)} needed"), fetch.local_file(source, spool):
        pass


def test_a_spool_that_cannot_be_made(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(OutputError, match="cannot store fetched files"),
        fetch.local_file(Source(location=f"{site.url}/a%20b.mp4", path="x.mp4"), tmp_path / "file/spool"),
    ):
        pass


def test_a_refused_url_is_a_skip(spool: Path) -> None:
    for location in ("zip://a.mp4::http://h/x.zip", "reference://x", ByteRange(container="zip://x", offset=1, size=2)):
        assert skip_of(location, spool).reason is SkipReason.UNREADABLE


def test_memory_urls(spool: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe({"/fetched/a.mp4": DATA})
    try:
        with fetch.local_file(Source(location="memory://fetched/a.mp4", path="a.mp4"), spool) as path:
            assert path.read_bytes() == DATA
        assert skip_of("memory://fetched/gone.mp4", spool).detail == "not found"
    finally:
        system.rm("/fetched", recursive=True)


def test_tar_members(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "web").mkdir()
    with tarfile.open(tmp_path / "web/x.tar", "w") as tar:
        for name, data in (("../../evil/a.mp4", DATA), ("empty.mp4", b"")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with serve(tmp_path / "web") as site:
        for src in (str(tmp_path / "web/x.tar"), f"{site.url}/x.tar"):
            big, empty = scan([src]).sources
            assert (big.path, empty.path) == ("x.tar::../../evil/a.mp4", "x.tar::empty.mp4")
            with fetch.local_file(big, spool) as path:
                assert path.read_bytes() == DATA
                assert path.parent == spool
            assert skip_of(empty.location, spool).reason is SkipReason.EMPTY_FILE
    local = scan([str(tmp_path / "web/x.tar")]).sources[0]
    os.truncate(tmp_path / "web/x.tar", 5000)
    assert "the tar ends" in skip_of(local.location, spool).detail
    (tmp_path / "web/x.tar").unlink()
    assert "No such file" in skip_of(local.location, spool).detail


def test_only_the_files_of_a_killed_worker_are_removed(tmp_path: Path) -> None:
    mine = tmp_path / f"{fetch.SPOOL_PREFIX}node-1-77-x.mp4"
    names = (f"{fetch.SPOOL_PREFIX}node-1-777-x.mp4", f"{fetch.SPOOL_PREFIX}node-2-77-x.mp4", "77-notes.txt")
    others = [tmp_path / name for name in names]
    for path in (mine, *others):
        path.touch()
    fetch.sweep(tmp_path, 77, "node.1")
    assert sorted(tmp_path.iterdir()) == sorted(others)
