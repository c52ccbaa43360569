"""Draws a pair of same-strip twins for the docs: one strip for each gap, and the candidates that both share.

python -m tests.twins_picture demo/shards docs/twins.png 475fbbf34c4c367998f8-000360167
"""

import argparse
import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mvp_data.shards.record import LABELS
from mvp_data.shards.tar import Sample, iter_samples

STRIP_PX, POOL_PX, EDGE_PX = 92, 150, 6
GAP, PAPER, INK = "#0b6e69", "#ffffff", "#1c2526"


def main() -> None:
    """Draw the pair with this id."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("pair_id")
    args = parser.parse_args()
    pair = [sample for sample in iter_samples(args.shards) if sample.record.pair_id == args.pair_id]
    if len(pair) != 2:
        parser.error(f"{args.shards} has {len(pair)} samples of the pair {args.pair_id}")
    picture(sorted(pair, key=lambda sample: sample.record.mask_start)).quantize(256).save(args.png, optimize=True)


def picture(pair: list[Sample]) -> Image.Image:
    """Both strips below each other, then the candidates in order of time."""
    record = pair[0].record
    height, pool_height = (round(px * record.height_px / record.width_px) for px in (STRIP_PX, POOL_PX))
    width = (len(record.context) + 1) * (STRIP_PX + EDGE_PX) + EDGE_PX
    lines = -(-len(record.candidates) // (width // (POOL_PX + EDGE_PX)))
    sheet = Image.new("RGB", (width, 2 * (height + 24) + lines * (pool_height + EDGE_PX) + 36), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for number, sample in enumerate(pair):
        top = number * (height + 24)
        answer = ", ".join(_by_time(pair[0], sample))
        draw.text((EDGE_PX, top + 3), f"Sample {number + 1}: the gap is filled by {answer}", INK, font)
        cells: list[bytes | None] = list(sample.context)
        cells.insert(sample.record.mask_start, None)
        for place, data in enumerate(cells):
            left = EDGE_PX + place * (STRIP_PX + EDGE_PX)
            if data is None:
                draw.rectangle((left, top + 20, left + STRIP_PX, top + 20 + height), fill=GAP)
                draw.text((left + 33, top + 10 + height // 2), "gap", PAPER, font)
            else:
                sheet.paste(_small(data, STRIP_PX, height), (left, top + 20))
    top = 2 * (height + 24) + 24
    draw.text((EDGE_PX, top - 20), "The candidates of both, here in order of time", INK, font)
    for place, data in enumerate(_pool(pair[0])):
        row, column = divmod(place, width // (POOL_PX + EDGE_PX))
        corner = EDGE_PX + column * (POOL_PX + EDGE_PX), top + row * (pool_height + EDGE_PX)
        sheet.paste(_small(data, POOL_PX, pool_height), corner)
        draw.rectangle((corner[0], corner[1], corner[0] + 16, corner[1] + 17), fill=INK)
        draw.text((corner[0] + 4, corner[1] + 1), LABELS[place], PAPER, font)
    return sheet


def _order(sample: Sample) -> list[int]:
    """The candidates by time."""
    return sorted(range(len(sample.candidates)), key=lambda i: sample.record.candidates[i].time_s)


def _pool(sample: Sample) -> list[bytes]:
    return [sample.candidates[i] for i in _order(sample)]


def _by_time(first: Sample, sample: Sample) -> list[str]:
    """The letters of the answer if the pool of the first sample were in order of time."""
    times = [first.record.candidates[i].time_s for i in _order(first)]
    hidden = sorted((c for c in sample.record.candidates if c.order >= 0), key=lambda c: c.order)
    return [LABELS[times.index(c.time_s)] for c in hidden]


def _small(data: bytes, width: int, height: int) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
