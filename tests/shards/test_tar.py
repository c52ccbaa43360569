"""Shards: the same bytes for the same samples, readable by common loaders, and hostile tars are refused."""

import gc
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.shards.index import INDEX_NAME, Index, ShardInfo, read_index, write_index
from mvp_data.shards.record import to_json
from mvp_data.shards.tar import Sample, read_shard, shard_paths, write_shard
from mvp_data.system.files import atomic_write
from tests.samples import HEIGHT_PX, WIDTH_PX, make_folder, make_record, make_sample, make_shard

Members = list[tuple[tarfile.TarInfo, bytes]]


def unpack(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def pack(path: Path, members: Members, tar_format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    make_shard(tmp_path / "shard-000000.tar", 3, context=2, mask_start=1, k=2, distractors=1)
    return tmp_path / "shard-000000.tar"


def read(path: Path) -> list[Sample]:
    return list(read_shard(path))


def test_round_trip_and_facts(tmp_path: Path) -> None:
    samples = [make_sample(i) for i in range(4)]
    path = tmp_path / "shard-000000.tar"
    info = write_shard(path, samples)
    assert read(path) == list(read_shard(str(path))) == samples
    data = path.read_bytes()
    assert info == ShardInfo(
        name=path.name, task="mvp", split="train", samples=4, bytes=len(data), sha256=sha256(data).hexdigest()
    )


def test_bytes_depend_on_the_samples_alone(tmp_path: Path) -> None:
    first = make_shard(tmp_path / "a.tar")
    os.utime(tmp_path / "a.tar", (0, 0))
    again = make_shard(tmp_path / "a.tar")
    assert again == first
    for info, _ in unpack(tmp_path / "a.tar"):
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
        assert info.isreg()


def test_members_of_a_sample_are_contiguous_and_in_order(tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2)
    wanted = [name for i in range(2) for name in make_record(i).member_names]
    assert [info.name for info, _ in unpack(tmp_path / "a.tar")] == wanted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
def test_opens_with_webdataset(tmp_path: Path) -> None:
    import webdataset

    make_shard(tmp_path / "a.tar", 3)
    rows = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode("pil"))
    for i, row in enumerate(rows):
        record = make_record(i)
        assert row["__key__"] == record.key
        assert {f"{record.key}.{name}" for name in row if not name.startswith("__")} == set(record.member_names)
        assert row["json"]["answer"] == list(record.answer)
        assert row["candidate_a.jpg"].size == (WIDTH_PX, HEIGHT_PX)
    assert len(rows) == 3
    gc.collect()  # so that the warning about its open file comes here


def test_opens_with_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline; the columns are inferred from the first rows, so they must fit all of them."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    make_shard(tmp_path / "a.tar", 5)
    make_shard(tmp_path / "b.tar", 7)
    files = [str(tmp_path / "a.tar"), str(tmp_path / "b.tar")]
    rows = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(rows) == 12
    suffixes = {name.split(".", 1)[1] for name in make_record().member_names}
    assert set(rows.column_names) == {"__key__", "__url__", *suffixes}
    records = [make_record(i) for i in (*range(5), *range(7))]
    assert rows["__key__"][:] == [record.key for record in records]
    for row, record in zip(rows, records, strict=True):
        assert row["json"] == json.loads(to_json(record))
        assert row["context_11.jpg"].size == (WIDTH_PX, HEIGHT_PX)


def test_reads_from_an_open_file_of_fsspec(shard: Path) -> None:
    import fsspec

    fsspec.filesystem("memory").pipe("/shards/a.tar", shard.read_bytes())
    with fsspec.open("memory://shards/a.tar", "rb") as file:
        assert list(read_shard(file)) == read(shard)


def test_reads_from_a_file_that_gives_few_bytes_at_a_time(shard: Path) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 700))

    assert list(read_shard(Slow(shard.read_bytes()))) == read(shard)


