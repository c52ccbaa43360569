"""Training rows: selects and orders samples, and makes the columns that TRL reads. Pairs are never taken apart.
Selection works on whole columns of the offset indexes; images are read with their row. Only this module imports
`datasets`.
"""

import io
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvp_data.core.errors import ConfigError, ShardError
from mvp_data.core.jpeg import jpeg_size, scan_start
from mvp_data.core.seeds import stable_hash, unit
from mvp_data.core.text import counts, one_line
from mvp_data.shards.prompt import PromptConfig, messages, prompt_images
from mvp_data.shards.reader import ShardSet, open_shards
from mvp_data.shards.record import REBUILD
from mvp_data.shards.tar import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_train.recipe import DataConfig, require

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

    def one_of_each_shape(self) -> list[Sample]:
        """The first sample of each shape: task, K, l, number of context frames, size of the frames."""
        import pyarrow as pa

        shape = {name: self.column(name) for name in ("task", "k", "l", "context", "width_px", "height_px")}
        table = pa.table({**shape, "row": range(len(self))})
        firsts = table.group_by(list(shape)).aggregate([("row", "min")])["row_min"].to_pylist()
        return [self[row] for row in sorted(firsts)]

    def column(self, name: str) -> Any:
        """A column of the offset indexes, in the order of the rows."""
        import pyarrow as pa

        columns = [shards.table[name] for shards in self.sets]
        whole = pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=columns[0].type)
        return whole.take(self.rows)

    def where(self, mask: Any) -> "Samples":
        """The rows for which `mask`, a boolean column, is true."""
        return replace(self, rows=self.rows[mask.to_numpy()])

    @property
    def tasks(self) -> dict[str, int]:
        """Number of rows of each task."""
        counted = Counter(self.column("task").to_pylist())
        return {task: counted[task] for task in TASKS if counted[task]}

    @property
    def units(self) -> Any:
        """A name for each row, as a column: both samples of a pair have the same one."""
        return unit_names(self.column("key"), self.column("pair_id"))

    @property
    def keys(self) -> list[str]:
        """Key of each row, as a new list."""
        return list(self.column("key").to_pylist())


def select(data: DataConfig) -> Samples:
    """Select the samples of a recipe: by split, tasks and pass rates, then weighted, ordered and limited.

    `limit` keeps the first N in that order: the easiest of a curriculum, a random subset of a shuffled set. The two
    samples of a pair follow each other, and N is rounded down to whole pairs.

    Raises:
        ConfigError: no sample is left, or the pass rates cannot be read.
        ShardError: shards are missing, damaged, or of another schema version.
    """
    import numpy as np
    import pyarrow.compute as pc

    cache = Path(data.cache).expanduser() if data.cache else None
    sets = tuple(open_shards(item.path, cache=cache) for item in data.shards)
    samples = Samples(sets=sets, rows=np.arange(sum(map(len, sets))))
    samples = samples.where(pc.equal(samples.column("split"), data.split))
    if not len(samples):
        found = "; ".join(f"{shards.location}: {_counts(shards.table['split'])}" for shards in sets)
        raise ConfigError(
            f"data.split: there are no samples of split {data.split!r} ({found}): "
            "choose another split, or build with more videos or a larger --val-share"
        )
    if data.tasks:
        samples = _of_tasks(samples, data)
    if data.pass_rates:
        samples = _with_pass_rate(samples, data)
    return _ordered(*_weighted(samples, data), data)


def unit_names(keys: Any, pair_ids: Any) -> Any:
    """The pair of each sample, or its own key, from columns of keys and pairs."""
    import pyarrow.compute as pc

    return pc.if_else(pc.equal(pair_ids, ""), keys, pair_ids)


