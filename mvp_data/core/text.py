"""Formats text for people: escapes it, limits its length, and writes counts and plurals."""

import re
from collections.abc import Mapping

WIDTH = 98  # columns of printed tables; a terminal of 100 columns does not wrap them
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str, width: int | None = None) -> str:
    r"""Text for a terminal: control characters become escapes such as `\x1b` and `\n`, so it cannot move the cursor.

    Text wider than `width` loses its beginning: the end of a path is more useful.

    >>> printable("/videos/a\x1b.mp4", 10)
    '…a\\x1b.mp4'
    """
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped if width is None or len(escaped) <= width else "…" + escaped[len(escaped) - width + 1 :]


def valid_unicode(text: str) -> str:
    r"""Text for JSON and Parquet: bytes that are not UTF-8 become `\xff`, other lone surrogates `\ud800`.

    >>> valid_unicode("caf\udce9")
    'caf\\xe9'
    """
    return _SURROGATES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def one_line(error: object, limit: int = 500) -> str:
    """The message of an error on one line, cut to `limit` characters."""
    return " ".join(str(error).split())[:limit]


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def counts(found: Mapping[str, int]) -> str:
    """`train 90, test 10`, without counts of 0."""
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()) if count) or "none"


def times(seconds: Mapping[str, float]) -> str:
    """`extract 22.0 s, total 30.7 s`."""
    parts = [f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05]
    return ", ".join([*parts, f"total {sum(seconds.values()):.1f} s"])
