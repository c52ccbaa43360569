"""Find the sources that the `--src` arguments name, without opening the videos.

A `--src` is a folder (searched with all its subfolders), a file, a glob (also with `**`), a manifest (see `manifests`),
an uncompressed tar of videos, or a URL of any of these. A path that exists is never treated as a glob or a URL.

* Every regular file becomes a source or a problem. A file whose extension is not used for videos is a problem and is
  not opened. A file with any other extension, or without one, is a source; the decoder finds out whether it is a video.
* Tars are listed wherever they are found. Members with the extension of a video are sources, with the `path`
  `TAR::MEMBER` and a `ByteRange` as `location`. All other members of a tar, such as captions, are reported as one
  problem together.
* A file or folder whose name starts with a dot is one problem; to use such a folder, give it as `--src`.
* Symbolic links are followed; each folder is listed once. FIFOs, sockets and devices are never opened.
* `path` is relative to the `--src` folder, so renaming that folder changes no output. `\\xff` in it stands for a byte
  that is not UTF-8, and `\\\\` for a backslash. The `path` of a URL omits the query and user name, which may be secret.
* A file found twice is one source, with the first `path` in sort order. A manifest row with extra columns has
  priority.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mvp_data.core.containers import OTHER_EXTENSIONS, VIDEO_EXTENSIONS
from mvp_data.core.errors import SkipReason, SourceError
from mvp_data.core.text import valid_unicode
from mvp_data.core.types import ByteRange, Location, Source
from mvp_data.sources import folders, tars
from mvp_data.sources.manifests import ManifestRow, is_manifest, read_manifest
from mvp_data.system import urls


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanProblem:
    """A file under a `--src` that is not a source: one row of the ledger."""

    path: str
    reason: SkipReason
    detail: str
    place: str = ""  # path or URL; it distinguishes files with the same `path` from two arguments


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanResult:
    """Sources, sorted by `path` and then `location`, with each `location` once; problems, sorted by `path`."""

    sources: tuple[Source, ...]
    problems: tuple[ScanProblem, ...]


Found = Source | ScanProblem


def scan(srcs: Sequence[str], *, limit: int = 0, leave_out: Sequence[Path] = ()) -> ScanResult:
    """Find the files that the `--src` arguments name; keep only the first `limit` sources (0: all).

    `scan(["videos"])` with `videos/b.mp4` and `videos/a/x.txt` gives the source `b.mp4` and the problem
    `a/x.txt`. Folders in `leave_out` (such as the output of a build) are not searched. Raises `SourceError` for an
    argument that does not exist, cannot be read, or matches nothing.
    """
    if limit < 0:
        raise ValueError(f"limit must be 0 (all) or more, not {limit}")
    sources: dict[Location, Source] = {}
    problems: set[ScanProblem] = set()
    for src in srcs:
        nothing = True
        for found in _scan_one(src, leave_out):
            nothing = False
            if isinstance(found, ScanProblem):
                problems.add(found)
                continue
            rival = sources.get(found.location, found)
            sources[found.location] = min(found, rival, key=_rank)
            if found.extra and rival.extra and found.extra != rival.extra:
                problems.add(_named_twice(max(found, rival, key=_rank)))
        if nothing:
            raise SourceError(f"--src {src}: no files there; give a folder, file or pattern with videos")
    ordered = sorted(sources.values(), key=lambda source: (source.path, str(source.location)))
    return ScanResult(
        sources=tuple(ordered[:limit] if limit else ordered),
        problems=tuple(sorted(problems, key=lambda p: (p.path, p.reason, p.detail, p.place))),
    )


def _rank(source: Source) -> tuple[bool, str, tuple[tuple[str, str], ...]]:
    return (not source.extra, source.path, source.extra)


def _named_twice(loser: Source) -> ScanProblem:
    detail = f"named twice with different columns; these are not used: {valid_unicode(str(dict(loser.extra)))[:200]}"
    return ScanProblem(path=loser.path, reason=SkipReason.DUPLICATE, detail=detail, place=str(loser.location))


def _scan_one(src: str, leave_out: Sequence[Path]) -> Iterator[Found]:
    """The files of one argument: an existing path, a URL, or a glob."""
    if not src or "\0" in src:
        raise SourceError(f"--src {src!r}: empty, or not a valid file name")
    if not os.path.lexists(src):
        if urls.scheme_of(src) not in ("", "file"):
            return _scan_url(src)
        src = urls.local_path(src)
    if os.path.lexists(src):
        return _scan_path(src, leave_out)
    if folders.is_pattern(src):
        return _entries(folders.glob_entries(os.path.abspath(src), leave_out))
    raise SourceError(f"--src {src}: no such file or folder; a relative path starts at {os.getcwd()}")


def _scan_path(src: str, leave_out: Sequence[Path]) -> Iterator[Found]:
    path = os.path.abspath(src)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.scandir(path).close()
            return _entries(folders.folder_entries(path, leave_out))
    except OSError as err:
        raise SourceError(f"--src {src}: cannot be read ({urls.explain(err)})") from err
    if not stat.S_ISREG(mode):
        raise SourceError(f"--src {src}: {folders.NO_FILE}")
    return _scan_manifest(path) if is_manifest(path) else _file(path, shown(os.path.basename(path)))


def _scan_url(src: str) -> Iterator[Found]:
    if is_manifest(urls.name_in(src)):
        yield from _scan_manifest(src)
        return
    try:
        entries = list(folders.remote_entries(src))
    except urls.failures(src) as err:
        raise SourceError(f"--src {src}: cannot be read ({urls.explain(err)})") from err
    yield from _entries(entries)


def _entries(entries: Iterable[folders.Entry]) -> Iterator[Found]:
    for entry in entries:
        name = shown(entry.name)
        if entry.fault:
            yield _unreadable(name, entry.fault, entry.path)
        elif entry.name.rpartition("/")[2].startswith("."):
            yield _not_a_video(name, "hidden: names that start with a dot are not looked into", entry.path)
        else:
            try:
                yield from _file(entry.path, name)
            except SourceError as err:  # a link on a web page is a chained URL
                yield _unreadable(name, valid_unicode(str(err)), entry.path)


def _scan_manifest(location: str) -> Iterator[Found]:
    for row in read_manifest(location):
        try:
            yield from _scan_row(row, location)
        except (SourceError, UnicodeError) as err:  # a scheme that is not accepted, or a name that is invalid in a URL
            yield _unreadable(shown(urls.name_in(row.path)), valid_unicode(str(err)), row.path)


def _scan_row(row: ManifestRow, location: str) -> Iterator[Found]:
    """The sources and problems of one row of a manifest. A manifest from a URL must not name local files."""
    scheme, home = urls.scheme_of(row.path), urls.scheme_of(location)
    if scheme not in ("", "file"):
        urls.driver(row.path)  # raises if its package is missing
        yield from _file(row.path, shown(urls.name_in(row.path)), row.extra)
    elif not home:
        path = os.path.abspath(os.path.join(os.path.dirname(location), urls.local_path(row.path)))
        fault = folders.path_fault(path)
        if fault:
            yield _unreadable(shown(row.path), fault, path)
        else:
            yield from _file(path, shown(row.path), row.extra)
    elif scheme or row.path.startswith("/"):
        detail = "a list from a URL may name only URLs and paths relative to itself"
        yield _unreadable(shown(row.path), detail, row.path)
    else:
        folder = location.partition("?")[0] if urls.is_http(location) else location
        below = quote(row.path) if urls.is_http(location) else row.path
        yield from _file(folder[: folder.rindex("/") + 1] + below, shown(row.path), row.extra)


def _file(location: str, name: str, extra: tuple[tuple[str, str], ...] = ()) -> Iterator[Found]:
    """A regular file, by its extension: a source, a problem, or the members of a tar."""
    extension = os.path.splitext(name)[1].lower()
    if extension == ".tar":
        yield from _tar(location, name, extra)
    elif extension in OTHER_EXTENSIONS:
        yield _not_a_video(name, f"extension {extension} is not a video's", location)
    else:
        yield Source(location=location, path=name, extra=extra)


def _tar(container: str, name: str, extra: tuple[tuple[str, str], ...]) -> Iterator[Found]:
    listing = tars.list_members(container)
    others: Counter[str] = Counter()
    for member in listing.members:
        extension = os.path.splitext(member.name)[1].lower()
        if extension in VIDEO_EXTENSIONS and not os.path.basename(member.name).startswith("."):
            place = ByteRange(container=container, offset=member.offset, size=member.size)
            yield Source(location=place, path=f"{name}::{shown(member.name)}", extra=extra)
        else:
            others[valid_unicode(extension) or "no extension"] += 1
    if listing.unusable:
        others["links and devices"] = listing.unusable
    if others:
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(others.items())[:20])
        yield _not_a_video(name, f"{others.total()} members are not videos ({counts})", container)
    if listing.fault:
        fault = f"damaged after {len(listing.members)} members: {valid_unicode(listing.fault)}"
        yield _unreadable(name, fault, container)
    elif not listing.members and not others:
        yield _not_a_video(name, "the tar holds no files", container)


def _unreadable(name: str, detail: str, place: str) -> ScanProblem:
    return ScanProblem(path=name, reason=SkipReason.UNREADABLE, detail=detail, place=place)


def _not_a_video(name: str, detail: str, place: str) -> ScanProblem:
    return ScanProblem(path=name, reason=SkipReason.NOT_A_VIDEO, detail=detail, place=place)


def shown(name: str) -> str:
    r"""A name as valid Unicode, for messages, JSON and Parquet; different names stay different.

    >>> shown("caf\udce9.mp4")
    'caf\\xe9.mp4'
    """
    return valid_unicode(name.replace(os.sep, "/").replace("\\", "\\\\"))
