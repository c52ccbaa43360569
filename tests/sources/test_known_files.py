"""Files that are recognized without reading them, and files that must be read again."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mvp_data.core.types import ByteRange
from mvp_data.sources.known_files import SEEN_NAME, KnownFiles, file_state, remote_stamp, size_bytes, stamp
from mvp_data.system import urls

ID, OTHER_ID = "0123456789abcdef0123", "fedcba9876543210fedc"
LONG_AGO_NS = (1_700_000_000 * 10**9, 1_700_000_000 * 10**9)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a film")
    return path


def name(path: Path, monkeypatch: pytest.MonkeyPatch, *, later_s: float = 60.0) -> str:
    """The stamp of a file that is not new."""
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + later_s)
        return stamp(str(path), file_state(str(path)))


def test_bytes_to_read(film: Path) -> None:
    assert size_bytes(str(film), file_state(str(film))) == 6
    member = ByteRange(container=str(film), offset=512, size=2)
    assert size_bytes(member, file_state(member)) == 2, "of the member, not of its tar"
    assert size_bytes("https://example.org/film.mp4", None) == 0


def test_a_file_is_known_until_it_changes(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = name(film, monkeypatch)
    assert first
    assert name(film, monkeypatch) == first
    os.utime(film, ns=LONG_AGO_NS)
    touched = name(film, monkeypatch)
    film.write_bytes(b"b film")  # the same size
    os.utime(film, ns=LONG_AGO_NS)  # and the same mtime: ctime tells
    changed = name(film, monkeypatch)
    film.rename(film.with_name("moved.mp4"))
    moved = name(film.with_name("moved.mp4"), monkeypatch)
    assert len({first, touched, changed, moved}) == 4


def test_a_new_file_has_no_stamp(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name(film, monkeypatch, later_s=0.5) == ""
    assert name(film, monkeypatch, later_s=-3600), "a clock that was set back makes no file young for ever"


def test_urls_and_missing_files_have_no_stamp(tmp_path: Path) -> None:
    for location in ("https://host/a.mp4", "memory://a.mp4", str(tmp_path / "missing.mp4"), "/a\0b"):
        assert stamp(location, file_state(location)) == ""


def test_members_of_a_tar_have_different_stamps(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [ByteRange(container=str(film), offset=offset, size=100) for offset in (512, 1536)]
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    stamps = {stamp(location, file_state(location)) for location in members}
    assert len(stamps) == 2
    assert "" not in stamps


def test_stamps_equal_those_of_earlier_versions() -> None:
    """With other stamps, the next run would read all sources again."""
    state = (700, 10**18, 10**18, 12)
    member = ByteRange(container="/data/x::caf\udce9.tar", offset=512, size=100)
    assert stamp(member, state) == "8b9d64a987fe8de74346"
    assert stamp("/data/caf\udce9.mp4", state) == "bdd9ac6ee9557087bc35"


def test_stamps_of_urls_equal_those_of_earlier_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not depend on user name, password and signature."""
    server = SimpleNamespace(info=lambda name: {"size": 5, "ETag": "abc"})
    monkeypatch.setattr(urls, "filesystem", lambda url: (server, url))
    member = ByteRange(container="https://me:x@h/x.tar?sig=1", offset=512, size=100)
    assert remote_stamp(member) == "cff45ccde4a0df82a54c"
    assert remote_stamp("https://me:x@h/x.mp4?sig=1") == "93d92749f25966841840"


def test_the_list_is_read_by_the_next_run(tmp_path: Path) -> None:
    stamps = [f"{n:020x}" for n in range(3)]
    with KnownFiles(tmp_path) as seen:
        for word in stamps:
            seen.add(word, ID)
        seen.add(stamps[0], OTHER_ID)  # other bytes there: the later line wins
        seen.add("", OTHER_ID)
    again = KnownFiles(tmp_path)
    assert [again.video_id(word) for word in [*stamps, "f" * 20, ""]] == [OTHER_ID, ID, ID, "", ""]


def test_incomplete_and_invalid_lines_are_ignored(tmp_path: Path) -> None:
    """A killed run leaves half a line; the line after it must not be lost."""
    whole, torn = f"{1:020x}", f"{2:020x}"
    path = tmp_path / SEEN_NAME
    path.write_bytes(f"{whole} {ID}\n".encode() + b"\0\0\0\xff junk\n" + f"{torn} {ID[:7]}".encode())
    with KnownFiles(tmp_path) as seen:
        assert (seen.video_id(whole), seen.video_id(torn)) == (ID, "")
        seen.add(torn, OTHER_ID)
    again = KnownFiles(tmp_path)
    assert (again.video_id(whole), again.video_id(torn)) == (ID, OTHER_ID)
