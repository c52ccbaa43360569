"""Rows: which samples are shown, in what order, and what TRL gets of each. The only module that names datasets.

    >>> rows = to_dataset(select(recipe.data), recipe.prompt)  # doctest: +SKIP
    >>> sorted(rows[0])  # doctest: +SKIP
    ['answer', 'difficulty', 'images', 'key', 'ordered', 'pool', 'prompt', 'row', 'task']

Choosing works on whole columns of the offset indexes; no picture is read before its row is asked for.
"""

import io
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.errors import ConfigError, ShardError
from mvp_data.jpeg import jpeg_size, scan_start
from mvp_data.prompt import PromptConfig, messages, pictures
from mvp_data.schema import REBUILD
from mvp_data.seeds import stable_hash, unit
from mvp_data.shard_set import ShardSet, open_shards
from mvp_data.shards import Sample
from mvp_data.tasks import TASKS
from mvp_train.recipe import DataConfig

if TYPE_CHECKING:
    from PIL.Image import Image

# What no entropy-coded data holds: a marker that is neither a restart nor the start of a further scan.
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xda\xdd\xff]")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """The chosen samples in order: `rows[i]` counts through all samples of the first set, then of the second, ..."""

    sets: tuple[ShardSet, ...]
    rows: Any  # numpy int64 array; a sample of weight 2 is in it twice

    def __len__(self) -> int:
        """How many rows are shown in one epoch."""
        return len(self.rows)

    def __getitem__(self, number: int) -> Sample:
        """Row `number`, read and checked; `ShardError` if it is damaged."""
        row = int(self.rows[number])
        for shards in self.sets:
            if row < len(shards):
                return shards.read(row)
            row -= len(shards)
        raise AssertionError("a row past the last set")

    def one_of_each_shape(self) -> list[int]:
        """The first row of each kind of sample: task, K, l, number of context frames, size of the pictures."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        tasks = pc.index_in(_column(self.sets, "task").take(self.rows), value_set=pa.array(TASKS))
        kinds = tasks.to_numpy().astype(np.int64)
        for name, bits in (("k", 5), ("l", 5), ("context", 7), ("width_px", 16), ("height_px", 16)):
            kinds = (kinds << bits) | _column(self.sets, name).take(self.rows).to_numpy()
        return sorted(int(first) for first in np.unique(kinds, return_index=True)[1])

    @property
    def tasks(self) -> dict[str, int]:
        """Number of rows of each task."""
        counted = Counter(_column(self.sets, "task").take(self.rows).to_pylist())
        return {task: counted[task] for task in TASKS if counted[task]}

    @property
    def keys(self) -> list[str]:
        """Key of each row; made anew at each call."""
        return list(_column(self.sets, "key").take(self.rows).to_pylist())


def select(data: DataConfig) -> Samples:
    """The samples that a recipe asks for: split, then tasks, pass rates, weights, order, limit.

    `limit` takes the first N of the order: the easiest of a curriculum, a random subset where shuffled.

    Raises:
        ConfigError: nothing is left to show, or the pass rates cannot be used.
        ShardError: shards are missing, damaged, or of another schema version.
    """
    import numpy as np
    import pyarrow.compute as pc

    cache = Path(data.cache).expanduser() if data.cache else None
    sets = tuple(open_shards(item.path, cache=cache) for item in data.shards)
    rows = np.flatnonzero(pc.equal(_column(sets, "split"), data.split).to_numpy())
    if not len(rows):
        found = "; ".join(f"{shards.location}: {_splits(shards)}" for shards in sets)
        raise ConfigError(
            f"data.split: there are no samples of split {data.split!r} ({found}): "
            "choose another split, or build with more videos or a larger --val-share"
        )
    if data.tasks:
        rows = _of_tasks(rows, sets, data)
    if data.pass_rates:
        rows = _with_pass_rate(rows, sets, data)
    rows = _weighted(rows, sets, data)
    rows = _ordered(rows, sets, data)
    return Samples(sets=sets, rows=rows[: data.limit] if data.limit else rows)


def to_row(sample: Sample, prompt: PromptConfig) -> dict[str, Any]:
    """The row of a sample as TRL takes it: the n-th picture belongs to the n-th placeholder of the prompt.

    Raises `ShardError`, with the name of the file, for a picture that cannot be decoded.
    """
    record, jpegs = sample.record, pictures(sample, prompt)
    names = record.member_names[-len(jpegs) :]  # the candidates come last, so they are left where the context is hidden
    return {
        "prompt": messages(record, prompt),
        "images": [_decode(data, name) for data, name in zip(jpegs, names, strict=True)],
        "answer": "".join(record.answer),
        "pool": record.question.choices,
        "ordered": record.question.ordered,
        "task": record.task,
        "key": record.key,
        "difficulty": record.difficulty,
    }


def to_dataset(samples: Samples, prompt: PromptConfig) -> Any:
    """A `datasets.Dataset` of row numbers that turn into rows when read: TRL takes no other map-style dataset."""
    import datasets
    import numpy as np

    numbers = datasets.Dataset.from_dict({"row": np.arange(len(samples))})
    return numbers.with_transform(_ToRows(samples, prompt))


