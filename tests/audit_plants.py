"""Synthetic shards, each with one planted leak, and controls without one.

Right and wrong images of a pool come from one distribution. In a `scattered` pool the images are independent of each
other and of the context, so no solver can solve the control. In a pool of two `runs` each image belongs to one of two
smooth motions: the candidates show which ones belong together, and only the context shows which run is hidden. So the
only difference that a solver can find in another shard is the planted one.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from mvp_data.core.seeds import shuffled, stable_hash, unit
from mvp_data.shards.record import LABELS, CandidateFrame, Record
from mvp_data.shards.tar import Sample, write_shard
from mvp_data.tasks.catalogue import TASKS
from tests.samples import make_record, make_twins

SIZE = (176, 112)
K, OTHERS, CONTEXT, GAP = 4, 4, 8, 4
FONT = ImageFont.load_default(15)


@dataclass(frozen=True)
class Place:
    """The place of an image: its frame number, its candidate if it is one, its run, and its step in the run."""

    number: int  # of the sample
    frame: int
    candidate: CandidateFrame | None = None
    run: str = ""
    step: float = 0

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
    """Distractors were compressed before, on a shifted block grid."""
    if not place.wrong:
        return image
    shifted = Image.new("RGB", (SIZE[0] + 3, SIZE[1] + 5))
    shifted.paste(image, (3, 5))
    again = Image.open(io.BytesIO(_jpeg(shifted, quality=30)))
    return again.crop((3, 5, *shifted.size))


def tinted(image: Image.Image, place: Place) -> Image.Image:
    """Each distractor has a tint of its own; the right ones share a tint."""
    who = "right" if not place.wrong else place.frame
    tint = [unit("tint", place.number, who, channel) * 120 for channel in range(3)]
    return Image.fromarray((np.asarray(image) * 0.5 + np.array(tint)).astype(np.uint8))


def counter(image: Image.Image, place: Place) -> Image.Image:
    """A clock in the corner; it shows another time on distractors."""
    seconds = 600 + int(unit("start", place.number) * 1800) + place.frame
    if place.wrong:
        seconds += 900 + int(unit("elsewhere", place.number, place.frame) * 1800)
    draw = ImageDraw.Draw(image)
    draw.rectangle((4, 4, 80, 23), fill=(0, 0, 0))
    draw.text(
        (6, 5), f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}", fill=(255, 255, 255), font=FONT
    )
    return image


def sharper(image: Image.Image, place: Place) -> Image.Image:
    return image.filter(ImageFilter.SHARPEN) if place.wrong else image


def darkening(image: Image.Image, place: Place) -> Image.Image:
    """All runs grow darker, also the wrong ones: the pool shows the direction of time, and not which run is right."""
    return image.point([min(255, round(level * (1 - 0.03 * place.step))) for level in range(256)] * 3)


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
    """The same pixels and tables; only the entropy code differs, which is optimised for distractors."""
    return {"quality": 90, "optimize": place.wrong}


def coarser(place: Place) -> dict[str, object]:
    return {"quality": 82 if place.wrong else 90}


def scattered(place: Place) -> Image.Image:
    """An image that resembles no other."""
    return _scattered(place.number, place.frame).copy()


@lru_cache(maxsize=1024)  # most plants use the same images
def _scattered(number: int, frame: int) -> Image.Image:
    rng = np.random.default_rng(stable_hash("picture", number, frame))
    return _blend(_noise(rng, 7, 11), _noise(rng, 56, 88))


def in_run(place: Place) -> Image.Image:
    """An image of a smooth motion: the colours of the run drift from one noise field to another over time."""
    return _drift(place.run, place.step).copy()


def widely(place: Place) -> Image.Image:
    """Wrong runs move faster."""
    return _drift(place.run, place.step * (2 if place.wrong else 1)).copy()


def jerkily(place: Place) -> Image.Image:
    """Wrong runs are less smooth."""
    jerk = unit("jerk", place.number, place.frame) * 6 - 3 if place.wrong else 0
    return _drift(place.run, place.step + jerk).copy()


@lru_cache(maxsize=1024)
def _drift(run: str, step: float) -> Image.Image:
    whole = np.random.default_rng(stable_hash("run", run))
    start, end = (np.asarray(_noise(whole, 7, 11), np.float64) for _ in range(2))
    turn = 0.1 * step  # a rotation, so all steps are equally wide
    coarse = 128 + (start - 128) * np.cos(turn) + (end - 128) * np.sin(turn)
    fine = np.random.default_rng(stable_hash("grain", run, round(1000 * step)))
    return _blend(Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)), _noise(fine, 56, 88))


@dataclass(frozen=True, kw_only=True)
class Plant:
    """A leak of a shard, and the solvers that must find it."""

    caught_by: tuple[str, ...]
    draw: Callable[[Place], Image.Image] = scattered
    paint: Paint = nothing
    arrange: Callable[[Record], Record] = same
    encode: Callable[[Place], dict[str, object]] = plain
    twins: bool = False  # two samples share a pool, and each hides one of its runs


# A run of another scene than the context is found without knowing the gap.
BAGS = ("context-bag-pixels", "context-bag-hog")
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
    "another look": Plant(caught_by=("alike-pixels", "chain-pixels", "probe-candidates"), paint=tinted),
    "burnt-in clock": Plant(caught_by=("overlay",), paint=counter),
    "two runs": Plant(caught_by=BAGS, draw=in_run),
    "twins": Plant(caught_by=BAGS, draw=in_run, twins=True),
    "wide decoys": Plant(caught_by=("chain-pixels", "alike-pixels", "probe-candidates"), draw=widely),
    "jerky decoys": Plant(caught_by=("chain-pixels", "alike-pixels", "probe-candidates"), draw=jerkily),
    "sharper decoys": Plant(caught_by=("probe-artefacts",), draw=in_run, paint=sharper),
    "darkening twins": Plant(caught_by=("probe-artefacts",), draw=in_run, paint=darkening, twins=True),
}


def plant_shard(path: Path, plant: Plant, count: int, *, seed: int = 0, task: str = "mvp") -> Path:
    """A shard of `count` samples: three of each video, or one where they are twins."""
    write_shard(path, (plant_sample(seed * 999_999 + number, plant, task) for number in range(count)))
    return path


def plant_sample(number: int, plant: Plant, task: str = "mvp") -> Sample:
    """Sample `number`: 4 hidden frames, and 4 distractors or as many as the task has."""
    others = {"jigsaw": 0, "arrow": 0, "odd-one-out": 1}.get(task, OTHERS)
    gap = CONTEXT if task == "next" else GAP
    alone = 3 * number if plant.twins else number  # twins are of two videos, with one sample each
    record = make_record(alone, k=K, distractors=others, context=CONTEXT, mask_start=gap)
    record = plant.arrange(of_task(replace(record, width_px=SIZE[0], height_px=SIZE[1]), task))
    pair = number // 2 if plant.twins else number
    own, other = (f"{pair} {(number + turn) % 2 if plant.twins else turn}" for turn in (0, 1))
    wrong = shuffled([c.label for c in record.candidates if c.order < 0], "wrong", number)

    def drawn(frame: int, candidate: CandidateFrame | None) -> bytes:
        if candidate is not None and candidate.order < 0:
            place = Place(number, frame, candidate, other, wrong.index(candidate.label))
        else:
            place = Place(number, frame, candidate, own, frame - gap)
        return _jpeg(plant.paint(plant.draw(place), place), **plant.encode(place))

    return Sample(
        record=record,
        context=tuple(drawn(frame.frame, None) for frame in record.context),
        candidates=tuple(drawn(c.frame, c) for c in record.candidates),
    )


def strip_twins(number: int, *, videos: int = 1000, split: str = "train", **strip: int) -> tuple[Sample, Sample]:
    """Same-strip twins of a camera that pans over a wide image: only the place of the gap tells them apart."""
    made = []
    for sample in make_twins(number, split=split, **strip):
        record = replace(sample.record, width_px=SIZE[0], height_px=SIZE[1], video_group=f"group {number % videos}")

        def drawn(frame: int, number: int = number) -> bytes:
            left = 14 * frame  # px, which is more than two blocks of a thumbnail
            return _jpeg(_panorama(number).crop((left, 0, left + SIZE[0], SIZE[1])), quality=90)

        made.append(
            Sample(
                record=record,
                context=tuple(drawn(frame.frame) for frame in record.context),
                candidates=tuple(drawn(frame.frame) for frame in record.candidates),
            )
        )
    return made[0], made[1]


@lru_cache(maxsize=256)
def _panorama(number: int) -> Image.Image:
    """Smooth noise, wide enough for 20 frames."""
    return _noise(np.random.default_rng(stable_hash("panorama", number)), 3, 12).resize((480, SIZE[1]))


def _noise(rng: np.random.Generator, rows: int, columns: int) -> Image.Image:
    return Image.fromarray(rng.integers(40, 216, size=(rows, columns, 3), dtype=np.uint8))


def _blend(coarse: Image.Image, fine: Image.Image) -> Image.Image:
    return Image.blend(coarse.resize(SIZE), fine.resize(SIZE), 0.3)


def of_task(record: Record, task: str) -> Record:
    """The record as one of another task; `arrow` shows the hidden frames forwards or backwards."""
    pool = list(record.candidates)
    if TASKS[task].in_a_row:
        pool.sort(key=lambda c: c.order, reverse=unit("way", record.key) < 0.5)
    candidates = tuple(replace(c, label=LABELS[i]) for i, c in enumerate(pool))
    return replace(record, task=task, candidates=candidates, answer=TASKS[task].right_answer(candidates))


def _with(record: Record, pool: list[CandidateFrame]) -> Record:
    candidates = tuple(replace(c, label=LABELS[i]) for i, c in enumerate(pool))
    return replace(record, candidates=candidates, answer=TASKS[record.task].right_answer(candidates))


def _jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", subsampling=2, **options)  # type: ignore[arg-type]
    return file.getvalue()
