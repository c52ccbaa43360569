"""Smears, cards and scenes."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mvp_data.core.types import Picture
from mvp_data.video.artificial import is_smeared, looks_drawn
from mvp_data.video.cells import cells
from tests.builders import rng
from tests.video.test_quality import luma


def smeared(picture: Picture) -> bool:
    return is_smeared(picture, cells(luma(picture)))


def drawn(picture: Picture) -> tuple[bool, bool]:
    grey = luma(picture)
    return looks_drawn(grey, cells(grey))


def scene(seed: int) -> Picture:
    cells_of_16_px = rng("scene", seed).integers(20, 236, (16, 28, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells_of_16_px).resize((448, 252), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("seed", range(5))
def test_stripes_that_continue_one_line_downwards_are_a_smear(seed: int) -> None:
    picture = scene(seed).copy()
    assert not smeared(picture)
    picture[100:] = picture[100]
    noise = rng("noise", seed).normal(0, 0.4, picture.shape)
    assert smeared(np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8))
    sideways = scene(seed).copy()
    sideways[:] = sideways[:, 100:101]
    assert not smeared(sideways), "fast pans blur sideways"


def test_grey_of_a_lost_reference_is_a_smear() -> None:
    picture = scene(1).copy()
    picture[:, :300] = 130
    assert smeared(picture)
    picture[:, :300] = 128
    assert not smeared(picture), "the middle grey that programs draw"
    picture[:, :300] = (150, 122, 122)
    assert not smeared(picture), "a colour"


@pytest.mark.parametrize("ground", [(0, 0, 0), (240, 245, 250), (230, 90, 10)])
def test_a_card_is_lettering_on_one_colour(ground: tuple[int, int, int]) -> None:
    card = Image.new("RGB", (448, 252), ground)
    ink = (255, 255, 255) if sum(ground) < 400 else (10, 10, 10)
    ImageDraw.Draw(card).text((60, 90), "A title card", font=ImageFont.load_default(48), fill=ink)
    assert drawn(np.asarray(card)) == (True, True)
    assert drawn(np.full((252, 448, 3), ground[0], np.uint8)) == (False, False), "no lettering"
    mixed = np.asarray(card).copy()
    mixed[:, 300:] = scene(2)[:, 300:]
    assert drawn(mixed) == (False, False), "a scene next to it"
    assert drawn(scene(3)) == (False, False)
