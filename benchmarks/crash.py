"""Is a build the same however often it is killed? Kills at every change of its files, and at random moments.

    python benchmarks/crash.py                  # at each change once, at each fsync with a power cut too,
                                                # and 200 random trials
    python benchmarks/crash.py --quick          # every 20th change, 10 random trials
    python benchmarks/crash.py --seed 3 --trials 1000 --json

A trial runs `mvp-data build` over a few videos and kills it. It runs the same command again (with other workers, from a
renamed folder, or with its sources in another order) until the build is complete, and compares every file with an
undisturbed build. SIGKILL goes to the whole process group; in some random trials to the parent or to one process alone.
The simulated power cut turns half of the unsynced writes to zeros, and undoes renames whose folder was not synced.
Exits with 1 if a file differs, is left over, or a build does not end.
"""

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mvp_data.system.progress import Progress
from tests.crash_disk import Event, unsynced
from tests.crashes import STAGES, Kill, Site, Trial, Verdict, attempt, make_site, undisturbed

RESUMED = ("same", "workers", "renamed", "reordered")
EMBEDDER = "builtin:tinyvit"  # the fastest real one
QUICK_STEP, QUICK_TRIALS = 20, 10


def every_change(events: Sequence[Event], step: int) -> Iterator[Trial]:
    """A kill before each change, or in the middle of a write."""
    points = [number for number, event in enumerate(events) if event.what != "synced"]  # changes nothing
    for turn, number in enumerate(points[::step]):
        yield Trial(kills=(Kill(at=number, torn=True),), resumed=RESUMED[turn % 4])


def power_cuts(events: Sequence[Event], step: int) -> Iterator[Trial]:
    """With a power cut before each fsync of a file or folder and each removal: only these wait for the disk."""
    points = [number for number, event in enumerate(events) if event.what in ("fsync", "remove")]
    for turn, number in enumerate(points[::step]):
        yield Trial(kills=(Kill(at=number, power_cut=True),), resumed=RESUMED[turn % 4])


def random_trials(events: Sequence[Event], seconds: float, trials: int, seed: int) -> Iterator[Trial]:
    """One to three kills each: half at any time, half in a stage drawn first, so that short stages are hit too."""
    rng = random.Random(seed)
    by_stage = [[n for n, event in enumerate(events) if event.stage == stage] for stage in STAGES]
    by_stage = [numbers for numbers in by_stage if numbers]
    for _ in range(trials):
        kills = []
        for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0]):
            timed = rng.random() < 0.5
            kills.append(
                Kill(
                    at=-1 if timed else rng.choice(rng.choice(by_stage)),
                    after_s=rng.uniform(0.2, 1.05 * seconds) if timed else Kill().after_s,
                    torn=rng.random() < 0.5,
                    whom="group" if timed else rng.choices(("group", "parent", "self"), (8, 1, 1))[0],
                    power_cut=rng.random() < 0.3,
                )
            )
        yield Trial(kills=tuple(kills), resumed=rng.choice(RESUMED), workers=rng.choice((1, 2)))


def run_all(site: Site, trials: dict[str, list[Trial]]) -> dict[str, list[Verdict]]:
    """Run every trial, as many at a time as there are cores; the results have the order of the trials."""
    total = sum(map(len, trials.values()))
    with Progress(total, "killing", "build") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:

        def one(kind: str, number: int, trial: Trial) -> Verdict:
            verdict = attempt(site, trial, f"{kind} {number}")
            bar.update(1)
            if not verdict.sound:
                print(explain(verdict), file=sys.stderr, flush=True)
            return verdict

        waiting = {
            kind: [pool.submit(one, kind, number, trial) for number, trial in enumerate(each)]
            for kind, each in trials.items()
        }
        return {kind: [future.result() for future in futures] for kind, futures in waiting.items()}


def table(verdicts: dict[str, list[Verdict]]) -> str:
    """A row for each stage; a trial's errors count in the stage of its last kill."""
    hits = {kind: Counter(stage for v in each for stage, _ in v.hit) for kind, each in verdicts.items()}
    wrong: dict[str, Counter[str]] = {kind: Counter() for kind in ("differences", "leftovers", "failed")}
    for verdict in (v for each in verdicts.values() for v in each):
        stage = verdict.hit[-1][0] if verdict.hit else "start"
        for kind, counter in wrong.items():
            counter[stage] += bool(getattr(verdict, kind))
    lines = [f"| killed in | {' | '.join([*hits, *wrong])} |", "|---" * (1 + len(hits) + len(wrong)) + "|"]
    for stage in STAGES:
        counts = [counter[stage] for counter in (*hits.values(), *wrong.values())]
        lines.append(f"| {stage} | {' | '.join(map(str, counts))} |")
    sums = [counter.total() for counter in (*hits.values(), *wrong.values())]
    return "\n".join([*lines, f"| **all** | {' | '.join(f'**{total}**' for total in sums)} |"])


def explain(verdict: Verdict) -> str:
    """One line on a failed trial, enough to find the faulty code."""
    hits = zip(verdict.trial.kills, verdict.hit, strict=False)
    where = "; ".join(f"{kill}: {stage}, {point}" for kill, (stage, point) in hits) or str(verdict.trial.kills[0])
    what = [verdict.failed, *verdict.differences, *(f"{name}: left over" for name in verdict.leftovers)]
    return f"- {where} ({verdict.trial.resumed}, {verdict.trial.workers} workers) -> {', '.join(filter(None, what))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200, help="random ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    step = QUICK_STEP if options.quick else 1
    with tempfile.TemporaryDirectory() as folder:
        site = undisturbed(make_site(Path(folder), EMBEDDER))
        assert site.run is not None
        events, count = site.run.events, QUICK_TRIALS if options.quick else options.trials
        trials = {
            "at each change": list(every_change(events, step)),
            "power cuts": list(power_cuts(events, step)),
            "random": list(random_trials(events, site.run.seconds, count, options.seed)),
        }
        verdicts = run_all(site, trials)
    lazy = unsynced(events, site.expected)
    bad = [verdict for each in verdicts.values() for verdict in each if not verdict.sound]
    if options.json:
        found = {kind: [asdict(verdict) for verdict in each] for kind, each in verdicts.items()}
        print(json.dumps({"seed": options.seed, "changes": len(events), "unsynced": lazy, **found}, indent=1))
    else:
        print(f"{len(events)} changes of files in one build; seed {options.seed}; {len(lazy)} files not synced\n")
        print(table(verdicts))
        print("\n".join(["", *lazy, *map(explain, bad)]))
    sys.exit(bool(bad or lazy))


if __name__ == "__main__":
    main()
