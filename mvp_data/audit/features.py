"""Measurements of a sample for the solvers of the audit: a few small arrays.

`visible_part` takes from a sample only the inputs of a model: the images, the labels, the position of the gap, and K.
Images are decoded at reduced size (libjpeg scales while it decodes), so most of the time goes into entropy decoding.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.audit.distances import Distances, combined, distances
from mvp_data.audit.looks import Look, looks
from mvp_data.audit.overlay import overlay
from mvp_data.core.errors import ShardError
from mvp_data.core.jpeg import header_bytes, jpeg_size
from mvp_data.core.seeds import shuffled
from mvp_data.embedding.base import Embedder
from mvp_data.puzzles.shortest_path import Floats, Space
from mvp_data.shards.record import REBUILD
from mvp_data.shards.tar import Sample

Luma = npt.NDArray[np.uint8]  # [images, height, width]
T = TypeVar("T")

ARTEFACTS = (
    "log of the JPEG's bytes",
    "log of its header's bytes",
    "luma quantisation",
    "chroma quantisation",
    "chroma sampling",
    "progressive",
    "brightness",
    "contrast",
    "sharpness",
    "noise",
    "block grid",
    "block grid, shifted",
    "flat rows at the edges",
    "flat columns at the edges",
)
OF_THE_FILE = slice(1, 6)  # those that do not depend on the content of an image
SHORT_SIDE_PX = 100  # images are scaled down by 2, 4 or 8 while their short side is at least this
BAND_PX, BAND_STEP_PX = 8, 32  # brightness to block grid are measured on a quarter of the rows, in bands
FLAT_RANGE = 24  # a row is flat if its brightest and darkest pixel are closer than this; a black bar is, with noise


@dataclass(frozen=True, kw_only=True, slots=True)
class VisiblePart:
    """The parts of a sample that a model sees.

    The pool is shuffled, with the sample's key as seed: how a solver breaks a tie then does not depend on the labels.
    """

    key: str  # for error messages
    k: int
    before: tuple[bytes, ...]  # context
    after: tuple[bytes, ...]
    pool: tuple[bytes, ...]
    labels: tuple[str, ...]  # of the pool


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurements:
    """The measurements of one sample: a few kilobytes, without its images."""

    k: int
    artefacts: Floats  # [n, len(ARTEFACTS)]
    spaces: dict[str, Distances]  # pixels, hog, and embedding and second where there are encoders
    joined: Distances  # the mean of `spaces`
    colours: Distances  # between colour histograms
    overlay: Space | None  # inside the region of a burnt-in clock or counter, if one was found
    thumbnails: tuple[bytes, ...]  # of the pool, then of the context


class Embeddings:
    """Embeds JPEGs; caches the last few thousand vectors, because samples of one video share images."""

    CACHED = 8192  # 20 MB with 320 dimensions

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self._cache: dict[int, Floats] = {}

    def __call__(self, key: str, images: Sequence[bytes]) -> Floats:
        """[N, D] rows of length 1."""

        def make(new: list[bytes]) -> Iterable[Floats]:
            pictures = [np.asarray(_load(key, data, "RGB", 1).convert("RGB")) for data in new]
            return self.embedder.embed(pictures).astype(np.float64)

        vectors: list[Floats] = _remembered(self._cache, images, make, self.CACHED)
        return np.stack(vectors)


class Cache:
    """The artefacts and looks of the last few thousand images, because twins show the same ones."""

    CACHED = 4096  # 50 MB

    def __init__(self) -> None:
        self._looks: dict[int, Look] = {}
        self._artefacts: dict[int, Floats] = {}

    def looks(self, images: Sequence[bytes], decode: Callable[[bytes], Any]) -> list[Look]:
        """The look of each image; `decode` gives those that are new."""
        return _remembered(self._looks, images, lambda new: looks([_ycbcr(decode(data)) for data in new]), self.CACHED)

    def artefacts(self, images: Sequence[bytes], decode: Callable[[bytes], Any], scale: int) -> Floats:
        """`ARTEFACTS` of each image, [n, 14]; `decode` gives those that are new, at 1 / `scale` of their size."""

        def make(new: list[bytes]) -> Iterable[Floats]:
            luma = np.stack([np.asarray(_ycbcr(decode(data)).getchannel(0)) for data in new])
            rows: Floats = np.column_stack(
                [[_file_features(data, decode(data)) for data in new], image_features(luma, max(1, 8 // scale))]
            )
            return rows

        rows: list[Floats] = _remembered(self._artefacts, images, make, self.CACHED)
        return np.stack(rows)


def _remembered(
    cache: dict[int, T], images: Sequence[bytes], make: Callable[[list[bytes]], Iterable[T]], most: int
) -> list[T]:
    """The value of each image, from the cache or from `make`. The oldest of `most` entries go first."""
    found = {hash(data): cache[hash(data)] for data in images if hash(data) in cache}
    new = {hash(data): data for data in images if hash(data) not in found}
    made = dict(zip(new, make([*new.values()]), strict=True)) if new else {}
    cache.update(made)
    while len(cache) > most:
        cache.pop(next(iter(cache)))
    found |= made
    return [found[hash(data)] for data in images]


def visible_part(sample: Sample) -> VisiblePart:
    """The part of a sample that a model sees, with its pool shuffled by the key."""
    record = sample.record
    order = shuffled(range(len(sample.candidates)), "audit", record.key)
    return VisiblePart(
        key=record.key,
        k=record.k,
        before=sample.context[: record.mask_start],
        after=sample.context[record.mask_start :],
        pool=tuple(sample.candidates[i] for i in order),
        labels=tuple(record.candidates[i].label for i in order),
    )


def measure(
    part: VisiblePart, embeddings: Mapping[str, Embeddings] | None = None, cache: Cache | None = None
) -> Measurements:
    """All measurements of a sample; `embeddings` by the name of their space.

    Raises:
        ShardError: an image cannot be decoded; the message names the sample.
    """
    n, scale, at = len(part.pool), _scale(part), len(part.before)
    shown, cache, decoded = (*part.pool, *part.before, *part.after), cache or Cache(), dict[bytes, Any]()

    def decode(data: bytes) -> Any:
        if data not in decoded:
            decoded[data] = _load(part.key, data, "YCbCr", scale)
        return decoded[data]

    def between(vectors: Any) -> Distances:
        return distances(np.stack(vectors).astype(np.float64), n, at)

    artefacts = cache.artefacts(part.pool, decode, scale)
    found = cache.looks(shown, decode)
    spaces = {"pixels": between([look.pixels for look in found]), "hog": between([look.hog for look in found])}
    spaces |= {name: between(embed(part.key, shown)) for name, embed in (embeddings or {}).items()}
    return Measurements(
        k=part.k,
        artefacts=artefacts,
        spaces=spaces,
        joined=combined([*spaces.values()]),
        colours=between([look.colours for look in found]),
        overlay=_overlay(part, lambda data: np.asarray(_ycbcr(decode(data)).getchannel(0))),
        thumbnails=tuple(look.thumbnail for look in found),
    )


def _overlay(part: VisiblePart, luma: Callable[[bytes], Any]) -> Space | None:
    """The distances inside a clock or counter; decodes only as many frames as it needs to see that there is none."""
    before = part.before[-1:] if part.after else part.before[-2:]
    near = before + (part.after[:1] if before else part.after[:2])  # two frames, also where the gap is at an edge
    if len(near) < 2:
        return None
    far = part.before[: len(part.before) - len(before)] + part.after[len(near) - len(before) :]
    return overlay(map(luma, part.pool), np.stack([*map(luma, near)]), map(luma, far), k=part.k, at=len(before))


def image_features(luma: Luma, grid_px: int) -> Floats:
    """The last eight of `ARTEFACTS` for images [n, H, W] whose JPEG blocks are `grid_px` wide: [n, 8]."""
    if min(luma.shape[1:]) < 2 * BAND_PX:
        luma = np.pad(luma, [(0, 0), *((0, max(0, 2 * BAND_PX - side)) for side in luma.shape[1:])], mode="edge")
    n, height, width = luma.shape
    whole = height // BAND_STEP_PX * BAND_STEP_PX
    bands = luma[:, :whole].reshape(n, -1, BAND_STEP_PX, width)[:, :, :BAND_PX] if whole else luma[:, None]
    levels = bands.astype(np.int16)  # int16: small arrays stay in the CPU cache
    second = levels[..., 2:] - 2 * levels[..., 1:-1] + levels[..., :-2]  # along rows
    down = levels[:, :, 2:, 1:-1] - 2 * levels[:, :, 1:-1, 1:-1] + levels[:, :, :-2, 1:-1]
    fourth = np.abs(second[:, :, 2:] - 2 * second[:, :, 1:-1] + second[:, :, :-2])  # only noise (Immerkaer 1996)
    columns = fourth.shape[3] // 6 * 6
    calm = fourth[..., :columns].sum(axis=2).reshape(n, -1, 6).mean(axis=2)  # mean of each small area
    aligned, shifted = _grid(np.abs(levels[..., 1:] - levels[..., :-1]).mean(axis=(1, 2)), grid_px)
    light = levels[..., ::2].reshape(n, -1).astype(np.float32)
    edges = (second[:, :, 1:-1] + down).reshape(n, -1).astype(np.float32)
    return np.column_stack(
        [
            light.mean(axis=1),
            light.std(axis=1),
            np.log1p(edges.var(axis=1)),
            np.log1p(np.partition(calm, calm.shape[1] // 10, axis=1)[:, calm.shape[1] // 10]),
            aligned,
            shifted,
            _flat_edges(np.ptp(luma[:, :, ::4].swapaxes(1, 2).copy(), axis=1) < FLAT_RANGE),  # the copy makes it quick
            _flat_edges(np.ptp(luma[:, ::4], axis=1) < FLAT_RANGE),
        ]
    ).astype(np.float64)


def _grid(steps: npt.NDArray[np.floating], grid_px: int) -> tuple[Any, Any]:
    """How much stronger the steps between columns [n, W - 1] are at JPEG block edges than elsewhere: two values [n].

    The first is for the block grid of this file; the second is for the strongest of all shifted grids, which shows an
    earlier compression.
    """
    if grid_px == 1:
        return np.zeros(len(steps)), np.zeros(len(steps))
    phases = np.log1p(np.stack([steps[:, phase::grid_px].mean(axis=1) for phase in range(grid_px)]))
    usual = np.median(phases, axis=0)
    return phases[-1] - usual, phases.max(axis=0) - usual


def _flat_edges(flat: npt.NDArray[np.bool_]) -> Floats:
    """The share of the rows (or columns) of each image that are flat borders; `flat` [n, rows] marks flat ones."""
    rows = flat.shape[1]
    ends = (~flat).argmax(axis=1) + (~flat[:, ::-1]).argmax(axis=1)
    shares: Floats = np.where(flat.all(axis=1), rows, ends) / rows
    return shares


def _file_features(data: bytes, image: Any) -> list[float]:
    """The first six of `ARTEFACTS`, from the file and its header."""
    tables = [sum(table) / len(table) for table in image.quantization.values()] or [0.0]
    _, across, down, _ = image.layer[0]
    return [
        float(np.log(len(data))),
        float(np.log(header_bytes(data))),
        tables[0],
        tables[-1],
        float(across * down),
        float(bool(image.info.get("progressive"))),
    ]


def _ycbcr(image: Any) -> Any:
    return image if image.mode == "YCbCr" else image.convert("YCbCr")


def _scale(part: VisiblePart) -> int:
    """The factor by which to scale the images down while decoding: 1, 2, 4 or 8."""
    short = min(jpeg_size(part.pool[0]))
    return max(scale for scale in (1, 2, 4, 8) if scale == 1 or short // scale >= SHORT_SIDE_PX)


def _load(key: str, data: bytes, mode: str, scale: int) -> Any:
    """A decoded image, in `mode` unless the JPEG is grey or CMYK. Raises `ShardError` if it is damaged."""
    image = _open(key, data)
    try:
        image.draft(mode, (max(1, image.width // scale), max(1, image.height // scale)))
        image.load()
        return image
    except (OSError, ValueError, SyntaxError) as error:
        raise ShardError(f"{key}: an image cannot be decoded ({error}): {REBUILD}") from error


def _open(key: str, data: bytes) -> Any:
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ShardError(f"{key}: an image cannot be decoded ({error}): {REBUILD}") from error
    if image.size != jpeg_size(data):  # the reader compared that size with the record
        raise ShardError(f"{key}: an image states two sizes: {REBUILD}")
    return image
