"""Completions graded per second by the reward, and its time on texts that are made slow to parse.

    python benchmarks/reward.py          # some 10 CPU seconds
    python benchmarks/reward.py --quick --json

CPU seconds of one core, best of several rounds. "Without memo" grades every answer again; the shipped reward caches the
grades of the few ways (209 for K = 4) in which an answer can be more or less right. "As TRL calls it" has rows of two
tasks, `mvp` and `select`, whose parts are logged separately. The bar is 200,000/s.
Left out: generation and everything else of a training step.
"""

import argparse
import json
import time
from collections.abc import Callable

from mvp_data.core.seeds import shuffled
from mvp_data.shards.record import LABELS
from mvp_train import reward
from mvp_train.reward import MvpReward, RewardConfig, score

K, POOL = 4, 8
ANSWER = "CAFB"
WEIGHTS = RewardConfig()
THOUGHT = "The dog jumps over the left box, then it turns; frame <C> shows that before A.\n"
SLOW_TEXTS = {
    "`<answer>` repeated": "<answer>" * 125_000,
    "`</answer>` repeated": "</answer>" * 111_111,
    "`<` repeated": "<" * 1_000_000,
    "`<` and spaces": "<" + " " * 999_999,
    "`<answer` and line breaks": "<answer" + "\n" * 999_993,
    "half a million labels": "<answer>" + "A " * 499_991 + "</answer>",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the reward.")
    parser.add_argument("--quick", action="store_true", help="fewer completions and rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    count, rounds = (4_000, 3) if options.quick else (20_000, 9)
    result = {
        "completions_per_s": throughput(count, rounds),
        "ms_for_a_megabyte": {name: round(milliseconds(text, rounds), 1) for name, text in SLOW_TEXTS.items()},
    }
    print(json.dumps(result, indent=1) if options.json else tables(result))


def completions(count: int) -> dict[str, list[str]]:
    """Texts of each kind; the answers in them are random valid ones."""
    picks = [shuffled(LABELS[:POOL], "benchmark", i)[:K] for i in range(count)]
    short = [f"<answer>{', '.join(labels)}</answer>" for labels in picks]
    thought = (THOUGHT * 20)[:1000]
    return {
        "answer alone": short,
        "1,000 characters, then the answer": [f"<think>{thought}</think>{text}" for text in short],
        "1,000 characters, no answer": [f"{thought}{i}" for i in range(count)],
    }


def throughput(count: int, rounds: int) -> dict[str, dict[str, int]]:
    """Completions per second of each kind: shipped, without the memo, and called as TRL does, with logging."""
    rates = {}
    for name, texts in completions(count).items():
        messages = [[{"role": "assistant", "content": text}] for text in texts]
        rates[name] = {
            "score": per_s(lambda texts=texts: grade(texts), count, rounds),
            "as TRL calls it": per_s(lambda messages=messages: call(messages), count, rounds),
        }
        memoised = reward._grade
        reward._grade = memoised.__wrapped__
        rates[name]["score, without memo"] = per_s(lambda texts=texts: grade(texts), count, rounds)
        rates[name]["as TRL calls it, without memo"] = per_s(lambda messages=messages: call(messages), count, rounds)
        reward._grade = memoised
    return rates


def grade(texts: list[str]) -> None:
    for text in texts:
        score(text, ANSWER, POOL, WEIGHTS)


def call(messages: list[list[dict[str, str]]]) -> None:
    size = len(messages)
    logged: dict[str, float] = {}
    columns = {"answer": [ANSWER] * size, "pool": [POOL] * size}
    tasks = {"ordered": [True, False] * (size // 2), "task": ["mvp", "select"] * (size // 2)}
    MvpReward(WEIGHTS)(completions=messages, log_metric=logged.__setitem__, **columns, **tasks)


def milliseconds(text: str, rounds: int) -> float:
    return seconds(lambda: score(text, ANSWER, POOL, WEIGHTS), rounds) * 1000


def per_s(work: Callable[[], object], count: int, rounds: int) -> int:
    return round(count / seconds(work, rounds))


def seconds(work: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def tables(result: dict[str, dict]) -> str:
    """Both results as Markdown."""
    rates, slow = result["completions_per_s"], result["ms_for_a_megabyte"]
    columns = list(next(iter(rates.values())))
    lines = [f"| completions/s | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[c]:,}' for c in columns)} |" for name, row in rates.items()]
    lines += ["", "| 1 MB of | ms |", "|---|---|", *(f"| {name} | {ms} |" for name, ms in slow.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
