"""Local folders and globs, to the bottom and without harm from loops, broken links, devices and refusals."""

import glob
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from mvp_data.remote import explain

NO_FILE = "not a regular file (FIFO, socket or device)"
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A file found: its path, its name relative to the base, and what is wrong with it, or an empty text."""

    path: str
    name: str
    fault: str


def is_pattern(text: str) -> bool:
    """Whether a text would be a glob, if no file has that very name."""
    return bool(_MAGIC.search(text))


def folder_entries(root: str, leave_out: Sequence[Path] = ()) -> Iterator[Entry]:
    """Every file under an absolute folder path; what cannot be looked into is an entry with a fault."""
    return _Walk(base=root, leave_out=leave_out).under(root, lambda _: True)


def glob_entries(pattern: str, leave_out: Sequence[Path] = ()) -> Iterator[Entry]:
    """Files that match an absolute pattern, and all files in folders that match.

    Names are relative to the part before the first wildcard: `/data/*/x.mp4` gives `a/x.mp4`. Python's own
    `**` follows linked folders in circles, so only what stands before a `**` is left to it.
    """
    parts = pattern.split(os.sep)
    first = next(index for index, part in enumerate(parts) if is_pattern(part))
    walk = _Walk(base=os.sep.join(parts[:first]) or os.sep, leave_out=leave_out)
    deep = parts.index("**") if "**" in parts else len(parts)
    for path in sorted(glob.glob(os.sep.join(parts[:deep]) or os.sep)):
        if os.path.isdir(path):
            yield from walk.under(path, _matcher(path, parts[deep:]))
        elif deep == len(parts):
            yield Entry(path=path, name=walk.name(path), fault=path_fault(path))


def path_fault(path: str) -> str:
    """What keeps a path from being a regular file, links followed; empty if it is one."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as err:  # ValueError: a name that no file can have
        return explain(err)
    if stat.S_ISDIR(mode):
        return "a folder, not a file"
    return "" if stat.S_ISREG(mode) else NO_FILE


def _matcher(folder: str, pattern: Sequence[str]) -> Callable[[str], bool]:
    start = len(os.path.join(folder, ""))
    return lambda path: _matches(path[start:].split(os.sep), pattern)


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern, both in parts; a folder that matches brings all that is in it.

    >>> _matches(["a", "b", "x.mp4"], ["**", "*.mp4"]), _matches(["x.mp4"], ["**", "b", "*"])
    (True, False)
    """
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_matches(names[skip:], pattern[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], pattern[0]) and _matches(names[1:], pattern[1:])


class _Walk:
    """Walks that share the folders already seen, by device and inode, and the base of the names."""

    def __init__(self, *, base: str, leave_out: Sequence[Path]) -> None:
        self._start = len(os.path.join(base, ""))
        self._seen: set[tuple[int, int]] = set()
        for folder in leave_out:
            with suppress(OSError):  # not there, so not to be met
                status = os.stat(folder)
                self._seen.add((status.st_dev, status.st_ino))

    def name(self, path: str) -> str:
        """The path relative to the base."""
        return path[self._start :]

    def under(self, root: str, keep: Callable[[str], bool]) -> Iterator[Entry]:
        """Files under `root`. Linked folders come after the real ones, so that a file bears its real name."""
        pending, links = [root], list[str]()
        while pending or links:
            folder = pending.pop() if pending else links.pop()
            try:
                entries = self._list(folder)
            except OSError as err:
                fault = f"folder cannot be read: {explain(err)}"
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
        """The entries of a folder by name; none if it has been seen."""
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in self._seen:
            return []
        self._seen.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)


def _kind(entry: os.DirEntry[str]) -> str:
    """`folder`, `linked folder`, a fault, or empty for a file; asks the disk only about links.

    A name that starts with a dot is an entry without a fault, folder or not: `scan` says what becomes of it.
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
        return f"broken link: {explain(err)}"
    if stat.S_ISDIR(mode):
        return "linked folder"
    return "" if stat.S_ISREG(mode) else NO_FILE
