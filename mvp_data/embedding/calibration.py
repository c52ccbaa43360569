"""Measures the four similarity thresholds of an encoder; scales differ too much for encoders to share them.

Two distributions of cosine similarity give the thresholds:

* an image and a jittered copy of it (cropped, lit and compressed a little differently). A person cannot tell the copy
  from the original, so two frames this similar count as one frame.
* images of different videos.

docs/embedders.md shows the distributions and the effect of the thresholds on frames of real clips.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.core.errors import ConfigError
from mvp_data.core.seeds import shuffled, unit
from mvp_data.core.types import Picture, Vectors
from mvp_data.embedding.base import Embedder

# Like the differences between two files of the same moment, or between two frames of a static shot.
JITTER_CROP = 0.06  # share of each side that is cut off, at a random position
JITTER_LIGHT = 0.05  # brighter or darker by this share
JITTER_JPEG_QUALITY = 60

# Percentiles, with reasons in docs/embedders.md.
REPEAT_PERCENTILE = 50.0  # half of the jittered copies are at least this similar
AMBIGUOUS_PERCENTILE = 5.0  # nearly all jittered copies are
SCENE_PERCENTILE = 99.9  # of pairs from different videos
UNRELATED_PERCENTILE = 50.0  # of pairs from different videos

MAX_VIDEOS = 100
MAX_IMAGES_PER_VIDEO = 8  # 100 videos: 800 images and as many copies, about 40 CPU seconds with tinyvit


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The thresholds of one encoder, as cosine similarities."""

    repeat: float  # at or above: as similar as two copies of one image, so de-duplicate (kappa)
    ambiguous: float  # a distractor this similar to a hidden frame gives a second defensible answer
    scene: float  # at or above: the same scene
    unrelated: float  # typical of frames from different videos, the low end of the mining band

    def __post_init__(self) -> None:
        if not -1 <= self.unrelated <= self.scene <= self.ambiguous <= self.repeat <= 1:
            raise ConfigError(f"thresholds must rise from unrelated to repeat within [-1, 1]: {self!r}")


# Printed by benchmarks/embedders.py on 40 real clips.
SHIPPED: Mapping[str, Calibration] = {
    "builtin:tinyvit": Calibration(repeat=0.925, ambiguous=0.847, scene=0.385, unrelated=0.05),
    "builtin:dinov2-s": Calibration(repeat=0.947, ambiguous=0.893, scene=0.461, unrelated=0.052),
}


def calibrate(embedder: Embedder, images_by_video: Mapping[str, Sequence[Picture]], *, seed: int) -> Calibration:
    """The thresholds of an encoder, measured on key frames (in order, without black ones) of preferably 20+ videos.

    They depend only on the images, the video names and the seed. If there is only one video, pairs of images at least
    half the video apart replace pairs of different videos; `scene` and `unrelated` are then too high for other videos.
    Raises ConfigError for fewer than two images.
    """
    names = shuffled([name for name in sorted(images_by_video) if images_by_video[name]], seed)[:MAX_VIDEOS]
    chosen = {name: _spread(images_by_video[name]) for name in names}
    images = [image for name in names for image in chosen[name]]
    if len(images) < 2:
        raise ConfigError(f"calibration needs at least 2 usable frames and found {len(images)}: add videos")
    vectors = embedder.embed(images)
    copies = embedder.embed([jitter(image, seed, i) for i, image in enumerate(images)])
    same = np.einsum("nd,nd->n", vectors, copies)
    repeat, ambiguous = np.percentile(same, [REPEAT_PERCENTILE, AMBIGUOUS_PERCENTILE])
    other = _other_pairs(vectors, np.repeat(np.arange(len(names)), [len(chosen[name]) for name in names]), repeat)
    scene, unrelated = np.percentile(other, [SCENE_PERCENTILE, UNRELATED_PERCENTILE])
    # Rounded, so that the last bit of a sum does not matter. In order, for encoders that see no differences.
    rising = np.minimum.accumulate(np.round([repeat, ambiguous, scene, unrelated], 3)).tolist()
    return Calibration(repeat=min(rising[0], 1.0), ambiguous=rising[1], scene=rising[2], unrelated=rising[3])


def jitter(
    image: Picture,
    seed: int,
    index: int,
    *,
    crop: float = JITTER_CROP,
    light: float = JITTER_LIGHT,
    jpeg_quality: int = JITTER_JPEG_QUALITY,
) -> Picture:
    """A copy as an unsteady camera or another encoder would make it, the same for the same image, seed and index.

    `crop` and `light` are shares. With 0, that kind of jitter is left out; with `jpeg_quality` 0, the compression.
    """
    height, width = image.shape[:2]
    cut_y, cut_x = round(height * crop), round(width * crop)
    top, left = (round(cut * unit(seed, index, axis)) for cut, axis in ((cut_y, "y"), (cut_x, "x")))
    cropped = image[top : top + height - cut_y, left : left + width - cut_x]
    gain = 1 + light * (1 if unit(seed, index, "light") < 0.5 else -1)
    lit: Picture = np.clip(cropped * gain, 0, 255).round().astype(np.uint8)
    if not jpeg_quality:
        return lit
    buffer = io.BytesIO()
    Image.fromarray(lit).save(buffer, "JPEG", quality=jpeg_quality)
    return np.asarray(Image.open(buffer))


def _spread(images: Sequence[Picture]) -> list[Picture]:
    """At most MAX_IMAGES_PER_VIDEO of them, evenly spread, in order."""
    count = min(len(images), MAX_IMAGES_PER_VIDEO)
    return [images[(2 * i + 1) * len(images) // (2 * count)] for i in range(count)]


def _other_pairs(vectors: Vectors, video: npt.NDArray[np.intp], repeat: float) -> npt.NDArray[np.float32]:
    """Similarities of images from different videos, or of images far apart in a single video.

    Two videos that share a repeated image may be copies of each other, so they are left out.
    """
    similarity = vectors @ vectors.T
    starts = np.flatnonzero(np.diff(video, prepend=-1))
    pairs = []
    for a, b in itertools.combinations(np.split(np.arange(len(video)), starts[1:]), 2):
        block = similarity[np.ix_(a, b)]
        if block.max() < repeat:
            pairs.append(block.ravel())
    if pairs:
        return np.concatenate(pairs)
    place = np.arange(len(video))
    far = np.abs(place[:, None] - place[None]) >= max(1, len(video) // 2)
    within: npt.NDArray[np.float32] = similarity[far]
    return within
