"""`FrameTable` equals the frames that it was built from."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.types import Frame, FrameTable
from tests.builders import noise

NUMBERS = st.floats(0, 1e6)
FRAMES = st.lists(
    st.builds(
        Frame,
        time_s=NUMBERS,
        shot=st.integers(0, 2**31 - 1),
        reject=st.sampled_from(["", "black", "transition"]),
        luma=NUMBERS,
        contrast=NUMBERS,
        sharpness=NUMBERS,
        thumbnail=st.sampled_from([b"", noise("a"), noise("b")]),
        jpeg_bytes=st.integers(0, 2**31 - 1),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(FRAMES)
def test_a_table_equals_its_frames(frames: list[Frame]) -> None:
    table = FrameTable.of(frames)
    assert len(table) == len(frames)
    assert list(table) == frames
    assert table[1:5:2] == tuple(frames[1:5:2])
    assert (table.times_s.tolist(), table.shots.tolist()) == ([f.time_s for f in frames], [f.shot for f in frames])
    assert table.jpeg_bytes.tolist() == [f.jpeg_bytes for f in frames]
    assert [table.thumbnail(i) for i in range(len(frames))] == [f.thumbnail for f in frames]
    assert table.usable.tolist() == [i for i, f in enumerate(frames) if not f.reject]
    assert list(table.rejections().items()) == list(Counter(f.reject for f in frames if f.reject).items()), (
        "also in the same order"
    )
    assert table == FrameTable.of(frames) == pickle.loads(pickle.dumps(table))
    if frames:
        assert table[-1] == frames[-1]
        assert type(table[0].shot) is int
        assert type(table[0].time_s) is float
        assert table != FrameTable.of(frames[1:])
    with pytest.raises(IndexError):
        table[len(frames)]


def test_thumbnails_may_be_replaced() -> None:
    frames = [Frame(time_s=0.0, shot=0), *(Frame(time_s=n, shot=0, thumbnail=noise("moved", n)) for n in (1.0, 2.0))]
    table = FrameTable.of(frames)
    elsewhere = table.thumbnails.copy()
    moved = table.with_thumbnails(elsewhere)
    assert moved == table
    assert np.shares_memory(moved.thumbnails, elsewhere)


@pytest.mark.parametrize("length", [1, 576, 2303, 2305])
def test_a_thumbnail_of_another_size(length: int) -> None:
    with pytest.raises(ValueError, match="2304 bytes"):
        FrameTable.of([Frame(time_s=0.0, shot=0, thumbnail=bytes(length))])


def test_memory_of_a_frame() -> None:
    frames = [Frame(time_s=float(n), shot=n // 10, thumbnail=noise("size", n % 5)) for n in range(1000)]
    table = FrameTable.of(frames)
    rest = len(pickle.dumps(table)) - table.thumbnails.nbytes
    assert rest < 60 * len(frames)
