"""Hostile files: no input may crash or hang a command, fill the memory or the disk, or leave its folder.

These are small versions of benchmarks/hostile.py, and one test for each attack that was found. Others are next to the
code that they attack, in tests/sources, tests/shards, tests/system and tests/viewer.
"""

import io
import json
import os
import shutil
import socket
import tarfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvp_data.config.options import BuildConfig, all_options, from_options
from mvp_data.core.errors import ConfigError, MvpError, ShardError, Skip, SkipReason, SourceError
from mvp_data.core.types import Source
from mvp_data.ingest.scheduler import extract_all
from mvp_data.pipeline.sample_table import SampleRow, sample_row
from mvp_data.quiz.page import read_answers
from mvp_data.shards.cache import fetch_shards
from mvp_data.shards.index import parse_index
from mvp_data.shards.prompt import PromptConfig
from mvp_data.shards.record import from_json, to_json
from mvp_data.shards.tar import Sample, read_shard
from mvp_data.sources import manifests, tars
from mvp_data.sources.fetch import local_file
from mvp_data.sources.manifests import read_manifest
from mvp_data.sources.scan import scan
from mvp_data.system import parquet, tar_blocks
from mvp_data.verify.findings import Check, Verification, to_text
from mvp_data.verify.table_checks import rows_of
from mvp_train.dataset import to_row
from mvp_train.models.load import base_of
from mvp_train.recipe import from_values, read_recipe
from tests.clips import VARIANTS, render_variant
from tests.parsers import CONFIG, RECIPE, Parser, parsers
from tests.poison import VIDEO, damaged_video
from tests.samples import make_record, make_sample
from tests.shards.test_tar import pack
from tests.web import serve

EXAMPLES = 40
PARSERS = (
    "manifest.txt manifest.csv manifest.jsonl manifest.parquet config recipe record shard index offsets tar answer "
    "quiz_answers report.json samples.parquet ledger.parquet images bank_.parquet bank_.jpgs bank_.npy"
)
FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@contextmanager
def soon(seconds: float = 2.0) -> Iterator[None]:
    """Inputs that take a second of CPU; a hang would take hours."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return parsers(tmp_path_factory.mktemp("parsers"))


@pytest.mark.parametrize("name", PARSERS.split())
def test_any_damage_gives_a_value_or_the_documented_error(readers: dict[str, Parser], name: str) -> None:
    assert {key.replace(" ", "_") for key in readers} == set(PARSERS.split())
    parser = readers[name.replace("_", " ")]
    for seed in parser.seeds:
        parser.read(seed)
    for data in parser.attacks(name, EXAMPLES):
        with soon(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy and Pillow warn of what is then refused
            with suppress(*parser.errors):
                parser.read(data)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=9)
NESTED = st.recursive(PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(PLAIN, v, max_size=3), max_leaves=6)
OPTIONS = st.sampled_from(["src", "out", *(f.name for _, f in all_options())])


@FEW
@given(st.dictionaries(OPTIONS, NESTED, max_size=4))
def test_any_options_give_a_configuration_or_a_config_error(options: dict[str, Any]) -> None:
    for values in (options, {**yaml.safe_load(CONFIG), **options}):
        try:
            assert isinstance(from_options(values), BuildConfig)
        except ConfigError:
            continue


@FEW
@given(st.sampled_from(["model", "data", "prompt", "reward", "lora", "grpo", "base"]), st.text(), NESTED)
def test_any_values_give_a_recipe_or_a_config_error(section: str, key: str, value: object) -> None:
    good = yaml.safe_load(RECIPE)
    for changed in ({**good, section: value}, {**good, section: {**good.get(section, {}), key: value}}):
        try:
            from_values(changed)
        except ConfigError:
            continue


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"grpo: {a: 0x" + b"f" * 20_000 + b"}", "does not fit 64 bits"),
        (b"data: {limit: -0x" + b"f" * 20_000 + b"}", "does not fit 64 bits"),
        (b"grpo: {a: 1" + b":1" * 20_000 + b"}", "does not fit 64 bits"),  # base 60
        (b'base: "a\\0b"', "not a valid file name"),
        (b"a: &a [x]\nb: *a", "aliases"),
        (b"[" * 100_000, "not valid YAML"),
        (b"- " * 50_000, "not valid YAML"),
        (b"a: !!python/object/apply:os.system [id]", "not valid YAML"),
        (b"a: 2026-13-45", "not valid YAML"),
        (b"grpo: {<<: {a: 1}}", "not valid YAML"),
        (b"grpo: {" + b",".join(b"k%d" % i for i in range(12_000)) + b",k1}", "k1 is given twice"),
        (b"x" * 200_000, "larger than 128 KiB"),
    ],
)
def test_hostile_recipes(tmp_path: Path, text: bytes, says: str) -> None:
    with soon(4), pytest.raises(ConfigError, match=says) as caught:
        read_recipe(put(tmp_path / "r.yaml", text))
    assert len(str(caught.value)) < 1000


def test_fifos_are_never_opened(tmp_path: Path) -> None:
    """Opening a FIFO would block until another process writes to it."""
    os.mkfifo(tmp_path / "list.txt")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for path, read in (
        ("list.txt", lambda p: list(read_manifest(str(p)))),
        ("list.txt", read_recipe),
        ("list.txt", read_answers),
        ("zero.json", read_answers),
    ):
        with pytest.raises(MvpError, match="not a"):
            read(tmp_path / path)


def test_rows_that_name_devices_and_system_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    (tmp_path / "folder.mp4").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.mp4"))
        names = ["fifo.mp4", "device.mp4", "folder.mp4", "socket.mp4", "n" * 4096 + ".mp4", "/dev/zero", "\\u0000.mp4"]
        names += ["../" * 50 + "dev/random", "zip://x.mp4", "/proc/self/fd/0/x.mp4", "\\ud800.mp4"]
        rows = "".join(f'{{"path": "{name}"}}\n' for name in names)
        found = scan([str(put(tmp_path / "list.jsonl", rows.encode()))])
    assert found.sources == ()
    assert len(found.problems) == len(names)
    assert {problem.reason for problem in found.problems} == {SkipReason.UNREADABLE}
    json.dumps([problem.path + problem.detail for problem in found.problems]).encode()


def test_memory_of_a_process_is_not_a_video(tmp_path: Path) -> None:
    """The system reports it as a regular file of 0 bytes."""
    (source,) = scan([str(put(tmp_path / "list.txt", b"/proc/self/mem\n"))]).sources
    with pytest.raises(Skip, match="empty_file"), local_file(source, tmp_path):
        pytest.fail("gave a file")


def test_names_of_a_remote_list_that_are_invalid_in_urls(tmp_path: Path) -> None:
    put(tmp_path / "list.jsonl", b'{"path": "a.mp4"}\n{"path": "\\ud800.mp4"}\n{"path": "\xe9.mp4"}\n')
    with serve(tmp_path) as site:
        found = scan([f"{site.url}/list.jsonl"])
    assert [source.path for source in found.sources] == ["a.mp4"]
    assert [problem.path for problem in found.problems] == ["\\ud800.mp4", "\\xe9.mp4"]


@pytest.mark.parametrize("value", [b"[" * 700 + b"]" * 700, b'{"a":' * 700 + b"1" + b"}" * 700])
def test_a_cell_nested_deeper_than_it_can_be_written(tmp_path: Path, value: bytes) -> None:
    """Python's parser accepts 1000 levels; writing them as JSON takes two calls per level."""
    path = put(tmp_path / "x.jsonl", b'{"path": "a.mp4"}\n{"path": "b.mp4", "x": ' + value + b"}\n")
    with pytest.raises(SourceError, match="line 2: nested too deep"):
        list(read_manifest(str(path)))


