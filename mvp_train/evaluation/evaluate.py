"""Asks a model the questions of samples, scores its answers, and writes a report.

The output folder gets `completions.parquet` (every completion), `page.html` (some of them with their frames) and last
`report.json`. Images are read batch by batch and dropped; only the texts are kept.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mvp_data.core.errors import ConfigError, OutputError
from mvp_data.core.text import one_line
from mvp_data.core.version import __version__
from mvp_data.shards.tar import Sample
from mvp_data.system.files import atomic_write
from mvp_data.system.parquet import schema_of, write_rows
from mvp_data.tasks.catalogue import TASKS
from mvp_train.dataset import Samples
from mvp_train.evaluation.ask import Answers, AskConfig, ask_all, check_samples, samples_for
from mvp_train.evaluation.metrics import Outcome, Row, table, to_text
from mvp_train.evaluation.page import Shown, write_page
from mvp_train.reward import RewardConfig, Score, score_record

REPORT, COMPLETIONS, PAGE = "report.json", "completions.parquet", "page.html"
PAGE_SAMPLES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The content of `report.json`. `about` names the model and the data, as given by the caller."""

    tool_version: str
    about: Mapping[str, Any]
    ask: AskConfig
    samples: int
    completions: int
    rows: Sequence[Row]


def evaluate(
    load: Callable[[], Answers], samples: Samples, out: Path, ask: AskConfig, about: Mapping[str, Any]
) -> Report:
    """Ask the model that `load` returns about all `samples`, write the folder `out`, and return its report.

    Raises:
        ConfigError: there are no samples, or a key occurs twice.
        OutputError: `out` holds other files, or cannot be written.
        ShardError: a sample cannot be read.
    """
    check_samples(samples)
    samples = samples_for(ask.probe, samples)
    _check_out(out)
    model = load()
    outcomes: list[Outcome] = []
    shown: list[Shown] = []
    wanted = {int((i + 0.5) * len(samples) / PAGE_SAMPLES) for i in range(PAGE_SAMPLES)}
    for at, (sample, texts) in enumerate(pair for batch in ask_all(model, samples, ask) for pair in batch):
        found = [_outcome(sample, i, text, ask.reward) for i, text in enumerate(texts)]
        outcomes += found
        if at in wanted:
            shown.append(Shown(sample=sample, completion=found[0].completion, score=found[0].score))
    rows = table(outcomes, ask.reward, seed=ask.seed)
    columns = [{**asdict(outcome), **asdict(outcome.score)} for outcome in outcomes]
    write_rows(out / COMPLETIONS, columns, schema_of(Outcome, Score))
    title = " · ".join(filter(None, ["Evaluation", ask.probe]))
    which = f"the first of {ask.rollouts} completions of each, " if ask.rollouts > 1 else ""
    notes = f"{len(shown)} of {len(samples)} samples, {which}evenly spread. Results on all samples:\n\n{to_text(rows)}"
    write_page(out / PAGE, shown, title, notes)
    report = Report(
        tool_version=__version__, about=about, ask=ask, samples=len(samples), completions=len(outcomes), rows=rows
    )
    with atomic_write(out / REPORT) as file:
        file.write((json.dumps(asdict(report), indent=1, allow_nan=False) + "\n").encode())
    return report


def read_completions(path: Path) -> list[Outcome]:
    """The outcomes in a `completions.parquet`; `ConfigError` if it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    problem = f"{path}: not the completions of an evaluation"
    try:
        table = pq.read_table(path)
        alike = table.schema.equals(schema_of(Outcome, Score)) and {*table["task"].unique().to_pylist()} <= {*TASKS}
        if not alike or any(column.null_count for column in table.columns):
            raise ConfigError(f"{problem} (other columns or tasks, or empty cells)")
        rows = table.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"{problem} ({one_line(error, 200)})") from error
    parts = [f.name for f in fields(Score)]
    return [Outcome(score=Score(**{name: row.pop(name) for name in parts}), **row) for row in rows]


def _check_out(out: Path) -> None:
    """Make the folder `out`; `OutputError` if it holds more than the leftovers of an interrupted evaluation."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise OutputError(f"{out}: cannot be used ({error.strerror}): choose another folder") from error
    others = [name for name in names if name not in (COMPLETIONS, PAGE) and not name.startswith(".")]
    if others:
        raise OutputError(f"{out}: not empty, it holds {others[0]}: choose a new folder")


def _outcome(sample: Sample, rollout: int, text: str, weights: RewardConfig) -> Outcome:
    record = sample.record
    origins = sorted({c.origin for c in record.candidates if c.order < 0})
    return Outcome(
        key=record.key,
        pair_id=record.pair_id,
        rollout=rollout,
        config_hash=record.config_hash,
        task=record.task,
        video=record.video_path,
        video_group=record.video_group,
        difficulty=record.difficulty,
        origins=" + ".join(origins) or "none",
        k=record.k,
        l=record.l,
        answer="".join(record.answer),
        completion=text.encode(errors="replace").decode(),  # lone surrogates cannot be written
        score=score_record(text, record, weights),
    )
