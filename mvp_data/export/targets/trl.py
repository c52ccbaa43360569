"""TRL: `datasets.load_dataset(folder)` gives messages and PIL images; `trl grpo` trains with the exported YAML file."""

import json

from mvp_data.export.target import HUB_SPLITS, ExportReport, Item, Row, Target, facts, truth
from mvp_data.shards.prompt import messages


def _row(item: Item) -> Row:
    """Messages, images, and the ground truth as columns, which TRL passes to the reward."""
    return {"prompt": messages(item.record, item.prompt), "images": item.images, **truth(item), **facts(item)}


def _training(report: ExportReport) -> str:
    return """
    trl grpo --config grpo.yaml

Run this command in this folder. Options on the command line override `grpo.yaml`, for example `--num_generations 4`. If
you move this folder, change `dataset_name` in the file. The reward `mvp_train.reward.mvp_reward` reads the columns
`answer`, `pool`, `ordered` and `task`. In Python, `datasets.load_dataset` of this folder returns messages and PIL
images.
"""


def _grpo_yaml(report: ExportReport) -> str:
    """The configuration file of `trl grpo`."""
    train, *others = (HUB_SPLITS[split] for split in report.splits)
    return _GRPO_YAML.format(
        folder=json.dumps(str(report.out.resolve()), ensure_ascii=False),  # a JSON string is a YAML string
        train=train,
        test=others[0] if others else train,
        reward=TARGET.reward,
        answer_tokens=report.answer_tokens,
    )


_GRPO_YAML = """# trl grpo --config grpo.yaml
model_name_or_path: Qwen/Qwen2.5-VL-7B-Instruct
dtype: bfloat16
use_peft: true
lora_target_modules: [q_proj, k_proj, v_proj, o_proj]  # of the language model
dataset_name: {folder}
dataset_train_split: {train}
dataset_test_split: {test}
reward_funcs: [{reward}]
output_dir: output
learning_rate: 1.0e-5
num_generations: 8
max_completion_length: {answer_tokens}
logging_steps: 1
"""

TARGET = Target(
    name="trl",
    format="parquet",
    row=_row,
    training=_training,
    files={"grpo.yaml": _grpo_yaml},
    reward="mvp_train.reward.mvp_reward",
)
