"""Merges the banks of several machines into one, for machines without a shared disk."""

import os
import re
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from filecmp import cmp
from pathlib import Path

from mvp_data.bank.bank import Bank
from mvp_data.core.errors import OutputError
from mvp_data.ingest.jobs import FAILURES
from mvp_data.sources.known_files import KnownFiles
from mvp_data.system.files import atomic_write, make_folder
from mvp_data.system.progress import Progress

_EXTRACT_HASH = re.compile(r"[0-9a-f]{12}")
_ENTRY = re.compile(r"([0-9a-f]{20})\.parquet")


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """The result of a merge. A video counts once for each set of extraction options."""

    bank: Path
    banks: int
    copied: int  # videos (or reasons to skip one) that were not in the bank
    known: int  # videos that were already in the bank
    replaced: int  # videos that had failed, and succeeded in another bank


def merge(banks: Sequence[Path], into: Path) -> MergeReport:
    """Copy entries, vectors and known files of `banks` into the bank `into`, which is created if needed.

    `banks` do not change. Files are hard-linked where possible, otherwise copied. An entry of `into` is
    kept, unless its video failed there and succeeded in another bank. After a kill, the same call resumes.

    Raises:
        OutputError: a bank is missing, empty, damaged, or `into` itself; or `into` is not writable.
    """
    counts = {"copied": 0, "known": 0, "replaced": 0}
    found = [(bank, extract_hash) for bank in banks for extract_hash in _extract_hashes(bank, into)]
    with Progress(len(found), "merging", "bank") as bar:
        for bank, extract_hash in found:
            with Bank(into, extract_hash).held():
                for video_id in _videos(bank / extract_hash / "frames"):
                    counts[_merge_video(bank, into, extract_hash, video_id)] += 1
            bar.update()
    with KnownFiles(into) as known_files:
        for bank in banks:
            known_files.add_all(KnownFiles(bank))
    return MergeReport(bank=into, banks=len(banks), **counts)


def _extract_hashes(bank: Path, into: Path) -> list[str]:
    if not bank.is_dir():
        raise OutputError(f"{bank}: no such folder; give the banks that mvp-data index wrote")
    if bank.resolve() == into.resolve():
        raise OutputError(f"{bank}: is also the bank to merge into; remove it from the list")
    found = sorted(path.name for path in bank.iterdir() if _EXTRACT_HASH.fullmatch(path.name) and path.is_dir())
    if not found:
        raise OutputError(f"{bank}: is not a bank; give the --bank folder of mvp-data index")
    return found


def _videos(frames: Path) -> Iterator[str]:
    """Yield the ids of a bank's entries, sorted."""
    for path in sorted(frames.glob("*/*.parquet")):
        named = _ENTRY.fullmatch(path.name)
        if named and path.parent.name == path.name[:2]:
            yield named[1]


def _merge_video(bank: Path, into: Path, extract_hash: str, video_id: str) -> str:
    """Copy one video if needed; return copied, known or replaced."""
    theirs, ours = Bank(bank, extract_hash), Bank(into, extract_hash)
    entry = Path(extract_hash, "frames", video_id[:2], f"{video_id}.parquet")
    result = "copied"
    if ours.has(video_id):
        failed = ours.facts(video_id)[0] in FAILURES and theirs.facts(video_id)[0] not in FAILURES
        result = "replaced" if failed else "known"
    if result != "known":
        for relative in (entry.with_suffix(".jpgs"), entry):  # the entry last: it means that the video is complete
            _copy(bank / relative, into / relative, into / "tmp")
    # Vectors match the frames of one entry, so they are copied only if both banks have the same entry.
    if result != "known" or cmp(bank / entry, into / entry, shallow=False):
        for path in sorted(bank.glob(f"{extract_hash}/vectors/*/{video_id[:2]}/{video_id}.npy")):
            target = into / path.relative_to(bank)
            if not target.exists():
                _copy(path, target, into / "tmp")
    return result


def _copy(source: Path, target: Path, workspace: Path) -> None:
    """Link or copy a plain file; do nothing if it is missing, because a skipped video has no JPEGs."""
    try:
        if not stat.S_ISREG(os.lstat(source).st_mode):
            raise OutputError(f"{source}: is not a plain file; a bank holds nothing else")
    except FileNotFoundError:
        return
    make_folder(target.parent)
    link = workspace / f"{target.name}.link"
    try:
        os.link(source, link)
    except OSError:  # another disk, or one without hard links
        with atomic_write(target, workspace=workspace) as file, source.open("rb") as content:
            shutil.copyfileobj(content, file)
    else:
        os.replace(link, target)
