"""One self-contained HTML page on which a person solves puzzles of a shard and then sees the answers.

The page loads nothing: pictures are data URIs, and a content security policy allows only the style and the
script whose hashes it names. Samples are untrusted: they enter as JSON without `<`, and become text alone.
"""

import base64
import hashlib
import html
import json
import re
from dataclasses import asdict
from importlib.resources import files
from itertools import chain, islice
from pathlib import Path

from mvp_data.errors import ConfigError, OutputError
from mvp_data.files import atomic_write
from mvp_data.inspect import asked, find_sample, printable
from mvp_data.seeds import unit
from mvp_data.shards import Sample
from mvp_data.summary import iter_samples, summarize

MAX_PAGE_BYTES = 200 << 20  # browsers grow slow and phones give up beyond; about 120 puzzles of 796x448 px
MARK = b"<!doctype html>\n<!-- a page of mvp-data inspect -->"  # how a page of ours begins


def write_page(path: Path, out_html: Path, *, puzzles: int = 24, seed: int = 0, key: str = "", task: str = "") -> int:
    """Write `puzzles` samples of a tar or a folder, evenly spread, as a page; how many it holds.

    A `key` asks for that sample to come first, a `task` for the figures and puzzles of that one alone.

    Fewer where the set has fewer, or where the page would exceed 200 MiB. A puzzle takes 4/3 of the bytes of
    its sample: 20 pictures of 796x448 px make 1.6 MB. An older page is replaced; any other file of that
    name raises `OutputError`. Raises `ShardError` for a damaged shard.
    """
    if puzzles < 1:
        raise ConfigError(f"{puzzles} puzzles: ask for at least 1")
    check_free(out_html, MARK)
    summary = summarize(path, task)
    title = printable(path.resolve().name)
    head, tail = _frame(title)
    figures = page_json({**asdict(summary), "path": title})  # the name alone: a page is passed on, a home folder is not
    wanted = spread(summary.samples if task else sum(summary.tasks.values()), puzzles, seed)
    written, size = 0, len(head) + len(tail) + len(figures)
    with atomic_write(out_html) as file:
        file.write(head + b'{"summary":' + figures + b',"puzzles":[')
        shown = (s for s in iter_samples(path) if task in ("", s.record.task))
        others = (s for n, s in enumerate(shown) if n in wanted and s.record.key != key)
        for sample in islice(chain([find_sample(path, key)] if key else [], others), puzzles):
            text = page_json(_puzzle(sample))
            size += len(text) + 1
            if written and size > MAX_PAGE_BYTES:
                break
            file.write((b"," if written else b"") + text)
            written += 1
        file.write(b"]}" + tail)
    return written


def spread(count: int, wanted: int, seed: int) -> set[int]:
    """At most `wanted` positions among `count`, evenly spread from a seeded start.

    >>> sorted(spread(100, 4, 0))
    [10, 35, 60, 85]
    """
    if wanted >= count:
        return set(range(count))
    start = unit("page", seed)
    return {int((i + start) * count / wanted) for i in range(wanted)}


def _frame(title: str) -> tuple[bytes, bytes]:
    """The template before and after the data."""
    template = files("mvp_data").joinpath("page.html").read_text(encoding="utf-8")
    values = {"policy": content_policy(template), "title": html.escape(title)}
    head, tail = template.split("{{data}}")
    filled = re.sub(r"{{(\w+)}}", lambda match: values[match[1]], head)
    return filled.encode(), tail.encode()


def content_policy(template: str) -> str:
    """The content security policy of a page: nothing from outside, no style and no code but the template's own."""
    own = []
    for tag in ("style", "script"):
        for body in re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            own.append(f"{tag}-src 'sha256-{digest}'; ")
    return f"default-src 'none'; img-src data:; {''.join(own)}base-uri 'none'; form-action 'none'"


def _puzzle(sample: Sample) -> dict[str, object]:
    return {
        "record": asdict(sample.record),
        "question": asked(sample.record),
        "context": [base64.b64encode(data).decode() for data in sample.context],
        "candidates": [base64.b64encode(data).decode() for data in sample.candidates],
    }


def page_json(value: object) -> bytes:
    """ASCII JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").encode()


def check_free(out_html: Path, mark: bytes) -> None:
    """Refuse to replace a file that is not an older page, such as the shard itself: one that does not begin so."""
    if not out_html.exists():
        return
    maker = mark.partition(b"a page of ")[2].removesuffix(b" -->").decode()
    problem = f"{out_html}: exists and is not a page of {maker}: choose another name"
    if not out_html.is_file():
        raise OutputError(problem)
    with out_html.open("rb") as file:
        if file.read(len(mark)) != mark:
            raise OutputError(problem)
