"""Small valid samples with real JPEGs, for the tests of everything that reads shards."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw

from mvp_data.core.seeds import shuffled, unit
from mvp_data.shards.index import Index, ShardInfo, write_index
from mvp_data.shards.record import LABELS, CandidateFrame, ContextFrame, Record
from mvp_data.shards.tar import Sample, write_shard

WIDTH_PX, HEIGHT_PX = 112, 56


def make_record(
    number: int = 0,
    *,
    k: int = 4,
    distractors: int = 4,
    context: int = 12,
    mask_start: int = 5,
    split: str = "train",
    video_path: str | None = None,
    extra: str = "{}",
) -> Record:
    """Record `number`: one frame a second, the hidden ones after `mask_start` context frames."""
    video_id, path = f"video{number // 3}", video_path or f"clips/video {number // 3}.mp4"
    times = [0.25 + i for i in range(context + k)]
    seen = [i for i in range(context + k) if not mask_start <= i < mask_start + k]
    origins = ["neighbourhood", "same_video", "corpus"]
    pool = shuffled(
        [(order, "hidden") for order in range(k)] + [(-1, origins[i % 3]) for i in range(distractors)], "pool", number
    )
    candidates = tuple(
        _candidate(number, slot, order, origin, video_id, path, mask_start) for slot, (order, origin) in enumerate(pool)
    )
    hidden = sorted((c for c in candidates if c.order >= 0), key=lambda c: c.order)
    return Record(
        key=f"{video_id}-s{number:03d}-v0",
        split=split,
        k=k,
        l=distractors,
        answer=tuple(c.label for c in hidden),
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
        mask_start=mask_start,
        mask_policy="anchored",
        hidden_start_s=hidden[0].time_s,
        hidden_end_s=hidden[-1].time_s,
        sampled_fps=1.0,
        difficulty=unit("difficulty", number),
        margin=0.1,
        seed=7,
        config_hash="c0ffee",
        tool_version="0.1.0",
        encoder_name="test",
        encoder_weights_sha256="0" * 64,
        video_id=video_id,
        video_path=path,
        video_group=video_id,
        video_duration_s=60.0,
        extra=extra,
        context=tuple(ContextFrame(time_s=times[i], shot=i // 6, frame=i) for i in seen),
        candidates=candidates,
    )


def make_sample(number: int = 0, **record: object) -> Sample:
    """Sample `number`: frames of a disc that moves over time, greener for distractors."""
    made = make_record(number, **record)  # type: ignore[arg-type]
    return Sample(
        record=made,
        context=tuple(draw(number, frame.time_s, 60) for frame in made.context),
        candidates=tuple(draw(number, c.time_s, 60 if c.order >= 0 else 160) for c in made.candidates),
    )


def make_twins(number: int = 0, *, split: str = "train", mask_start: int = 4, bridge: int = 2) -> tuple[Sample, Sample]:
    """Same-strip twins `number`: one context and one pool of 8; the gap is at the first run or at the second."""
    base = make_sample(number, split=split, mask_start=mask_start)
    times = [float(i) for i in range(20)]
    runs = list(range(mask_start, mask_start + 4)), list(range(mask_start + 4 + bridge, mask_start + 8 + bridge))
    seen = [i for i in range(20) if i not in (*runs[0], *runs[1])]
    context = tuple(ContextFrame(time_s=times[i], shot=i // 6, frame=i) for i in seen)
    made = []
    for half, (own, other) in enumerate((runs, runs[::-1])):
        pool = shuffled([*own, *other], "twins", number, half)
        candidates = tuple(
            CandidateFrame(
                label=LABELS[slot],
                order=own.index(i) if i in own else -1,
                decoy=other.index(i) if i in other else -1,
                origin="hidden" if i in own else "same_strip",
                video_id=base.record.video_id,
                video_path=base.record.video_path,
                time_s=times[i],
                shot=i // 6,
                frame=i,
                similarity=0.7,
            )
            for slot, i in enumerate(pool)
        )
        record = replace(
            base.record,
            key=f"{base.record.key}-{'ab'[half]}",
            pair_id=f"{base.record.key}-a",
            mask_start=mask_start + half * bridge,
            context=context,
            candidates=candidates,
            answer=tuple(c.label for c in sorted((c for c in candidates if c.order >= 0), key=lambda c: c.order)),
            hidden_start_s=times[own[0]],
            hidden_end_s=times[own[-1]],
        )
        made.append(
            Sample(
                record=record,
                context=tuple(draw(number, frame.time_s, 60) for frame in context),
                candidates=tuple(draw(number, c.time_s, 60) for c in candidates),
            )
        )
    return made[0], made[1]


def make_shard(path: Path, count: int = 6, **record: object) -> ShardInfo:
    """A shard of samples 0 to `count` - 1."""
    return write_shard(path, (make_sample(i, **record) for i in range(count)))


def make_folder(folder: Path, shards: Sequence[ShardInfo]) -> None:
    """The index for `shards`, already in `folder`."""
    splits = {s: sum(i.samples for i in shards if i.split == s) for s in ("train", "val", "test")}
    counts = {"samples": sum(splits.values()), "videos": 2, **splits}
    write_index(
        folder, Index(tool_version="0.1.0", config={"k": 4}, config_hash="c0ffee", counts=counts, shards=tuple(shards))
    )


def draw(number: int, time_s: float, green: int) -> bytes:
    """A JPEG: a disc whose place tells the time."""
    picture = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (40 + 30 * (number % 6), green, 120))
    x = int(time_s * 5) % WIDTH_PX
    ImageDraw.Draw(picture).ellipse((x - 8, 20, x + 8, 36), fill=(240, 230, 90))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def _candidate(
    number: int, slot: int, order: int, origin: str, video_id: str, path: str, mask_start: int
) -> CandidateFrame:
    frame = mask_start + order if order >= 0 else 30 + slot
    elsewhere = origin == "corpus"
    return CandidateFrame(
        label=LABELS[slot],
        order=order,
        decoy=-1,
        origin=origin,
        video_id="other" if elsewhere else video_id,
        video_path="clips/other.mp4" if elsewhere else path,
        time_s=0.25 + frame,
        shot=frame // 6,
        frame=frame,
        similarity=round(0.5 + 0.4 * unit("similarity", number, slot), 3),
    )
