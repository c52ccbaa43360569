"""Text for people: safe to print, of limited length, with counts and plurals."""

import re
from collections.abc import Mapping

WIDTH = 98  # columns of the table: a terminal of 100 does not wrap it
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Text that cannot move the cursor: control characters become escapes such as `\x1b` and `\n`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(error: Exception) -> str:
    """The message of an error of another library, to be quoted in a message of ours."""
    return " ".join(str(error).split())[:500]


def clip(text: str, width: int = WIDTH) -> str:
    """The end of a text that is too wide: the end of a path says more than its beginning."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {noun}{'s' * (count != 1)}"


def counts(found: Mapping[str, int]) -> str:
    """`train 90, test 10`, without what is 0."""
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()) if count) or "none"


def times(seconds: Mapping[str, float]) -> str:
    """`extract 22.0 s, total 30.7 s`."""
    parts = [f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05]
    return ", ".join([*parts, f"total {sum(seconds.values()):.1f} s"])


def plain(text: str) -> str:
    r"""Text for JSON and Parquet: bytes that are not UTF-8 become `\xff`, lone surrogates `\ud800`.

    >>> plain("caf\udce9")
    'caf\\xe9'
    """
    return _SURROGATES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
