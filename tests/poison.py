"""Seeded damage: files as accidents leave them, and files that an attacker would forge.

    for data in mutants([good], 100, "some", "name"):
        ...

Used by tests/test_hostile.py in small number and by benchmarks/hostile.py in large.
"""

import io
import json
import random
import struct
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mvp_data.core.seeds import stable_hash

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1)
DEEP = 900  # just below what Python's JSON parser takes, and far above what a recursive walk does
JSON_POISON: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 62, 1 << 70, 10**4200, 1e308, "", "x" * 5000, "\0", "\ud800", "\u202e\x1b[2J\n",
    "</script>", [], {}, [[]], {"a": {}}, ["A"] * 300, "../../etc/passwd", "file:///etc/passwd",
)  # fmt: skip
TAR_POISON = (b"\0" * 300, b"\xff" * 300, b"../../up.mp4\0", b"/etc/passwd\0", b"\x80" + b"\x7f" * 11,
              b"\x80" + bytes(11), b"00000001000\0", *(kind.encode() for kind in "1234567xgLKSXVMND"))  # fmt: skip
BOXES = (b"moov", b"mdat", b"trak", b"mdia", b"stbl", b"stsd", b"stts", b"stsz", b"stco", b"stsc", b"mvhd", b"tkhd",
         b"mdhd", b"elst", b"avcC", b"ctts", b"stss", b"moof", b"trun")  # fmt: skip
HEADER_BOXES = (b"mvhd", b"tkhd", b"mdhd", b"elst", b"stsd", b"stts", b"stsz", b"stco", b"stsc", b"ctts")


def generator(*parts: str | int) -> random.Random:
    """A generator that depends on the parts alone."""
    return random.Random(stable_hash("poison", *parts))


