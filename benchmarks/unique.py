"""Does every puzzle have one answer, and are twins, swings and loops found? On videos with known truth.

    python benchmarks/unique.py                # 200 videos of a minute, some 11 CPU minutes
    python benchmarks/unique.py --quick --json

tests/known_truth.py renders the videos and defines when two states look the same. They are encoded as H.264 and built
by `mvp_data.build` with the default encoder, in four ways from one bank: with defaults, with scattered distractors, and
with K = 3 and 2. The truth of a puzzle follows from the times in its record alone.

- *ambiguous*: puzzles where another answer is also right: a candidate could be exchanged, or the order reversed.
- *twins*: pairs of kept frames with the same state, at least two places apart; found, if one measure says `the same`.
- *segments*: every hidden segment in every context, before any rule: how many ambiguous ones are refused, and how many
  others (false alarms), by reason.

No threshold was fitted to these videos. Left out: videos whose order is known by meaning alone (a cup that breaks).
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data import build
from mvp_data.bank.bank import Bank
from mvp_data.config.options import BuildConfig, MaskConfig, from_options
from mvp_data.core.types import Source
from mvp_data.embedding.calibration import SHIPPED
from mvp_data.embedding.load import load_embedder
from mvp_data.pipeline.ledger import read_ledger
from mvp_data.puzzles.corpus import KeptVideo, Thresholds, kept_videos, read_entries
from mvp_data.puzzles.mask_policies import REACH
from mvp_data.puzzles.rules import refuse
from mvp_data.puzzles.thumbnails import differ
from mvp_data.shards.record import Record
from mvp_data.shards.tar import read_shard, shard_paths
from tests.known_truth import Asked, Film, apart

FILMS = {"story": 80, "twins": 40, "swing": 10, "loop": 10, "orbit": 10, "people": 20, "cycle": 10, "montage": 20}
SECONDS = 60
BUILDS: dict[str, dict[str, object]] = {
    "default": {},
    "scattered": {"decoy_share": 0.0},
    "K = 3": {"hidden_frames": 3},
    "K = 2": {"hidden_frames": 2},
}
CLEAR = 3.0  # tolerances from which two states look clearly different
SAME_AGAIN = 2  # frames of one moment are consecutive: a twin must be further away


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts of found and of all cases."""

    twins: int
    twins_found: int
    different: int  # clearly different pairs
    different_refused: int
    segments: Counter[tuple[bool, str]]  # (ambiguous in truth, reason for refusing or "kept")

    @property
    def recall(self) -> float:
        """Share of the ambiguous segments that are refused."""
        kept = self.segments[True, "kept"]
        return 1 - kept / max(1, sum(n for (ambiguous, _), n in self.segments.items() if ambiguous))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the videos")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--seed", type=int, default=0, help="of the first video of each kind")
    options = parser.parse_args()
    count = {kind: -(-n // 10) if options.quick else n for kind, n in FILMS.items()}
    films = [Film(kind=k, seed=options.seed + i, seconds=SECONDS) for k, n in count.items() for i in range(n)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "films").mkdir()
        for film in films:
            film.write(folder / "films")
        result: dict[str, Any] = {"films": count, "first_seed": options.seed, "seconds": SECONDS}
        for title, how in BUILDS.items():
            config = from_options(
                {"src": [str(folder / "films")], "out": str(folder / title), "bank": str(folder / "bank"), **how}
            )
            build(config)
            result[title] = judged(records(config.out))
            if title == "default":
                counts = {k: count_all(videos_of(config, k)) for k in FILMS}
    result["by kind"] = {kind: table(c) for kind, c in counts.items()}
    print(json.dumps(result, indent=1) if options.json else tables(result))


def records(folder: Path) -> list[Record]:
    """The records of all shards of a build."""
    return [sample.record for path in shard_paths(folder) for sample in read_shard(path)]


def judged(found: Sequence[Record]) -> dict[str, int]:
    """Puzzles, and how many of them are ambiguous, by reason."""
    reasons = [truth(record) for record in found]
    by_reason = Counter(reason for some in reasons for reason in some)
    return {"puzzles": len(found), "ambiguous": sum(bool(some) for some in reasons), **by_reason}


def truth(record: Record) -> set[str]:
    """Why this puzzle has another right answer, by the states of its video at the times in its record."""
    pool = [c for c in record.candidates if c.video_path == record.video_path]
    asked = Asked.of(
        Film.named(record.video_path, SECONDS),
        sorted(c.time_s for c in pool if c.order >= 0),
        [c.time_s for c in record.context],
        [c.time_s for c in pool if c.order < 0],
    )
    return asked.ambiguities()


def videos_of(config: BuildConfig, kind: str) -> list[tuple[Film, KeptVideo]]:
    """The videos of a kind as pass 2 reads them."""
    bank, encoder = Bank(config.bank_folder, config.extract_hash()), load_embedder(config.embed.embedder).encoder
    paths = {row.video_id: row.path for row in read_ledger(config.out) if row.video_id}
    sources = {v: Source(location=p, path=p) for v, p in paths.items() if Film.named(p, SECONDS).kind == kind}
    entries = read_entries(bank, list(sources))
    kept = kept_videos(sources, entries, bank, encoder, default_thresholds(), config.pack, config.seed)
    return [(Film.named(video.source.path, SECONDS), video) for video in kept]


def default_thresholds() -> Thresholds:
    """The thresholds of the default encoder."""
    options = from_options({"src": ["films"], "out": "shards"})
    return Thresholds.resolve(SHIPPED["builtin:tinyvit"], options.embed, options.mine)


def count_all(videos: Iterable[tuple[Film, KeptVideo]], mask: MaskConfig | None = None) -> Counts:
    """Check every pair of kept frames and every segment of these videos."""
    mask, thresholds = mask or MaskConfig(), default_thresholds()
    pairs: Counter[tuple[str, bool]] = Counter()
    segments: Counter[tuple[bool, str]] = Counter()
    for film, video in videos:
        pairs += judge_pairs(film, video, thresholds)
        segments += judge_segments(film, video, mask, thresholds)
    return Counts(
        twins=pairs["twin", True] + pairs["twin", False],
        twins_found=pairs["twin", True],
        different=pairs["different", True] + pairs["different", False],
        different_refused=pairs["different", True],
        segments=segments,
    )


def judge_pairs(film: Film, video: KeptVideo, thresholds: Thresholds) -> Counter[tuple[str, bool]]:
    """All pairs of kept frames: twins and clearly different ones in truth, and whether a measure says `the same`."""
    states = [film.state(t) for t in video.times_s]
    thumbnails = [video.entry.frames[i].thumbnail for i in video.kept]
    similarity = video.vectors @ video.vectors.T
    found: Counter[tuple[str, bool]] = Counter()
    for i in range(len(states)):
        for j in range(i + SAME_AGAIN, len(states)):
            distance = apart(states[i], states[j])
            if 1 <= distance < CLEAR:
                continue
            refused = similarity[i, j] >= thresholds.ambiguous or not differ(thumbnails[i], thumbnails[j])
            found["twin" if distance < 1 else "different", bool(refused)] += 1
    return found


def judge_segments(film: Film, video: KeptVideo, mask: MaskConfig, thresholds: Thresholds) -> Counter[tuple[bool, str]]:
    """Every run of K key frames in every context: whether it is ambiguous, and the reason for a refusal."""
    times, size, context = video.times_s, len(video.kept), mask.context_frames
    edge = min(2, context // 2)
    found: Counter[tuple[bool, str]] = Counter()
    for start in range(edge, size):
        hidden = key_frames(video, start, mask.hidden_frames, thresholds)
        end = hidden[-1] + 1
        if len(hidden) < mask.hidden_frames:
            continue
        for before in range(max(edge, context - (size - end)), min(context - edge, start) + 1):
            visible = (*range(start - before, start), *range(end, end + context - before))
            asked = Asked.of(film, [times[p] for p in hidden], [times[p] for p in visible])
            reason = refuse(video, hidden, visible, mask, thresholds)
            found[bool(asked.ambiguities()), reason.value if reason else "kept"] += 1
    return found


def key_frames(video: KeptVideo, start: int, k: int, thresholds: Thresholds) -> list[int]:
    """The key frames of the segment that starts here, as docs/puzzles.md defines them."""
    chosen = [start]
    for place in range(start + 1, min(start + REACH * k, len(video.kept))):
        if len(chosen) < k and video.vectors[place] @ video.vectors[chosen[-1]] < thresholds.distinct:
            chosen.append(place)
    return chosen


def table(counts: Counts) -> dict[str, object]:
    """Counts as plain numbers."""
    segments = counts.segments
    return {
        "twins": counts.twins,
        "twins_found": counts.twins_found,
        "different": counts.different,
        "different_refused": counts.different_refused,
        "ambiguous_segments": sum(n for (bad, _), n in segments.items() if bad),
        "ambiguous_refused": sum(n for (bad, reason), n in segments.items() if bad and reason != "kept"),
        "ambiguous_by_reason": {reason: n for (bad, reason), n in sorted(segments.items()) if bad},
        "clear_by_reason": {reason: n for (bad, reason), n in sorted(segments.items()) if not bad},
    }


def tables(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| build | puzzles | ambiguous in truth |", "|---|---|---|"]
    lines += [f"| {title} | {result[title]['puzzles']} | {result[title]['ambiguous']} |" for title in BUILDS]
    lines += [
        "",
        "| videos | twins found | ambiguous segments refused | clear pairs refused | clear segments refused |",
    ]
    lines += ["|---|---|---|---|---|"]
    for kind, found in result["by kind"].items():
        clear = found["clear_by_reason"]
        refused = sum(clear.values()) - clear.get("kept", 0)
        shares = (
            (found["twins_found"], found["twins"]),
            (found["ambiguous_refused"], found["ambiguous_segments"]),
            (found["different_refused"], found["different"]),
            (refused, sum(clear.values())),
        )
        cells = " | ".join(f"{some:,} of {all_:,}" for some, all_ in shares)
        lines.append(f"| {result['films'][kind]} {kind} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
