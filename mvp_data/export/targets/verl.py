"""verl: rows for its `RLHFDataset`, with the ground truth in `reward_model` and the rest in `extra_info`."""

from mvp_data.export.target import (
    ExportReport,
    Item,
    Row,
    Target,
    facts,
    ground_truth,
    one_message,
    parquet_files,
    truth,
)


def _row(item: Item) -> Row:
    """One row. `data_source` holds the task, because verl reports validation for each `data_source`."""
    return {
        "data_source": item.record.task,
        "prompt": one_message(item),
        "images": item.images,
        "ability": "mvp",
        "reward_model": {"style": "rule", "ground_truth": ground_truth(item.record)},
        "extra_info": {"split": item.record.split, "index": item.number, **truth(item), **facts(item)},
    }


def _training(report: ExportReport) -> str:
    return f"""
    python -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\
      {parquet_files(report)} data.image_key=images \\
      data.max_prompt_length={report.prompt_tokens} data.max_response_length={report.answer_tokens} \\
      reward.custom_reward_function.path=pkg://mvp_train.adapters \\
      reward.custom_reward_function.name=verl_score \\
      actor_rollout_ref.model.path=Qwen/Qwen2.5-VL-7B-Instruct actor_rollout_ref.rollout.name=vllm \\
      actor_rollout_ref.rollout.n=8 data.train_batch_size=64

Run this command in this folder; on several machines, use absolute paths. For other options (batch sizes per GPU,
parallelism) see the documentation of verl. Install `mvp_train` on all machines that run its workers.
`reward_model.ground_truth` is, for example, `CAFB/8`: the answer, then the number of labels to choose from, then `/any`
if the order does not count. `data_source` is the task, so verl reports validation for each task.
"""


TARGET = Target(name="verl", format="parquet", row=_row, training=_training, reward="mvp_train.adapters.verl_score")
