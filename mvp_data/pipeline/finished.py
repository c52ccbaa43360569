"""A finished build that is met again: whether its files are still the same, and whether it may come out better."""

from collections.abc import Sequence

from mvp_data.config.options import BuildConfig, digest
from mvp_data.core.errors import OutputError
from mvp_data.ingest.jobs import PASSING, Outcome
from mvp_data.pipeline.ledger import read_ledger
from mvp_data.shards.index import Index
from mvp_data.sources.scan import ScanResult


def corpus_hash(found: ScanResult, outcomes: Sequence[Outcome]) -> str:
    """Names what was found under the sources: paths, contents, outcomes and a manifest's columns."""
    videos = [(o.source.path, o.video_id, o.skip, o.source.extra) for o in outcomes]
    return digest([videos, [(p.path, p.reason) for p in found.problems]])


def refuse_others(config: BuildConfig, finished: Index, found: ScanResult) -> None:
    """Raise OutputError if a finished build is of other files: before days of decoding, not after."""
    before = {row.path for row in read_ledger(config.out)}
    if before != {s.path for s in found.sources} | {p.path for p in found.problems}:
        raise _other_sources(config, finished)


def _other_sources(config: BuildConfig, finished: Index) -> OutputError:
    return OutputError(
        f"{config.out}: holds a finished build of other sources ({finished.counts['samples']} samples); pass "
        "--overwrite to build it again with these (the bank keeps what is decoded), or choose another --out"
    )


def may_be_better(config: BuildConfig, finished: Index, corpus: str) -> bool:
    """Whether a finished build lacks videos that failed then, were tried again, and now go well.

    Raises:
        OutputError: it differs for another reason: there are other sources.
    """
    if finished.config.get("corpus") == corpus:
        return False
    if any(row.reason in {*PASSING, *config.retried} for row in read_ledger(config.out)):
        return True
    raise _other_sources(config, finished)
