"""Random access to samples, also after changes or damage of shards and index, and from several processes."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest

from mvp_data.core.errors import OutputError, ShardError
from mvp_data.core.seeds import stable_hash
from mvp_data.pipeline.dataset_card import write_card
from mvp_data.shards import reader
from mvp_data.shards.index import INDEX_NAME, read_index
from mvp_data.shards.offsets import OFFSETS_NAME, load_offsets, offsets_schema
from mvp_data.shards.reader import ShardSet, open_shards
from mvp_data.shards.record import SCHEMA_VERSION
from mvp_data.shards.tar import Sample, parse_sample, read_shard, sample_spans, write_shard
from mvp_data.viewer.summary import summarize
from mvp_data.viewer.tables import to_table
from tests.samples import make_folder, make_sample, make_shard
from tests.web import serve

COLUMNS = (
    *("key", "task", "pair_id", "pair_kind", "split", "video_group", "difficulty", "shard", "offset", "bytes"),
    *("k", "l", "context", "width_px", "height_px"),
)


def write_folder(folder: Path) -> list[Sample]:
    """Two shards of different shapes and splits; the samples in them."""
    folder.mkdir()
    train = [make_sample(i, context=3, mask_start=1, k=2, distractors=1) for i in range(5)]
    val = [make_sample(10 + i, split="val", context=2, mask_start=1, k=2, distractors=2) for i in range(3)]
    make_folder(folder, [write_shard(folder / "shard-000000.tar", train), write_shard(folder / "val-000000.tar", val)])
    return train + val


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVP_CACHE", str(tmp_path / "user cache"))
    write_folder(tmp_path / "shards")
    return tmp_path / "shards"


def read_all(shards: ShardSet) -> list[Sample]:
    return [shards.read(i) for i in range(len(shards))]


def stored(folder: Path) -> list[Sample]:
    return [sample for info in read_index(folder).shards for sample in read_shard(folder / info.name)]


def made_at(path: Path) -> int:
    return path.stat().st_ino  # a file that is written again has another inode


def test_any_sample_by_number(folder: Path) -> None:
    shards, samples = open_shards(folder), stored(folder)
    assert len(shards) == len(samples) == 8
    assert [shards.read(i) for i in (7, 0, 3)] == [samples[i] for i in (7, 0, 3)]
    assert read_all(shards) == samples
    for number in (-1, 8):
        with pytest.raises(IndexError, match="of 8"):
            shards.read(number)


def test_the_table(folder: Path) -> None:
    table = open_shards(folder).table
    assert tuple(table.column_names) == COLUMNS
    for row, sample in zip(table.to_pylist(), stored(folder), strict=True):
        record = sample.record
        for name in ("key", "split", "difficulty", "video_group", "k", "l", "width_px", "height_px"):
            assert row[name] == getattr(record, name)
        assert row["context"] == len(record.context)
        path = folder / read_index(folder).shards[row["shard"]].name
        piece = path.read_bytes()[row["offset"] : row["offset"] + row["bytes"]]
        assert parse_sample(piece, "here") == sample


def test_a_single_tar(folder: Path) -> None:
    path = folder / "val-000000.tar"
    shards = open_shards(str(path))
    assert read_all(shards) == list(read_shard(path))
    assert (folder / f".{path.name}{OFFSETS_NAME}").is_file()
    assert read_all(open_shards(path.as_uri())) == read_all(shards)


def test_spans_cover_the_tar(folder: Path) -> None:
    spans = list(sample_spans(folder / "shard-000000.tar"))
    ends = [0, *(span.offset + span.bytes for span in spans)]
    assert [span.offset for span in spans] == ends[:-1]
    assert not (folder / "shard-000000.tar").read_bytes()[ends[-1] :].strip(b"\0")


def test_bytes_that_are_not_one_sample(folder: Path) -> None:
    data = (folder / "shard-000000.tar").read_bytes()
    spans = list(sample_spans(folder / "shard-000000.tar"))
    first, second = spans[0].bytes, spans[1].bytes
    for piece in (b"", data[:-1024], data[: first + second], data[512:first], data[: first - 512], b"x" * 512):
        with pytest.raises(ShardError, match=r"^here: "):
            parse_sample(piece, "here")


def test_the_index_is_made_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_shards(folder, quiet=True)
    made = made_at(folder / OFFSETS_NAME)
    assert read_all(open_shards(folder)) == stored(folder)
    assert made_at(folder / OFFSETS_NAME) == made
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [OFFSETS_NAME, INDEX_NAME, "shard-000000.tar", "val-000000.tar"]
    )
    assert capfd.readouterr().err == ""  # a bar is for terminals, a line for what takes more than 30 s


def test_a_new_build_in_the_same_folder(folder: Path) -> None:
    """Same names and sizes, other content: the old index and open files are not used."""
    old = open_shards(folder)
    before = read_all(old)
    size = (folder / "shard-000000.tar").stat().st_size
    other = [replace(s, record=replace(s.record, key=s.record.key.replace("video", "vidoe"))) for s in before[:5]]
    infos = [write_shard(folder / "shard-000000.tar", other), read_index(folder).shards[1]]
    make_folder(folder, infos)
    assert (folder / "shard-000000.tar").stat().st_size == size
    new = open_shards(folder)
    assert read_all(new) == [*other, *before[5:]]
    assert len(old) == len(new)  # the mapped file of before lives on; in another process there is none
    load_offsets.cache_clear()
    with pytest.raises(ShardError, match="made for other shards than the opened ones: open the shards again"):
        len(pickle.loads(pickle.dumps(old)))


def test_a_tar_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    make_shard(path, 3)
    open_shards(path)
    make_shard(path, 4)
    assert len(open_shards(path)) == 4


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "other format", "a row short", "null"])
def test_a_damaged_index_is_made_again(folder: Path, damage: str) -> None:
    shards = open_shards(folder)
    path, table = folder / OFFSETS_NAME, shards.table
    data = path.read_bytes()
    if damage in ("empty", "text", "cut"):
        path.unlink()
        path.write_bytes({"empty": b"", "text": b"ARROW1\0\0no", "cut": data[: len(data) // 2]}[damage])
    else:
        path.unlink()
        if damage == "other format":
            table = table.cast(offsets_schema("format 0, schema 1, something"))
        elif damage == "a row short":
            table = table.slice(1)
        else:
            table = table.set_column(8, table.schema.field("offset"), pa.array([None] * 8, pa.int64()))
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    assert read_all(open_shards(folder)) == stored(folder)
    assert path.read_bytes() == data


def test_flipped_bytes_in_the_index_never_give_a_wrong_sample(folder: Path) -> None:
    """Each flip is detected when the shards are opened or the sample is read, or changes nothing."""
    rows = open_shards(folder).table.to_pylist()
    path, samples = folder / OFFSETS_NAME, stored(folder)
    whole = path.read_bytes()
    seen = 0
    for turn in range(60):
        at = stable_hash("flip", turn) % len(whole)
        path.unlink()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << turn % 8)]) + whole[at + 1 :])
        shards = open_shards(folder, quiet=True)
        seen += path.read_bytes() == whole
        for number, row in enumerate(shards.table.to_pylist()):
            try:
                sample = shards.read(number)
            except ShardError:
                seen += 1
            else:
                assert sample == samples[number]
                assert {**row, "bytes": 0} == {**rows[number], "bytes": 0}  # with more or fewer of the zeros at its end
        load_offsets.cache_clear()
    assert seen > 0


def test_offsets_outside_the_shard(folder: Path) -> None:
    path, table = folder / OFFSETS_NAME, open_shards(folder).table
    for column, value in (("offset", -512), ("offset", 1 << 40), ("bytes", 0), ("bytes", 1 << 30), ("shard", 2)):
        at = table.column_names.index(column)
        wrong = pa.array([value] * 8, table.schema.field(column).type)
        path.unlink()
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table.set_column(at, table.schema.field(column), wrong))
        load_offsets.cache_clear()
        with pytest.raises(ShardError, match=rf"{OFFSETS_NAME}: damaged in the row of video0-s000-v0: delete it"):
            open_shards(folder).read(0)


def test_offsets_of_other_samples(folder: Path) -> None:
    path, table = folder / OFFSETS_NAME, open_shards(folder).table
    path.unlink()
    keys = pa.array(table["key"].to_pylist()[::-1])
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table.set_column(0, table.schema.field("key"), keys))
    load_offsets.cache_clear()
    with pytest.raises(
        ShardError, match=r"shard-000000.tar: video4-s012-v0 at byte 0: has video0-s000-v0 instead, or .*: delete"
    ):
        open_shards(folder).read(0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(folder: Path, tmp_path: Path) -> None:
    folder.chmod(0o500)
    assert open_shards(folder).offsets.is_relative_to(tmp_path / "user cache" / "offsets")
    folder.chmod(0o700)


def test_a_folder_where_the_index_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (folder / OFFSETS_NAME).mkdir()  # stops root too
    shards = open_shards(folder)
    assert shards.offsets.is_relative_to(tmp_path / "user cache" / "offsets")
    assert read_all(shards) == stored(folder)
    made = made_at(shards.offsets)
    assert made_at(open_shards(folder).offsets) == made
    assert open_shards(folder, cache=tmp_path / "mine").offsets.is_relative_to(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be used as cache"):
        open_shards(folder, cache=tmp_path / "file")


def test_missing_places(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ShardError, match="no such shard or folder: check the path"):
        open_shards(tmp_path / "nowhere")
    with pytest.raises(ShardError, match=r"no index.json, so no finished build"):
        open_shards(tmp_path)
    (folder / "val-000000.tar").rename(tmp_path / "elsewhere.tar")
    with pytest.raises(ShardError, match=r"val-000000.tar: is missing, index.json says \d+"):
        open_shards(folder)


def test_a_shard_that_was_truncated_before_indexing(folder: Path) -> None:
    path = folder / "shard-000000.tar"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ShardError, match=r"shard-000000.tar: has \d+ bytes, index.json says \d+: copy it again"):
        open_shards(folder)
    shutil.copy(path, folder.parent / "a.tar")
    with pytest.raises(ShardError, match=r"a.tar: .*truncated"):
        open_shards(folder.parent / "a.tar")


def test_a_shard_that_is_truncated_while_it_is_read(folder: Path) -> None:
    shards, path = open_shards(folder), folder / "shard-000000.tar"
    assert shards.read(4).record.key == "video1-s004-v0"
    os.truncate(path, path.stat().st_size // 2)
    assert shards.read(0).record.key == "video0-s000-v0"
    with pytest.raises(ShardError, match=r"shard-000000.tar: video1-s004-v0 at byte \d+: truncated, \d+ bytes"):
        shards.read(4)
    path.unlink()
    with pytest.raises(ShardError, match=r"video1-s003-v0 at byte \d+: (truncated|cannot be read)"):
        pickle.loads(pickle.dumps(shards)).read(3)


def test_a_shard_whose_bytes_were_changed_after_indexing(folder: Path) -> None:
    shards, path = open_shards(folder), folder / "val-000000.tar"
    with path.open("r+b") as file:
        file.write(b"\0" * 512)
    with pytest.raises(ShardError, match=r"val-000000.tar: video3-s010-v0 at byte 0: "):
        shards.read(5)
    assert shards.read(6).record.key == "video3-s011-v0"


def test_a_shard_that_differs_from_the_index(folder: Path) -> None:
    info = read_index(folder).shards
    make_folder(folder, [replace(info[0], samples=6), info[1]])
    with pytest.raises(ShardError, match=r"shard-000000.tar: 5 samples of split train, index.json says 6 of train"):
        open_shards(folder)
    make_folder(folder, [replace(info[0], split="test"), info[1]])
    with pytest.raises(ShardError, match=r"5 samples of split train, index.json says 5 of test"):
        open_shards(folder)
    assert not (folder / OFFSETS_NAME).exists()


def test_shards_of_the_schema_before(folder: Path) -> None:
    """A folder and a single shard are refused with the command that makes them again, as docs/format.md says."""
    for name in ("index.json", "shard-000000.tar"):
        data = (folder / name).read_bytes()
        for old in (b'"schema_version":3', b'"schema_version": 3'):
            data = data.replace(old, old.replace(b"3", b"2"))
        (folder / name).write_bytes(data)
    told = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    for path in (folder, folder / "shard-000000.tar"):
        with pytest.raises(ShardError) as refused:
            open_shards(path, quiet=True)
        said = str(refused.value).partition("schema_version ")[2]
        assert said.endswith("`mvp-data build` command that wrote it, with --overwrite")
        assert f"schema_version {said}\n" in told


def test_another_schema_version(folder: Path, tmp_path: Path) -> None:
    old, new = f'"schema_version":{SCHEMA_VERSION}'.encode(), b'"schema_version":9'
    (tmp_path / "a.tar").write_bytes((folder / "shard-000000.tar").read_bytes().replace(old, new))
    with pytest.raises(ShardError, match=r"a.tar: video0-s000-v0.json: schema_version 9, this mvp-data reads 3"):
        open_shards(tmp_path / "a.tar")


def test_an_empty_build(tmp_path: Path) -> None:
    make_folder(tmp_path, [])
    assert len(open_shards(tmp_path)) == 0


def some_keys(shards: ShardSet, numbers: list[int]) -> list[str]:
    return [shards.read(i).record.key for i in numbers]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(folder: Path, method: str) -> None:
    """Forked workers inherit open descriptors of the parent, and must not move each other's file position."""
    shards = open_shards(folder)
    keys = [shards.read(i).record.key for i in range(8)]
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        numbers = [[(i * step) % 8 for i in range(40)] for step in (1, 3, 5)]
        jobs = [pool.submit(some_keys, shards, some) for some in numbers]
        assert [job.result() for job in jobs] == [[keys[i] for i in some] for some in numbers]


