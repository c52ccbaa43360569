"""The comparison of thumbnails on jittered frames and small changes, and the rules for the frames of a strip."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mvp_data.config.options import MaskConfig
from mvp_data.core.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Picture
from mvp_data.embedding.calibration import jitter
from mvp_data.puzzles.corpus import KeptVideo
from mvp_data.puzzles.make import make_puzzles
from mvp_data.puzzles.repeats import moves
from mvp_data.puzzles.rules import doubt, refuse
from mvp_data.puzzles.thumbnails import differ
from mvp_data.puzzles.types import Drop
from tests.builders import THRESHOLDS, config, kept_video, noise, rng, thumbnail_from
from tests.scenes import journey

FREE = MaskConfig(mask_policy="free", hidden_frames=3, context_frames=4)


def thumbnail(image: Picture) -> bytes:
    size = (THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX)
    return Image.fromarray(image).convert("L").resize(size, Image.Resampling.BOX).tobytes()


def scene(*discs: tuple[float, float, float], shift: int = 0) -> bytes:
    """A thumbnail of a textured wall with white discs (x, y, radius in blocks), seen from `shift` pixels to the right.

    A block is 10 pixels wide.
    """
    wall = rng("wall").integers(60, 140, (19, 33), dtype=np.uint8)
    image = Image.fromarray(wall).resize((330, 190), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for x, y, radius in discs:
        draw.ellipse([10 * v for v in (x - radius, y - radius, x + radius, y + radius)], fill=250)
    window = image.crop((shift, 0, shift + 320, 180))
    return window.resize((THUMBNAIL_WIDTH_PX, THUMBNAIL_HEIGHT_PX), Image.Resampling.BOX).tobytes()


@pytest.mark.parametrize(
    ("first", "second", "different"),
    [
        (scene(), scene(), False),
        (scene((8, 9, 3)), scene(), True),  # a disc disappears
        (scene((8, 9, 3)), scene((13, 9, 3)), True),  # moves
        (scene((8, 9, 3)), scene((8, 9, 5)), True),  # grows
        (scene((8, 9, 0.7)), scene((13, 9, 0.7)), False),  # less than 2 % of the frame
        (scene((8, 9, 3)), scene((8, 9, 3), shift=3), False),  # the camera shakes by 1 % of the width
        (scene((8, 9, 3)), scene((8, 9, 3), shift=8), False),
        (noise(1), noise(2), True),
    ],
)
def test_frames_differ_if_something_moved(first: bytes, second: bytes, different: bool) -> None:
    assert differ(first, second) == differ(second, first) == different
    darker = (np.frombuffer(second, np.uint8) // 2).tobytes()
    lit = (np.frombuffer(darker, np.uint8) + 40).tobytes()
    assert not differ(darker, lit), "a change of brightness alone does not count"


@pytest.mark.parametrize(
    ("wide", "tall", "by", "different"),
    [
        (6, 5, 8, True),  # inside the blurred rim 4 x 3 blocks, 2 % of 576, by 8 levels
        (6, 5, -8, True),
        (6, 5, 7, False),
        (5, 5, 8, False),
        (2, 2, 100, True),  # the blur spreads a strong change to the blocks around it
        (1, 1, 100, False),  # a speck
        (32, 18, 100, False),  # brightness
    ],
)
def test_size_and_strength_of_a_change(wide: int, tall: int, by: int, different: bool) -> None:
    plain, patched = np.full((18, 32), 120, np.uint8), np.full((18, 32), 120, np.int16)
    patched[4 : 4 + tall, 4 : 4 + wide] += by
    if wide == 32:
        patched[:] = 120 + by
    assert differ(thumbnail_from(plain), thumbnail_from(patched.astype(np.uint8))) == different


def test_jittered_copies_do_not_differ() -> None:
    """Re-encoded, brightened and shifted by 1 %; benchmarks/embedders.py measures the same on real clips."""
    frames = [journey(seed, 40)(number, 448, 252) for seed in range(2) for number in range(0, 40, 4)]
    copies = {
        "encoded": {"crop": 0, "light": 0},
        "lit": {"crop": 0, "jpeg_quality": 0},
        "shaken": {"crop": 0.01, "light": 0},
    }
    for name, how in copies.items():
        found = [differ(thumbnail(p), thumbnail(jitter(p, 0, i, **how))) for i, p in enumerate(frames)]  # type: ignore[arg-type]
        assert np.mean(found) <= 0.05, name
    assert np.mean([differ(thumbnail(a), thumbnail(b)) for a, b in pairwise(frames)]) == 1


def drifting(thumbnails: list[bytes] | None = None, shots: list[int] | None = None) -> KeptVideo:
    """Nine frames that drift one way: cosines of 0.8 to the next and 0.3 to the one after; the pixels differ."""
    angle = np.arange(9) * 0.6435  # cosines .8, .28 and below
    vectors = np.stack([np.cos(angle), np.sin(angle), np.arange(9) * 0.1], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    moved = [scene((3 + 3 * place, 9, 4)) for place in range(9)]
    return kept_video(vectors.astype(np.float32), thumbnails=thumbnails or moved, shots=shots)


def test_every_pair_must_differ_by_pixels_too() -> None:
    hidden, visible = [3, 4, 5], [1, 2, 6, 7]
    video = drifting()
    thumbnails = [video.entry.frames[f].thumbnail for f in video.kept]
    assert refuse(video, hidden, visible, FREE, THRESHOLDS) is None
    for a, b, reason in [
        (3, 4, Drop.NO_MOTION),
        (3, 5, Drop.REPEATED_HIDDEN),  # not next to each other
        (4, 7, Drop.REPEATED_CONTEXT),
        (1, 5, Drop.REPEATED_CONTEXT),
    ]:
        changed = thumbnails.copy()
        changed[b] = thumbnails[a]
        twins = drifting(changed)
        assert not moves(twins, a, b)
        assert refuse(twins, hidden, visible, FREE, THRESHOLDS) == reason


def test_a_reversible_run_is_refused_unless_kept_by_option() -> None:
    """The frames before and after the gap are the same, so the direction is ambiguous."""
    video = drifting()
    thumbnails = [video.entry.frames[f].thumbnail for f in video.kept]
    vectors = video.vectors.copy()
    vectors[6], thumbnails[6] = vectors[2], thumbnails[2]
    swing = kept_video(vectors, thumbnails=thumbnails)
    assert refuse(swing, [3, 4, 5], [1, 2, 6, 7], FREE, THRESHOLDS) == Drop.REVERSIBLE
    assert refuse(swing, [3, 4, 5], [1, 2, 6, 7], replace(FREE, reversible="keep"), THRESHOLDS) is None
    assert doubt(swing, [3, 4, 5], [1, 2, 6, 7], THRESHOLDS) is Drop.REVERSIBLE, "kept, with the reason"
    vectors[6] = video.vectors[6]  # the vectors show the order, but not the pixels
    one = kept_video(vectors, thumbnails=thumbnails)
    assert refuse(one, [3, 4, 5], [1, 2, 6, 7], FREE, THRESHOLDS) == Drop.REVERSIBLE
    assert refuse(video, [3, 4, 5], [1, 2, 6, 7], FREE, THRESHOLDS) is None


@pytest.mark.parametrize("visible", [[0, 1, 2], [6, 7, 8]])
def test_context_on_one_side(visible: list[int]) -> None:
    assert refuse(drifting(), [3, 4, 5], visible, FREE, THRESHOLDS) is None


@pytest.mark.parametrize(
    ("shots", "visible", "most", "reason"),
    [
        ("AAAABBBBB", [1, 2, 6, 7], 2, None),  # 3 continues A, and 4 and 5 continue in B
        ("AAAABBCCC", [1, 2, 6, 7], 2, None),  # the first shot continues the one before the gap
        ("AAABCCCCC", [1, 2, 6, 7], 2, None),  # the last one continues in the shot after it
        ("AAABCCDDD", [1, 2, 6, 7], 2, Drop.MONTAGE),  # neither
        ("AAABBBCCC", [1, 2, 6, 7], 2, None),  # one shot, so its own frames show the order
        ("AAAABCCCC", [1, 2, 6, 7], 2, Drop.MONTAGE),  # three shots
        ("AAAABCCCC", [1, 2, 6, 7], 3, None),
        ("AAAABBBBB", [1, 2, 6, 7], 1, Drop.MONTAGE),
        ("AAAABBCCC", [0, 1, 2], 2, None),
        ("AAABCCCCC", [0, 1, 2], 2, Drop.MONTAGE),  # the frames after the gap are not visible
        ("AAABCCCCC", [6, 7, 8], 2, None),
        ("AAAABBCCC", [6, 7, 8], 2, Drop.MONTAGE),
    ],
)
def test_montages_are_refused(shots: str, visible: list[int], most: int, reason: Drop | None) -> None:
    """The hidden frames are 3, 4 and 5."""
    video = drifting(shots=[ord(letter) - ord("A") for letter in shots])
    assert refuse(video, [3, 4, 5], visible, replace(FREE, max_hidden_shots=most), THRESHOLDS) == reason


def test_puzzles_of_kept_ambiguous_runs_name_the_reason() -> None:
    """The video runs forwards and backwards, so both puzzles of each pair are marked."""
    there = drifting()
    back = [*range(len(there.kept)), *range(len(there.kept) - 2, 0, -1)] * 3
    thumbnails = [there.entry.frames[there.kept[p]].thumbnail for p in back]
    video = kept_video(there.vectors[back], thumbnails=thumbnails)
    options = {"hidden_frames": 3, "distractors": 0, "context_frames": 2, "mask_policy": "free", "samples_per_video": 0}
    kept = make_puzzles([video], config(**options, reversible="keep").puzzle_options, THRESHOLDS).puzzles
    dropped = make_puzzles([video], config(**options).puzzle_options, THRESHOLDS).puzzles
    assert {p.doubt for p in dropped} <= {""}
    assert {p.doubt for p in kept} & {"reversible", "looping"}
    assert len(kept) > len(dropped)
