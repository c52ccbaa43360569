"""Does similarity solve fewer of the puzzles that the build rates as harder?

    python benchmarks/difficulty.py                    # the clips of ../shared/corpus, if they exist
    python benchmarks/difficulty.py --src videos/ --bank videos.bank --json
    python benchmarks/difficulty.py --quick            # one rate, two shapes, one context

The solvers are the audit's, on the decoded JPEGs of finished shards. They compare pixels (in colour, larger than the
thumbnails of the difficulty) and vectors of a second encoder, which the difficulty does not use. The second one is the
independent check; if its weights are missing, the build's own encoder replaces it, which is half circular. Scores are
`graded`: 0 is guessing, 1 is right.

Deciles are taken within puzzles of one shape (K, l), so that the shape explains nothing. Puzzles of one video resemble
each other, in all builds: intervals are bootstrapped over video groups.
"""

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.audit.features import Embeddings, measure, visible_part
from mvp_data.audit.solvers import nearest, path
from mvp_data.config.options import BuildConfig, FramesConfig, MaskConfig, MineConfig, PackConfig
from mvp_data.core.errors import WeightsError
from mvp_data.embedding.load import load_embedder
from mvp_data.pipeline.build import build
from mvp_data.puzzles.similarity_solvers import graded
from mvp_data.shards.tar import iter_samples

CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus" / "clips"
SHAPES = ((3, 3), (4, 4), (5, 5), (4, 8))
DECILES = 10
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A puzzle: its rating by the build, and the score of each solver."""

    shape: tuple[int, int]
    group: str
    difficulty: float
    scores: dict[str, float]
    exact: float  # share of the solvers with the exact answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", action="append", help="videos, as for `mvp-data build`; may be repeated")
    parser.add_argument("--bank", type=Path, help="keep decoded frames here for the next run")
    parser.add_argument("--quick", action="store_true", help="one rate, two shapes, one context")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if not options.src and not CLIPS.is_dir():
        parser.error(f"no clips at {CLIPS}: give --src")
    try:
        judge = "builtin:dinov2-s"
        embeddings = Embeddings(load_embedder(judge, threads=1))
    except WeightsError as error:
        judge = "builtin:tinyvit, the build's own"
        embeddings = Embeddings(load_embedder("builtin", threads=1))
        print(f"no second encoder: {error}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        bank = options.bank or Path(folder) / "bank"
        asked = list(puzzles(options.src or [str(CLIPS)], bank, Path(folder), embeddings, options.quick))
    result = {"encoder of the judge": judge, "puzzles": len(asked), "video groups": len({a.group for a in asked})}
    result |= {"deciles": deciles(asked), "rank correlation": correlations(asked)}
    print(json.dumps(result, indent=1) if options.json else tables(result))


def puzzles(sources: list[str], bank: Path, folder: Path, embeddings: Embeddings, quick: bool) -> Iterator[Asked]:
    """All puzzles of many builds; a puzzle of several builds counts once."""
    known = set()
    rates, shapes, contexts = ((1.0,), SHAPES[:2], (12,)) if quick else ((1.0, 2.0), SHAPES, (8, 12, 16))
    grid = itertools.product(rates, shapes, contexts, (1.0, 0.0))
    for number, (fps, (k, l), context, decoys) in enumerate(grid):  # noqa: E741
        config = BuildConfig(
            src=tuple(sources),
            out=folder / f"{number}",
            bank=bank,
            frames=FramesConfig(fps=fps),
            mask=MaskConfig(hidden_frames=k, context_frames=context),
            mine=MineConfig(distractors=l, decoy_share=decoys),
            pack=PackConfig(val_share=0, test_share=0),
        )
        build(config)
        for sample in iter_samples(config.out):
            shown = (sample.context, frozenset(sample.candidates))
            if hash(shown) not in known:
                known.add(hash(shown))
                yield ask(sample, embeddings)


def ask(sample, embeddings: Embeddings) -> Asked:
    """Scores of the similarity solvers on a sample."""
    record, part = sample.record, visible_part(sample)
    right = [record.answer.index(label) if label in record.answer else record.k for label in part.labels]
    found = measure(part, embeddings)
    answers = {
        f"{name}-{where}": [right[place] for place in solve(found, where)]
        for where in ("pixels", "embedding")
        for name, solve in (("nearest", nearest), ("path", path))
    }
    return Asked(
        shape=(record.k, record.l),
        group=record.video_group,
        difficulty=record.difficulty,
        scores={name: graded(answer, record.l) for name, answer in answers.items()},
        exact=float(np.mean([answer == list(range(record.k)) for answer in answers.values()])),
    )


def deciles(asked: list[Asked]) -> list[dict]:
    """Mean scores from the easiest to the hardest tenth."""
    ranked: list[list[Asked]] = [[] for _ in range(DECILES)]
    for shape in sorted({a.shape for a in asked}):
        members = sorted((a for a in asked if a.shape == shape), key=lambda a: a.difficulty)
        for place, a in enumerate(members):
            ranked[place * DECILES // len(members)].append(a)
    return [
        {
            "puzzles": len(members),
            "difficulty": round(float(np.mean([a.difficulty for a in members])), 3),
            **{name: round(float(np.mean([a.scores[name] for a in members])), 3) for name in asked[0].scores},
            "exact": round(float(np.mean([a.exact for a in members])), 3),
        }
        for members in ranked
        if members
    ]


def correlations(asked: list[Asked]) -> dict[str, list[float]]:
    """Spearman's rank correlation of difficulty and score, with its 95 % interval over video groups."""
    by_group: dict[str, list[int]] = {}
    for number, a in enumerate(asked):
        by_group.setdefault(a.group, []).append(number)
    groups = [np.array(numbers) for numbers in by_group.values()]
    rng = np.random.default_rng(0)
    draws = [np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]) for _ in range(RESAMPLES)]
    difficulty = np.array([a.difficulty for a in asked])
    found = {}
    for name in (*asked[0].scores, "mean of all"):
        score = np.array([np.mean(list(a.scores.values())) if name == "mean of all" else a.scores[name] for a in asked])
        again = [spearman(difficulty[draw], score[draw]) for draw in draws]
        ends = np.quantile(again, [0.025, 0.975]).tolist()
        found[name] = [round(value, 3) for value in (spearman(difficulty, score), *ends)]
    return found


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values share their mean rank."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[codes]


def tables(result: dict) -> str:
    rows = result["deciles"]
    lines = [
        f"{result['puzzles']} puzzles of {result['video groups']} video groups; {result['encoder of the judge']}",
        "",
    ]
    lines += ["| tenth | " + " | ".join(rows[0]) + " |", "|" + "---|" * (len(rows[0]) + 1)]
    lines += [f"| {n} | " + " | ".join(str(value) for value in row.values()) + " |" for n, row in enumerate(rows, 1)]
    lines += ["", "| solver | rank correlation with difficulty | falls from tenth to tenth |", "|---|---|---|"]
    for name, (rho, low, high) in result["rank correlation"].items():
        means = [
            row[name] if name in row else sum(row[n] for n in result["rank correlation"] if n in row) for row in rows
        ]
        rises = [str(n + 1) for n, (a, b) in enumerate(itertools.pairwise(means), 1) if b > a]
        lines.append(
            f"| {name} | {rho} ({low}..{high}) | {'yes' if not rises else 'no: rises in ' + ', '.join(rises)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
