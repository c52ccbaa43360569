"""Random numbers computed from names. They do not depend on the order of calls or on Python's `hash`."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def stable_hash(*parts: str | int | float) -> int:
    """A 64-bit hash of the parts.

    It is the same on every machine and Python version; `("ab", "c")` and `("a", "bc")` differ.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = f"{type(part).__name__}:{part!r}".encode()
        digest.update(len(text).to_bytes(4, "big") + text)
    return int.from_bytes(digest.digest(), "big")


def unit(*parts: str | int | float) -> float:
    """A number in [0, 1) that depends only on the parts."""
    return (stable_hash(*parts) >> 11) / float(1 << 53)


def shuffled(items: Sequence[T], *parts: str | int | float) -> list[T]:
    """`items` in an order that depends only on the parts and on the positions of the items."""
    order = sorted(range(len(items)), key=lambda i: stable_hash(*parts, i))
    return [items[i] for i in order]
