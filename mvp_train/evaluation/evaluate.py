"""Ask a model the puzzles of some shards, and write down what it answered and how good that is.

The output folder gets `completions.parquet` (every completion), `page.html` (some of them with their puzzles) and,
last, `report.json`. Pictures are read batch by batch and let go: only the texts stay.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mvp_data import __version__
from mvp_data.errors import ConfigError, OutputError
from mvp_data.files import atomic_write
from mvp_data.shards import Sample
from mvp_data.tasks import TASKS
from mvp_train.dataset import Samples
from mvp_train.evaluation.ask import Answers, AskConfig, ask_all, check_samples
from mvp_train.evaluation.metrics import Outcome, Row, table, to_text
from mvp_train.evaluation.page import Shown, write_page
from mvp_train.reward import RewardConfig, Score, score_record

REPORT, COMPLETIONS, PAGE = "report.json", "completions.parquet", "page.html"
PAGE_PUZZLES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What `report.json` says. `about` names the model and the data, as the caller gave them."""

    tool_version: str
    about: Mapping[str, Any]
    ask: AskConfig
    samples: int
    completions: int
    rows: Sequence[Row]


def evaluate(
    load: Callable[[], Answers], samples: Samples, out: Path, ask: AskConfig, about: Mapping[str, Any]
) -> Report:
    """Ask the model that `load` gives all `samples`, write the folder `out`, and return its report.

    Raises:
        ConfigError: there are no samples, or a key comes twice.
        OutputError: `out` holds other files, or cannot be written.
        ShardError: a sample cannot be read.
    """
    check_samples(samples)
    _check_out(out)
    model = load()
    outcomes: list[Outcome] = []
    shown: list[Shown] = []
    wanted = {int((i + 0.5) * len(samples) / PAGE_PUZZLES) for i in range(PAGE_PUZZLES)}
    for at, (sample, texts) in enumerate(pair for batch in ask_all(model, samples, ask) for pair in batch):
        made = [_outcome(sample, i, text, ask.reward) for i, text in enumerate(texts)]
        outcomes += made
        if at in wanted:
            shown.append(Shown(sample=sample, completion=made[0].completion, score=made[0].score))
    rows = table(outcomes, ask.reward, seed=ask.seed)
    _write_completions(out / COMPLETIONS, outcomes)
    title = " · ".join(filter(None, ["Evaluation", ask.ablation.replace("_", " ")]))
    which = f"first of {ask.rollouts} answers to each, " if ask.rollouts > 1 else ""
    notes = f"{len(shown)} of {len(samples)} samples, {which}evenly spread. All of them:\n\n{to_text(rows)}"
    write_page(out / PAGE, shown, title, notes)
    report = Report(
        tool_version=__version__, about=about, ask=ask, samples=len(samples), completions=len(outcomes), rows=rows
    )
    with atomic_write(out / REPORT) as file:
        file.write((json.dumps(asdict(report), indent=1, allow_nan=False) + "\n").encode())
    return report


def _check_out(out: Path) -> None:
    """Make the folder `out`; `OutputError` if it holds anything but the leftovers of an interrupted evaluation."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        own = (COMPLETIONS, PAGE)
        others = sorted(p.name for p in out.iterdir() if p.name not in own and not p.name.startswith("."))
    except OSError as error:
        raise OutputError(f"{out}: cannot be used ({error.strerror}): choose another folder") from error
    if others:
        raise OutputError(f"{out}: not empty, it holds {others[0]}: choose a new folder")


def read_completions(path: Path) -> list[Outcome]:
    """What `evaluate` wrote to `completions.parquet`; `ConfigError` if that is not what it is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        whole = table.schema.equals(_schema()) and not any(column.null_count for column in table.columns)
        if not whole or not {*table["task"].unique().to_pylist()} <= {*TASKS}:
            raise ConfigError(f"{path}: not the completions of an evaluation (other columns or tasks, or empty cells)")
        rows = table.to_pylist()
    except (OSError, pa.ArrowException) as error:
        problem = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: not the completions of an evaluation ({problem})") from error
    parts = [f.name for f in fields(Score)]
    return [Outcome(score=Score(**{name: row.pop(name) for name in parts}), **row) for row in rows]


def _outcome(sample: Sample, rollout: int, text: str, weights: RewardConfig) -> Outcome:
    record = sample.record
    origins = sorted({c.origin for c in record.candidates if c.order < 0})
    return Outcome(
        key=record.key,
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
        completion=text.encode(errors="replace").decode(),  # lone surrogates fit no file
        score=score_record(text, record, weights),
    )


def _write_completions(path: Path, outcomes: Sequence[Outcome]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [f.name for f in fields(Outcome) if f.name != "score"]
    rows = [{**{name: getattr(o, name) for name in names}, **asdict(o.score)} for o in outcomes]
    with atomic_write(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), file)


def _schema() -> Any:
    """The columns: the fields of `Outcome`, then those of `Score`."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}
    columns = [f for f in fields(Outcome) if f.name != "score"] + list(fields(Score))
    return pa.schema([(f.name, kinds[f.type]) for f in columns])  # type: ignore[index]