class _ToRows:
    """Makes rows of a batch of row numbers; picklable, for the workers of a DataLoader.

    TRL reads the batch of one generation once for each update that it serves: the last batch is kept decoded.
    """

    def __init__(self, samples: Samples, prompt: PromptConfig) -> None:
        self._samples, self._prompt, self._last = samples, prompt, dict[int, dict[str, Any]]()

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Columns of the batch; a number that comes several times, as in a group of GRPO, is decoded once."""
        self._last = {number: self._last.get(number) or self._row(number) for number in dict.fromkeys(batch["row"])}
        rows = [self._last[number] for number in batch["row"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _row(self, number: int) -> dict[str, Any]:
        return {**to_row(self._samples[number], self._prompt), "row": number}


def _splits(shards: ShardSet) -> str:
    """`train 90, test 10`."""
    return _counts(shards.table["split"]) or "empty"


def _counts(column: Any) -> str:
    return ", ".join(f"{count['values']} {count['counts']}" for count in column.value_counts().to_pylist())


def _of_tasks(rows: Any, sets: tuple[ShardSet, ...], data: DataConfig) -> Any:
    """The rows of samples of some tasks; says which of them have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _column(sets, "task").take(rows)
    if missing := sorted({*data.tasks} - {*column.unique().to_pylist()}):
        problem = f"data.tasks: split {data.split!r} has no samples of {', '.join(missing)} ({_counts(column)})"
        if len(missing) == len({*data.tasks}):
            raise ConfigError(f"{problem}: name others, or build them with `mvp-data build --tasks`")
        print(problem, file=sys.stderr)
    return rows[pc.is_in(column, value_set=pa.array(data.tasks)).to_numpy()]


def _weighted(rows: Any, sets: tuple[ShardSet, ...], data: DataConfig) -> Any:
    """`rows` as often as weights say; of 2.3, each twice and a share of .3, chosen by key, once more."""
    import numpy as np

    parts, first = [], 0
    for item, shards in zip(data.shards, sets, strict=True):
        mine = rows[(rows >= first) & (rows < first + len(shards))]
        parts += [mine] * int(item.weight)
        if share := item.weight % 1:
            keys = shards.table["key"].take(mine - first).to_pylist()
            parts.append(mine[np.array([unit("weight", data.seed, key) < share for key in keys], dtype=bool)])
        first += len(shards)
        if not len(mine):
            print(f"{item.path}: none of its samples is shown ({_splits(shards)})", file=sys.stderr)
    rows = np.concatenate(parts)
    if not len(rows):
        raise ConfigError("data.shards: the weights leave no sample: raise them")
    return rows


def _with_pass_rate(rows: Any, sets: tuple[ShardSet, ...], data: DataConfig) -> Any:
    """The rows of samples whose completions earned different rewards, with a pass rate in the range; says how many."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(data.pass_rates, columns=["key", "rollouts", "correct", "reward_std"])
        rates = pc.divide(table["correct"].cast(pa.float64()), table["rollouts"].cast(pa.float64())).to_numpy()
        at = pc.index_in(_column(sets, "key").take(rows), value_set=table["key"].combine_chunks())
    except (OSError, pa.ArrowException, KeyError) as error:
        problem = " ".join(str(error).split())
        raise ConfigError(
            f"data.pass_rates: {data.pass_rates} is no output of `mvp-train filter` ({problem})"
        ) from error
    known = at.is_valid().to_numpy()
    place = at.drop_null().to_numpy()
    flat, rate = table["reward_std"].to_numpy()[place] <= 0, rates[place]
    outside = ~flat & ~((rate >= data.min_pass_rate) & (rate <= data.max_pass_rate))
    kept = rows[known][~(flat | outside)]
    span = f"[{data.min_pass_rate:g}, {data.max_pass_rate:g}]"
    counts = f"{flat.sum()} earn always the same, {outside.sum()} are outside {span}, {(~known).sum()} were not asked"
    print(f"pass rates: {len(kept)} of {len(rows)} samples are left; {counts}", file=sys.stderr)
    if not len(kept):
        raise ConfigError(f"data.pass_rates: {data.pass_rates} leaves no sample ({counts})")
    return kept


def _ordered(rows: Any, sets: tuple[ShardSet, ...], data: DataConfig) -> Any:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if data.order == "as_written":
        return rows
    if data.order == "shuffled":
        return np.random.default_rng(stable_hash("order", data.seed)).permutation(rows)
    columns = {name: _column(sets, name).take(rows) for name in ("difficulty", "key")}
    order = pc.sort_indices(pa.table(columns), sort_keys=[("difficulty", "ascending"), ("key", "ascending")])
    return rows[order.to_numpy()]


def _column(sets: tuple[ShardSet, ...], name: str) -> Any:
    """One column of all sets, one after the other."""
    import pyarrow as pa

    columns = [shards.table[name] for shards in sets]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)


def _decode(data: bytes, name: str) -> "Image":
    """The picture in a JPEG.

    Pillow lets libjpeg fill up with grey what it cannot read, so stray markers, which is what damaged data shows, are
    looked for first. A flipped bit that leaves no such trace is found by comparing the checksums in `index.json` alone.
    """
    from PIL import Image

    if _STRAY_MARKER.search(data, scan_start(data), len(data) - 2):
        raise ShardError(f"{name}: damaged inside the JPEG: {REBUILD}")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.size != jpeg_size(data):  # which is the record's; a second header may state another one
                raise ValueError("it states two sizes")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for bad data
        raise ShardError(f"{name}: cannot be decoded ({error}): {REBUILD}") from error