def test_many_threads_and_few_descriptors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = []
    for number in range(12):
        infos.append(make_shard(folder / f"part-{number:06d}.tar", 1 + number % 2, context=1, mask_start=1, k=1))
    make_folder(folder, infos)
    shards = open_shards(folder)
    samples = read_all(shards)
    reader._open.cache_clear()
    before = len(os.listdir("/dev/fd"))
    small = lru_cache(maxsize=3)(reader._open.__wrapped__)
    monkeypatch.setattr(reader, "_open", small)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shards.read, list(range(len(shards))) * 20)) == samples * 20
    assert len(os.listdir("/dev/fd")) <= before + 3


def test_other_readers_ignore_the_offset_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    folder = tmp_path / "shards"
    folder.mkdir()
    names = {"train": "shard-000000.tar", "val": "val-000000.tar"}
    make_folder(folder, [make_shard(folder / name, 4, split=split, context=2) for split, name in names.items()])
    write_card(folder, read_index(folder).shards, {})
    table = to_table(summarize(folder))
    open_shards(folder)
    open_shards(folder / "val-000000.tar")
    assert to_table(summarize(folder)) == table
    for number in range(2):  # with and without the card, which names the files of each split
        rows = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / f"hf{number}"))
        assert {name: len(split) for name, split in rows.items()} == ({"train": 4, "validation": 4}, {"validation": 4})[
            number
        ]
        (folder / "README.md").unlink(missing_ok=True)


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def upload(system: fsspec.AbstractFileSystem, folder: Path) -> None:
    for path in folder.iterdir():
        system.pipe(f"/bucket/shards/{path.name}", path.read_bytes())


