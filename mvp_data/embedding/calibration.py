"""Similarity thresholds of an encoder, measured: the scales differ so much that encoders can share none.

Two distributions of cosine similarity give all four numbers:

* a picture and a jittered copy of itself (cropped, lit and compressed a little differently). A person cannot
  tell which of the two came first, so two frames this alike are one frame.
* pictures of different videos.

docs/embedders.md shows the distributions and what the numbers mean for the frames of real clips.
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

# What may differ between two files of the same moment, or between two frames of a shot where nothing happens.
JITTER_CROP = 0.06  # share of each side that is cut off, at a random place
JITTER_LIGHT = 0.05  # brighter or darker by this share
JITTER_JPEG_QUALITY = 60

# Percentiles, with reasons in docs/embedders.md.
REPEAT_PERCENTILE = 50.0  # half of the jittered copies are at least this alike
AMBIGUOUS_PERCENTILE = 5.0  # nearly every jittered copy is
SCENE_PERCENTILE = 99.9  # of pairs from different videos
UNRELATED_PERCENTILE = 50.0  # of pairs from different videos

MAX_VIDEOS = 100
MAX_PICTURES_PER_VIDEO = 8  # 100 videos: 800 pictures and as many copies, about 40 CPU seconds with tinyvit


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The thresholds of one encoder, as cosine similarities."""

    repeat: float  # at or above: as alike as two copies of one picture => de-duplicate (kappa)
    ambiguous: float  # a distractor this similar to a hidden frame makes two defensible answers
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


def calibrate(embedder: Embedder, pictures_by_video: Mapping[str, Sequence[Picture]], *, seed: int) -> Calibration:
    """The thresholds of an encoder, from key frames (black ones left out, in order) of preferably 20+ videos.

    Depends on the pictures, the video names and the seed alone. With one video, pairs at least half of it
    apart stand in for pairs of different videos: `scene` and `unrelated` then come out too high and serve
    that video only. Raises ConfigError for fewer than two pictures.
    """
    names = shuffled([name for name in sorted(pictures_by_video) if pictures_by_video[name]], seed)[:MAX_VIDEOS]
    chosen = {name: _spread(pictures_by_video[name]) for name in names}
    pictures = [picture for name in names for picture in chosen[name]]
    if len(pictures) < 2:
        raise ConfigError(f"calibration needs at least 2 pictures, and found {len(pictures)}")
    vectors = embedder.embed(pictures)
    copies = embedder.embed([jitter(picture, seed, i) for i, picture in enumerate(pictures)])
    same = np.einsum("nd,nd->n", vectors, copies)
    repeat, ambiguous = np.percentile(same, [REPEAT_PERCENTILE, AMBIGUOUS_PERCENTILE])
    other = _other_pairs(vectors, np.repeat(np.arange(len(names)), [len(chosen[name]) for name in names]), repeat)
    scene, unrelated = np.percentile(other, [SCENE_PERCENTILE, UNRELATED_PERCENTILE])
    # Rounded: a last bit of the arithmetic moves no threshold. Ordered: some encoders see no difference.
    rising = np.minimum.accumulate(np.round([repeat, ambiguous, scene, unrelated], 3)).tolist()
    return Calibration(repeat=min(rising[0], 1.0), ambiguous=rising[1], scene=rising[2], unrelated=rising[3])


def jitter(
    picture: Picture,
    seed: int,
    index: int,
    *,
    crop: float = JITTER_CROP,
    light: float = JITTER_LIGHT,
    jpeg_quality: int = JITTER_JPEG_QUALITY,
) -> Picture:
    """A copy as another encoder or an unsteady camera makes it; seed and index alone say how.

    `crop` and `light` are shares, 0 for none; so is `jpeg_quality` 0.
    """
    height, width = picture.shape[:2]
    cut_y, cut_x = round(height * crop), round(width * crop)
    top, left = (round(cut * unit(seed, index, axis)) for cut, axis in ((cut_y, "y"), (cut_x, "x")))
    cropped = picture[top : top + height - cut_y, left : left + width - cut_x]
    gain = 1 + light * (1 if unit(seed, index, "light") < 0.5 else -1)
    lit: Picture = np.clip(cropped * gain, 0, 255).round().astype(np.uint8)
    if not jpeg_quality:
        return lit
    buffer = io.BytesIO()
    Image.fromarray(lit).save(buffer, "JPEG", quality=jpeg_quality)
    return np.asarray(Image.open(buffer))


def _spread(pictures: Sequence[Picture]) -> list[Picture]:
    """At most MAX_PICTURES_PER_VIDEO of them, evenly spread, in order."""
    count = min(len(pictures), MAX_PICTURES_PER_VIDEO)
    return [pictures[(2 * i + 1) * len(pictures) // (2 * count)] for i in range(count)]


def _other_pairs(vectors: Vectors, video: npt.NDArray[np.intp], repeat: float) -> npt.NDArray[np.float32]:
    """Similarities of pictures from different videos (far apart in the one video, where there is no other).

    Two videos that share a repeated picture may be copies of each other, and are no pair.
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
