"""One self-contained HTML page on which a person solves puzzles of a shard and then sees the answers."""

import base64
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mvp_data.core.errors import ConfigError
from mvp_data.core.html import MAX_PAGE_BYTES, check_free, page_json, write_html
from mvp_data.core.seeds import unit
from mvp_data.core.text import printable
from mvp_data.shards.prompt import twin_gap
from mvp_data.shards.reader import Place, places
from mvp_data.shards.tar import Sample
from mvp_data.system.files import atomic_write
from mvp_data.viewer.summary import summarize
from mvp_data.viewer.tables import asked, find_sample

MARK = b"<!doctype html>\n<!-- a page of mvp-data inspect -->"  # the first bytes of such a page


def write_page(path: Path, out_html: Path, *, puzzles: int = 24, seed: int = 0, key: str = "", task: str = "") -> int:
    """Write a page with about `puzzles` evenly spaced samples of a shard or folder; return the number of samples.

    Both samples of a pair are on the page, one after the other. The sample `key` comes first. `task` limits the
    statistics and the puzzles to one task. The page has fewer puzzles if the shards have fewer, or if it would exceed
    200 MiB. A puzzle with 20 images of 796x448 px takes 1.6 MB.

    Raises `ShardError` for a damaged shard, `OutputError` if the file exists and is not an older page.
    """
    if puzzles < 1:
        raise ConfigError(f"{puzzles} puzzles: ask for at least 1")
    check_free(out_html, MARK)
    summary = summarize(path, task)
    title = printable(path.resolve().name)  # not the whole path, because people share pages
    parts = (page_json(_puzzle(place.read())) for place in _chosen(path, puzzles, seed, key, task))
    figures = page_json({**asdict(summary), "path": title})
    with atomic_write(out_html) as file:
        return write_html(
            file, "mvp_data.viewer", "page.html", parts, limit=MAX_PAGE_BYTES, title=title, summary=figures
        )


def _chosen(path: Path, puzzles: int, seed: int, key: str, task: str) -> Iterator[Place]:
    """Yield the places of about `puzzles` samples, pair by pair; the pair of `key` and `key` itself come first."""
    asked_for = find_sample(path, key).record if key else None
    units: dict[str, list[Place]] = {}
    for place in places(path, lambda record: task in ("", record.task) or record.key == key):
        units.setdefault(place.unit, []).append(place)
    first = units.pop(asked_for.pair_id or key) if asked_for else []
    others, left = list(units.values()), max(0, puzzles - len(first))
    count = round(left * len(others) / max(1, sum(map(len, others))))
    yield from sorted(first, key=lambda place: place.key != key)
    for number in sorted(spread(len(others), max(count, min(left, 1)), seed)):
        yield from others[number]


def spread(count: int, wanted: int, seed: int) -> set[int]:
    """At most `wanted` positions among `count`, evenly spaced from a seeded start.

    >>> sorted(spread(100, 4, 0))
    [10, 35, 60, 85]
    """
    if wanted >= count:
        return set(range(count))
    start = unit("page", seed)
    return {int((i + start) * count / wanted) for i in range(wanted)}


def _puzzle(sample: Sample) -> dict[str, object]:
    return {
        "record": asdict(sample.record),
        "question": asked(sample.record),
        "pair_kind": sample.record.pair_kind,
        "left_out": twin_gap(sample.record),  # the number of context frames before the frames without a mark, or -1
        "context": [base64.b64encode(data).decode() for data in sample.context],
        "candidates": [base64.b64encode(data).decode() for data in sample.candidates],
    }