def test_a_remote_folder(memory: fsspec.AbstractFileSystem, folder: Path, tmp_path: Path) -> None:
    upload(memory, folder)
    samples = stored(folder)
    shards = open_shards("memory://bucket/shards", cache=tmp_path / "cache")
    assert read_all(shards) == samples
    assert shards.location == "memory://bucket/shards"
    assert all(path.is_relative_to(tmp_path / "cache" / "shards") for path in shards.paths)
    memory.rm("/bucket/shards/shard-000000.tar")  # what is here is not fetched again
    left = shards.paths[0].with_name(".shard-000000.tar.7-abcd.tmp")
    left.write_bytes(b"by a process that was killed")
    assert read_all(open_shards("memory://bucket/shards/", cache=tmp_path / "cache")) == samples
    assert not left.exists()
    os.truncate(shards.paths[0], 512)
    with pytest.raises(ShardError, match=r"bucket/shards/shard-000000.tar: cannot be fetched \(not found\)"):
        open_shards("memory://bucket/shards", cache=tmp_path / "cache")


def test_a_remote_folder_that_changes(memory: fsspec.AbstractFileSystem, folder: Path, tmp_path: Path) -> None:
    upload(memory, folder)
    old = open_shards("memory://bucket/shards", cache=tmp_path / "cache")
    before = read_all(old)
    make_folder(folder, read_index(folder).shards[1:])
    upload(memory, folder)
    new = open_shards("memory://bucket/shards", cache=tmp_path / "cache")
    assert read_all(new) == before[5:]
    assert read_all(old) == before  # a running process is not disturbed


