"""Training rows: which samples are shown, in what order, and the columns that TRL gets.

    >>> rows = to_dataset(select(recipe.data), recipe.prompt)  # doctest: +SKIP
    >>> sorted(rows[0])  # doctest: +SKIP
    ['answer', 'difficulty', 'images', 'key', 'ordered', 'pool', 'prompt', 'row', 'task']

Selection works on whole columns of the offset indexes; images are read with their row. The only module that names
datasets.
"""

import io
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.core.errors import ConfigError, ShardError
from mvp_data.core.jpeg import jpeg_size, scan_start
from mvp_data.core.seeds import stable_hash, unit
from mvp_data.core.text import one_line
from mvp_data.shards.prompt import PromptConfig, messages, pictures
from mvp_data.shards.reader import ShardSet, open_shards
from mvp_data.shards.record import REBUILD
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_train.recipe import DataConfig

if TYPE_CHECKING:
    from PIL.Image import Image

# A marker that entropy-coded data cannot hold: neither a restart nor the start of another scan.
_STRAY_MARKER = re.compile(rb"\xff[^\x00\xc4\xd0-\xd7\xda\xdd\xff]")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Samples:
    """The selected samples in order: `rows[i]` is an index into all samples of all sets, one set after the other."""

    sets: tuple[ShardSet, ...]
    rows: Any  # numpy int64 array; a sample of weight 2 is in it twice

    def __len__(self) -> int:
        """Number of rows in one epoch."""
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
        """The first row of each shape of sample: task, K, l, number of context frames, size of the frames."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        tasks = pc.index_in(_column(self.sets, "task").take(self.rows), value_set=pa.array(list(TASKS)))
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
        """Key of each row, as a new list."""
        return list(_column(self.sets, "key").take(self.rows).to_pylist())


def select(data: DataConfig) -> Samples:
    """Select the samples of a recipe: by split, tasks and pass rates, then weighted, ordered and limited.

    `limit` keeps the first N in that order: the easiest of a curriculum, a random subset of a shuffled set.

    Raises:
        ConfigError: no sample is left, or the pass rates cannot be read.
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
    """The row of a sample for TRL: the n-th image belongs to the n-th placeholder of the prompt.

    Raises:
        ShardError: an image cannot be decoded; the message names the file.
    """
    record, jpegs = sample.record, pictures(sample, prompt)
    names = record.member_names[-len(jpegs) :]  # without context, only the candidates: they come last
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
    """A `datasets.Dataset` of row numbers that become rows when read; TRL accepts no other map-style dataset."""
    import datasets
    import numpy as np

    numbers = datasets.Dataset.from_dict({"row": np.arange(len(samples))})
    return numbers.with_transform(_ToRows(samples, prompt))


class _ToRows:
    """Turns a batch of row numbers into rows; picklable, for the workers of a DataLoader.

    Keeps the last batch decoded, because TRL reads the batch of a generation again for each update.
    """

    def __init__(self, samples: Samples, prompt: PromptConfig) -> None:
        self._samples, self._prompt, self._last = samples, prompt, dict[int, dict[str, Any]]()

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        """Columns of the batch; a number that occurs several times, as in a GRPO group, is decoded once."""
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
    """The rows of the recipe's tasks; prints which of these tasks have no samples."""
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
    """Each row as often as its set's weight: for 2.3, twice, and once more for 30 % of the rows, chosen by key."""
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
            print(f"{item.path}: no sample of it is used ({_splits(shards)})", file=sys.stderr)
    rows = np.concatenate(parts)
    if not len(rows):
        raise ConfigError("data.shards: the weights leave no sample: raise them")
    return rows


def _with_pass_rate(rows: Any, sets: tuple[ShardSet, ...], data: DataConfig) -> Any:
    """The rows whose completions earned different rewards and whose pass rate is in the range; prints their number."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(data.pass_rates, columns=["key", "rollouts", "correct", "reward_std"])
        rates = pc.divide(table["correct"].cast(pa.float64()), table["rollouts"].cast(pa.float64())).to_numpy()
        at = pc.index_in(_column(sets, "key").take(rows), value_set=table["key"].combine_chunks())
    except (OSError, pa.ArrowException, KeyError) as error:
        problem = f"data.pass_rates: {data.pass_rates} is not an output of `mvp-train filter`"
        raise ConfigError(f"{problem} ({one_line(error)})") from error
    known = at.is_valid().to_numpy()
    place = at.drop_null().to_numpy()
    flat, rate = table["reward_std"].to_numpy()[place] <= 0, rates[place]
    outside = ~flat & ~((rate >= data.min_pass_rate) & (rate <= data.max_pass_rate))
    kept = rows[known][~(flat | outside)]
    span = f"[{data.min_pass_rate:g}, {data.max_pass_rate:g}]"
    counts = f"{flat.sum()} always earn the same, {outside.sum()} are outside {span}, {(~known).sum()} have no rate"
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
    """One column of all sets, concatenated."""
    import pyarrow as pa

    columns = [shards.table[name] for shards in sets]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)


def _decode(data: bytes, name: str) -> "Image":
    """The decoded image of a JPEG.

    Pillow paints grey what it cannot read, so damage is looked for first. A flipped bit that leaves no stray marker is
    found only by `mvp-data verify`, which compares the checksums in `index.json`.
    """
    from PIL import Image

    if _STRAY_MARKER.search(data, scan_start(data), len(data) - 2):
        raise ShardError(f"{name}: damaged inside the JPEG: {REBUILD}")
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            if image.size != jpeg_size(data):  # a second header may state another size than the first
                raise ValueError("it states two sizes")
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises for bad data
        raise ShardError(f"{name}: cannot be decoded ({error}): {REBUILD}") from error
