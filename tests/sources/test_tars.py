"""Tars of videos: good, damaged and forged."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from mvp_data.core.types import ByteRange
from mvp_data.sources import tars
from tests.web import serve

CONTENT = {"a.mp4": b"A" * 700, "dir/b.mp4": b"B" * 5000, "é ::\n.mp4": b"C", "empty.mp4": b""}

SPARSE = ("s.mp4", tarfile.GNUTYPE_SPARSE)


def make(path: Path, content: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def contents(container: str) -> dict[str, bytes]:
    found = {}
    for member in tars.list_members(container).members:
        out = io.BytesIO()
        tars.copy_member(ByteRange(container=container, offset=member.offset, size=member.size), out)
        found[member.name] = out.getvalue()
    return found


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_read_at_their_offsets(tmp_path: Path, format: int) -> None:
    content = CONTENT | {"/".join(["d" * 60] * 3) + ".mp4": b"long"}
    assert contents(str(make(tmp_path / "x.tar", content, format))) == content


@pytest.mark.parametrize("ranges", [True, False])
def test_members_of_a_remote_tar(tmp_path: Path, ranges: bool) -> None:
    # Larger than one block of the read-ahead, so that members and headers are in different blocks.
    content = CONTENT | {f"{number}.mp4": bytes([number]) * 300_000 for number in range(5)}
    make(tmp_path / "x.tar", content)
    with serve(tmp_path, ranges=ranges) as site:
        assert contents(f"{site.url}/x.tar") == content


def test_listing_and_reading_a_remote_tar_fetches_little_of_it(tmp_path: Path) -> None:
    make(tmp_path / "x.tar", {f"{number}.mp4": bytes(1_000_000) for number in range(8)})
    with serve(tmp_path) as site:
        listing = tars.list_members(f"{site.url}/x.tar")
        listed = site.bytes_sent
        part = ByteRange(container=f"{site.url}/x.tar", offset=listing.members[6].offset, size=1000)
        tars.copy_member(part, io.BytesIO())
    assert len(listing.members) == 8
    assert listed < 2_500_000  # of 8 million
    assert site.bytes_sent - listed < 200_000


def test_links_devices_and_sparse_files_are_counted_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("l.mp4", tarfile.SYMTYPE), ("h.mp4", tarfile.LNKTYPE), ("d.mp4", tarfile.CHRTYPE), SPARSE):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        tar.addfile(tarfile.TarInfo("ok.mp4"))
    listing = tars.list_members(str(tmp_path / "x.tar"))
    assert [member.name for member in listing.members] == ["ok.mp4"]
    assert (listing.unusable, listing.fault) == (4, "")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.USTAR_FORMAT, errors="surrogateescape") as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert [member.name for member in tars.list_members(str(tmp_path / "x.tar")).members] == [name]


@pytest.mark.parametrize(
    ("cut", "count"),
    [
        (-1, 0),  # half a header
        (512 + 1024 + 100, 1),  # half of the second header
        (512 + 1024 + 512 + 30, 2),  # inside the second member: its data is missed when it is read
    ],
)
def test_a_truncated_tar_gives_the_members_before_the_cut_and_a_fault(tmp_path: Path, cut: int, count: int) -> None:
    path = make(tmp_path / "x.tar", {"a.mp4": b"A" * 1024, "b.mp4": b"B" * 1024}, tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[: 100 if cut < 0 else cut])
    listing = tars.list_members(str(path))
    assert len(listing.members) == count
    assert listing.fault
    if count == 2:
        second = listing.members[1]
        place = ByteRange(container=str(path), offset=second.offset, size=second.size)
        with pytest.raises(EOFError, match="994 bytes before"):
            tars.copy_member(place, io.BytesIO())


def test_junk_between_members_is_a_fault_not_a_quiet_end(tmp_path: Path) -> None:
    path = make(tmp_path / "x.tar", {"a.mp4": b"A" * 512, "b.mp4": b"B"}, tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[1024:1536] = b"\x5a" * 512
    path.write_bytes(data)
    listing = tars.list_members(str(path))
    assert [member.name for member in listing.members] == ["a.mp4"]
    assert listing.fault


@pytest.mark.parametrize("data", [b"", b"not a tar", b"\x1f\x8b" + bytes(600), b"x" * 5000])
def test_other_files_are_a_fault(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(data)
    listing = tars.list_members(str(tmp_path / "x.tar"))
    assert listing.members == ()
    assert listing.fault


def forged(**fields: object) -> bytes:
    info = tarfile.TarInfo("x.mp4")
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def backwards(size: int) -> bytes:
    """A PAX record that gives the next member a negative size."""
    record = f"14 size={size}\n".encode()
    assert len(record) == 14
    return forged(type=tarfile.XHDTYPE, size=14) + record.ljust(512, b"\0") + forged(size=0) + bytes(1024)


@pytest.mark.parametrize(
    "data",
    [
        forged(size=-512) + bytes(2048),
        forged(size=-1024) + bytes(2048),
        forged(type=tarfile.XHDTYPE, size=1 << 40) + bytes(2048),
        forged(type=tarfile.GNUTYPE_LONGNAME, size=1 << 40) + bytes(2048),
        backwards(-1536),  # to the start of the tar, which tarfile takes for its end
        forged(size=0) + backwards(-1536),  # to its own header, for ever
        backwards(-2048),  # before the start
    ],
)
def test_forged_sizes_neither_loop_nor_fill_the_memory(tmp_path: Path, data: bytes) -> None:
    with open(tmp_path / "x.tar", "wb") as file:
        file.write(data)
        file.truncate(1 << 31)  # sparse on disk: what is claimed is there to be read
    listing = tars.list_members(str(tmp_path / "x.tar"))
    assert listing.fault
    assert len(listing.members) <= 2
