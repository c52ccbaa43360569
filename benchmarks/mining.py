"""The effect of `--mine` on the success of similarity, on the number of puzzles, and on shortcuts.

    python benchmarks/mining.py                        # the clips of ../shared/corpus, if they exist
    python benchmarks/mining.py --src videos/ --bank videos.bank --json
    python benchmarks/mining.py --quick                # scattered distractors, the build's own encoder

Every mode (random, band, adversarial) is built with scattered distractors and with decoy runs, packed, and audited on
the JPEGs of the finished shards, which mining did not see. Mining misleads solvers that use the build's encoder. A
second encoder on the same images shows whether the puzzles are harder in general. All videos are in one split, since
small splits would leave mining little to choose from.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.audit.run import Audit, audit
from mvp_data.config.options import BuildConfig, MineConfig, PackConfig
from mvp_data.core.errors import WeightsError
from mvp_data.core.types import Picture, Vectors
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.load import load_embedder
from mvp_data.pipeline.build import build

CLIPS = Path(__file__).resolve().parent.parent.parent / "shared" / "corpus" / "clips"
SECOND = "builtin:dinov2-s"
ORDERS = ("random", "band", "adversarial")
KINDS = {"scattered": 0.0, "decoys": 1.0}
LOST = ("few_distractors", "no_decoy")
CONTENT = ("nearest-pixels", "path-pixels", "nearest-embedding", "path-embedding")
LEAKS = ("alike-pixels", "chain-pixels", "alike-embedding", "chain-embedding", "probe-candidates", "probe-artefacts")


class Remembering:
    """An embedder that caches its vectors: the builds share most of their images."""

    def __init__(self, embedder: Embedder) -> None:
        self.encoder = embedder.encoder
        self._embedder = embedder
        self._kept: dict[bytes, Vectors] = {}

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """One row for each image."""
        return np.concatenate([self._one(picture) for picture in pictures])

    def _one(self, picture: Picture) -> Vectors:
        name = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        if name not in self._kept:
            self._kept[name] = self._embedder.embed([picture])
        return self._kept[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", action="append", help="videos, as for `mvp-data build`; may be repeated")
    parser.add_argument("--bank", type=Path, help="keep decoded frames here for the next run")
    parser.add_argument("--quick", action="store_true", help="scattered distractors alone, no second encoder")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    sources = options.src or [str(CLIPS)]
    if not options.src and not CLIPS.is_dir():
        parser.error(f"no clips at {CLIPS}: give --src")
    with tempfile.TemporaryDirectory() as folder:
        rows = list(runs(sources, options.bank or Path(folder) / "bank", Path(folder), options.quick))
    print(json.dumps(rows, indent=1) if options.json else tables(rows))


def runs(sources: list[str], bank: Path, folder: Path, quick: bool) -> Iterator[dict]:
    """One row for each kind of distractors and each mode."""
    encoders = {"embedding": Remembering(load_embedder("builtin", threads=1))}
    if not quick:
        try:
            encoders["second"] = Remembering(load_embedder(SECOND, threads=1))
        except WeightsError as error:
            print(f"no second encoder: {error}", file=sys.stderr)
    for kind in list(KINDS)[: 1 if quick else None]:
        for order in ORDERS:
            config = BuildConfig(
                src=tuple(sources),
                out=folder / f"{kind}-{order}",
                bank=bank,
                mine=MineConfig(mine=order, decoy_share=KINDS[kind]),
                pack=PackConfig(val_share=0, test_share=0),
            )
            report = build(config)
            row: dict = {"distractors": kind, "mine": order, "samples": report.samples}
            row["lost"] = sum(report.refused.get(reason, 0) for reason in LOST)
            row["mining_cpu_s"] = report.cpu_seconds["mine"]
            for name, embedder in encoders.items():
                row |= solvers(audit(config.out, embedder=embedder), name)
            yield row


def solvers(result: Audit, space: str) -> dict[str, dict]:
    """Scores with both ends of their intervals; the embedding's under the name of its encoder, pixels once."""
    found = {}
    for solver in result.parts[0].results:  # one task: mvp
        kind, _, where = solver.name.rpartition("-")
        if solver.name not in (*CONTENT, *LEAKS) or (space != "embedding" and where != "embedding"):
            continue
        name = f"{kind}-{space}" if where == "embedding" else solver.name
        found[name] = {
            metric: [round(value, 3) for value in (e.mean, e.low, e.high)]
            for metric in ("selection", "order", "exact")
            for e in [solver.estimates[metric]]
        } | {"kind": solver.kind, "verdict": solver.verdict}
    return found


def tables(rows: list[dict]) -> str:
    """Two tables: content solvers, and solvers that see only the candidates."""
    names = [name for name, value in rows[0].items() if isinstance(value, dict)]
    lines = []
    for title, kind in (("content", "content"), ("candidates alone", "leak")):
        chosen = [name for name in names if rows[0][name]["kind"] == kind]
        lines += [
            "",
            f"| distractors | mine | samples | lost | mining, CPU s | {title} | selection | order | exact | verdict |",
        ]
        lines += ["|" + "---|" * 10]
        for row in rows:
            for name in chosen:
                scores = [cell(row[name][metric]) for metric in ("selection", "order", "exact")]
                head = [
                    row["distractors"],
                    row["mine"],
                    str(row["samples"]),
                    str(row["lost"]),
                    f"{row['mining_cpu_s']:.1f}",
                    name,
                ]
                lines.append("| " + " | ".join([*head, *scores, row[name]["verdict"]]) + " |")
    return "\n".join(lines[1:])


def cell(values: list[float]) -> str:
    mean, low, high = values
    return f"{mean:.3f} ({low:.3f}..{high:.3f})"


if __name__ == "__main__":
    main()