def test_a_remote_shard_of_other_bytes(memory: fsspec.AbstractFileSystem, folder: Path, tmp_path: Path) -> None:
    upload(memory, folder)
    data = bytearray(memory.cat("/bucket/shards/val-000000.tar"))
    data[700] ^= 1
    cases = {
        "its sha256 is not the one in index.json": data,
        "of .* bytes received": data[:-1],
        "more than": data + b"x",
    }
    for message, wrong in cases.items():
        memory.pipe("/bucket/shards/val-000000.tar", bytes(wrong))
        with pytest.raises(ShardError, match=f"memory://bucket/shards/val-000000.tar: .*{message}"):
            open_shards("memory://bucket/shards", cache=tmp_path / "cache")
        assert [path.name for path in (tmp_path / "cache").rglob("*.*")] == ["shard-000000.tar"]


def test_a_remote_tar(folder: Path, tmp_path: Path) -> None:
    samples = stored(folder)[5:]
    with serve(folder) as site:
        url = f"{site.url}/val-000000.tar?signature="
        shards = open_shards(url + "1", cache=tmp_path / "cache")
        assert read_all(shards) == samples
        assert "signature" not in shards.location
        sent = site.bytes_sent
        assert read_all(open_shards(url + "2", cache=tmp_path / "cache")) == samples
        assert site.bytes_sent == sent
        make_shard(folder / "val-000000.tar", 2)
        assert len(open_shards(url + "3", cache=tmp_path / "cache")) == 2