def test_samples_are_read_one_at_a_time(shard: Path) -> None:
    """The first sample is returned before the rest is read, so later damage is detected later."""
    first = unpack(shard)[0][0].name.split(".")[0]
    cut = io.BytesIO(shard.read_bytes()[: shard.stat().st_size // 2])
    samples = read_shard(cut)
    assert next(samples).record.key == first
    with pytest.raises(ShardError):
        list(samples)


def test_members_may_come_in_another_order(shard: Path, tmp_path: Path) -> None:
    """A repacked shard with sorted names is valid if the files of each key are adjacent."""
    repacked = pack(tmp_path / "sorted.tar", sorted(unpack(shard), key=lambda m: m[0].name))
    assert {s.record.key: s for s in read(repacked)} == {s.record.key: s for s in read(shard)}


def test_truncation_anywhere_is_detected(shard: Path) -> None:
    data = shard.read_bytes()
    offsets = {0, 1, len(data) - 1, len(data) - 512, len(data) - 1024, *range(0, len(data), 512)}
    offsets |= set(range(7, len(data), 997))
    for offset in sorted(offsets - {len(data)}):
        with pytest.raises(ShardError, match=r"the shard: .*mvp-data build"):
            list(read_shard(io.BytesIO(data[:offset])))


def test_data_after_the_end_is_detected(shard: Path) -> None:
    data = shard.read_bytes()
    for tail in (b"\0", bytes(20_480), data):
        with pytest.raises(ShardError, match="after its end"):
            list(read_shard(io.BytesIO(data + tail)))


def test_a_flipped_bit_never_gives_anything_but_shard_error(shard: Path) -> None:
    """Images have no checksum, so a flip inside one may pass; headers and JSON never crash the reader."""
    data = shard.read_bytes()
    refused = 0
    for at in range(0, len(data), 61):
        flipped = bytearray(data)
        flipped[at] ^= 1 << (at % 8)
        try:
            list(read_shard(io.BytesIO(flipped)))
        except ShardError:
            refused += 1
    assert refused > 50


def link(kind: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo("evil.json")
    info.type, info.linkname = kind, "/etc/passwd"
    return info, b""


@pytest.mark.parametrize(
    ("member", "says"),
    [
        (link(tarfile.SYMTYPE), "neither a plain file"),
        (link(tarfile.LNKTYPE), "neither a plain file"),
        (link(tarfile.CHRTYPE), "neither a plain file"),
        (link(tarfile.FIFOTYPE), "neither a plain file"),
        (link(tarfile.DIRTYPE), "neither a plain file"),
        ((tarfile.TarInfo("../up.json"), b"{}"), "not the name of a sample's file"),
        ((tarfile.TarInfo("/etc/x.json"), b"{}"), "not the name"),
        ((tarfile.TarInfo("a/b.json"), b"{}"), "not the name"),
        ((tarfile.TarInfo("Upper.json"), b"{}"), "not the name"),
        ((tarfile.TarInfo("été.json"), b"{}"), "not the name"),
        ((tarfile.TarInfo("a.b.json"), b"{}"), "not the name"),
        ((tarfile.TarInfo("a.py"), b"{}"), "not the name"),
        ((tarfile.TarInfo("a.json"), b"{}"), "a.json: .*schema_version"),
        ((tarfile.TarInfo("a.context_00.jpg"), b"x"), "a.json: missing"),
    ],
)
def test_hostile_members(shard: Path, tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], says: str) -> None:
    path = pack(tmp_path / "evil.tar", [*unpack(shard), member])
    with pytest.raises(ShardError, match=says) as caught:
        read(path)
    assert "evil.tar" in str(caught.value)


def test_long_names_and_pax_headers_are_not_followed(shard: Path, tmp_path: Path) -> None:
    long = tarfile.TarInfo("x" * 300 + ".json")
    for name, tar_format in (("gnu.tar", tarfile.GNU_FORMAT), ("pax.tar", tarfile.PAX_FORMAT)):
        with pytest.raises(ShardError, match="neither a plain file nor USTAR"):
            read(pack(tmp_path / name, [*unpack(shard), (long, b"{}")], tar_format))


@pytest.mark.parametrize(("name", "limit"), [("a.json", 1 << 20), ("a.context_00.jpg", 16 << 20)])
def test_a_size_bomb_is_refused_unread(name: str, limit: int) -> None:
    header = tarfile.TarInfo(name)
    header.size = limit + 1

    class Bomb(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size <= 512, "it read the bomb"
            return super().read(size)

    with pytest.raises(ShardError, match=f"limit is {limit}"):
        list(read_shard(Bomb(header.tobuf(tarfile.USTAR_FORMAT) * 3)))


def key_of(members: Members) -> str:
    return members[0][0].name.split(".")[0]


def renamed(members: Members) -> Members:
    key = key_of(members)
    for info, _ in members:
        info.name = info.name.replace(key, "other")
    return members


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda m: [each for each in m if not each[0].name.endswith("candidate_b.jpg")], "missing files"),
        (lambda m: [*m[:2], m[1], *m[2:]], "occurs twice"),
        (lambda m: [m[0], (tarfile.TarInfo(f"{key_of(m)}.context_99.jpg"), m[1][1]), *m[1:]], "files too many"),
        (lambda m: [*m[1:], m[0]], "missing"),
        (lambda m: [*m, *m], "key occurs twice"),
        (renamed, "its key is"),
        (lambda m: [(i, b"GIF89a" if i.name.endswith("_a.jpg") else data) for i, data in m], r"a JPEG of \(0, 0\) px"),
    ],
)
def test_damaged_samples(shard: Path, tmp_path: Path, spoil: Callable[[Members], Members], says: str) -> None:
    path = pack(tmp_path / "spoilt.tar", spoil(unpack(shard)))
    with pytest.raises(ShardError, match=says):
        read(path)


