"""Plain JSON Lines for a custom loader: messages, image paths in the order of the placeholders, and the record."""

import json

from mvp_data.export.target import ExportReport, Item, Row, Target, truth
from mvp_data.shards.prompt import messages
from mvp_data.shards.record import to_json


def _row(item: Item) -> Row:
    record = json.loads(to_json(item.record))
    return {"messages": messages(item.record, item.prompt), "images": item.images, **truth(item), "record": record}


def _training(report: ExportReport) -> str:
    return """
One JSON object per line: `messages` (text and image placeholders), `images` (one path per placeholder, relative to this
folder), `answer` (such as `CAFB`), `pool` (number of labels to choose from), `ordered` (whether their order counts),
`record` (the JSON of the sample in the shard). To compute the reward:

    from mvp_train.reward import RewardConfig, score
    score(completion, row["answer"], row["pool"], RewardConfig(), ordered=row["ordered"]).reward
"""


TARGET = Target(name="jsonl", format="jsonl", row=_row, training=_training, reward="mvp_train.reward.score")
