"""Does `clearly_moves` find people who move before a fixed camera, and only these? On films with known truth.

    python benchmarks/motion.py                # 12 films a row, some 5 CPU minutes
    python benchmarks/motion.py --quick --json

tests/people.py paints people on a ground: a painted one, or a still of ../shared/corpus/clips where it is there. The
films are encoded as H.264 at 8 frames a second. Three frames a second apart are compared, as in a build. Noise (1 to 6
levels) and CRF (23 to 33) vary in all rows. Only the people's paths are known to move; each row of the second table
must be 0: nobody moves, at most four people rest, and the camera, the light or the coding changes.

Left out: moving shadows, water, leaves and captions, which are motion in the picture and not in the scene.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import av
import numpy as np

from mvp_data.core.types import Luma, Picture
from mvp_data.puzzles import motion
from mvp_data.puzzles.motion import clearly_moves
from mvp_data.puzzles.thumbnails import differ
from mvp_data.video.quality import measure
from tests.clips import render
from tests.people import FIXED, SIZE, STILL, Moment, Stage, View

FPS, FRAMES, SHOWN = 8, 21, (4, 12, 20)
CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus" / "clips"
Rng = np.random.Generator
Film = tuple[Callable[[int], Moment], Callable[[int], View]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One kind of film: `paint` draws the actions of people and camera at each frame."""

    name: str
    moves: bool
    paint: Callable[[Rng], Film]
    height: float = 0.0  # of the only person; 0: none to four people of 8 % to 50 %
    crf: int = 0  # 0: 23 to 33
    noise: float = -1.0  # -1: 1 to 6


def still(_: int) -> Moment:
    return STILL


def fixed(_: int) -> View:
    return FIXED


def walking(step: float, shake: float = 0.0) -> Callable[[Rng], Film]:
    """Walks `step` of the width in a second."""

    def paint(rng: Rng) -> Film:
        jitter = shake * rng.uniform(-1, 1, (FRAMES, 2))
        return (
            lambda n: Moment(step=step * n / FPS, stride=1.3 * n / FPS),
            lambda n: View(x=float(jitter[n, 0]), y=float(jitter[n, 1])),
        )

    return paint


def in_place(_: Rng) -> Film:
    return lambda n: Moment(stride=0.4 * n / FPS), fixed


def camera(view: Callable[[float, float, Rng], View]) -> Callable[[Rng], Film]:
    """`view(seconds from the middle of the film, a random sign, a generator for each frame)`."""

    def paint(rng: Rng) -> Film:
        sign, seed = float(rng.choice([-1, 1])), int(rng.integers(1 << 30))
        return still, lambda n: view((n - SHOWN[1]) / FPS, sign, np.random.default_rng([seed, n]))

    return paint


def shake(reach: float) -> Callable[[Rng], Film]:
    def view(_: float, __: float, rng: Rng) -> View:
        x, y, roll = rng.uniform(-1, 1, 3)
        return View(x=reach * x, y=reach * y, roll_deg=20 * reach * roll)

    return camera(view)


