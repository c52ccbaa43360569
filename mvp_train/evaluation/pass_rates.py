"""How often a model gets each sample right, and whether its completions of it earn different rewards: else a group of
them has nothing to prefer, and the sample teaches nothing.

Results go to a journal beside the output after every batch, so a run that is killed at any moment goes on where it
was; batches draw their seeds from their keys, so it ends with the same rollouts.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from mvp_data.errors import OutputError
from mvp_data.files import atomic_write
from mvp_data.seeds import stable_hash
from mvp_data.tasks import TASKS
from mvp_train.dataset import Samples
from mvp_train.evaluation.ask import Answers, AskConfig, ask_all, check_samples
from mvp_train.reward import score_record

JOURNAL = ".journal"  # added to the name of the output; gone when that is complete
_META = b"mvp_train_filter"


@dataclass(frozen=True, kw_only=True, slots=True)
class PassRate:
    """One line of the journal and one row of the output."""

    key: str
    task: str
    rollouts: int
    correct: int  # completions that are exact
    mean_reward: float
    reward_std: float  # 0: all completions earned the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Samples of a task: always right, never right (which may be right in part), and useful, whose rewards differ."""

    samples: int
    always: int
    never: int
    useful: int


def filter_samples(
    load: Callable[[], Answers], samples: Samples, out: Path, ask: AskConfig, about: Mapping[str, Any]
) -> dict[str, Counts]:
    """Write the pass rates of all `samples` to the Parquet file `out`; the model is loaded only if something is left.

    Returns the counts of each task.
    `about` names the model: an unfinished or finished file of another model, question or set of samples is refused.

    Raises:
        ConfigError: there are no samples, or a key comes twice.
        OutputError: `out` or its journal is of something else, damaged, or cannot be written.
        ShardError: a sample cannot be read.
    """
    check_samples(samples)
    header = _header(samples, ask, about)
    if out.exists():
        return _counts(_finished(out, header))
    journal = out.with_name(out.name + JOURNAL)
    with _held(journal, header):
        rates = _resume(journal, header, samples, ask.batch_size)
        if len(rates) < len(samples):
            _go_on(journal, load(), samples, ask, rates)
        _write(out, rates, header)
        journal.unlink()
    return _counts(rates)


@contextmanager
def _held(journal: Path, header: Mapping[str, Any]) -> Iterator[None]:
    """The journal, begun if it is not there, for one process; `OutputError` if another one is at work on it."""
    try:
        if not journal.exists():
            with atomic_write(journal) as file:
                file.write(_line(header))
        with journal.open("r+b") as file:
            if os.name != "nt":  # Windows has no such lock and goes without
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise OutputError(f"{journal}: another run is at work on it; wait for it, or choose another --out") from error
    except IsADirectoryError as error:
        raise OutputError(f"{journal}: is a folder; choose another --out") from error


def _go_on(journal: Path, model: Answers, samples: Samples, ask: AskConfig, rates: list[PassRate]) -> None:
    """Ask what is left, and append each batch to the journal and to `rates`."""
    with journal.open("ab") as file:
        for batch in ask_all(model, samples, ask, start=len(rates)):
            made = []
            for sample, texts in batch:
                scores = [score_record(text, sample.record, ask.reward) for text in texts]
                rewards = [s.reward for s in scores]
                made.append(
                    PassRate(
                        key=sample.record.key,
                        task=sample.record.task,
                        rollouts=len(texts),
                        correct=sum(s.exact == 1 for s in scores),
                        mean_reward=fmean(rewards),
                        reward_std=pstdev(rewards),
                    )
                )
            file.write(b"".join(_line(asdict(rate)) for rate in made))
            file.flush()
            os.fsync(file.fileno())
            rates += made


def _header(samples: Samples, ask: AskConfig, about: Mapping[str, Any]) -> dict[str, Any]:
    """What the rates are of. Not the batch size: after running out of memory one goes on with a smaller one."""
    asked = {name: value for name, value in asdict(ask).items() if name != "batch_size"}
    sizes = [size for shards in samples.sets for size in shards.sizes]  # not the paths: shards may be moved
    return {"model": about["model"], **asked, "samples": f"{stable_hash(*samples.keys, *sizes):016x}"}


def _resume(journal: Path, header: Mapping[str, Any], samples: Samples, batch_size: int) -> list[PassRate]:
    """The whole batches in the journal, which is cut after them."""
    with journal.open("r+b") as file:
        lines = file.read().split(b"\n")[:-1]  # what follows the last line break was being written
        _check_header(journal, lines[0] if lines else b"", header)
        done = lines[1 : 1 + (len(lines) - 1) // batch_size * batch_size]
        if len(lines) - 1 == len(samples):
            done = lines[1:]
        file.truncate(sum(len(line) + 1 for line in [lines[0], *done]))
    try:
        rates = [PassRate(**json.loads(line)) for line in done]
    except (ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{journal}: damaged; delete it to begin again") from error
    if [rate.key for rate in rates] != list(samples.keys[: len(rates)]):
        raise OutputError(f"{journal}: its samples are in another order; delete it to begin again")
    return rates


def _check_header(path: Path, found: bytes, wanted: Mapping[str, Any]) -> None:
    """Refuse rates of something else, naming what differs."""
    try:
        values = dict(json.loads(found))
    except (ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{path}: exists and is not of mvp-train filter; choose another --out") from error
    differs = [name for name in wanted if values.get(name) != json.loads(_line(wanted))[name]]
    if differs:
        raise OutputError(f"{path}: of another run, {', '.join(differs)} differ; delete it or choose another --out")


def _finished(out: Path, header: Mapping[str, Any]) -> list[PassRate]:
    """The rates in a complete output of the same run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(out).read()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{out}: exists and is not of mvp-train filter; choose another --out") from error
    _check_header(out, (table.schema.metadata or {}).get(_META, b""), header)
    return [PassRate(**row) for row in table.to_pylist()]


def _write(out: Path, rates: list[PassRate], header: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"key": pa.string(), "task": pa.string(), "rollouts": pa.int32(), "correct": pa.int32()}
    columns |= {"mean_reward": pa.float64(), "reward_std": pa.float64()}
    schema = pa.schema(list(columns.items()), metadata={_META: _line(header)})
    with atomic_write(out) as file:
        pq.write_table(pa.Table.from_pylist([asdict(rate) for rate in rates], schema=schema), file)


def _counts(rates: list[PassRate]) -> dict[str, Counts]:
    parts = {task: [rate for rate in rates if rate.task == task] for task in TASKS}
    return {
        task: Counts(
            samples=len(part),
            always=sum(rate.correct == rate.rollouts for rate in part),
            never=sum(rate.correct == 0 for rate in part),
            useful=sum(rate.reward_std > 0 for rate in part),
        )
        for task, part in parts.items()
        if part
    }


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
