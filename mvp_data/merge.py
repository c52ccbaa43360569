"""One bank out of several: what machines without a common disk decoded and embedded, brought together."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

from mvp_data.bank import Bank
from mvp_data.errors import OutputError
from mvp_data.files import atomic_write, make_folder
from mvp_data.pass1 import FAILURES
from mvp_data.progress import Progress
from mvp_data.seen import Seen

_EXTRACT_HASH = re.compile(r"[0-9a-f]{12}")
_ENTRY = re.compile(r"([0-9a-f]{20})\.parquet")


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What was brought together; videos are counted once for each set of extraction options."""

    bank: Path
    banks: int
    copied: int  # videos, or reasons to skip them, that the bank did not have
    known: int  # that it had
    replaced: int  # failures that went well elsewhere


def merge(banks: Sequence[Path], into: Path) -> MergeReport:
    """Bring entries, vectors and seen files of `banks` into the bank `into`, made if need be; they stay as they are.

    Files are linked where that is possible, else copied. What is there stays, but a video that failed there and went
    well elsewhere is taken. Killed at any moment, the same call goes on.

    Raises:
        OutputError: a bank is missing, holds nothing, is `into` itself, or is damaged; `into` is not writable.
    """
    counts = {"copied": 0, "known": 0, "replaced": 0}
    found = [(bank, extract_hash) for bank in banks for extract_hash in _extract_hashes(bank, into)]
    with Progress(len(found), "merging", "bank") as bar:
        for bank, extract_hash in found:
            with Bank(into, extract_hash).held():
                for video_id in _videos(bank / extract_hash / "frames"):
                    counts[_adopt(bank, into, extract_hash, video_id)] += 1
            bar.update()
    with Seen(into) as seen:
        for bank in banks:
            seen.add_all(Seen(bank))
    return MergeReport(bank=into, banks=len(banks), **counts)


def _extract_hashes(bank: Path, into: Path) -> list[str]:
    if not bank.is_dir():
        raise OutputError(f"{bank}: no such folder; name the banks of mvp-data index")
    if bank.resolve() == into.resolve():
        raise OutputError(f"{bank}: is the bank to merge into; leave it out of the list")
    found = sorted(path.name for path in bank.iterdir() if _EXTRACT_HASH.fullmatch(path.name) and path.is_dir())
    if not found:
        raise OutputError(f"{bank}: holds no bank; name the folder given to mvp-data index --bank")
    return found


def _videos(frames: Path) -> Iterator[str]:
    """The ids of a bank's entries, in order."""
    for path in sorted(frames.glob("*/*.parquet")):
        named = _ENTRY.fullmatch(path.name)
        if named and path.parent.name == path.name[:2]:
            yield named[1]


def _adopt(bank: Path, into: Path, extract_hash: str, video_id: str) -> str:
    """Take one video over; returns what became of it: copied, known or replaced."""
    theirs, ours = Bank(bank, extract_hash), Bank(into, extract_hash)
    entry = Path(extract_hash, "frames", video_id[:2], f"{video_id}.parquet")
    became = "copied"
    if ours.has(video_id):
        failed = ours.facts(video_id)[0] in FAILURES and theirs.facts(video_id)[0] not in FAILURES
        became = "replaced" if failed else "known"
    if became != "known":
        for relative in (entry.with_suffix(".jpgs"), entry):  # the entry last: its presence means that all is there
            _copy(bank / relative, into / relative, into / "tmp")
    if became != "known" or cmp(bank / entry, into / entry, shallow=False):  # vectors are of these very frames
        for path in sorted(bank.glob(f"{extract_hash}/vectors/*/{video_id[:2]}/{video_id}.npy")):
            target = into / path.relative_to(bank)
            if not target.exists():
                _copy(path, target, into / "tmp")
    return became


def _copy(source: Path, target: Path, workspace: Path) -> None:
    """Link or copy a plain file; nothing where there is none, since a skipped video has no pictures."""
    try:
        if not stat.S_ISREG(os.lstat(source).st_mode):
            raise OutputError(f"{source}: no plain file; a bank holds nothing else")
    except FileNotFoundError:
        return
    make_folder(target.parent)
    link = workspace / f"{target.name}.link"
    try:
        os.link(source, link)
    except OSError:  # another disk, or one without links
        with atomic_write(target, workspace=workspace) as file, source.open("rb") as content:
            shutil.copyfileobj(content, file)
    else:
        os.replace(link, target)
