"""LLaMA-Factory: ShareGPT rows with the right answer, for supervised fine-tuning, because it has no GRPO."""

import json

from mvp_data.export.target import ExportReport, Item, Row, Target, facts, one_message


def _row(item: Item) -> Row:
    answer = {"role": "assistant", "content": f"<answer>{', '.join(item.record.answer)}</answer>"}
    return {"messages": [*one_message(item), answer], "images": item.images, **facts(item)}


def _training(report: ExportReport) -> str:
    train, *others = report.splits
    val = f" eval_dataset=mvp_{others[0]}" if others else ""
    return f"""
LLaMA-Factory has no GRPO: this is supervised fine-tuning on the right answers, as a warm-up or a baseline.

    llamafactory-cli train stage=sft do_train=true model_name_or_path=Qwen/Qwen2.5-VL-7B-Instruct template=qwen2_vl \\
      dataset_dir=. media_dir=. dataset=mvp_{train}{val} cutoff_len={report.prompt_tokens + report.answer_tokens} \\
      finetuning_type=lora output_dir=output

Run this command in this folder.
"""


def _dataset_info(report: ExportReport) -> str:
    """The content of `dataset_info.json`, in which LLaMA-Factory looks up datasets."""
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {
        f"mvp_{split}": {"file_name": f"{split}.jsonl", "formatting": "sharegpt", "columns": columns, "tags": tags}
        for split in report.splits
    }
    return json.dumps(info, indent=1) + "\n"


TARGET = Target(
    name="llamafactory", format="jsonl", row=_row, training=_training, files={"dataset_info.json": _dataset_info}
)
