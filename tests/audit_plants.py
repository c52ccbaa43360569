"""Shards in which the answer can be found without understanding anything, one way each, and shards in which it cannot.

The pictures of a pool are drawn from one distribution whether they are right or wrong, and know nothing of each other
or of the context. So nobody can solve the control, and what a solver finds in another shard is what was planted there.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mvp_data.schema import LABELS, CandidateFrame, Record
from mvp_data.seeds import shuffled, stable_hash, unit
from mvp_data.shards import Sample, write_shard
from tests.samples import make_record

SIZE = (176, 112)
K, OTHERS, CONTEXT, GAP = 4, 4, 8, 4
FONT = ImageFont.load_default(15)


@dataclass(frozen=True)
class Place:
    """Whose picture is drawn: its frame number, and its candidate where it is one."""

    number: int  # of the sample
    frame: int
    candidate: CandidateFrame | None = None

    @property
    def right(self) -> bool:
        return self.candidate is not None and self.candidate.order >= 0

    @property
    def wrong(self) -> bool:
        return self.candidate is not None and self.candidate.order < 0


Paint = Callable[[Image.Image, Place], Image.Image]


def nothing(image: Image.Image, place: Place) -> Image.Image:
    return image


def brighter(image: Image.Image, place: Place) -> Image.Image:
    return image.point(lambda level: min(255, level + 12)) if place.right else image


def blurred(image: Image.Image, place: Place) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1)) if place.wrong else image


def noisy(image: Image.Image, place: Place) -> Image.Image:
    if not place.right:
        return image
    rng = np.random.default_rng(stable_hash("noise", place.number, place.frame))
    levels = np.asarray(image, np.float64) + rng.normal(0, 4, (SIZE[1], SIZE[0], 1))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def letterboxed(image: Image.Image, place: Place) -> Image.Image:
    if place.wrong:
        image.paste((0, 0, 0), (0, 0, SIZE[0], 7))
        image.paste((0, 0, 0), (0, SIZE[1] - 7, *SIZE))
    return image


def compressed_before(image: Image.Image, place: Place) -> Image.Image:
    """Distractors come out of another JPEG whose blocks lay elsewhere."""
    if not place.wrong:
        return image
    shifted = Image.new("RGB", (SIZE[0] + 3, SIZE[1] + 5))
    shifted.paste(image, (3, 5))
    again = Image.open(io.BytesIO(_jpeg(shifted, quality=30)))
    return again.crop((3, 5, *shifted.size))


def look(image: Image.Image, place: Place) -> Image.Image:
    """Distractors have a look of their own, each another one; the right ones share a tint."""
    who = "right" if not place.wrong else place.frame
    tint = [unit("tint", place.number, who, channel) * 120 for channel in range(3)]
    return Image.fromarray((np.asarray(image) * 0.5 + np.array(tint)).astype(np.uint8))


def counter(image: Image.Image, place: Place) -> Image.Image:
    """A clock in the corner, which for distractors shows another time."""
    seconds = 600 + int(unit("start", place.number) * 1800) + place.frame
    if place.wrong:
        seconds += 900 + int(unit("elsewhere", place.number, place.frame) * 1800)
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, 80, 23), fill=(0, 0, 0))
    draw.text(
        (6, 5), f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}", fill=(255, 255, 255), font=FONT
    )
    return image


def first(record: Record) -> Record:
    """The right ones come first in the pool, in any order."""
    right = shuffled([c for c in record.candidates if c.order >= 0], "first", record.key)
    return _with(record, [*right, *(c for c in record.candidates if c.order < 0)])


def lettered(record: Record) -> Record:
    """The answer is always A, B, C, D."""
    return _with(record, sorted(record.candidates, key=lambda c: c.order if c.order >= 0 else K))


def in_order(record: Record) -> Record:
    """The right ones are anywhere in the pool, but in order."""
    right = iter(sorted((c for c in record.candidates if c.order >= 0), key=lambda c: c.order))
    return _with(record, [next(right) if c.order >= 0 else c for c in record.candidates])


def same(record: Record) -> Record:
    return record


def plain(place: Place) -> dict[str, object]:
    return {"quality": 90}


def larger(place: Place) -> dict[str, object]:
    """The same pixels and tables; only the entropy code of distractors is optimised."""
    return {"quality": 90, "optimize": place.wrong}


def coarser(place: Place) -> dict[str, object]:
    return {"quality": 82 if place.wrong else 90}


@dataclass(frozen=True, kw_only=True)
class Plant:
    """How a shard gives its answers away, and who must notice."""

    caught_by: tuple[str, ...]
    paint: Paint = nothing
    arrange: Callable[[Record], Record] = same
    encode: Callable[[Place], dict[str, object]] = plain


PLANTS = {
    "control": Plant(caught_by=()),
    "larger JPEGs": Plant(caught_by=("probe-artefacts",), encode=larger),
    "other quantisation": Plant(caught_by=("probe-artefacts",), encode=coarser),
    "brighter": Plant(caught_by=("probe-artefacts",), paint=brighter),
    "blurred distractors": Plant(caught_by=("probe-artefacts",), paint=blurred),
    "noise": Plant(caught_by=("probe-artefacts",), paint=noisy),
    "letterboxed distractors": Plant(caught_by=("probe-artefacts",), paint=letterboxed),
    "distractors compressed twice": Plant(caught_by=("probe-artefacts",), paint=compressed_before),
    "answer is ABCD": Plant(caught_by=("labels", "positions"), arrange=lettered),
    "right ones first": Plant(caught_by=("labels", "positions"), arrange=first),
    "right ones in order": Plant(caught_by=("positions",), arrange=in_order),
    "another look": Plant(caught_by=("alike-pixels", "chain-pixels", "probe-candidates"), paint=look),
    "burnt-in clock": Plant(caught_by=("overlay",), paint=counter),
}


def plant_shard(path: Path, plant: Plant, count: int, *, seed: int = 0) -> Path:
    """A shard of `count` samples, three of each video."""
    write_shard(path, (plant_sample(seed * 999_999 + number, plant) for number in range(count)))
    return path


def plant_sample(number: int, plant: Plant) -> Sample:
    record = make_record(number, k=K, distractors=OTHERS, context=CONTEXT, mask_start=GAP)
    record = plant.arrange(replace(record, width_px=SIZE[0], height_px=SIZE[1]))

    def drawn(place: Place) -> bytes:
        rng = np.random.default_rng(stable_hash("picture", number, place.frame))
        coarse, fine = (
            Image.fromarray(rng.integers(40, 216, size=(rows, columns, 3), dtype=np.uint8)).resize(SIZE)
            for rows, columns in ((7, 11), (56, 88))
        )
        image = Image.blend(coarse, fine, 0.3)
        return _jpeg(plant.paint(image, place), **plant.encode(place))

    return Sample(
        record=record,
        context=tuple(drawn(Place(number, frame.frame)) for frame in record.context),
        candidates=tuple(drawn(Place(number, c.frame, c)) for c in record.candidates),
    )


def _with(record: Record, pool: list[CandidateFrame]) -> Record:
    candidates = tuple(replace(c, label=LABELS[i]) for i, c in enumerate(pool))
    right = sorted((c for c in candidates if c.order >= 0), key=lambda c: c.order)
    return replace(record, candidates=candidates, answer=tuple(c.label for c in right))


def _jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", subsampling=2, **options)  # type: ignore[arg-type]
    return file.getvalue()
