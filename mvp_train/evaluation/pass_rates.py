"""Measures how often a model answers each sample right, and whether its completions earn different rewards.

GRPO learns nothing from a sample whose completions all earn the same. After every batch the results go to a log next to
the output, so a run can be resumed after any interruption. The seed of a batch depends on its keys, so a resumed run
gives the same results.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from mvp_data.core.errors import OutputError
from mvp_data.core.seeds import stable_hash
from mvp_data.shards.tar import Sample
from mvp_data.system.files import atomic_write
from mvp_data.system.parquet import schema_of, write_rows
from mvp_data.tasks.catalogue import TASKS
from mvp_train.dataset import Samples
from mvp_train.evaluation.ask import Answers, AskConfig, ask_all, check_samples
from mvp_train.evaluation.metrics import grouped
from mvp_train.reward import RewardConfig, score_record

LOG_SUFFIX = ".journal"  # added to the name of the output; deleted when the output is complete
_META = b"mvp_train_filter"


@dataclass(frozen=True, kw_only=True, slots=True)
class PassRate:
    """One line of the log and one row of the output."""

    key: str
    pair_id: str
    task: str
    rollouts: int
    correct: int  # number of exact completions
    mean_reward: float
    reward_std: float  # 0: all completions earned the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Numbers of samples of a task: all, always exact, never exact, and useful: rewards differ in their pair."""

    samples: int
    always: int
    never: int
    useful: int


def measure_pass_rates(
    load: Callable[[], Answers], samples: Samples, out: Path, ask: AskConfig, about: Mapping[str, Any]
) -> dict[str, Counts]:
    """Write the pass rates of all `samples` to the Parquet file `out`, and return the counts of each task.

    The model is loaded only if samples are left to ask. `about` names the model: a log or an output of another
    model, other settings or other samples is refused.

    Raises:
        ConfigError: there are no samples, or a key occurs twice.
        OutputError: `out` or its log belongs to another run, is damaged, or cannot be written.
        ShardError: a sample cannot be read.
    """
    check_samples(samples)
    header = _header(samples, ask, about)
    if out.exists():
        return _counts(_read_output(out, header))
    log = out.with_name(out.name + LOG_SUFFIX)
    with _held(log, header):
        rates = _read_log(log, header, samples, ask.batch_size)
        if len(rates) < len(samples):
            _ask_rest(log, load(), samples, ask, rates)
        schema = schema_of(PassRate, metadata={_META: _line(header)})
        write_rows(out, [asdict(rate) for rate in rates], schema)
        log.unlink()
    return _counts(rates)


@contextmanager
def _held(log: Path, header: Mapping[str, Any]) -> Iterator[None]:
    """Create the log if needed, and hold it for one process; `OutputError` if another process holds it."""
    try:
        if not log.exists():
            with atomic_write(log) as file:
                file.write(_line(header))
        with log.open("r+b") as file:
            if os.name != "nt":  # Windows has no such lock
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise OutputError(f"{log}: another run uses it; wait for it to end, or choose another --out") from error
    except IsADirectoryError as error:
        raise OutputError(f"{log}: is a folder; choose another --out") from error


def _ask_rest(log: Path, model: Answers, samples: Samples, ask: AskConfig, rates: list[PassRate]) -> None:
    """Ask the samples after the first `len(rates)`; append each batch to the log and to `rates`."""
    with log.open("ab") as file:
        for batch in ask_all(model, samples, ask, start=len(rates)):
            found = [_rate(sample, texts, ask.reward) for sample, texts in batch]
            file.write(b"".join(_line(asdict(rate)) for rate in found))
            file.flush()
            os.fsync(file.fileno())
            rates += found


def _rate(sample: Sample, texts: Sequence[str], weights: RewardConfig) -> PassRate:
    scores = [score_record(text, sample.record, weights) for text in texts]
    rewards = [score.reward for score in scores]
    return PassRate(
        key=sample.record.key,
        pair_id=sample.record.pair_id,
        task=sample.record.task,
        rollouts=len(texts),
        correct=sum(score.exact == 1 for score in scores),
        mean_reward=fmean(rewards),
        reward_std=pstdev(rewards),
    )


def _header(samples: Samples, ask: AskConfig, about: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that identify a run. Not the batch size: a run that ran out of memory may resume with a smaller one."""
    asked = {name: value for name, value in asdict(ask).items() if name != "batch_size"}
    sizes = [size for shards in samples.sets for size in shards.sizes]  # not the paths: shards may be moved
    return {"model": about["model"], **asked, "samples": f"{stable_hash(*samples.keys, *sizes):016x}"}


def _read_log(log: Path, header: Mapping[str, Any], samples: Samples, batch_size: int) -> list[PassRate]:
    """The complete batches in the log; cuts off what follows them."""
    with log.open("r+b") as file:
        first, *lines = file.read().split(b"\n")[:-1] or [b""]  # without an incomplete last line
        _check_header(log, first, header)
        if len(lines) < len(samples):
            lines = lines[: len(lines) // batch_size * batch_size]
        file.truncate(sum(len(line) + 1 for line in [first, *lines]))
    try:
        rates = [PassRate(**json.loads(line)) for line in lines]
    except (ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{log}: damaged; delete it to start again") from error
    if [rate.key for rate in rates] != samples.keys[: len(rates)]:
        raise OutputError(f"{log}: its samples are in another order; delete it to start again")
    return rates


def _check_header(path: Path, found: bytes, wanted: Mapping[str, Any]) -> None:
    """`OutputError` if the header is that of another run; the message names what differs."""
    try:
        values = dict(json.loads(found))
    except (ValueError, TypeError, RecursionError) as error:
        raise OutputError(f"{path}: not a file of mvp-train filter; choose another --out") from error
    differs = [name for name, value in json.loads(_line(wanted)).items() if values.get(name) != value]
    if differs:
        raise OutputError(
            f"{path}: is from a run that differs in {', '.join(differs)}; delete it or choose another --out"
        )


def _read_output(out: Path, header: Mapping[str, Any]) -> list[PassRate]:
    """The rates in a complete output of the same run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(out).read()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{out}: not a file of mvp-train filter; choose another --out") from error
    _check_header(out, (table.schema.metadata or {}).get(_META, b""), header)
    return [PassRate(**row) for row in table.to_pylist()]


def _counts(rates: Sequence[PassRate]) -> dict[str, Counts]:
    parts = grouped(rates, lambda rate: rate.task)
    useful = {rate.pair_id or rate.key for rate in rates if rate.reward_std > 0}
    return {
        task: Counts(
            samples=len(parts[task]),
            always=sum(rate.correct == rate.rollouts for rate in parts[task]),
            never=sum(rate.correct == 0 for rate in parts[task]),
            useful=sum((rate.pair_id or rate.key) in useful for rate in parts[task]),
        )
        for task in TASKS
        if task in parts
    }


def _line(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"
