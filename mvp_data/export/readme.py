"""The texts beside exported rows: how to train on them, generated from what was written."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ABOUT_NAME = "export.json"  # says whose folder it is, and once all is there, what it holds
UNFINISHED = '{"complete": false}\n'
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
TEXT_TOKENS = 512  # the question and the chat template
PICTURE_TOKENS = 16  # around a picture: its label or time, the marks of its begin and end
PATCH_PX = 28  # Qwen2.5-VL makes a token of 28 x 28 px, Qwen3-VL of 32 x 32
ANSWER_TOKENS, THINKING_TOKENS = 128, 2048
PARQUET_TARGETS = ("trl", "verl", "easyr1")
_ADAPTERS = '$(python -c "import mvp_train.adapters as a; print(a.__file__)")'


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What an export wrote. `left_out` counts samples by reason: always_the_same, not_measured."""

    out: Path
    to: str
    samples: int
    splits: dict[str, int]
    tasks: dict[str, int]
    left_out: dict[str, int]
    pictures: int  # of the sample that has most
    width_px: int  # of the widest picture
    height_px: int
    thinking: bool
    timestamps: bool

    @property
    def prompt_tokens(self) -> int:
        """A round limit for prompts that Qwen2.5-VL's stay below, pictures at full size."""
        picture = math.ceil(self.width_px / PATCH_PX) * math.ceil(self.height_px / PATCH_PX)
        return math.ceil((self.pictures * (picture + PICTURE_TOKENS) + TEXT_TOKENS) / 1024) * 1024

    @property
    def answer_tokens(self) -> int:
        """Room for an answer, with reasoning where the prompt asks for it."""
        return THINKING_TOKENS if self.thinking else ANSWER_TOKENS

    def file(self, split: str) -> str:
        """Name of the file that holds a split."""
        return f"{split}.{'parquet' if self.to in PARQUET_TARGETS else 'jsonl'}"


def texts(report: ExportReport) -> dict[str, str]:
    """Name and content of each text file of the folder; `export.json` is the last."""
    about = {**asdict(report), "complete": True}
    del about["out"]  # a folder may move
    files = {"README.md": readme(report)}
    if report.to == "trl":
        files["grpo.yaml"] = grpo_yaml(report)
    if report.to == "llamafactory":
        files["dataset_info.json"] = json.dumps(dataset_info(report), indent=1) + "\n"
    return {**files, ABOUT_NAME: json.dumps(about, indent=1, sort_keys=True) + "\n"}


def readme(report: ExportReport) -> str:
    """A dataset card with the command that trains on the folder."""
    splits = [f'  - split: {HUB_SPLITS[split]}\n    path: "{report.file(split)}"' for split in report.splits]
    counts, tasks = (
        ", ".join(f"{name} {count}" for name, count in part.items()) for part in (report.splits, report.tasks)
    )
    return _README.format(
        data_files="\n".join(splits),
        to=report.to,
        counts=counts,
        tasks=tasks,
        pictures=report.pictures,
        size=f"{report.width_px}x{report.height_px}",
        prompt_tokens=report.prompt_tokens,
        how=_HOW[report.to](report).strip("\n"),
    )


def grpo_yaml(report: ExportReport) -> str:
    """The configuration that the stock `trl grpo` takes; its reward is a dotted path into `mvp_train`."""
    train, *others = (HUB_SPLITS[split] for split in report.splits)
    return _GRPO_YAML.format(
        folder=json.dumps(str(report.out.resolve()), ensure_ascii=False),  # a JSON string is a YAML one
        train=train,
        test=others[0] if others else train,
        answer_tokens=report.answer_tokens,
    )


def dataset_info(report: ExportReport) -> dict[str, Mapping[str, object]]:
    """LLaMA-Factory's list of the data sets in a folder."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    return {
        f"mvp_{split}": {"file_name": report.file(split), "formatting": "sharegpt", "columns": columns, "tags": tags}
        for split in report.splits
    }


def _trl(report: ExportReport) -> str:
    return """
    trl grpo --config grpo.yaml

Any key of `grpo.yaml` can be given on the command line: `--model_name_or_path`, `--num_generations`. If this folder
moves, change `dataset_name` there. The reward is `mvp_train.reward.mvp_reward`; it reads the columns `answer`,
`pool`, `ordered` and `task`. In Python `datasets.load_dataset` of this folder gives messages and PIL images.
"""


def _verl(report: ExportReport) -> str:
    return f"""
    python -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\
      {_data_files(report)} data.image_key=images \\
      data.max_prompt_length={report.prompt_tokens} data.max_response_length={report.answer_tokens} \\
      reward.custom_reward_function.path=pkg://mvp_train.adapters \\
      reward.custom_reward_function.name=verl_score \\
      actor_rollout_ref.model.path=Qwen/Qwen2.5-VL-7B-Instruct actor_rollout_ref.rollout.name=vllm \\
      actor_rollout_ref.rollout.n=8 data.train_batch_size=64

