"""ms-swift: its standard columns, and the column `solution`, which it passes to the reward."""

from mvp_data.export.target import ADAPTERS_FILE, ExportReport, Item, Row, Target, facts, ground_truth, one_message


def _row(item: Item) -> Row:
    solution = ground_truth(item.record)
    return {"messages": one_message(item), "images": item.images, "solution": solution, **facts(item)}


def _training(report: ExportReport) -> str:
    first = next(iter(report.splits))
    others = [split for split in report.splits if split != "train"]
    val = f" --val_dataset {others[0]}.jsonl" if others and "train" in report.splits else ""
    return f"""
    ROOT_IMAGE_DIR=. swift rlhf --rlhf_type grpo --model Qwen/Qwen2.5-VL-7B-Instruct --use_hf true \\
      --dataset {first}.jsonl{val} --load_from_cache_file false \\
      --external_plugins {ADAPTERS_FILE} --reward_funcs mvp \\
      --max_length {report.prompt_tokens} --max_completion_length {report.answer_tokens} --num_generations 8

Run this command in this folder. The plugin registers the reward as `mvp`. The reward reads `solution`, such as
`CAFB/8`: the answer, then the number of labels to choose from, then `/any` if the order does not count.
`ROOT_IMAGE_DIR` is the root of the image paths.
"""


TARGET = Target(name="ms-swift", format="jsonl", row=_row, training=_training, reward="mvp_train.adapters.SwiftReward")
