"""Distinguishes a damaged file from a failed read, which libavformat reports in the same way."""

from collections.abc import Callable
from io import BytesIO
from typing import IO, TYPE_CHECKING

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import VideoEntry
from mvp_data.engines.base import extend_deadline
from mvp_data.ingest.jobs import PASSING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def read_twice(decode: Callable[..., VideoEntry], blob: IO[bytes], check: Callable[[], None]) -> VideoEntry:
    """Return `decode(blob=blob)`; decode a second time if the first result shows damage, or is a Skip.

    `check` raises Skip if the file has changed since the job began.

    Raises:
        Skip: both passes raised it; or UNREADABLE, if the two passes differ.
    """
    first, skip = _attempt(decode, blob)
    if first is not None and not first.damaged_packets:
        return first
    check()
    if skip is None or skip.reason not in PASSING:
        extend_deadline()
        again, skip_again = _attempt(decode, _Discard())
        if _comparable(first, skip) != _comparable(again, skip_again):
            problem = "two reads gave different results; check the disk or network, and run again"
            raise Skip(SkipReason.UNREADABLE, problem)
    if first is None:
        assert skip is not None
        raise skip
    return first


class _Discard(BytesIO):
    """A file that discards what is written; unlike the null device it can be truncated."""

    def write(self, data: "ReadableBuffer", /) -> int:
        return memoryview(data).nbytes


def _attempt(decode: Callable[..., VideoEntry], blob: IO[bytes]) -> tuple[VideoEntry | None, Skip | None]:
    try:
        return decode(blob=blob), None
    except Skip as skip:
        return None, skip


def _comparable(entry: VideoEntry | None, skip: Skip | None) -> tuple[object, ...]:
    """Return what two passes over the same bytes must agree on; how damage is concealed may differ."""
    if entry is None:
        return (str(skip),)
    return entry.decoded_frames, entry.damaged_packets, tuple(entry.frames.times_s.tolist())
