"""Read lists of videos: `.txt` (one path per line), and `.csv`, `.jsonl` or `.parquet` with a `path` column.

A manifest may come from an untrusted source, so the sizes of lines and files are limited. A malformed manifest raises
a `SourceError` with the file and the line. The files that it lists are checked by `scan`.
"""

import csv
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from mvp_data.core.errors import SourceError
from mvp_data.core.text import valid_unicode
from mvp_data.system import urls
from mvp_data.system.parquet import open_parquet, plain_value, scalars

MAX_LINE_BYTES = 1 << 20  # of a line or a Parquet cell; paths and captions are far shorter
MAX_ROWS = 10_000_000  # each is a source in memory
MAX_LIST_BYTES = 2 << 30  # of text in the rows, and of a download: a server may send data without end
_BOM_BYTES = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One row: the path as written, and the other columns as text, in their order."""

    path: str
    extra: tuple[tuple[str, str], ...] = ()


def is_manifest(name: str) -> bool:
    """Whether a file name has the extension of a manifest."""
    return os.path.splitext(name)[1].lower() in _READERS


def read_manifest(path: str) -> Iterator[ManifestRow]:
    """The rows of a manifest, given by its path or URL; raises `SourceError`.

    `a.mp4` in a `.txt` and `{"path": "a.mp4", "fps": 25, "tags": ["x"], "note": null}` in a `.jsonl` give
    `ManifestRow(path="a.mp4")` and the same with `extra=(("fps", "25"), ("tags", '["x"]'), ("note", ""))`.
    In `.txt`, blank lines and lines that start with `#` are skipped. Names need not be UTF-8.
    """
    name = path.partition("?")[0] if urls.is_http(path) else path
    reader = _READERS.get(os.path.splitext(name)[1].lower())
    if reader is None:
        raise SourceError(f"{path}: not a manifest; its name must end in {', '.join(_READERS)}")
    try:
        with _seekable(path) as file:
            size = 0
            for number, row in enumerate(reader(path, file), 1):
                size += len(row.path) + sum(len(name) + len(text) for name, text in row.extra)
                if number > MAX_ROWS or size > MAX_LIST_BYTES:
                    raise SourceError(f"{path}: more than {MAX_ROWS} rows or {MAX_LIST_BYTES} bytes; split the list")
                yield row
    except urls.failures(path) as err:
        raise SourceError(f"{path}: cannot be read ({urls.explain(err)})") from err


@contextmanager
def _seekable(path: str) -> Iterator[IO[bytes]]:
    """Open a manifest. A remote one is copied to a temporary file, because Parquet is read from its end."""
    if not urls.scheme_of(path) and os.path.exists(path) and not os.path.isfile(path):  # opening a FIFO would block
        raise SourceError(f"{path}: not a regular file; give a list of videos")
    if not urls.scheme_of(path):
        with open(path, "rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        copy.writelines(urls.read_chunks(path, MAX_LIST_BYTES))
        copy.seek(0)
        yield copy


def _lines(path: str, file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and lines with their line breaks; a byte order mark is removed."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise SourceError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes: is this a list of videos?")
        if b"\0" in line:
            raise SourceError(f"{path}, line {number}: binary data or UTF-16; write the list as UTF-8 text")
        if number == 1:
            line = line.removeprefix(_BOM_BYTES)
        yield number, line.decode("utf-8", "surrogateescape")


def _read_txt(path: str, file: IO[bytes]) -> Iterator[ManifestRow]:
    for _, line in _lines(path, file):
        if line.strip() and not line.startswith("#"):
            yield ManifestRow(path=line.rstrip("\r\n"))


def _read_csv(path: str, file: IO[bytes]) -> Iterator[ManifestRow]:
    size = 0

    def lines() -> Iterator[str]:
        nonlocal size
        for number, line in _lines(path, file):
            size += len(line)
            if size > MAX_LINE_BYTES:  # a quoted cell may contain line breaks, so a row may have any number of lines
                raise SourceError(f"{path}, line {number}: the row has more than {MAX_LINE_BYTES} bytes")
            yield line

    rows = csv.reader(lines(), strict=True)
    columns: list[str] = []
    while True:
        size = 0
        try:
            cells = next(rows, None)
        except csv.Error as err:
            raise SourceError(f"{path}, line {rows.line_num}: {err}") from err
        if cells is None:
            break
        if not cells:
            continue
        where = f"{path}, line {rows.line_num}"
        if not columns:
            columns = cells
            _check_columns(where, columns)
        elif len(cells) != len(columns):
            raise SourceError(f"{where}: {len(cells)} cells, but the header names {len(columns)} columns")
        else:
            yield _row(where, list(zip(columns, cells, strict=True)))
    if not columns:
        raise SourceError(f"{path}: no header; the first line must name the columns, one of them `path`")


def _read_jsonl(path: str, file: IO[bytes]) -> Iterator[ManifestRow]:
    for number, line in _lines(path, file):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            # Pairs instead of a dict, to find duplicate names; a separate class, to tell an object from an array.
            found = json.loads(line, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as err:
            raise SourceError(f"{where}: not JSON ({err})") from err
        if not isinstance(found, _Pairs):
            raise SourceError(f'{where}: not a JSON object; write {{"path": ...}} on each line')
        _check_columns(where, [name for name, _ in found])
        try:
            row = _row(where, found)
        except RecursionError as err:  # too deep to write it as JSON
            raise SourceError(f"{where}: nested too deep") from err
        yield row


def _read_parquet(path: str, file: IO[bytes]) -> Iterator[ManifestRow]:
    import pyarrow as pa

    number = 0
    try:
        with open_parquet(file) as table:
            columns = list(table.schema_arrow.names)
            _check_columns(path, columns)
            for number, cells in enumerate(scalars(table), 1):
                where = f"{path}, row {number}"
                yield _row(
                    where, [(n, plain_value(cell, MAX_LINE_BYTES)) for n, cell in zip(columns, cells, strict=True)]
                )
    except (pa.ArrowException, OSError, ValueError, RecursionError) as err:
        where = f"{path}, after row {number}: " if number else f"{path}: "
        raise SourceError(f"{where}not a Parquet file that can be read ({urls.explain(err)})") from err


class _Pairs(list[tuple[str, object]]):
    """The names and values of one JSON object."""


def _check_columns(where: str, columns: Iterable[str]) -> None:
    """Raise `SourceError` unless `path` is a column and all names differ."""
    names = list(columns)
    if "path" not in names:
        raise SourceError(f"{where}: no `path` column; the columns are: {valid_unicode(', '.join(names))[:200]}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SourceError(f"{where}: column named twice: {valid_unicode(', '.join(twice))[:200]}")


def _row(where: str, cells: list[tuple[str, object]]) -> ManifestRow:
    path = ""
    extra = []
    for name, value in cells:
        if name == "path":
            if not isinstance(value, str) or not value:
                raise SourceError(f"{where}: `path` must be text and not empty, not {value!r:.80}")
            path = value
        else:
            extra.append((valid_unicode(name), valid_unicode(_text(value))))
            if len(extra[-1][1]) > MAX_LINE_BYTES:
                raise SourceError(
                    f"{where}: the value of `{valid_unicode(name)}` has more than {MAX_LINE_BYTES} characters"
                )
    return ManifestRow(path=path, extra=tuple(extra))


def _text(value: object) -> str:
    """A cell as text: `""` for null, JSON for numbers, booleans and nested values.

    >>> [_text(value) for value in (None, True, 2.5, "x", [1, {"a": None}])]
    ['', 'true', '2.5', 'x', '[1,{"a":null}]']
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(_unmarked(value), ensure_ascii=False, separators=(",", ":"), default=str)


def _unmarked(value: object) -> object:
    """Convert `_Pairs` to dicts, at any depth."""
    if isinstance(value, _Pairs):
        return {name: _unmarked(inner) for name, inner in value}
    if isinstance(value, list):
        return [_unmarked(inner) for inner in value]
    return value


_READERS: dict[str, Callable[[str, IO[bytes]], Iterator[ManifestRow]]] = {
    ".txt": _read_txt,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
