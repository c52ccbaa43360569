"""Ask a model the puzzles of some shards, and write down what it answered and how good that is.

The output folder gets `completions.parquet` (every completion), `page.html` (some of them with their puzzles) and,
last, `report.json`. Pictures are read batch by batch and let go: only the texts stay.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from mvp_data import __version__
from mvp_data.errors import ConfigError, OutputError
from mvp_data.files import atomic_write
from mvp_data.prompt import Message, PromptConfig
from mvp_data.seeds import shuffled, stable_hash
from mvp_data.shards import Sample
from mvp_data.tasks.catalogue import TASKS
from mvp_train.dataset import Samples, to_row
from mvp_train.metrics import Outcome, Row, table, to_text
from mvp_train.page import Shown, write_page
from mvp_train.reward import RewardConfig, Score, score_record

REPORT, COMPLETIONS, PAGE = "report.json", "completions.parquet", "page.html"
ABLATIONS = ("context_shuffled", "context_removed", "candidates_blanked")
PAGE_PUZZLES = 24
LOG_EVERY_S = 30.0  # where stderr is a file or a pipe


class Answers(Protocol):
    """What is asked: `mvp_train.models.LocalModel` or `mvp_train.models_vllm.VllmModel`."""

    def answer(
        self,
        prompts: Sequence[Sequence[Message]],
        images: Sequence[Sequence[Any]],
        *,
        max_new_tokens: int,
        temperature: float,
        samples: int,
        seed: int,
    ) -> list[list[str]]:
        """`samples` completions for each prompt; temperature 0 is greedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskConfig:
    """What is asked, how often, and what an answer is worth. Each batch has a seed of its own, made of its keys."""

    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    ablation: str = ""  # one of ABLATIONS
    rollouts: int = 1  # completions of each sample
    temperature: float = 0.0  # 0: greedy
    max_new_tokens: int = 256
    batch_size: int = 8  # samples asked at once
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rollouts", "max_new_tokens", "batch_size"):
            _require(getattr(self, name) >= 1, f"{name} {getattr(self, name)}: must be at least 1")
        _require(0 <= self.temperature <= 10, f"temperature {self.temperature}: must be from 0 to 10")
        same = self.rollouts > 1 and self.temperature == 0
        _require(not same, f"{self.rollouts} completions at temperature 0 are all the same: give a temperature above 0")
        _require(self.ablation in ("", *ABLATIONS), f"ablation {self.ablation!r}: is none of {', '.join(ABLATIONS)}")


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


def ask_all(
    model: Answers, samples: Samples, ask: AskConfig, start: int = 0
) -> Iterator[list[tuple[Sample, list[str]]]]:
    """The samples from `start` on, each with its completions, batch by batch, with a progress bar on stderr."""
    from tqdm import tqdm

    prompt = replace(ask.prompt, context=ask.prompt.context and ask.ablation != "context_removed")
    often_s = 0.1 if sys.stderr.isatty() else LOG_EVERY_S
    with tqdm(total=len(samples), initial=start, unit=" samples", mininterval=often_s) as bar:
        for at in range(start, len(samples), ask.batch_size):
            batch = [ablated(samples[i], ask.ablation) for i in range(at, min(at + ask.batch_size, len(samples)))]
            rows = [to_row(sample, prompt) for sample in batch]
            texts = model.answer(
                [row["prompt"] for row in rows],
                [row["images"] for row in rows],
                max_new_tokens=ask.max_new_tokens,
                temperature=ask.temperature,
                samples=ask.rollouts,
                seed=stable_hash("ask", ask.seed, *(sample.record.key for sample in batch)) >> 33,  # 31 bits
            )
            yield list(zip(batch, texts, strict=True))
            bar.update(len(batch))


def ablated(sample: Sample, name: str) -> Sample:
    """The sample with its context pictures in another order, or its candidates all grey; other names change nothing.

    The frames of the context keep their times: only the pictures move. `context_removed` is up to the prompt.
    """
    if name == "candidates_blanked":
        grey = _grey(sample.record.width_px, sample.record.height_px)
        return replace(sample, candidates=(grey,) * len(sample.candidates))
    if name == "context_shuffled":
        _require(len(sample.context) > 1, f"{sample.record.key}: one context picture alone cannot be shuffled")
        places = list(range(len(sample.context)))
        order = shuffled(places, "context_shuffled", sample.record.key)
        order = order if order != places else [*places[1:], *places[:1]]
        return replace(sample, context=tuple(sample.context[i] for i in order))
    return sample


def check_samples(samples: Samples) -> None:
    """Raise `ConfigError` if there are none, or if a key comes twice."""
    _require(len(samples) > 0, "there are no samples to ask")
    _require(len(set(samples.keys)) == len(samples), "a sample comes twice: name each set of shards once")


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


@lru_cache(maxsize=8)
def _grey(width_px: int, height_px: int) -> bytes:
    """A flat grey JPEG."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (width_px, height_px), (128, 128, 128)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _require(ok: bool, problem: str) -> None:
    if not ok:
        raise ConfigError(problem)
