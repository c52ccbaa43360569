"""Whether two frames show the same, in a table of what the three judges say."""

from itertools import product

import numpy as np
import pytest

from mvp_data.puzzles.likeness import alike, alike_in, any_alike, moves
from tests.builders import kept_video, noise
from tests.people import FIXED, STILL, Moment, Stage
from tests.puzzles.test_rules import thumbnail

STAGE = Stage(seed=1, people=2, height=0.3)
ROOM = thumbnail(STAGE.picture(noise=4.0))
AGAIN = thumbnail(STAGE.picture(STILL, FIXED, noise=4.0, frame=1))
WALKED = thumbnail(STAGE.picture(Moment(step=0.1, stride=0.4), FIXED, noise=4.0, frame=1))


@pytest.mark.parametrize(
    ("cosine", "first", "second", "same"),
    [
        (0.99, ROOM, AGAIN, True),
        (0.1, ROOM, AGAIN, True),  # the pixels hardly differ
        (0.99, ROOM, WALKED, False),  # somebody walked, which the encoder does not see
        (0.1, ROOM, WALKED, False),
        (0.9, noise(1), noise(2), True),  # at the threshold
        (0.8999, noise(1), noise(2), False),
    ],
)
def test_alike(cosine: float, first: bytes, second: bytes, same: bool) -> None:
    assert alike(cosine, first, second, 0.9) == alike(cosine, second, first, 0.9) == same
    vectors = np.array([[1, 0], [cosine, (1 - cosine**2) ** 0.5]], np.float32)
    video = kept_video(vectors, thumbnails=[first, second])
    assert alike_in(video, 0, 1, 0.9) == alike_in(video, 1, 0, 0.9) == same
    assert moves(video, 0, 1) == (second is not AGAIN)


def test_any_alike_compares_every_frame_with_every_other() -> None:
    vectors, thumbnails = np.eye(5, dtype=np.float32), [noise(place) for place in range(5)]
    thumbnails[4] = thumbnails[0]
    for a, b in product(range(4), range(4)):
        firsts, seconds = [1, a], [b, 2 + 2 * (b == 3)]
        lists = (vectors[firsts], [thumbnails[p] for p in firsts], vectors[seconds], [thumbnails[p] for p in seconds])
        same = any(p == q or {p, q} == {0, 4} for p, q in product(firsts, seconds))
        assert any_alike(*lists, 0.9) == same