def to_row(sample: Sample, prompt: PromptConfig) -> dict[str, Any]:
    """The row of a sample for TRL: the n-th image belongs to the n-th placeholder of the prompt.

    `ShardError` if an image cannot be decoded; the message names the file.
    """
    record, jpegs = sample.record, prompt_images(sample, prompt)
    names = record.member_names[-len(jpegs) :]  # without context, only the candidates: they come last
    return {
        "prompt": messages(record, prompt),
        "images": [_decode(data, name) for data, name in zip(jpegs, names, strict=True)],
        "answer": "".join(record.answer),
        "pool": record.question.choices,
        "ordered": record.question.ordered,
        "task": record.task,
        "key": record.key,
        "pair_id": record.pair_id,
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


def _counts(column: Any) -> str:
    """`train 90, val 10`."""
    return counts(Counter(column.to_pylist()))


def _of_tasks(samples: Samples, data: DataConfig) -> Samples:
    """The samples of the recipe's tasks; prints which of these tasks have no samples."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = samples.column("task")
    if missing := sorted({*data.tasks} - {*column.unique().to_pylist()}):
        problem = f"data.tasks: split {data.split!r} has no samples of {', '.join(missing)} ({_counts(column)})"
        if len(missing) == len({*data.tasks}):
            raise ConfigError(f"{problem}: choose other tasks, or build these with `mvp-data build --tasks`")
        print(problem, file=sys.stderr)
    return samples.where(pc.is_in(column, value_set=pa.array(data.tasks)))


def _with_pass_rate(samples: Samples, data: DataConfig) -> Samples:
    """The pairs and single samples with different rewards and a mean pass rate in the range; prints their number."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(data.pass_rates, columns=["key", "pair_id", "rollouts", "correct", "reward_std"])
        rates = pc.divide(table["correct"].cast(pa.float64()), table["rollouts"].cast(pa.float64())).to_numpy()
        columns = {"unit": unit_names(table["key"], table["pair_id"]), "pair": table["pair_id"], "rate": rates}
        units = pa.table({**columns, "std": table["reward_std"]}).group_by("unit")
        units = units.aggregate([("pair", "min"), ("pair", "count"), ("rate", "mean"), ("std", "max")])
        units = units.filter(pc.equal(units["pair_count"], pc.if_else(pc.equal(units["pair_min"], ""), 1, 2)))
        at = pc.index_in(samples.units, value_set=units["unit"].combine_chunks())
    except (OSError, pa.ArrowException, KeyError) as error:
        problem = f"data.pass_rates: {data.pass_rates} is not an output of `mvp-train filter`"
        raise ConfigError(f"{problem} ({one_line(error)})") from error
    known = samples.where(at.is_valid())
    place = at.drop_null().to_numpy()
    flat, rate = units["std_max"].to_numpy()[place] <= 0, units["rate_mean"].to_numpy()[place]
    outside = ~flat & ~((rate >= data.min_pass_rate) & (rate <= data.max_pass_rate))
    kept = replace(known, rows=known.rows[~(flat | outside)])
    span, unknown = f"[{data.min_pass_rate:g}, {data.max_pass_rate:g}]", len(samples) - len(known)
    told = f"{flat.sum()} always earn the same, {outside.sum()} are outside {span}, {unknown} have no rate"
    print(f"pass rates: {len(kept)} of {len(samples)} samples are left; {told}", file=sys.stderr)
    if not len(kept):
        raise ConfigError(f"data.pass_rates: {data.pass_rates} leaves no sample ({told})")
    return kept


def _weighted(samples: Samples, data: DataConfig) -> tuple[Samples, Any]:
    """Each row as often as the weight of its set, and a number for each set and copy: 2.3 gives 30 % a third copy."""
    import numpy as np

    parts, first, rows = [], 0, samples.rows
    for item, shards in zip(data.shards, samples.sets, strict=True):
        mine = rows[(rows >= first) & (rows < first + len(shards))]
        parts += [mine] * int(item.weight)
        if share := item.weight % 1:
            names = replace(samples, rows=mine).units.to_pylist()
            parts.append(mine[np.array([unit("weight", data.seed, name) < share for name in names], dtype=bool)])
        first += len(shards)
        if not len(mine):
            print(f"{item.path}: no sample of it is used ({_counts(shards.table['split'])})", file=sys.stderr)
    weighted = replace(samples, rows=np.concatenate(parts))
    if not len(weighted):
        raise ConfigError("data.shards: the weights leave no sample: raise them")
    return weighted, np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _ordered(samples: Samples, part: Any, data: DataConfig) -> Samples:
    """The samples in the recipe's order, at most `limit`; both samples of a pair at the place of the first."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    units = samples.units.combine_chunks()
    codes = part * len(samples) + units.dictionary_encode().indices.to_numpy()
    _, first, block = np.unique(codes, return_index=True, return_inverse=True)
    if data.order == "curriculum":
        mean = np.bincount(block, samples.column("difficulty").to_numpy()) / np.bincount(block)
        columns = {"mean": mean[block], "unit": units, "part": part, "key": samples.column("key")}
        order = pc.sort_indices(pa.table(columns), sort_keys=[(name, "ascending") for name in columns]).to_numpy()
    else:
        rank = np.arange(len(samples))
        if data.order == "shuffled":
            rank = np.random.default_rng(stable_hash("order", data.seed)).permutation(rank)
        order = np.argsort(rank[first[block]], kind="stable")
    end = data.limit or len(order)
    if end < len(order) and block[order[end - 1]] == block[order[end]]:
        end -= 1
        print(f"data.limit: {end} samples instead of {data.limit}, because a pair is not split", file=sys.stderr)
        require(end > 0, "data.limit: 1 is less than a pair of samples: choose 2 or more")
    return replace(samples, rows=samples.rows[order[:end]])


def _decode(data: bytes, name: str) -> "Image":
    """The decoded image of a JPEG.

    Pillow fills unreadable parts with grey, so this looks for damage first. Only `mvp-data verify`, which compares the
    checksums in `index.json`, finds a flipped bit that leaves no stray marker.
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
