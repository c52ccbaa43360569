"""List the files under a folder or matched by a pattern, on disk or behind a URL.

A file or folder that cannot be read is an entry with a fault. Each folder is listed once, so symbolic links cannot form
an endless loop.

Remote folders are listed one by one with `ls`. The `find` and `glob` of fsspec omit folders that cannot be read, follow
circular links endlessly, and limit neither the number of names nor the time.
"""

import glob
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mvp_data.system import urls

MAX_DEPTH = 32  # of folders under a URL: the pages of a web server may link in circles
MAX_LISTED = 1_000_000  # files and folders under one URL: a server may send names without end
MAX_LISTING_S = 3600.0  # to list all folders under one URL
NO_FILE = "not a regular file (FIFO, socket or device)"
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file found; `fault` is the reason why it cannot be used, or empty."""

    path: str  # or URL
    name: str  # relative to the folder that was searched
    fault: str = ""


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards; it may still be the plain name of a file."""
    return bool(_MAGIC.search(text))


def folder_entries(root: str, leave_out: Sequence[Path] = ()) -> Iterator[Entry]:
    """All files under a folder, given by its absolute path."""
    return _LocalSearch(base=root, leave_out=leave_out).under(root, lambda _: True)


def glob_entries(pattern: str, leave_out: Sequence[Path] = ()) -> Iterator[Entry]:
    """The files that match an absolute pattern, and all files in folders that match.

    Names are relative to the part before the first wildcard: `/data/*/x.mp4` gives `a/x.mp4`. Python's `glob` handles
    only the part before a `**`, because its `**` follows circular links.
    """
    parts = pattern.split(os.sep)
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    search = _LocalSearch(base=os.sep.join(parts[:first]) or os.sep, leave_out=leave_out)
    deep = parts.index("**") if "**" in parts else len(parts)
    for path in sorted(glob.glob(os.sep.join(parts[:deep]) or os.sep)):
        if os.path.isdir(path):
            yield from search.under(path, _matcher(path, parts[deep:]))
        elif deep == len(parts):
            yield Entry(path=path, name=search.name(path), fault=path_fault(path))


