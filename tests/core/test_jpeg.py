"""The headers of JPEGs: valid ones agree with a decoder, damaged ones raise nothing."""

import io
from typing import Any

import numpy as np
from PIL import Image

from mvp_data.core.jpeg import header_bytes, is_whole, jpeg_settings, jpeg_size, scan_start


def jpeg(**options: Any) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(file, "JPEG", **options)
    return file.getvalue()


def test_jpeg_size_agrees_with_a_decoder() -> None:
    for size in ((1, 1), (640, 7), (796, 448)):
        for options in ({}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"comment": b"x" * 999}):
            file = io.BytesIO()
            Image.effect_noise(size, 60).convert("RGB").save(file, "JPEG", **options)
            assert jpeg_size(file.getvalue()) == size
    assert jpeg_size(b"") == jpeg_size(b"\xff\xd8\xff\xd9") == jpeg_size(b"\xff\xd8\xff" + b"\xff\xd9" * 9) == (0, 0)


def test_ends_of_headers() -> None:
    for options in ({}, {"progressive": True}, {"comment": b"x" * 999}):
        data = jpeg(**options)
        first = data.index(b"\xff\xda")
        assert header_bytes(data) == first
        assert scan_start(data) == first + 2 + int.from_bytes(data[first + 2 : first + 4], "big")


def test_settings_are_those_of_the_encoder() -> None:
    same = {jpeg_settings(jpeg(optimize=True)) for _ in range(3)}  # other noise, other Huffman tables
    assert len(same) == 1
    others = {jpeg_settings(jpeg(**o)) for o in ({"quality": 60}, {"subsampling": 0}, {"comment": b"hello"})}
    assert len(others | same) == 4


def test_damaged_bytes_raise_nothing() -> None:
    data, rng = jpeg(), np.random.default_rng(0)
    cases = [data[:n] for n in range(0, len(data), 7)]
    cases += [b"", b"\xff", b"\xff\xd8\xff\xe0\x00\x00" * 1000, b"\xff\xd8" + b"\xff\xe0\xff\xff" * 3]
    cases += [b"\xff\xd8" + rng.bytes(64) + b"\xff\xd9" for _ in range(200)]
    for case in cases:
        assert not is_whole(case) or case.endswith(b"\xff\xd9")
        assert len(jpeg_size(case)) == 2
        assert len(jpeg_settings(case)) <= len(case)
        assert header_bytes(case) <= scan_start(case) <= max(2, len(case) + (1 << 16))
    assert {jpeg_size(case) for case in cases[: len(data) // 7]} == {(0, 0)}
