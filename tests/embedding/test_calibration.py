"""Calibration on a toy encoder, and on real clips where the corpus and the weights are present."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mvp_data.core.errors import ConfigError
from mvp_data.core.types import Picture
from mvp_data.embedding.calibration import JITTER_CROP, SHIPPED, Calibration, calibrate, jitter
from mvp_data.embedding.onnx import OnnxEmbedder
from mvp_data.embedding.weights import WEIGHTS
from mvp_data.video.decode.open import open_video
from tests.embedding.test_base import builtin, toy_model

Videos = dict[str, list[Picture]]


@pytest.fixture(scope="module")
def toy() -> OnnxEmbedder:
    return OnnxEmbedder(name="builtin:toy", model=toy_model())


def make_videos(count: int, frames: int = 6) -> Videos:
    """Each video is one random pattern of 9 x 16 patches, drifting sideways by 4 pixels a frame."""
    rng = np.random.default_rng(11)
    grids = rng.integers(0, 256, (count, 9, 16, 3), dtype=np.uint8)
    wide = [grid.repeat(20, axis=0).repeat(20, axis=1) for grid in grids]
    return {f"video {i}": [np.roll(w, 4 * k, axis=1) for k in range(frames)] for i, w in enumerate(wide)}


def test_thresholds_are_the_percentiles_they_promise(toy: OnnxEmbedder) -> None:
    videos = make_videos(12)
    found = calibrate(toy, videos, seed=1)
    images = [image for frames in videos.values() for image in frames]
    copies = toy.embed([jitter(image, 1, i) for i, image in enumerate(images)])
    rows = toy.embed(images)
    same = np.einsum("nd,nd->n", rows, copies)
    assert 0.4 <= np.mean(same >= found.repeat) <= 0.6
    assert np.mean(same >= found.ambiguous) >= 0.94
    video = np.repeat(np.arange(12), 6)
    other = (rows @ rows.T)[video[:, None] != video[None]]
    assert np.mean(other >= found.scene) <= 0.002
    assert 0.4 <= np.mean(other >= found.unrelated) <= 0.6


def test_it_depends_on_images_names_and_seed_alone(toy: OnnxEmbedder) -> None:
    videos = make_videos(5)
    backwards = dict(reversed(videos.items()))
    assert calibrate(toy, videos, seed=7) == calibrate(toy, backwards, seed=7)
    assert calibrate(toy, videos, seed=7) != calibrate(toy, videos, seed=8)


def test_copies_of_a_video_do_not_count_as_different_videos(toy: OnnxEmbedder) -> None:
    videos = make_videos(6)
    doubled = videos | {f"copy of {name}": frames for name, frames in videos.items()}
    assert calibrate(toy, doubled, seed=1).scene < calibrate(toy, videos, seed=1).scene + 0.1


def test_one_video_is_measured_against_its_own_far_frames(toy: OnnxEmbedder) -> None:
    (drifting,) = make_videos(1, frames=20).values()
    found = calibrate(toy, {"only": drifting, "empty": []}, seed=1)
    assert -1 < found.unrelated <= found.scene <= found.ambiguous <= found.repeat < 1


def test_an_encoder_that_sees_no_difference_still_gets_ordered_thresholds(toy: OnnxEmbedder) -> None:
    grey = [np.full((90, 160, 3), 90, np.uint8)] * 3
    found = calibrate(toy, {"a": grey, "b": grey}, seed=1)
    assert found.unrelated <= found.scene <= found.ambiguous <= found.repeat <= 1


@pytest.mark.parametrize("videos", [{}, {"a": []}, {"a": [np.zeros((9, 9, 3), np.uint8)]}])
def test_too_few_images(toy: OnnxEmbedder, videos: Videos) -> None:
    with pytest.raises(ConfigError, match="at least 2 usable frames"):
        calibrate(toy, videos, seed=1)


def test_jitter_is_small_and_reproducible() -> None:
    (image,) = make_videos(1, frames=1)["video 0"]
    copy = jitter(image, 3, 4)
    np.testing.assert_array_equal(copy, jitter(image, 3, 4))
    assert copy.dtype == np.uint8
    assert copy.shape == (180 - round(180 * JITTER_CROP), 320 - round(320 * JITTER_CROP), 3)
    shapes = {jitter(image, 3, i).tobytes() for i in range(4)}
    assert len(shapes) == 4
    ratios = [jitter(image, 3, i).mean() / image.mean() for i in range(20)]
    assert 0.9 < min(ratios) < 0.99
    assert 1.01 < max(ratios) < 1.1


def test_disordered_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match="rise"):
        Calibration(repeat=0.9, ambiguous=0.95, scene=0.5, unrelated=0.1)


def test_every_built_in_encoder_ships_its_thresholds() -> None:
    assert set(SHIPPED) == {f"builtin:{name}" for name in WEIGHTS}


def test_the_shipped_thresholds_fit_a_few_real_clips(corpus: Path) -> None:
    embedder = builtin("tinyvit")
    videos: Videos = {}
    for path in sorted((corpus / "clips").glob("*"))[::5]:
        with open_video(path) as video:
            videos[path.name] = [f.image(320 * 180).rgb() for f in islice(video.frames(), 30, 300, 60)]
    found = calibrate(embedder, videos, seed=0)
    shipped = SHIPPED["builtin:tinyvit"]
    assert found.repeat == pytest.approx(shipped.repeat, abs=0.05)
    assert found.scene == pytest.approx(shipped.scene, abs=0.15)
    assert found.unrelated == pytest.approx(shipped.unrelated, abs=0.05)
