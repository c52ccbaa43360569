"""Lists of videos in four formats: valid ones, and malformed ones refused with their line."""

import json
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.errors import SourceError
from mvp_data.sources import manifests
from mvp_data.sources.manifests import ManifestRow, read_manifest
from tests.web import serve


def rows(path: Path, data: bytes | str) -> list[ManifestRow]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_manifest(str(path)))


def test_txt(tmp_path: Path) -> None:
    text = "\ufeffa.mp4\r\n# a comment\n\n  \nb c.mp4\n# x\n./#d.mp4\n-e.mp4\n f.mp4 \nhttp://h/g.mp4?x=1,2\nz.mp4"
    found = rows(tmp_path / "list.txt", text)
    assert [row.path for row in found] == [
        "a.mp4", "b c.mp4", "./#d.mp4", "-e.mp4", " f.mp4 ", "http://h/g.mp4?x=1,2", "z.mp4",
    ]  # fmt: skip
    assert all(row.extra == () for row in found)


def test_csv(tmp_path: Path) -> None:
    text = '\ufeffcaption,path,fps\r\n"says ""hi"", twice",a.mp4,25\r\n\r\n,"new\nline.mp4",\r\n'
    assert rows(tmp_path / "list.csv", text) == [
        ManifestRow(path="a.mp4", extra=(("caption", 'says "hi", twice'), ("fps", "25"))),
        ManifestRow(path="new\nline.mp4", extra=(("caption", ""), ("fps", ""))),
    ]


def test_jsonl(tmp_path: Path) -> None:
    text = (
        '\n{"path": "a.mp4", "n": 1, "x": 2.50, "ok": true, "no": null, "tags": ["é", {"k": [1]}]}\n'
        '   \n{"s": "t", "path": "caf\\u00e9.mp4"}'
    )
    nested = ("tags", '["é",{"k":[1]}]')
    assert rows(tmp_path / "list.jsonl", text) == [
        ManifestRow(path="a.mp4", extra=(("n", "1"), ("x", "2.5"), ("ok", "true"), ("no", ""), nested)),
        ManifestRow(path="café.mp4", extra=(("s", "t"),)),
    ]


def test_parquet(tmp_path: Path) -> None:
    count = 3000  # more than one batch
    table = pa.table(
        {
            "n": pa.array(range(count)),
            "path": pa.array([f"{number}.mp4" for number in range(count)]).dictionary_encode(),
            "score": pa.array([None, 0.5] * (count // 2)),
            "meta": pa.array([{"a": [1, 2], "b": None}] * count),
            "when": pa.array([0] * count, pa.timestamp("s")),
        }
    )
    pq.write_table(table, tmp_path / "list.parquet")
    found = list(read_manifest(str(tmp_path / "list.parquet")))
    assert len(found) == count
    assert found[2999] == ManifestRow(
        path="2999.mp4",
        extra=(("n", "2999"), ("score", "0.5"), ("meta", '{"a":[1,2],"b":null}'), ("when", '"1970-01-01 00:00:00"')),
    )
    assert found[0].extra[1] == ("score", "")


def test_upper_case_extensions_are_the_same(tmp_path: Path) -> None:
    assert rows(tmp_path / "LIST.TXT", "a.mp4") == [ManifestRow(path="a.mp4")]
    assert manifests.is_manifest("x.JSONL")
    assert not manifests.is_manifest("x.json")


def test_names_that_are_not_utf8_stay_usable_and_columns_become_safe_text(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "list.csv", b"path,note\ncaf\xe9.mp4,na\xefve \\d\n")
    assert row.path == "caf\udce9.mp4"
    assert row.extra == (("note", "na\\xefve \\d"),)
    (row,) = rows(tmp_path / "list.jsonl", '{"path": "\\ud800.mp4", "note": "\\ud800"}')
    assert row == ManifestRow(path="\ud800.mp4", extra=(("note", "\\ud800"),))


BAD = [
    ("x.txt", b"a.mp4\n\0\1\2", "line 2: binary data"),
    ("x.txt", "a.mp4\n".encode("utf-16"), "line 1: binary data or UTF-16"),
    ("x.txt", b"a.mp4\n" + b"x" * (manifests.MAX_LINE_BYTES + 1), "line 2: longer than"),
    ("x.csv", b"", "no header"),
    ("x.csv", b"file,fps\na.mp4,1\n", "line 1: no `path` column; the columns are: file, fps"),
    ("x.csv", b"path,fps,fps\na.mp4,1,2\n", "line 1: column named twice: fps"),
    ("x.csv", b"path,path\na.mp4,b.mp4\n", "line 1: column named twice: path"),
    ("x.csv", b"path,fps\na.mp4,1\nb.mp4\n", "line 3: 1 cells, but the header names 2 columns"),
    ("x.csv", b"path\na.mp4,1\n", "line 2: 2 cells"),
    ("x.csv", b"path,fps\n,1\n", "line 2: `path` must be text"),
    ("x.csv", b'path\n"a.mp4', "line 2: unexpected end of data"),
    ("x.csv", b'path\n"' + b"x" * 200_000 + b'"', "line 2: field larger"),
    ("x.csv", b"path\ra.mp4\r", "new-line character"),
    ("x.jsonl", b'{"path": "a"}\n{"path": }\n', "line 2: not JSON"),
    ("x.jsonl", b'["path"]\n', "line 1: not a JSON object"),
    ("x.jsonl", b'"path"\n', "line 1: not a JSON object"),
    ("x.jsonl", b'{"file": "a"}\n', "line 1: no `path` column; the columns are: file"),
    ("x.jsonl", b'{"path": "a", "path": "b"}\n', "line 1: column named twice: path"),
    ("x.jsonl", b'\n{"path": 7}\n', "line 2: `path` must be text and not empty, not 7"),
    ("x.jsonl", b'{"path": null}\n', "line 1: `path` must be text"),
    ("x.jsonl", b'{"path": {"path": "a"}}\n', "line 1: `path` must be text"),
    ("x.jsonl", b"[" * 500_000 + b"\n", "line 1: not JSON"),
    ("x.jsonl", b'{"path": "a", "n": ' + b"9" * 10_000 + b"}\n", "line 1: not JSON"),
    ("x.parquet", b"PAR1 no", "not a Parquet file"),
    ("x.parquet", b"", "not a Parquet file"),
    ("x.mp4", b"", "not a manifest; its name must end in .txt, .csv, .jsonl, .parquet"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD, ids=[f"{name}-{said[:30]}" for name, _, said in BAD])
def test_malformed_manifests_name_file_and_line(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        rows(tmp_path / name, data)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["a"]}, "no `path` column"),
        ({"path": ["a", None]}, "row 2: `path` must be text"),
        ({"path": [1]}, "row 1: `path` must be text"),
        ({"path": ["a"], "big": ["x" * (manifests.MAX_LINE_BYTES + 1)]}, "row 1: the value of `big` has more"),
    ],
)
def test_malformed_parquet(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=message):
        list(read_manifest(str(tmp_path / "x.parquet")))