def path_fault(path: str) -> str:
    """The reason why a path is not a regular file, or empty. Links are followed."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as err:  # ValueError: a name that no file can have
        return urls.explain(err)
    if stat.S_ISDIR(mode):
        return "a folder, not a file"
    return "" if stat.S_ISREG(mode) else NO_FILE


def remote_entries(url: str) -> Iterator[Entry]:
    """The files of a URL: the file itself, all files of a folder, or the matches of a pattern.

    `memory://d` with the file `/d/a/x.mp4` gives the path `memory://d/a/x.mp4` and the name `a/x.mp4`. Names are
    relative to the folder, or to the part of a pattern before its first wildcard.

    Raises what `urls.failures(url)` lists if the URL itself cannot be read.
    """
    system, root = urls.filesystem(url)
    if urls.is_http(url):
        page = url.partition("?")[0]
        pattern = "*" in page
        folder = pattern or page.endswith("/") or _is_web_page(system, root, page)
        if folder:
            url = root = page
    else:
        pattern = is_pattern(url) and not system.exists(root)
        folder = pattern or system.info(root)["type"] == "directory"
    if pattern:
        first = _MAGIC.search(url)
        base = url[: url.rindex("/", 0, first.start() if first else None) + 1]
        parts = [part or "*" for part in url[len(base) :].split("/")]
        yield from _RemoteSearch(system, base, system._strip_protocol(base), parts).entries()
    elif folder:
        yield from _RemoteSearch(system, url, root, []).entries()
    else:
        yield Entry(path=url, name=urls.name_in(url).rpartition("/")[2])


def _is_web_page(system: Any, name: str, url: str) -> bool:
    """Whether a URL is an HTML page without an extension, which is taken as the listing of a folder."""
    extension = os.path.splitext(url.partition("://")[2].partition("/")[2])[1]
    return system.info(name).get("mimetype") == "text/html" and not extension


class _RemoteSearch:
    """The files under a remote folder that match a pattern, given as path parts; an empty pattern matches all files."""

    def __init__(self, system: Any, url: str, root: str, pattern: Sequence[str]) -> None:
        self._system, self._root, self._pattern = system, root, pattern
        self._base = url.rstrip("/") + "/" if "://" in url.rstrip("/") else url
        self._start = len(root.rstrip("/")) + 1
        self._fixed = (
            pattern.index("**") if "**" in pattern else len(pattern)
        )  # number of parts that match exactly one name
        self._with_hidden = any(part.startswith(".") for part in pattern)

    def entries(self) -> Iterator[Entry]:
        """The files, and a fault for each folder that cannot be read; raises `urls.failures` if it is the first one."""
        seen, pending = {self._root.rstrip("/")}, [self._root]
        end_s = time.monotonic() + MAX_LISTING_S
        while pending:
            folder = pending.pop()
            if len(seen) > MAX_LISTED or time.monotonic() > end_s:
                limit = f"more than {MAX_LISTED} names or {MAX_LISTING_S:g} s to list them"
                yield self._entry(folder, f"{limit}: the rest is ignored")
                return
            try:
                listing = sorted(self._system.ls(folder, detail=True), key=lambda info: str(info["name"]))
            except urls.failures(self._base) as err:
                if folder == self._root:
                    raise
                yield self._entry(folder, f"folder cannot be read: {urls.explain(err)}")
                continue
            for info in listing:
                name = str(info["name"]).rstrip("/")
                found = self._entry(name)
                if name in seen or not name.startswith(folder.rstrip("/") + "/") or found.name == ".":
                    continue  # the folder itself, its parent, or a link that sorts the listing
                seen.add(name)
                depth = name.count("/", self._start)
                if info["type"] == "directory" and self._enters(name, found):
                    if depth < MAX_DEPTH:
                        pending.append(str(info["name"]))
                    else:
                        yield self._entry(name, f"more than {MAX_DEPTH} folders deep: not searched")
                elif self._takes(name, found, is_file=info["type"] != "directory"):
                    yield found

    def _entry(self, name: str, fault: str = "") -> Entry:
        path = self._base + name[self._start :]
        return Entry(path=path, name=urls.name_in(path)[len(urls.name_in(self._base)) :] or ".", fault=fault)

    def _is_hidden(self, found: Entry) -> bool:
        return found.name.rpartition("/")[2].startswith(".") and not self._with_hidden

    def _enters(self, name: str, found: Entry) -> bool:
        """Whether a folder may contain matches."""
        parts = name[self._start :].split("/")
        return not self._is_hidden(found) and _matches(parts, self._pattern[: min(len(parts), self._fixed)])

    def _takes(self, name: str, found: Entry, *, is_file: bool) -> bool:
        """Whether to report an entry. `*` matches no hidden name, but a matching folder reports its own."""
        parts = name[self._start :].split("/")
        if self._is_hidden(found):
            return _matches(parts[:-1], self._pattern)
        return is_file and _matches(parts, self._pattern)


def _matcher(folder: str, pattern: Sequence[str]) -> Callable[[str], bool]:
    start = len(os.path.join(folder, ""))
    return lambda path: _matches(path[start:].split(os.sep), pattern)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern, both given as parts; a folder that matches includes all files in it.

    >>> _matches(["a", "b", "x.mp4"], ["**", "*.mp4"]), _matches(["x.mp4"], ["**", "b", "*"])
    (True, False)
    """
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(names[skip:], pattern[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


class _LocalSearch:
    """Searches of local folders that list each folder once, identified by device and inode."""

    def __init__(self, *, base: str, leave_out: Sequence[Path]) -> None:
        self._start = len(os.path.join(base, ""))
        self._seen: set[tuple[int, int]] = set()
        for folder in leave_out:
            with suppress(OSError):  # does not exist, so cannot be found
                status = os.stat(folder)
                self._seen.add((status.st_dev, status.st_ino))

    def name(self, path: str) -> str:
        """The path relative to `base`."""
        return path[self._start :]

    def under(self, root: str, keep: Callable[[str], bool]) -> Iterator[Entry]:
        """Files under `root` that `keep` accepts. Linked folders come last, so a file is found under its real path."""
        pending, links = [root], list[str]()
        while pending or links:
            folder = pending.pop() if pending else links.pop()
            try:
                entries = self._list(folder)
            except OSError as err:
                fault = f"folder cannot be read: {urls.explain(err)}"
                yield Entry(path=folder, name=self.name(folder) or ".", fault=fault)
                continue
            for entry in entries:
                kind = _kind(entry)
                if kind == "folder":
                    pending.append(entry.path)
                elif kind == "linked folder":
                    links.append(entry.path)
                elif keep(entry.path):
                    yield Entry(path=entry.path, name=self.name(entry.path), fault=kind)

    def _list(self, folder: str) -> list[os.DirEntry[str]]:
        """The entries of a folder, sorted by name; empty if it was listed before."""
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in self._seen:
            return []
        self._seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `linked folder`, a fault, or empty for a file. Only links need a `stat` call.

    A hidden folder counts as a file: `scan` reports it as one problem.
    """
    if entry.name.startswith("."):
        return ""
    try:
        if entry.is_file(follow_symlinks=False):
            return ""
        if not entry.is_symlink():
            return "folder" if entry.is_dir(follow_symlinks=False) else NO_FILE
        mode = os.stat(entry.path).st_mode
    except OSError as err:
        return f"broken link: {urls.explain(err)}"
    if stat.S_ISDIR(mode):
        return "linked folder"
    return "" if stat.S_ISREG(mode) else NO_FILE
