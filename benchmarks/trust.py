"""Every solver of `mvp-data audit` on four builds of the same videos: which solver wins on which distractors.

    python benchmarks/trust.py                                        # the clips of ../shared/corpus
    python benchmarks/trust.py --src film.mp4 --bank film.bank --json
    python benchmarks/trust.py --plot docs/trust.png                  # selection, scattered against default
    python benchmarks/trust.py --bars default=shards/ short=short/    # finished builds: the bars of each

`--bars` prints, for each folder of shards: samples, videos used and the largest share of one; for each kind of pair the
best gap-blind solver, nearest frames, the best single path and the joint fit, each with its pair score; the best solver
that sees only the candidates; paths and nearest frames in spaces that the build did not use; and the samples whose
hidden frames another sample shows, by split.

The builds share one bank and go to a temporary folder; all options except those in BUILDS are the defaults. Two builds
with the same options are run once. The audit compares pixels and vectors of the build's encoder.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.audit.pairs import METRIC
from mvp_data.audit.run import Audit, audit, second_embedder_for
from mvp_data.audit.scoring import Result
from mvp_data.audit.solvers import SPACES
from mvp_data.config.options import BuildConfig, MineConfig
from mvp_data.core.statistics import Estimate
from mvp_data.core.types import Picture, Vectors
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.load import load_embedder
from mvp_data.pipeline.build import build
from mvp_data.shards.tar import sample_spans, shard_paths

CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus" / "clips"
BUILDS = {
    "scattered": {"decoy_share": 0.0},
    "decoys": {"decoy_share": 1.0},
    "adversarial": {"decoy_share": 0.0, "mine": "adversarial"},
    "default": {},
}
UNUSED = ("hog", "second")  # spaces that no build uses
METRICS = ("selection", "given", "whole", "exact")
COLOURS = {"scattered": "#b3261e", "default": "#0b6e69"}


class Remembering:
    """An embedder that caches its vectors: the builds share most of their images."""

    def __init__(self, embedder: Embedder) -> None:
        self.encoder = embedder.encoder
        self._embedder = embedder
        self._kept: dict[bytes, Vectors] = {}

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """[N, D]."""
        names = [hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures]
        for name, picture in zip(names, pictures, strict=True):
            if name not in self._kept:
                self._kept[name] = self._embedder.embed([picture])
        return np.concatenate([self._kept[name] for name in names])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", default=str(CLIPS), help="videos")
    parser.add_argument("--bank", type=Path, help="folder for decoded frames, to decode only once")
    parser.add_argument("--bars", nargs="+", metavar="NAME=FOLDER", help="only the bars of these folders of shards")
    parser.add_argument("--plot", type=Path, help="write a plot, with matplotlib")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.bars:
        print(bars(dict(item.split("=", 1) for item in options.bars)))
        return
    if not Path(options.src).exists():
        parser.error(f"--src: {options.src} does not exist; give a folder of videos")
    found = audits(options.src, options.bank)
    print(json.dumps({name: asdict(one) for name, one in found.items()}, indent=1) if options.json else tables(found))
    if options.plot:
        plot(found, options.plot)


def audits(src: str, bank: Path | None) -> dict[str, Audit]:
    """Each build and its audit."""
    embedder = Remembering(load_embedder("builtin"))
    found: dict[str, Audit] = {}
    made: dict[str, str] = {}  # by the options that determine the shards' bytes
    with tempfile.TemporaryDirectory() as folder:
        for name, mine in BUILDS.items():
            config = BuildConfig(
                src=(src,), out=Path(folder) / name, bank=bank or Path(folder) / "bank", mine=MineConfig(**mine)
            )
            twin = made.setdefault(config.content_hash(), name)
            if twin == name:
                build(config)
                found[name] = replace(audit(config.out, embedder=embedder), path=name)
            else:
                found[name] = replace(found[twin], path=f"{name}, the same as {twin}")
    return found


def bars(folders: dict[str, str]) -> str:
    """A table with a column for each folder of shards."""
    embedder = Remembering(load_embedder("builtin"))
    other = second_embedder_for("", embedder)
    second = Remembering(other) if other else None
    columns = {name: bars_of(Path(folder), embedder, second) for name, folder in folders.items()}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(column.get(name, '') for column in columns.values())} |" for name in names]
    return "\n".join(lines)


def bars_of(folder: Path, embedder: Embedder, second: Embedder | None) -> dict[str, str]:
    """The bars of one folder, by name."""
    found = audit(folder, embedder=embedder, second=second)
    videos = Counter(span.record.video_path for shard in shard_paths(folder) for span in sample_spans(shard))
    (part, *_), (most, *_) = found.parts, videos.most_common(1)
    results = by_name(found)

    def best(metric: str, *rules: str, spaces: Sequence[str] = SPACES) -> str:
        names = [f"{rule}-{space}" for rule in rules for space in spaces]
        name = max((name for name in names if name in results), key=lambda n: results[n].estimates[metric].mean)
        pair = results[name].estimates.get("pair set")
        return f"{cell(results[name], metric)}, {name}" + (f", pair set {pair.mean:.3f}" if pair else "")

    made = {
        "samples, in pairs": f"{found.samples_of}, {part.pairs} pairs, {part.orphans} incomplete",
        "videos used": f"{len(videos)} in {part.video_groups} groups",
        "largest share of one video": f"{most[1] / sum(videos.values()):.2f}, {Path(most[0]).name}",
        "candidates only, selection": best("selection", "alike", "chain"),
        "gap-blind, selection": best("selection", "context-bag"),
        "nearest frames, set (encoder)": best("set", "nearest", spaces=("embedding",)),
        "nearest frames, set (spaces that the build did not use)": best("set", "nearest", spaces=UNUSED),
        "path, exact": best("exact", "path"),
        "path, exact (spaces that the build did not use)": best("exact", "path", spaces=UNUSED),
        "joint, exact": cell(results["joint-all"], "exact") if "joint-all" in results else "",
        "joint, set": cell(results["joint-all"], "set") if "joint-all" in results else "",
        "joint, pair": cell(results["joint-all"], "pair") if "joint-all" in results and part.pairs else "",
    }
    for row in part.rows:
        for column, score in row.single.items():
            pair = f" / {row.both[column]:.2f}" if row.both else ""
            made[f"{row.name}: {column} {METRIC[column]} / pair"] = f"{score:.2f}{pair} of {row.samples}"
    if part.told_first:
        told = part.told_first
        made["first twin told by mask_start"] = (
            f"{told.mean:.2f} ({told.low:.2f}..{told.high:.2f}), {told.chance:.2f} by arithmetic"
        )
    for shown in found.shown:
        share = f"{shown.whole / shown.samples:.2f} all in one, {shown.one / shown.samples:.2f} at least one"
        made[f"hidden frames that another sample shows, {shown.split}"] = f"{share}, of {shown.samples}"
    made["leak solvers that win"] = ", ".join(found.leaks) or "none"
    return made


def tables(found: dict[str, Audit]) -> str:
    """For each metric a table of solvers by builds; bold where a solver wins."""
    lines = ["| build | samples | video groups |", "|---|---|---|"]
    lines += [f"| {one.path} | {one.samples} | {one.parts[0].video_groups} |" for one in found.values()]
    for metric in METRICS:
        chance = next(iter(found.values())).parts[0].chance[metric]
        lines += ["", f"| {metric}, chance {chance:.3g} | {' | '.join(found)} |", f"|---|{'---|' * len(found)}"]
        rows = {name: result.kind for one in found.values() for name, result in by_name(one).items()}
        for solver, kind in rows.items():
            cells = [cell(by_name(one).get(solver), metric) for one in found.values()]
            lines.append(f"| {solver} ({kind}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_name(one: Audit) -> dict[str, Result]:
    return {result.name: result for result in one.parts[0].results}


def cell(result: Result | None, metric: str) -> str:
    """A score with its interval, and the result where this metric counts."""
    if result is None:
        return ""
    e: Estimate = result.estimates[metric]
    verdict = ""
    if metric in result.judged:
        unsure = (
            e.low > e.chance and metric != "exact"
        )  # exact hits are judged by count: see mvp_data.audit.scoring.luck
        below = e.high < e.chance
        verdict = " **wins**" if metric in result.wins_on else " unsure" if unsure else " below" if below else " chance"
    return f"{e.mean:.3f} ({e.low:.3f}..{e.high:.3f}){verdict}"


def plot(found: dict[str, Audit], path: Path) -> None:
    """Selection of every solver with its interval, scattered against default, and the chance level."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = [name for name in by_name(found["default"]) if name in by_name(found["scattered"])]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(names) + 1.4), layout="constrained")
    for shift, (build_name, colour) in enumerate(COLOURS.items()):
        estimates = [by_name(found[build_name])[name].estimates["selection"] for name in names]
        at = np.arange(len(names)) + 0.3 * shift - 0.15
        means = np.array([e.mean for e in estimates])
        ends = np.array([[e.mean - e.low for e in estimates], [e.high - e.mean for e in estimates]])
        axes.errorbar(means, at, xerr=np.maximum(ends, 0), fmt="o", ms=4, lw=1.4, color=colour, label=build_name)
    axes.axvline(0, color="#5d666d", ls="--", lw=1)
    kinds = [by_name(found["default"])[name].kind for name in names]
    axes.set_yticks(range(len(names)), [f"{name} ({kind})" for name, kind in zip(names, kinds, strict=True)])
    axes.invert_yaxis()
    axes.set_xlabel("selection (0: guessing, 1: all hidden frames found), 95 % intervals")
    axes.legend(loc="upper right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
