"""The `Target` class, which describes the dataset format of one trainer, and helpers that several targets share.

The text of the question comes only from `mvp_data.shards.prompt`. Some trainers have a single column for the ground
truth. It contains `CAFB/8`: the answer, then the number of labels to choose from; if the order does not count,
`ABCF/8/any`. The rewards of `mvp_train.adapters` need only this string. A file may contain several tasks; each row
names its task.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mvp_data.shards.prompt import PromptConfig, flat_text
from mvp_data.shards.record import Record

Row: TypeAlias = dict[str, Any]

HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
TEXT_TOKENS = 512  # the question and the chat template
PICTURE_TOKENS = 16  # around each image: its label or time, and its begin and end tokens
PATCH_PX = 28  # side of the image area per token in Qwen2.5-VL; Qwen3-VL uses 32
ANSWER_TOKENS, THINKING_TOKENS = 128, 2048
ADAPTERS_FILE = '$(python -c "import mvp_train.adapters as a; print(a.__file__)")'  # for a shell


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """The input of a row function.

    `images` has one entry for each image placeholder of the prompt: for Parquet a dict `{"bytes", "path"}`, for JSON
    Lines a path relative to the export.
    """

    record: Record
    prompt: PromptConfig
    images: Sequence[Any]
    number: int  # of the sample in its split, from 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """The size and content of an export. `left_out` counts samples by reason: always_the_same, not_measured."""

    out: Path
    to: str
    samples: int
    splits: dict[str, int]
    tasks: dict[str, int]
    left_out: dict[str, int]
    pictures: int  # most images in one sample
    width_px: int  # of the widest image
    height_px: int  # of the tallest image
    thinking: bool
    timestamps: bool

    @property
    def prompt_tokens(self) -> int:
        """An upper bound on the tokens of a Qwen2.5-VL prompt with images at full size, in multiples of 1024."""
        image = math.ceil(self.width_px / PATCH_PX) * math.ceil(self.height_px / PATCH_PX)
        return math.ceil((self.pictures * (image + PICTURE_TOKENS) + TEXT_TOKENS) / 1024) * 1024

    @property
    def answer_tokens(self) -> int:
        """Tokens to reserve for a completion: more if the prompt asks for reasoning."""
        return THINKING_TOKENS if self.thinking else ANSWER_TOKENS


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The dataset format of one trainer."""

    name: str  # the value of `--to`
    format: Literal["parquet", "jsonl"]  # Parquet holds the images, JSON Lines their paths
    row: Callable[[Item], Row]
    training: Callable[[ExportReport], str]  # the section `Train` of the README
    files: Mapping[str, Callable[[ExportReport], str]] = field(default_factory=dict)  # name -> content, besides README
    reward: str = ""  # dotted path of the reward in `mvp_train`; empty for supervised fine-tuning

    def file(self, split: str) -> str:
        """Name of the file with the rows of a split."""
        return f"{split}.{self.format}"


def one_message(item: Item) -> list[dict[str, str]]:
    """The question as a single user message with `<image>` placeholders."""
    return [{"role": "user", "content": flat_text(item.record, item.prompt)}]


def truth(item: Item) -> Row:
    """The ground truth as columns: `answer` (`CAFB`), `pool` (number of labels), `ordered` (whether order counts)."""
    asked = item.record.question
    return {"answer": "".join(item.record.answer), "pool": asked.choices, "ordered": asked.ordered}


def ground_truth(record: Record) -> str:
    """The ground truth as one string: `CAFB/8`, or `ABCF/8/any` if the order does not count."""
    asked = record.question
    return f"{''.join(record.answer)}/{asked.choices}{'' if asked.ordered else '/any'}"


def facts(item: Item) -> Row:
    """The columns that describe a sample in every layout."""
    return {name: getattr(item.record, name) for name in ("key", "pair_id", "task", "k", "difficulty", "video_path")}


def parquet_files(report: ExportReport) -> str:
    """The command-line arguments for the data files, which verl and EasyR1 share."""
    train, *others = report.splits
    return f"data.train_files={train}.parquet data.val_files={others[0] if others else train}.parquet"
