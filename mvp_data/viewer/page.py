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

MARK = b"<!doctype html>\n<!-- a page of mvp-data inspect -->"  # the first bytes of such a page


def write_page(path: Path, out_html: Path, *, puzzles: int = 24, seed: int = 0, key: str = "", task: str = "") -> int:
    """Write a page with `puzzles` evenly spaced samples of a shard or folder; return the number of samples.

    The sample with the key `key` comes first. `task` limits the statistics and the puzzles to one task. The page has
    fewer puzzles if the shards have fewer, or if it would exceed 200 MiB. A puzzle with 20 images of 796x448 px takes
    1.6 MB.

    Raises `ShardError` for a damaged shard, `OutputError` if the file exists and is not an older page.
    """
    if puzzles < 1:
        raise ConfigError(f"{puzzles} puzzles: ask for at least 1")
    check_free(out_html, MARK)
    summary = summarize(path, task)
    title = printable(path.resolve().name)  # not the whole path, because people share pages
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
        "context": [base64.b64encode(data).decode() for data in sample.context],
        "candidates": [base64.b64encode(data).decode() for data in sample.candidates],
    }
