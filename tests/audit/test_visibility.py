"""Which samples show the hidden frames of others."""

import numpy as np
import pytest

from mvp_data.audit.visibility import Gallery, Seen, repeats
from mvp_data.puzzles.thumbnails import differ

TRAIN = ("train", "one")


def thumbnail(number: int, noise: float = 0, shift: int = 0, light: int = 0) -> bytes:
    """Smooth noise of 64 x 36 blocks, the same for the same number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(60, 190, size=(6, 9))
    whole = np.kron(coarse, np.ones((4, 4)))[:18, shift : shift + 32]
    whole = whole + np.random.default_rng(number + 999).normal(0, noise or 1e-9, whole.shape) + light
    return np.kron(np.clip(whole, 0, 255).astype(np.uint8), np.ones((2, 2), np.uint8)).tobytes()


def test_repeats_are_the_pairs_that_do_not_differ() -> None:
    first = [thumbnail(n) for n in range(12)] + [thumbnail(n, shift=1) for n in range(4)]
    second = [thumbnail(n, noise=3) for n in range(12)] + [thumbnail(n, light=12) for n in range(8)]
    second += [thumbnail(n, shift=2) for n in range(6)] + [thumbnail(n, shift=1) for n in range(6)]
    wanted = {(i, j) for i, a in enumerate(first) for j, b in enumerate(second) if not differ(a, b)}
    assert set(repeats(first, second)) == wanted
    assert len(wanted) > 12
    assert list(repeats([], second)) == list(repeats(first, [])) == []


def gallery(*samples: tuple[tuple[str, str], list[int], list[int]]) -> Gallery:
    """Samples with a place, context and pool of image numbers; the gap is in the middle, the first two are hidden."""
    made = Gallery()
    for place, context, pool in samples:
        context_numbers, pool_numbers = (
            tuple(made.number(b"%d" % image, thumbnail(image)) for image in images) for images in (context, pool)
        )
        middle = len(context) // 2
        made.add(Seen(place=place, context=context_numbers, pool=pool_numbers, hidden=(0, 1), at=middle))
    return made


def test_a_hidden_frame_that_another_context_shows_is_counted() -> None:
    hiding = (TRAIN, [1, 2, 7, 8], [3, 4, 50, 51])
    (shown,) = gallery(hiding, (TRAIN, [2, 3, 4, 7], [60, 61, 62, 63])).shown()
    assert (shown.split, shown.samples, shown.one, shown.whole) == ("train", 2, 1, 1)
    (apart,) = gallery(hiding, (TRAIN, [2, 3], [60, 61, 5, 6]), (TRAIN, [4, 7], [70, 71, 5, 6])).shown()
    assert (apart.samples, apart.one, apart.whole) == (3, 1, 0)  # both are shown, in two samples
    (none,) = gallery(hiding, (TRAIN, [50, 51], [60, 61, 5, 6])).shown()
    assert (none.one, none.whole) == (0, 0)


@pytest.mark.parametrize("place", [("val", "one"), ("train", "two")])
def test_other_splits_and_other_videos_do_not_count(place: tuple[str, str]) -> None:
    found = gallery((TRAIN, [1, 2, 7, 8], [3, 4, 50, 51]), (place, [2, 3, 4, 7], [60, 61, 62, 63])).shown()
    assert {(shown.one, shown.whole) for shown in found} == {(0, 0)}


def test_the_answer_is_read_from_another_context() -> None:
    made = gallery(
        (TRAIN, [1, 2, 7, 8], [4, 50, 3, 51]),
        (TRAIN, [50, 2, 3, 4, 7, 51], [60, 61, 62, 63]),
    )
    assert made.answer(0) == (2, 0)  # the images 3 and 4, in the order of the other context
    assert made.answer(1) == (0, 1)  # nothing is known


def test_an_image_has_one_number() -> None:
    made = Gallery()
    assert [made.number(data, b"") for data in (b"a", b"b", b"a")] == [0, 1, 0]
