"""The rows of an export: what one sample becomes in the layout of each project.

The words of the question come from `mvp_data.prompt` alone. Where a project has one column for the truth it holds
`CAFB/8`, the answer and how many labels there are to choose from, or `ABCF/8/any` where order does not count: all that
the rewards of `mvp_train.adapters` need. Samples of several tasks lie in one file; each row names its own.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mvp_data.prompt import PromptConfig, flat_text, messages
from mvp_data.schema import Record, to_json

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """What a row is made of; `images` has one entry a placeholder, bytes for Parquet and paths for JSON Lines."""

    record: Record
    prompt: PromptConfig
    images: Sequence[Any]
    number: int  # of the sample in its split, from 0


def trl_row(item: Item) -> Row:
    """`datasets.load_dataset(folder)` gives messages and PIL images; the truth reaches the reward as columns."""
    return {"prompt": messages(item.record, item.prompt), "images": item.images, **_truth(item), **_facts(item)}


def verl_row(item: Item) -> Row:
    """verl's RLHFDataset: `<image>` in the text, the truth in `reward_model`, the rest in `extra_info`.

    It reports validation for each `data_source`, so that is the task.
    """
    return {
        "data_source": item.record.task,
        "prompt": _one_message(item),
        "images": item.images,
        "ability": "mvp",
        "reward_model": {"style": "rule", "ground_truth": _ground_truth(item.record)},
        "extra_info": {"split": item.record.split, "index": item.number, **_truth(item), **_facts(item)},
    }


def easyr1_row(item: Item) -> Row:
    """EasyR1's RLHFDataset: one string with `<image>`, one string of truth."""
    text = flat_text(item.record, item.prompt)
    return {"problem": text, "answer": _ground_truth(item.record), "images": item.images, **_facts(item)}


def swift_row(item: Item) -> Row:
    """ms-swift's standard columns, and `solution`, which it keeps for the reward."""
    truth = _ground_truth(item.record)
    return {"messages": _one_message(item), "images": item.images, "solution": truth, **_facts(item)}


def llamafactory_row(item: Item) -> Row:
    """LLaMA-Factory's sharegpt rows with the true answer: it trains on examples, it has no GRPO."""
    answer = {"role": "assistant", "content": f"<answer>{', '.join(item.record.answer)}</answer>"}
    return {"messages": [*_one_message(item), answer], "images": item.images, **_facts(item)}


def jsonl_row(item: Item) -> Row:
    """Everything, for a loader of your own: messages, pictures in the order of the placeholders, the whole record."""
    record = json.loads(to_json(item.record))
    return {"messages": messages(item.record, item.prompt), "images": item.images, **_truth(item), "record": record}


PARQUET: dict[str, Callable[[Item], Row]] = {"trl": trl_row, "verl": verl_row, "easyr1": easyr1_row}
JSONL: dict[str, Callable[[Item], Row]] = {"ms-swift": swift_row, "llamafactory": llamafactory_row, "jsonl": jsonl_row}
TARGETS = (*PARQUET, *JSONL)


def _one_message(item: Item) -> list[dict[str, str]]:
    return [{"role": "user", "content": flat_text(item.record, item.prompt)}]


def _truth(item: Item) -> Row:
    asked = item.record.question
    return {"answer": "".join(item.record.answer), "pool": asked.choices, "ordered": asked.ordered}


def _ground_truth(record: Record) -> str:
    asked = record.question
    return f"{''.join(record.answer)}/{asked.choices}{'' if asked.ordered else '/any'}"


def _facts(item: Item) -> Row:
    record = item.record
    return {name: getattr(record, name) for name in ("key", "task", "k", "difficulty", "video_path")}
