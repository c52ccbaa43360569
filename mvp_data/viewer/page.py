"""One self-contained HTML page on which a person solves puzzles of a shard and then sees the answers."""

import base64
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path

from mvp_data.core.errors import ConfigError
from mvp_data.core.html import MAX_PAGE_BYTES, check_free, page_json, write_html
from mvp_data.core.seeds import unit
from mvp_data.core.text import printable
from mvp_data.shards.tar import Sample, iter_samples
from mvp_data.system.files import atomic_write
from mvp_data.viewer.summary import summarize
from mvp_data.viewer.tables import asked, find_sample

MARK = b"<!doctype html>\n<!-- a page of mvp-data inspect -->"  # how a page of ours begins


def write_page(path: Path, out_html: Path, *, puzzles: int = 24, seed: int = 0, key: str = "", task: str = "") -> int:
    """Write `puzzles` samples of a tar or a folder, evenly spread, to a page; return how many it has.

    A `key` puts that sample first. A `task` limits the figures and puzzles to that task.

    The page has fewer puzzles where the set has fewer, or where it would exceed 200 MiB. A puzzle takes 4/3 of the
    bytes of its sample: 20 images of 796x448 px make 1.6 MB. An older page is replaced; any other file of that name
    raises `OutputError`. Raises `ShardError` for a damaged shard.
    """
    if puzzles < 1:
        raise ConfigError(f"{puzzles} puzzles: ask for at least 1")
    check_free(out_html, MARK)
    summary = summarize(path, task)
    title = printable(path.resolve().name)  # without its folders: people pass pages on
    wanted = spread(summary.samples if task else sum(summary.tasks.values()), puzzles, seed)
    shown = (s for s in iter_samples(path) if task in ("", s.record.task))
    others = (s for n, s in enumerate(shown) if n in wanted and s.record.key != key)
    chosen = islice(chain([find_sample(path, key)] if key else [], others), puzzles)
    parts = (page_json(_puzzle(sample)) for sample in chosen)
    figures = page_json({**asdict(summary), "path": title})
    with atomic_write(out_html) as file:
        return write_html(
            file, "mvp_data.viewer", "page.html", parts, limit=MAX_PAGE_BYTES, title=title, summary=figures
        )


def spread(count: int, wanted: int, seed: int) -> set[int]:
    """At most `wanted` positions among `count`, evenly spread from a seeded start.

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
        "context": [base64.b64encode(data).decode() for data in sample.context],
        "candidates": [base64.b64encode(data).decode() for data in sample.candidates],
    }
