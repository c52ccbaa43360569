"""EasyR1: rows for its `RLHFDataset`, with the question and the ground truth as one string each."""

from mvp_data.export.target import ADAPTERS_FILE, ExportReport, Item, Row, Target, facts, ground_truth, parquet_files
from mvp_data.shards.prompt import flat_text


def _row(item: Item) -> Row:
    text = flat_text(item.record, item.prompt)
    return {"problem": text, "answer": ground_truth(item.record), "images": item.images, **facts(item)}


def _training(report: ExportReport) -> str:
    images = report.pictures
    return f"""
    python3 -m verl.trainer.main config=examples/config.yaml \\
      {parquet_files(report)} \\
      data.prompt_key=problem data.answer_key=answer data.image_key=images \\
      data.format_prompt=null data.min_pixels=3136 \\
      data.max_prompt_length={report.prompt_tokens} data.max_response_length={report.answer_tokens} \\
      worker.rollout.limit_images={images} \\
      worker.reward.reward_function={ADAPTERS_FILE}:easyr1_score

Run this command in the folder of EasyR1, with paths to this folder. `format_prompt=null`, because the question already
says how to answer. `min_pixels=3136`, because the default of 262,144 enlarges smaller images. If the configuration has
`worker.reward.reward_type`, set it to `batch`. `answer` is, for example, `CAFB/8`: the answer, then the number of
labels to choose from, then `/any` if the order does not count.
"""


TARGET = Target(name="easyr1", format="parquet", row=_row, training=_training, reward="mvp_train.adapters.easyr1_score")