in this folder; on several machines give whole paths. The rest (batch sizes per GPU, parallelism) is verl's, and
`mvp_train` must be installed where its workers run. `reward_model.ground_truth` is `CAFB/8`: the answer and the
number of labels to choose from, with `/any` behind it where order does not count. `data_source` is the task, so
validation is reported for each.
"""


def _easyr1(report: ExportReport) -> str:
    return f"""
    python3 -m verl.trainer.main config=examples/config.yaml \\
      {_data_files(report)} \\
      data.prompt_key=problem data.answer_key=answer data.image_key=images \\
      data.format_prompt=null data.min_pixels=3136 \\
      data.max_prompt_length={report.prompt_tokens} data.max_response_length={report.answer_tokens} \\
      worker.rollout.limit_images={report.pictures} \\
      worker.reward.reward_function={_ADAPTERS}:easyr1_score

in EasyR1's folder, with paths to this one. `format_prompt=null`: the question already says how to answer.
`min_pixels=3136`: its default of 262,144 enlarges smaller pictures. Where the configuration
has `worker.reward.reward_type` it is `batch`. `answer` is `CAFB/8`: the answer and the number of
labels to choose from, with `/any` behind it where order does not count.
"""


def _swift(report: ExportReport) -> str:
    others = [split for split in report.splits if split != "train"]
    val = f" --val_dataset {report.file(others[0])}" if others and "train" in report.splits else ""
    return f"""
    ROOT_IMAGE_DIR=. swift rlhf --rlhf_type grpo --model Qwen/Qwen2.5-VL-7B-Instruct --use_hf true \\
      --dataset {report.file(next(iter(report.splits)))}{val} --load_from_cache_file false \\
      --external_plugins {_ADAPTERS} --reward_funcs mvp \\
      --max_length {report.prompt_tokens} --max_completion_length {report.answer_tokens} --num_generations 8

in this folder. The plugin registers the reward as `mvp`; it reads `solution`, `CAFB/8`: the answer and the number of
labels to choose from, with `/any` behind it where order does not count. Pictures are found from `ROOT_IMAGE_DIR`.
"""


def _llamafactory(report: ExportReport) -> str:
    train, *others = report.splits
    val = f" eval_dataset=mvp_{others[0]}" if others else ""
    return f"""
LLaMA-Factory has no GRPO: this is supervised fine-tuning on the true answers, as a warm-up or a baseline.

    llamafactory-cli train stage=sft do_train=true model_name_or_path=Qwen/Qwen2.5-VL-7B-Instruct template=qwen2_vl \\
      dataset_dir=. media_dir=. dataset=mvp_{train}{val} cutoff_len={report.prompt_tokens + report.answer_tokens} \\
      finetuning_type=lora output_dir=output

in this folder.
"""


def _jsonl(report: ExportReport) -> str:
    return """
One JSON object a line: `messages` (text and image placeholders), `images` (paths from this folder, one a placeholder),
`answer` (`CAFB`), `pool` (number of labels to choose from), `ordered` (whether their order counts), `record`
(everything the shard says of the sample). The reward:

    from mvp_train.reward import RewardConfig, score
    score(completion, row["answer"], row["pool"], RewardConfig(), ordered=row["ordered"]).reward
"""


def _data_files(report: ExportReport) -> str:
    train, *others = report.splits
    return f"data.train_files={report.file(train)} data.val_files={report.file(others[0] if others else train)}"


_HOW = {
    "trl": _trl,
    "verl": _verl,
    "easyr1": _easyr1,
    "ms-swift": _swift,
    "llamafactory": _llamafactory,
    "jsonl": _jsonl,
}
_README = """---
configs:
- config_name: default
  data_files:
{data_files}
---

# Masked video prediction puzzles, for {to}

Made by `mvp-data export`. Samples: {counts}. Tasks: {tasks}. Up to {pictures} pictures a sample, up to {size} px;
prompts of Qwen2.5-VL stay below {prompt_tokens} tokens.

## Train

{how}
"""
_GRPO_YAML = """# trl grpo --config grpo.yaml
model_name_or_path: Qwen/Qwen2.5-VL-7B-Instruct
dtype: bfloat16
use_peft: true
lora_target_modules: [q_proj, k_proj, v_proj, o_proj]  # of the language model
dataset_name: {folder}
dataset_train_split: {train}
dataset_test_split: {test}
reward_funcs: [mvp_train.reward.mvp_reward]
output_dir: output
learning_rate: 1.0e-5
num_generations: 8
max_completion_length: {answer_tokens}
logging_steps: 1
"""