def parquet_file(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False, **options)
    return str(path)


def test_a_long_text_that_many_rows_share(tmp_path: Path) -> None:
    """500 bytes of Parquet expand to four gigabytes of text, which are never in memory together."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, np.int32)), pa.array(["x" * 1_000_000]))
    path = parquet_file(tmp_path / "x.parquet", {"path": ["a.mp4"] * 4000, "note": text})
    assert Path(path).stat().st_size < 1000
    before = pa.total_allocated_bytes()
    rows = read_manifest(path)
    assert len(dict(next(rows).extra)["note"]) == 1_000_000
    assert pa.total_allocated_bytes() - before < 20_000_000
    rows.close()  # type: ignore[attr-defined]


def test_a_list_of_millions_in_one_cell(tmp_path: Path) -> None:
    numbers = pa.ListArray.from_arrays(pa.array([0, 1_000_000], pa.int32()), pa.array(np.zeros(1_000_000, np.int8)))
    path = parquet_file(tmp_path / "x.parquet", {"path": ["a.mp4"], "n": numbers})
    with pytest.raises(SourceError, match="a cell is too large"):
        list(read_manifest(path))


def test_a_list_is_limited_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet_file(tmp_path / "x.parquet", {"path": ["a.mp4"] * 9, "n": ["x" * 100] * 9}, use_dictionary=False)
    assert len(list(read_manifest(path))) == 9
    for module, name in ((manifests, "MAX_ROWS"), (manifests, "MAX_LIST_BYTES"), (parquet, "MAX_GROUP_BYTES")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 8)
            with pytest.raises(SourceError, match=r"more than|row group 0 has"):
                list(read_manifest(path))


def test_an_endless_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MAX_LIST_BYTES", 1_000_000)
    put(tmp_path / "x.txt", b"a.mp4\n" * 300_000)
    with serve(tmp_path) as site, pytest.raises(SourceError, match="more than 1000000 bytes received"):
        list(read_manifest(f"{site.url}/x.txt"))


def test_a_row_of_many_lines(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", b"path\n" + b'"\n",' * 400_000)
    with pytest.raises(SourceError, match="the row has more than"):
        list(read_manifest(str(path)))


def test_a_parquet_table_that_expands(tmp_path: Path) -> None:
    row = {**sample_row("a.tar", make_record()), "extra": "x" * 1_000_000}
    table = pa.Table.from_pylist([row] * 60)
    pq.write_table(table, tmp_path / "x.parquet", compression="zstd", store_schema=False)
    del table
    before = pa.total_allocated_bytes()
    rows = rows_of(tmp_path / "x.parquet", SampleRow)
    assert next(rows) == row
    assert pa.total_allocated_bytes() - before < 20_000_000
    rows.close()  # type: ignore[attr-defined]


def test_a_download_of_unknown_size_leaves_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops before the disk is full, which would end the whole build."""
    disk = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk)
    with serve(tmp_path) as site:
        source = Source(location=f"{site.url}/endless.mp4", path="x.mp4")
        with pytest.raises(Skip, match="more than 500000 bytes"), local_file(source, tmp_path / "spool"):
            pytest.fail("gave a file")
    with serve(tmp_path) as site, pytest.raises(ShardError, match="more than 500000 bytes received"):
        fetch_shards(f"{site.url}/endless.tar", tmp_path / "cache", quiet=True)