@pytest.mark.parametrize("change", [{"k": 3}, {"context": 11}, {"split": "val"}, {"distractors": 5}])
def test_one_kind_of_sample_per_shard(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(ShardError, match="in one shard"):
        write_shard(tmp_path / "a.tar", [make_sample(0), make_sample(1, **change)])
    assert list(tmp_path.iterdir()) == []
    pack(tmp_path / "b.tar", [*_members(0), *_members(1, **change)])
    with pytest.raises(ShardError, match="in one shard"):
        read(tmp_path / "b.tar")


def _members(number: int, **change: object) -> Members:
    return [(tarfile.TarInfo(name), data) for name, data in make_sample(number, **change).members]


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    make_shard(path, 1)
    before = path.read_bytes()

    def broken() -> Iterator[Sample]:
        yield make_sample(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(path, broken())
    with pytest.raises(ShardError, match="at least one sample"):
        write_shard(path, [])
    with pytest.raises(ShardError, match="occurs twice"):
        write_shard(path, [make_sample(0), make_sample(0)])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_the_name_appears_only_when_the_shard_is_complete(tmp_path: Path) -> None:
    def watching() -> Iterator[Sample]:
        yield make_sample(0)
        assert not (tmp_path / "a.tar").exists()
        yield make_sample(1)

    write_shard(tmp_path / "a.tar", watching())
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        make_shard(tmp_path / "nowhere" / "a.tar", 1)


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    def fill() -> None:
        with Path("/dev/full").open("wb") as full, atomic_write(tmp_path / "a.tar") as file:
            os.dup2(full.fileno(), file.fileno())  # from here on the shard's file is on a full disk
            file.write(b"x" * 100_000)

    with pytest.raises(OutputError, match="No space left"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_an_error_about_another_file_is_not_blamed_on_the_shard(tmp_path: Path) -> None:
    def missing() -> Iterator[Sample]:
        (tmp_path / "bank.blob").read_bytes()
        yield make_sample(0)

    with pytest.raises(FileNotFoundError, match=r"bank\.blob"):
        write_shard(tmp_path / "a.tar", missing())


def test_sample_checks_its_images() -> None:
    sample = make_sample(0)
    with pytest.raises(ShardError, match="the record has other numbers"):
        replace(sample, context=sample.context[1:])
    with pytest.raises(ShardError, match="context_00"):
        replace(sample, context=(sample.context[0][:-2], *sample.context[1:]))  # cut short


def test_a_missing_shard_and_a_text_file(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"a\.tar: cannot be read \(No such file"):
        read(tmp_path / "a.tar")
    (tmp_path / "b.tar").write_text("hello\n" * 1000)
    with pytest.raises(ShardError, match="not a tar header"):
        read(tmp_path / "b.tar")


def test_folder_is_read_through_its_index(tmp_path: Path) -> None:
    shards = [make_shard(tmp_path / f"shard-{i:06d}.tar", 2, split=s) for i, s in enumerate(("train", "val"))]
    (tmp_path / "stray.tar").write_bytes(b"")
    with pytest.raises(ShardError, match="no finished build"):
        shard_paths(tmp_path)
    make_folder(tmp_path, shards)
    assert shard_paths(tmp_path) == shard_paths(str(tmp_path)) == [tmp_path / s.name for s in shards]
    assert shard_paths(tmp_path / "stray.tar") == [tmp_path / "stray.tar"]
    index = read_index(tmp_path)
    assert index.shards == tuple(shards)
    (tmp_path / shards[0].name).unlink()
    with pytest.raises(ShardError, match=r"shard-000000\.tar: listed in index\.json but missing"):
        shard_paths(tmp_path)
    with pytest.raises(ShardError, match="no such shard"):
        shard_paths(tmp_path / "nowhere")


def test_index_is_written_the_same_each_time(tmp_path: Path) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "a.tar", 1)])
    before = (tmp_path / INDEX_NAME).read_bytes()
    write_index(tmp_path, read_index(tmp_path))
    assert (tmp_path / INDEX_NAME).read_bytes() == before


SHARD = {"name": "a.tar", "task": "mvp", "split": "train", "samples": 1, "bytes": 10_240, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 4},
        {"tool_version": 3},
        {"config": None},
        {"counts": {}},
        {"counts": {"samples": 2, "videos": 2, "train": 2, "val": 0, "test": 0}},
        {"shards": {}},
        {"shards": [SHARD, SHARD]},
        {"shards": [{**SHARD, "name": "../a.tar"}]},
        {"shards": [{**SHARD, "name": ["a.tar"]}]},
        {"shards": [{**SHARD, "split": []}]},
        {"shards": [{**SHARD, "task": []}]},
        {"shards": [{**SHARD, "sha256": "abc"}]},
        {"shards": [{**SHARD, "samples": "1"}]},
        {"shards": [{**SHARD, "more": 1}]},
        {"surprise": 1},
    ],
)
def test_a_damaged_index(tmp_path: Path, change: dict[str, object]) -> None:
    counts = {"samples": 1, "videos": 1, "train": 1, "val": 0, "test": 0}
    write_index(
        tmp_path,
        Index(tool_version="1", config={}, config_hash="c", counts=counts, shards=(ShardInfo(**SHARD),)),  # type: ignore[arg-type]
    )
    good = json.loads((tmp_path / INDEX_NAME).read_text())
    assert read_index(tmp_path).counts == counts
    (tmp_path / INDEX_NAME).write_text(json.dumps({**good, **change}))
    with pytest.raises(ShardError, match=r"index\.json"):
        read_index(tmp_path)