def test_a_parquet_column_named_twice(tmp_path: Path) -> None:
    pq.write_table(
        pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["path", "path"]), tmp_path / "x.parquet"
    )
    with pytest.raises(SourceError, match="named twice: path"):
        list(read_manifest(str(tmp_path / "x.parquet")))


def test_a_truncated_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [f"{n}.mp4" for n in range(1000)]}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    for cut in (10, len(data) // 2, len(data) - 5):
        with pytest.raises(SourceError, match="not a Parquet file"):
            rows(tmp_path / "x.parquet", data[:cut])


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        list(read_manifest(str(tmp_path / "none.txt")))


def test_manifests_behind_urls(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a.mp4\n")
    pq.write_table(pa.table({"path": ["a.mp4"], "n": [1]}), tmp_path / "l.parquet")
    with serve(tmp_path, ranges=False) as site:
        assert list(read_manifest(f"{site.url}/l.txt?token=1")) == [ManifestRow(path="a.mp4")]
        assert list(read_manifest(f"{site.url}/l.parquet")) == [ManifestRow(path="a.mp4", extra=(("n", "1"),))]
        with pytest.raises(SourceError, match="404"):
            list(read_manifest(f"{site.url}/none.txt"))
    system = fsspec.filesystem("memory")
    system.pipe({"/lists/l.jsonl": b'{"path": "a.mp4"}'})
    try:
        assert list(read_manifest("memory://lists/l.jsonl")) == [ManifestRow(path="a.mp4")]
    finally:
        system.rm("/lists", recursive=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(
    path=st.text(min_size=1), extra=st.dictionaries(st.text().filter(lambda name: name != "path"), VALUES, max_size=3)
)
def test_any_json_row_is_read(tmp_path_factory: pytest.TempPathFactory, path: str, extra: dict[str, object]) -> None:
    (row,) = rows(tmp_path_factory.mktemp("m") / "x.jsonl", json.dumps({"path": path, **extra}))
    assert row.path == path
    assert [name for name, _ in row.extra] == list(extra)
    for (_, text), value in zip(row.extra, extra.values(), strict=True):
        text.encode()
        expected = "" if value is None else value
        assert (text if isinstance(expected, str) else json.loads(text)) == expected


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), name=st.sampled_from(["x.txt", "x.csv", "x.jsonl", "x.parquet"]))
def test_any_bytes_give_rows_or_a_source_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    try:
        found = rows(tmp_path_factory.mktemp("m") / name, data)
    except SourceError:
        return
    assert all(row.path for row in found)
