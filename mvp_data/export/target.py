"""The `Target` object, which describes the dataset layout of one project, and parts that several targets share.

The text of the question comes only from `mvp_data.shards.prompt`. Some projects have a single column for the truth.
There it is `CAFB/8`: the answer, and the number of labels to choose from. Where order does not count it is
`ABCF/8/any`. The rewards of `mvp_train.adapters` need nothing else. One file may hold samples of several tasks; each
row names its own task.
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
PICTURE_TOKENS = 16  # around an image: its label or time, and its begin and end tokens
PATCH_PX = 28  # Qwen2.5-VL makes one token of 28 x 28 px, Qwen3-VL of 32 x 32
ANSWER_TOKENS, THINKING_TOKENS = 128, 2048
ADAPTERS_FILE = '$(python -c "import mvp_train.adapters as a; print(a.__file__)")'  # for a shell


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """The input of a row function.

    `images` has one entry for each image placeholder of the prompt: `{"bytes", "path"}` for Parquet, a path relative
    to the export for JSON Lines.
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
        """An upper limit for the tokens of a Qwen2.5-VL prompt with images at full size, in multiples of 1024."""
        image = math.ceil(self.width_px / PATCH_PX) * math.ceil(self.height_px / PATCH_PX)
        return math.ceil((self.pictures * (image + PICTURE_TOKENS) + TEXT_TOKENS) / 1024) * 1024

    @property
    def answer_tokens(self) -> int:
        """Tokens to reserve for a completion: more if the prompt asks for reasoning."""
        return THINKING_TOKENS if self.thinking else ANSWER_TOKENS


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """The dataset layout of one project."""

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
    """The truth as columns: `answer` (`CAFB`), `pool` (labels to choose from), `ordered` (whether order counts)."""
    asked = item.record.question
    return {"answer": "".join(item.record.answer), "pool": asked.choices, "ordered": asked.ordered}


def ground_truth(record: Record) -> str:
    """The truth as one string: `CAFB/8`, or `ABCF/8/any` where order does not count."""
    asked = record.question
    return f"{''.join(record.answer)}/{asked.choices}{'' if asked.ordered else '/any'}"


def facts(item: Item) -> Row:
    """The columns that describe a sample in every layout."""
    return {name: getattr(item.record, name) for name in ("key", "task", "k", "difficulty", "video_path")}


def parquet_files(report: ExportReport) -> str:
    """The arguments that name the data files, in the form that verl and EasyR1 share."""
    train, *others = report.splits
    return f"data.train_files={train}.parquet data.val_files={others[0] if others else train}.parquet"
