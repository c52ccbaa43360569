"""The measurements of synthetic images with known properties."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mvp_data.audit.features import ARTEFACTS, Embeddings, image_features, measure, visible_part
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.shards.record import LABELS
from mvp_data.shards.tar import Sample
from tests.audit_plants import PLANTS, plant_sample
from tests.samples import make_record, make_sample

RNG = np.random.default_rng(0)
NAMES = ARTEFACTS[6:]


def texture(width: int = 448, height: int = 252) -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(30, 226, size=(height // 4, width // 4, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **options})  # type: ignore[arg-type]
    return file.getvalue()


def sample_of(pool: list[bytes], *, context: bytes | None = None, mask_start: int = 2) -> Sample:
    """A sample with these images as its pool."""
    width, height = Image.open(io.BytesIO(pool[0])).size
    record = make_record(0, k=2, distractors=len(pool) - 2, context=4, mask_start=mask_start)
    record = replace(record, width_px=width, height_px=height)
    return Sample(record=record, context=(context or pool[0],) * 4, candidates=tuple(pool))


def measured(pool: list[bytes]) -> dict[str, np.ndarray]:
    """Each artefact of the pool, in the order given."""
    sample = sample_of(pool)
    part = visible_part(sample)
    found = measure(part)
    order = np.argsort([LABELS.index(label) for label in part.labels])
    return {name: found.artefacts[order, i] for i, name in enumerate(ARTEFACTS)}


def test_each_artefact_measures_its_property() -> None:
    plain = texture()
    boxed = plain.copy()
    ImageDraw.Draw(boxed).rectangle((0, 0, 447, 39), fill=(0, 0, 0))
    pillared = plain.copy()
    ImageDraw.Draw(pillared).rectangle((408, 0, 447, 251), fill=(20, 20, 20))
    noise = np.random.default_rng(3).normal(0, 12, (252, 448, 1))
    noisy = Image.fromarray(np.clip(np.asarray(plain) + noise, 0, 255).astype(np.uint8))
    pool = {
        "plain": jpeg(plain),
        "bright": jpeg(plain.point(lambda v: v + 25)),
        "flat": jpeg(plain.point(lambda v: 64 + v // 2)),
        "blurred": jpeg(plain.filter(ImageFilter.GaussianBlur(3))),
        "noisy": jpeg(noisy),
        "blocky": jpeg(plain.filter(ImageFilter.GaussianBlur(6)), quality=5),
        "boxed": jpeg(boxed),
        "pillared": jpeg(pillared),
        "coarse": jpeg(plain, quality=60),
        "full colour": jpeg(plain, subsampling=0),
        "progressive": jpeg(plain, progressive=True),
        "commented": jpeg(plain, comment=b"x" * 500),
    }
    found = measured(list(pool.values()))
    most = {name: list(pool)[int(values.argmax())] for name, values in found.items()}
    least = {name: list(pool)[int(values.argmin())] for name, values in found.items()}
    assert most["brightness"] == "bright"
    assert least["sharpness"] in ("blurred", "blocky")
    assert most["noise"] == "noisy"
    assert most["block grid"] == most["block grid, shifted"] == "blocky"
    assert most["flat rows at the edges"] == "boxed"
    assert most["flat columns at the edges"] == "pillared"
    assert most["luma quantisation"] == most["chroma quantisation"] == "blocky"
    assert most["progressive"] == "progressive"
    assert most["log of its header's bytes"] == "commented"
    assert least["log of the JPEG's bytes"] == "blocky"
    assert least["chroma sampling"] == "full colour"
    number = dict(zip(pool, range(len(pool)), strict=True))
    assert found["contrast"][number["flat"]] == pytest.approx(found["contrast"][number["plain"]] / 2, rel=0.05)
    assert found["flat rows at the edges"][number["boxed"]] == pytest.approx(40 / 252, abs=0.02)
    assert found["flat columns at the edges"][number["pillared"]] == pytest.approx(40 / 448, abs=0.02)
    assert found["flat rows at the edges"][number["plain"]] == 0


def test_a_shifted_block_grid_is_measured() -> None:
    blocky = Image.open(io.BytesIO(jpeg(texture().filter(ImageFilter.GaussianBlur(6)), quality=5)))
    pool = [jpeg(texture().filter(ImageFilter.GaussianBlur(6))), jpeg(blocky.crop((4, 0, 448, 252)).resize((448, 252)))]
    shifted = Image.new("RGB", (448, 252))
    shifted.paste(blocky, (-4, 0))
    shifted.paste(blocky.crop((0, 0, 4, 252)), (444, 0))
    pool[1] = jpeg(shifted)
    found = measured(pool)
    assert found["block grid, shifted"][1] > found["block grid, shifted"][0] + 0.1
    assert found["block grid"][1] < found["block grid, shifted"][1]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 9), (8, 8), (33, 31), (130, 101)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    luma = RNG.integers(0, 256, size=(3, size[1], size[0]), dtype=np.uint8)
    for grid_px in (1, 2, 4, 8):
        assert np.isfinite(image_features(luma, grid_px)).all()
        assert image_features(luma, grid_px).shape == (3, len(NAMES))
    grey = Image.fromarray(luma[0])
    assert np.isfinite(measure(visible_part(sample_of([jpeg(grey)] * 3))).artefacts).all()


def test_images_of_one_colour() -> None:
    found = measured([jpeg(Image.new("RGB", (64, 48), (level, 0, 0))) for level in (0, 90, 255)])
    assert all(np.isfinite(values).all() for values in found.values())
    assert found["flat rows at the edges"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("mask_start", [0, 1, 2, 3, 4])
def test_distances_to_the_frames_at_the_gap(mask_start: int) -> None:
    """Each context frame has a different level, so the distances show which ones were compared."""
    frames = [jpeg(Image.new("RGB", (64, 48), (level,) * 3)) for level in (10, 60, 110, 160)]
    pool = [jpeg(Image.new("RGB", (64, 48), (0,) * 3))] * 3
    record = replace(make_record(0, k=2, distractors=1, context=4, mask_start=mask_start), width_px=64, height_px=48)
    found = measure(visible_part(Sample(record=record, context=tuple(frames), candidates=tuple(pool))))
    made, levels = found.spaces["pixels"].gap, (10, 60, 110, 160)
    before = None if mask_start == 0 else levels[mask_start - 1] ** 2 / 3  # only luma differs
    after = None if mask_start == 4 else levels[mask_start] ** 2 / 3
    assert (made.before is None, made.after is None) == (before is None, after is None)
    assert made.before is None or made.before[0] == pytest.approx(before, rel=0.05)
    assert made.after is None or made.after[0] == pytest.approx(after, rel=0.05)


def test_the_pool_is_shuffled_by_the_key() -> None:
    sample = make_sample(3)
    part = visible_part(sample)
    assert sorted(part.labels) == [c.label for c in sample.record.candidates]
    assert part.labels != tuple(c.label for c in sample.record.candidates)
    for label, data in zip(part.labels, part.pool, strict=True):
        assert sample.candidates[LABELS.index(label)] == data
    assert visible_part(sample) == part
    assert (len(part.before), len(part.after)) == (5, 7)


def test_an_image_is_embedded_once() -> None:
    class Counting:
        encoder = Encoder(name="test:counting", weights_sha256="ab" * 32, dimension=2, engine="numpy")
        asked = 0

        def embed(self, pictures: list[Picture]) -> Vectors:
            self.asked += len(pictures)
            return np.array([[1.0, 0.0]] * len(pictures), np.float32)

    embedder = Counting()
    embeddings = Embeddings(embedder)
    for _ in range(2):
        found = measure(visible_part(make_sample(0)), {"embedding": embeddings})
        assert list(found.spaces) == ["pixels", "hog", "embedding"]
    assert embedder.asked == len({*make_sample(0).candidates, *make_sample(0).context})
    embeddings.CACHED = 3
    measure(visible_part(make_sample(1)), {"embedding": embeddings})
    assert len(embeddings._cache) <= max(3, embedder.asked)


@pytest.mark.parametrize("name", ["burnt-in clock", "control"])
def test_overlay_finds_burnt_in_clocks(name: str) -> None:
    found = [measure(visible_part(plant_sample(number, PLANTS[name]))).overlay is not None for number in range(12)]
    assert found == [name == "burnt-in clock"] * 12


def test_a_static_scene_and_a_pan_have_no_clock() -> None:
    wide = texture(1200, 252)
    for step in (0, 3, 31):
        frames = [jpeg(wide.crop((step * i, 0, step * i + 448, 252))) for i in range(12)]
        record = replace(make_record(0, k=2, distractors=2, context=8, mask_start=4), width_px=448, height_px=252)
        assert (
            measure(
                visible_part(Sample(record=record, context=tuple(frames[:8]), candidates=tuple(frames[8:])))
            ).overlay
            is None
        )
