"""The look of synthetic images."""

import numpy as np
from PIL import Image

from mvp_data.audit.looks import SMALL, colours, gradients, looks


def stripes(turned: bool, contrast: float = 100) -> np.ndarray:
    wave = 128 + contrast * np.sin(np.arange(SMALL[1 - turned] if turned else SMALL[0]) / 2)
    width, height = SMALL
    image = np.tile(wave[:height, None], (1, width)) if turned else np.tile(wave[:width], (height, 1))
    return image.astype(np.float32)


def test_gradients_depend_on_direction_and_hardly_on_light() -> None:
    across, down, weak = gradients(np.stack([stripes(False), stripes(True), stripes(False, 60) + 20]))
    assert across @ weak > 0.99
    assert across @ down < 0.1
    assert np.allclose([across @ across, down @ down], 1, atol=1e-3)
    assert not gradients(np.full((1, SMALL[1], SMALL[0]), 90, np.float32)).any()


def test_gradients_depend_on_the_place() -> None:
    image = np.full((2, SMALL[1], SMALL[0]), 50, np.float32)
    image[0, 8:16, 8:16] = image[1, 8:16, 40:48] = 200
    first, second = gradients(image)
    assert first @ second < 0.01


def test_colours_do_not_depend_on_the_place() -> None:
    image = np.zeros((3, SMALL[1], SMALL[0], 3), np.uint8) + 128
    image[0, :, :20, 1], image[1, :, -20:, 1], image[2, :, :20, 2] = 180, 180, 180
    left, right, other = colours(image)
    assert left @ right > 0.99
    assert left @ other < 0.9


def test_a_look_is_small_and_complete() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 255, 224, dtype=np.uint8), (126, 1))).convert("YCbCr")
    (look,) = looks([ramp])
    size = look.pixels.nbytes + look.gradients.nbytes + look.colours.nbytes + len(look.thumbnail)
    assert size < 14_000
    assert len(look.thumbnail) == 64 * 36
    assert np.all(np.diff(np.frombuffer(look.thumbnail, np.uint8).reshape(36, 64).astype(int), axis=1) > 0)
    assert np.isclose(float((look.hog.astype(float) ** 2).sum()), 2, atol=0.01)
    assert len({len(looks([Image.new("YCbCr", size)])[0].gradients) for size in ((1, 1), (40, 300), (448, 252))}) == 1