def refocused(blur_px: float) -> Callable[[Rng], Film]:
    return lambda _: (still, lambda n: View(blur_px=blur_px * (n // 8 % 2)))


def rows() -> list[Row]:
    """All rows, moving ones first."""
    found = [
        Row(name=f"{height:.0%} high, {step:.0%} a second", moves=True, paint=walking(step), height=height)
        for height in (0.08, 0.12, 0.2, 0.3)
        for step in (0.02, 0.05, 0.1, 0.2)
    ]
    found += [
        Row(name=f"{height:.0%} high, in place", moves=True, paint=in_place, height=height)
        for height in (0.12, 0.2, 0.3, 0.5)
    ]
    found += [
        Row(name=f"{height:.0%} high, 10% a second, shake 1%", moves=True, paint=walking(0.1, 0.01), height=height)
        for height in (0.08, 0.12, 0.2, 0.3)
    ]
    nobody: dict[str, Callable[[Rng], Film]] = {f"shake {reach:.0%}": shake(reach) for reach in (0.01, 0.02, 0.03)}
    for speed in (0.02, 0.05, 0.1):
        nobody[f"pan {speed:.0%} a second"] = camera(lambda t, s, _, v=speed: View(x=s * v * t, y=0.2 * v * t))  # type: ignore[misc]
        nobody[f"pan {speed:.0%} a second, people in front"] = camera(
            lambda t, s, _, v=speed: View(x=s * v * t, depth=0.4)  # type: ignore[misc]
        )
        nobody[f"zoom {speed:.0%} a second"] = camera(lambda t, s, _, v=speed: View(zoom=(1 + s * v) ** t))  # type: ignore[misc]
    for change in (0.1, 0.3):
        nobody[f"flicker {change:.0%}"] = camera(lambda _, __, r, c=change: View(gain=1 + c * r.uniform(-1, 1)))  # type: ignore[misc]
    for levels in (20, 50):
        nobody[f"lamp from a side, {levels} levels"] = camera(lambda _, __, r, c=levels: View(lamp=c * r.uniform(0, 2)))  # type: ignore[misc]
    for blur_px in (1.0, 2.5):
        nobody[f"focus, {blur_px:g} px"] = refocused(blur_px)
    nobody["shake, zoom, flicker"] = camera(
        lambda t, s, r: View(
            x=0.015 * r.uniform(-1, 1),
            y=0.015 * r.uniform(-1, 1),
            zoom=1.02 ** (s * t),
            gain=1 + 0.1 * r.uniform(-1, 1),
        )
    )
    found += [Row(name=name, moves=False, paint=paint) for name, paint in nobody.items()]
    found += [
        Row(name=f"noise {noise}", moves=False, paint=camera(lambda *_: FIXED), noise=noise) for noise in (2, 8, 15)
    ]
    found += [Row(name=f"CRF {crf}", moves=False, paint=camera(lambda *_: FIXED), crf=crf) for crf in (23, 28, 33)]
    return found


@lru_cache(maxsize=1)
def grounds() -> list[Picture]:
    """A frame of each clip; empty without the corpus."""
    found: list[Picture] = []
    for path in sorted(CLIPS.glob("*")) if CLIPS.is_dir() else []:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video=0)):
                if number == 40:
                    found.append(frame.to_ndarray(format="rgb24"))
                    break
    return found


def film(row: Row, rng: Rng, folder: Path) -> list[bytes]:
    """The thumbnails of three frames of a film, a second apart."""
    stills = grounds()
    ground = stills[int(rng.integers(len(stills)))] if stills and rng.random() < 0.6 else None
    people = 1 if row.height else int(rng.integers(0, 5))
    height = row.height or float(rng.choice([0.08, 0.12, 0.2, 0.3, 0.5]))
    stage = Stage(seed=int(rng.integers(1 << 30)), people=people, height=height, ground=ground)
    noise = row.noise if row.noise >= 0 else float(rng.choice([1, 3, 6]))
    crf = row.crf or int(rng.choice([23, 28, 33]))
    moment, view = row.paint(rng)

    def paint(number: int, _width: int, _height: int) -> Picture:
        return stage.picture(moment(number), view(number), noise=noise, frame=number)

    options = {"preset": "veryfast", "crf": str(crf)}
    path = render(folder / "film.mp4", frames=FRAMES, fps=FPS, size=SIZE, paint=paint, options=options)
    with av.open(str(path)) as container:
        lumas: list[Luma] = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    return [measure(lumas[n], None).thumbnail for n in SHOWN]


def pairs(row: Row, films: int, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """Three pairs of each film of a row."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(films):
            rng = np.random.default_rng([seed + number, *row.name.encode()])
            a, b, c = film(row, rng, Path(folder))
            yield from ((a, b), (b, c), (a, c))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one film a row")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--films", type=int, default=12, help="films of each row")
    parser.add_argument("--seed", type=int, default=0, help="of the first film of each row")
    options = parser.parse_args()
    result: dict[str, Any] = {"moving": {}, "still": {}}
    spent: dict[bool, list[float]] = defaultdict(list)
    for row in rows():
        counts = [0, 0, 0]
        for first, second in pairs(row, 1 if options.quick else options.films, options.seed):
            started = time.process_time()
            found = clearly_moves(first, second)
            spent[found].append(time.process_time() - started)
            counts = [counts[0] + 1, counts[1] + found, counts[2] + differ(first, second)]
        result["moving" if row.moves else "still"][row.name] = dict(
            zip(("pairs", "clearly_moves", "differ"), counts, strict=True)
        )
    result["microseconds"] = {
        "moves" if found else "does not": round(1e6 * float(np.median(times))) for found, times in spent.items()
    }
    result["terms"] = {"clear_luma": motion.CLEAR_LUMA, "stills": len(grounds())}
    print(json.dumps(result, indent=1) if options.json else tables(result))


def tables(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines: list[str] = []
    for title in ("moving", "still"):
        lines += [f"| {title} | pairs | `clearly_moves` | `differ` |", "|---|---|---|---|"]
        for name, counts in result[title].items():
            shares = " | ".join(f"{counts[judge] / counts['pairs']:.3f}" for judge in ("clearly_moves", "differ"))
            lines.append(f"| {name} | {counts['pairs']} | {shares} |")
        total = {
            key: sum(counts[key] for counts in result[title].values()) for key in ("pairs", "clearly_moves", "differ")
        }
        shares = " | ".join(f"{total[judge] / total['pairs']:.4f}" for judge in ("clearly_moves", "differ"))
        lines += [f"| all | {total['pairs']} | {shares} |", ""]
    cost = ", ".join(f"{answer}: {us} µs" for answer, us in result["microseconds"].items())
    return "\n".join([*lines, f"Median CPU time of a pair, {cost}; {result['terms']['stills']} stills as grounds."])


if __name__ == "__main__":
    main()