def flip(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """A few bits, anywhere."""
    spoilt = bytearray(data)
    for _n in range(rng.choice((1, 3, 20, max(1, len(data) // 2000)))):
        spoilt[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def truncate(data: bytes, rng: random.Random, _: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def splice(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def zero(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """A hole, as a lost block of a disk leaves it."""
    at, size = _range(data, rng)
    return data[:at] + bytes(size) + data[at + size :]


def delete(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at, size = _range(data, rng)
    return data[:at] + data[at + size :]


def repeat(data: bytes, rng: random.Random, _: bytes) -> bytes:
    at, size = _range(data, rng)
    return data[: at + size] + data[at:]


def extreme(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """A number at the end of its range where some other one stood."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(EXTREMES) & (1 << 8 * size) - 1
    at = rng.randrange(max(1, len(data) - size))
    return data[:at] + number.to_bytes(size, rng.choice(("big", "little"))) + data[at + size :]


BYTES: dict[str, Callable[[bytes, random.Random, bytes], bytes]] = {
    f.__name__: f for f in (flip, truncate, splice, zero, delete, repeat, extreme)
}


def mutants(seeds: Sequence[bytes], count: int, *parts: str | int) -> Iterator[bytes]:
    """`count` damaged copies of the seeds, with one to three kinds of damage each."""
    for number in range(count):
        rng = generator(*parts, number)
        data, other = rng.choice(seeds), rng.choice(seeds)
        for _ in range(rng.choice((1, 1, 2, 3))):
            data = rng.choice(tuple(BYTES.values()))(data or b"\0", rng, other)
        yield data


def twisted(value: Any, rng: random.Random) -> Any:
    """A JSON value with one of its parts replaced, left out, doubled or buried."""
    where = list(_places(value))
    if not where:
        return rng.choice(JSON_POISON)
    holder, key = rng.choice(where)
    action = rng.randrange(5)
    if action == 0:
        del holder[key]
    elif action == 1:
        holder[key] = [holder[key], holder[key]]
    elif action == 2 and isinstance(holder, dict):
        holder[str(rng.choice(JSON_POISON))] = holder[key]
    elif action == 3:
        other, at = rng.choice(where)
        holder[key] = other[at] if other is not holder and not isinstance(other[at], list | dict) else 7
    else:
        holder[key] = rng.choice(JSON_POISON)
    return value


def twisted_json(data: bytes, count: int, *parts: str | int) -> Iterator[bytes]:
    """`data`, a JSON object, with one to three of its parts twisted; some with NaN, doubled keys or deep nesting."""
    for number in range(count):
        rng = generator("json", *parts, number)
        value = json.loads(data)
        for _ in range(rng.choice((1, 1, 2, 3))):
            value = twisted(value, rng)
        text = _dumps(value)
        names = list(value) if isinstance(value, dict) else []
        if names and number % 5 == 0:
            bad = rng.choice(
                ("NaN", "-Infinity", "1e999", "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "9" * 5000)
            )
            text = f"{text[:-1]},{_dumps(rng.choice((*names, 'new')))}:{bad}}}"
        yield text.encode(errors="surrogatepass")


def forged_tars(data: bytes, count: int, *parts: str | int) -> Iterator[bytes]:
    """A tar with a header forged and its checksum made right again, so that it is believed."""
    fields = {
        "name": (0, 100),
        "mode": (100, 8),
        "size": (124, 12),
        "type": (156, 1),
        "link": (157, 100),
        "rest": (257, 243),
    }
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        starts = [member.offset for member in tar]
    for number in range(count):
        rng = generator("tar", *parts, number)
        spoilt = bytearray(data)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice(starts)
            offset, size = fields[rng.choice((*fields, "size", "type", "type"))]
            value = rng.choice((*TAR_POISON, rng.randbytes(size), b"7" * (size - 1) + b"\0"))[:size]
            spoilt[at + offset : at + offset + len(value)] = value
            spoilt[at + 148 : at + 156] = b"        "
            spoilt[at + 148 : at + 156] = b"%06o\0 " % (sum(spoilt[at : at + 512]) % 8**6)
        yield bytes(spoilt)


def swap_boxes(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Two boxes of an MP4 in each other's place; two blocks of any other file."""
    found = [at - 4 for name in BOXES for at in _find(data, name) if at >= 4]
    if len(found) < 2:
        found = [rng.randrange(len(data)) for _ in range(2)]
    first, second = sorted(rng.sample(found, 2))
    size = min(_box_size(data, first), second - first)
    last = second + min(_box_size(data, second), len(data) - second)
    return data[:first] + data[second:last] + data[first + size : second] + data[first : first + size] + data[last:]


def header(data: bytes, rng: random.Random, _: bytes) -> bytes:
    """Sizes, durations and counts at the ends of their ranges: in the boxes of an MP4, else in the first kilobyte."""
    spoilt = bytearray(data)
    for _n in range(rng.choice((1, 2, 4))):
        places = [at for name in HEADER_BOXES for at in _find(data, name)]
        at = rng.choice(places) + 4 + 4 * rng.randrange(1, 24) if places else rng.randrange(4, min(1024, len(data)))
        number = struct.pack(">I", rng.choice(EXTREMES) & 0xFFFFFFFF)
        spoilt[at : at + 4] = number[: max(0, len(spoilt) - at)]
    return bytes(spoilt)


VIDEO = {f.__name__: f for f in (flip, truncate, splice, zero, swap_boxes, header)}


def damaged_video(kind: str, files: Sequence[bytes], *parts: str | int) -> bytes:
    """One of the files with damage of one kind, `VIDEO` has them all; what a mutation leaves empty holds one byte."""
    rng = generator("video", kind, *parts)
    return VIDEO[kind](rng.choice(files), rng, rng.choice(files)) or b"\0"


def _range(data: bytes, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(len(data)), rng.randrange(1, rng.choice((2, 16, 600, max(3, len(data)))))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=stable_hash(str(value)[:200]) % 2 == 0)


def _find(data: bytes, name: bytes) -> Iterator[int]:
    at = data.find(name)
    while at >= 0:
        yield at
        at = data.find(name, at + 1)


def _box_size(data: bytes, at: int) -> int:
    return max(8, min(int.from_bytes(data[at : at + 4], "big"), 1 << 16))
