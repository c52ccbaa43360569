"""Small valid samples of every task; those of tests/samples.py are all `mvp`."""

from dataclasses import replace
from math import comb, perm
from pathlib import Path

from mvp_data.shards.index import ShardInfo
from mvp_data.shards.record import LABELS
from mvp_data.shards.tar import Sample, write_shard
from mvp_data.tasks.catalogue import TASKS
from tests.samples import make_folder, make_sample

QUESTIONS = {name: task.question(4, task.pool_size(4)) for name, task in TASKS.items()}  # of `make_task_sample`
ANY_ORDER = [name for name, asked in QUESTIONS.items() if not asked.ordered or asked.slots == 1]
EXACT_BY_CHANCE = {name: 1 / (perm if q.ordered else comb)(q.choices, q.slots) for name, q in QUESTIONS.items()}


def make_task_sample(
    task: str, number: int = 0, *, k: int = 4, distractors: int = 4, context: int = 12, split: str = "train"
) -> Sample:
    """Sample `number` of a task; an `arrow` runs backwards if the number is odd."""
    asked = TASKS[task]
    shape = {"k": k, "distractors": asked.pool_size(distractors), "context": context, "split": split}
    made = make_sample(number, mask_start=context if asked.gap_at_end else context // 2, **shape)
    pool = list(zip(made.record.candidates, made.candidates, strict=True))
    if asked.in_a_row:
        pool.sort(key=lambda item: item[0].order, reverse=number % 2 == 1)
    candidates = tuple(replace(c, label=label) for label, (c, _) in zip(LABELS, pool, strict=False))
    key = made.record.key if asked.main else f"{task}-{made.record.key}"
    record = replace(
        made.record, key=key, task=task, candidates=candidates, answer=TASKS[task].right_answer(candidates)
    )
    return replace(made, record=record, candidates=tuple(jpeg for _, jpeg in pool))


def make_mixed_folder(folder: Path, each: int = 2, **sample: object) -> Path:
    """A build with one shard of `each` samples for every task."""
    folder.mkdir(parents=True, exist_ok=True)
    infos: list[ShardInfo] = []
    for task in TASKS:
        name = f"{TASKS[task].shard_stem('shard')}-000000.tar"
        samples = (make_task_sample(task, i, **sample) for i in range(each))  # type: ignore[arg-type]
        infos.append(write_shard(folder / name, samples))
    make_folder(folder, infos)
    return folder