def test_names_cannot_drive_the_terminal_of_verify() -> None:
    check = Check(name="folder", meaning="m", looked_at=1, problems=1, warnings=0, lines=["a\x1b[2J\u202e\ud800"])
    found = Verification(path="\x1b]0;x", shards=1, samples=1, checks=(check,), broken=(), foreign=())
    assert to_text(found).replace("\n", "").isprintable()


def tar_header(kind: bytes, size: int = 0, **fields: int) -> bytes:
    info = tarfile.TarInfo("x.mp4")
    info.type, info.size = kind, size
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for at in fields.values():
        header[at] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def pax(*records: bytes) -> bytes:
    """An extended header with these records for the next member."""
    data = b""
    for record in records:
        length = next(n for n in range(len(record), len(record) + 20) if len(str(n)) + len(record) + 2 == n)
        data += b"%d %s\n" % (length, record)
    return tar_header(tarfile.XHDTYPE, len(data)) + data.ljust(-(-len(data) // 512) * 512, b"\0")


MEMBER = tar_header(tarfile.REGTYPE) + bytes(1024)
SPARSE = tar_header(tarfile.GNUTYPE_SPARSE, more=482)
TARS: dict[str, tuple[bytes, int, int, str]] = {  # members, unusable, what the fault says
    "a chain of PAX headers": (pax(b"comment=x") * 3000 + MEMBER, 1, 0, ""),
    "a chain of long names": (
        (tar_header(tarfile.GNUTYPE_LONGNAME, 5) + b"abcd".ljust(512, b"\0")) * 3000 + MEMBER, 1, 0, ""),
    "digits for a length": (tar_header(tarfile.XHDTYPE, 1_000_000) + b"1" * 1_000_448 + MEMBER, 0, 0, "PAX record"),
    "a sparse map cut off": (SPARSE, 0, 0, "truncated"),
    "a sparse map for ever": (SPARSE + b"\1" * 5_000_000, 0, 0, "truncated"),
    "a sparse map in its data": (
        pax(b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.realsize=%d" % (1 << 50))
        + tar_header(tarfile.REGTYPE, 5120) + (b"999999999\n" + b"1\n" * 2555) + MEMBER, 1, 1, ""),
    "a sparse map of words": (pax(b"GNU.sparse.map=x,y") + MEMBER, 0, 1, ""),
    "a size of 80 bits": (pax(b"size=%d" % (1 << 80)) + MEMBER, 0, 0, "a member of"),
    "a size of 5000 digits": (pax(b"size=" + b"9" * 5000) + MEMBER, 0, 0, "a member of"),
    "a size below 0": (pax(b"size=-1") + MEMBER, 0, 0, "a member of"),
    "a size beyond the file": (tar_header(tarfile.REGTYPE, 8 << 30) + MEMBER, 1, 0, "truncated"),
}  # fmt: skip


@pytest.mark.parametrize("what", TARS)
def test_hostile_tars(tmp_path: Path, what: str) -> None:
    data, members, unusable, fault = TARS[what]
    with soon():
        listing = tars.list_members(str(put(tmp_path / "x.tar", data)))
    assert (len(listing.members), listing.unusable) == (members, unusable)
    assert fault in listing.fault
    assert bool(fault) == bool(listing.fault)


def test_a_tar_of_more_members_than_memory_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MAX_MEMBERS", 3)
    listing = tars.list_members(str(put(tmp_path / "x.tar", MEMBER[:512] * 9 + bytes(1024))))
    assert (len(listing.members), listing.fault) == (3, "ReadError: more than 3 members")


def test_an_endless_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_blocks, "MAX_STREAMED_BYTES", 100_000)
    put(tmp_path / "x.tar", tar_header(tarfile.REGTYPE, 1 << 20) + bytes((1 << 20) + 1024))
    with serve(tmp_path, ranges=False) as site:
        assert "more than 100000 bytes received" in tars.list_members(f"{site.url}/x.tar").fault


def with_scans(jpeg: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan repeated; an image of a shard has room for a million scans."""
    at = jpeg.rindex(b"\xff\xda")
    return jpeg[:at] + jpeg[at:-2] * count + jpeg[-2:]


def jpeg(mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (112, 56)).save(file, "JPEG", **options)
    return file.getvalue()


def test_images_with_endless_scans() -> None:
    good = make_sample()
    fine, bomb = (with_scans(jpeg(progressive=True), count) for count in (3, 200))
    assert Sample(record=good.record, context=(fine, *good.context[1:]), candidates=good.candidates)
    with pytest.raises(ShardError, match="more than 100 scans"):
        Sample(record=good.record, context=(bomb, *good.context[1:]), candidates=good.candidates)


def test_images_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A record with such a size is refused, so no reader decodes the image."""
    values = json.loads(to_json(make_record()))
    with pytest.raises(ShardError, match="images of 4225000000 px"):
        from_json(json.dumps({**values, "width_px": 65_000, "height_px": 65_000}).encode())
    sample = make_sample()
    data = json.dumps({**values, "width_px": 2056, "height_px": 2056}, separators=(",", ":")).encode()
    members = [(tarfile.TarInfo(name), data if name.endswith("json") else old) for name, old in sample.members]
    with pytest.raises(ShardError, match="images of 4227136 px"):
        list(read_shard(pack(tmp_path / "x.tar", members)))


def test_an_image_with_a_second_header() -> None:
    """The first header agrees with the record; decoders use the second."""
    good, whole = make_sample(), jpeg()
    at = whole.index(b"\xff\xc0")
    size = 2 + int.from_bytes(whole[at + 2 : at + 4], "big")
    second = bytearray(whole[at : at + size])
    second[5:9] = (5000).to_bytes(2, "big") * 2
    twice = whole[: at + size] + bytes(second) + whole[at + size :]
    sample = Sample(record=good.record, context=(twice, *good.context[1:]), candidates=good.candidates)
    with pytest.raises(ShardError, match="states two sizes"):
        to_row(sample, PromptConfig())


@pytest.mark.parametrize("field", ["samples", "bytes"])
def test_an_index_with_numbers_too_long_to_print(readers: dict[str, Parser], field: str) -> None:
    values = json.loads(readers["index"].seeds[0])
    for shard in (values["shards"] * 20)[:20]:
        shard[field] = 10**4299
    values["shards"] = [{**values["shards"][0], "name": f"s{n}.tar"} for n in range(20)]
    with pytest.raises(ShardError, match=r"index\.json: "):
        parse_index(json.dumps(values).encode(), "index.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 5000, '{"base_model_name_or_path": {}', "\xff"])
def test_an_adapter_that_names_no_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "adapter_config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"adapter_config\.json: damaged"):
        base_of(tmp_path)


def test_damaged_videos(tmp_path: Path, tinyvit: str) -> None:
    """In a real build no video stops the run or hangs, and each is used or has a reason."""
    wanted = ("plain.mp4", "vfr.mkv", "mpeg_ts.ts", "vp8.webm", "mpeg4.avi", "rotate_90.mp4")
    clips = [render_variant(v, tmp_path) for v in VARIANTS if v.name in wanted]
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(4):
        for kind in VIDEO:
            (folder / f"{kind} {number}.mp4").write_bytes(damaged_video(kind, [c.read_bytes() for c in clips], number))
    options = {"bank": str(tmp_path / "bank"), "workers": 2, "video_timeout_s": 60, "max_failures": 0}
    config = from_options({"src": [str(folder)], "out": str(tmp_path / "out"), **options})
    found = scan(config.src)
    outcomes = extract_all(found.sources, config)
    assert len(outcomes) == 24
    assert {outcome.skip for outcome in outcomes} - {reason.value for reason in SkipReason} <= {""}
    assert all(outcome.detail for outcome in outcomes if outcome.skip)
    assert not {outcome.skip for outcome in outcomes} & {"crash", "timeout", "memory"}
    assert {"", "decode_error", "not_a_video"} <= {outcome.skip for outcome in outcomes}