def test_a_web_server(folder: Path, tmp_path: Path) -> None:
    with serve(folder, ranges=False) as site:
        assert read_all(open_shards(site.url, cache=tmp_path / "cache")) == stored(folder)
        with pytest.raises(ShardError, match=r"index.json: cannot be fetched \(HTTP status 404 File not found\)"):
            open_shards(f"{site.url}/nothing", cache=tmp_path / "cache")
        with pytest.raises(ShardError, match=r"none.tar: cannot be fetched"):
            open_shards(f"{site.url}/none.tar", cache=tmp_path / "cache")
    with pytest.raises(ShardError, match="cannot be fetched"):
        open_shards(site.url, cache=tmp_path / "cache")


def test_processes_that_fetch_and_index_at_once(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from mvp_data.shards.reader import open_shards; print(open_shards(sys.argv[1]).read(6).record.key)"
    )
    with serve(folder) as site:
        command = [sys.executable, "-c", code, site.url]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        assert [run.communicate(timeout=60)[0] for run in runs] == ["video3-s011-v0\n"] * 3
        shard_bytes = sum(info.bytes for info in read_index(folder).shards)
        assert site.bytes_sent == shard_bytes + 3 * (folder / INDEX_NAME).stat().st_size
    assert len(list((tmp_path / "user cache").rglob(OFFSETS_NAME))) == 1
    assert not list((tmp_path / "user cache").rglob("*.tmp"))


@pytest.mark.parametrize(
    ("url", "message"), [("zip://a.tar", "zip:// is not accepted"), ("simplecache::http://h/a.tar", "chained URLs")]
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        open_shards(url)
