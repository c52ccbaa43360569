"""Writes a quiz page for people and grades the answers that it saves.

The page contains the images and the question of each puzzle. It contains no answer, video path or sample key, so its
HTML source does not reveal an answer. The saved answers are untrusted: `grade` checks every field.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.core.html import MAX_PAGE_BYTES, check_free, page_json, write_html
from mvp_data.core.seeds import stable_hash
from mvp_data.core.text import printable
from mvp_data.core.version import __version__
from mvp_data.quiz.score import Answer, QuizConfig, QuizResult, graded, parse_answer, result, to_json
from mvp_data.shards.record import Record, as_list, parse_object
from mvp_data.shards.tar import Sample, Span, parse_sample, sample_spans, shard_paths
from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS

FORMAT = 1
MAX_ANSWERS_BYTES = 8 << 20  # an answer with the longest note takes 4 kB
MARK = b"<!doctype html>\n<!-- a page of mvp-data quiz -->"  # the first bytes of a quiz page


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """The position of a sample in its shard, and the values that `choose` needs to spread samples."""

    shard: Path
    offset: int
    bytes: int
    group: str
    pool: int  # hash of the candidate frames without labels; the answer to one sample reveals the others with this hash


def write_quiz(path: Path, out_html: Path, config: QuizConfig | None = None) -> int:
    """Write a page on which a person answers puzzles of a shard or folder; return the number of puzzles.

    The page has fewer puzzles than `config` asks for if the shards have fewer, or if it would exceed 200 MiB. It
    replaces an older page.

    Raises:
        ConfigError: the shards have no sample of that split and task.
        OutputError: `out_html` is another kind of file, or cannot be written.
        ShardError: a shard is damaged.
    """
    check_free(out_html, MARK)
    config = config or QuizConfig()
    parts = (page_json(_puzzle(sample)) for sample in _load(choose(path, config)))
    state = {"format": FORMAT, "tool_version": __version__, "quiz": asdict(config)}
    values = {name: page_json(value) for name, value in state.items()}
    with atomic_write(out_html) as file:
        return write_html(file, "mvp_data.quiz", "page.html", parts, limit=MAX_PAGE_BYTES, **values)


def grade(path: Path, answers: Path) -> QuizResult:
    """Grade the answers that a page saved; `path` is the shard or folder that the page was made from.

    Raises:
        ConfigError: `answers` is damaged, or answers other puzzles.
        ShardError: a shard is damaged.
    """
    config, given = read_answers(answers)
    wanted = {answer.id for answer in given}
    named = ((puzzle_id(span.record.key), span.record) for _, span in _spans(path))
    records = {name: record for name, record in named if name in wanted and _asked(record, config)}
    foreign = [answer.id for answer in given if answer.id not in records]
    if foreign:
        raise ConfigError(
            f"{answers}: {len(foreign)} of {len(given)} answers belong to puzzles that {path} does not contain: "
            "give the shards that the page was made from"
        )
    name = printable(path.resolve().name)  # not the whole path, because people share results
    return result(name, config, [graded(records[answer.id], answer) for answer in given])


def write_results(found: QuizResult, results: Path) -> None:
    """Write graded answers as JSON to a new file. Raises `OutputError`."""
    if results.exists():
        raise OutputError(f"{results}: already exists: choose another name")
    with atomic_write(results) as file:
        file.write(to_json(found).encode())


def choose(path: Path, config: QuizConfig) -> list[_Place]:
    """Choose the samples of a quiz; as few as possible share a video group or the same candidates.

    Two samples with the same candidates have opposite answers, so solving one reveals the other. The order also spreads
    the samples over the groups, so an interrupted quiz is not biased.
    """
    places = [
        (stable_hash("quiz", config.seed, span.record.key), _place(shard, span.record, span.offset, span.bytes))
        for shard, span in _spans(path)
        if _asked(span.record, config)
    ]
    if not places:
        wanted = " and ".join(f"{name} {value!r}" for name, value in (("split", config.split), ("task", config.task)))
        raise ConfigError(f"{path}: no sample of {wanted}: `mvp-data inspect` lists the splits and tasks")
    pools: Counter[int] = Counter()
    groups: Counter[str] = Counter()
    met: list[tuple[int, int, _Place]] = []
    for drawn, place in sorted(places, key=lambda item: item[0]):
        met.append((pools[place.pool], drawn, place))
        pools[place.pool] += 1
    turns: list[tuple[int, int, int, _Place]] = []
    for again, drawn, place in sorted(met, key=lambda item: item[:2]):
        turns.append((groups[place.group], again, drawn, place))
        groups[place.group] += 1
    return [place for *_, place in sorted(turns, key=lambda item: item[:3])[: config.puzzles]]


def puzzle_id(key: str) -> str:
    """The id of a puzzle on a page. The sample key is not used, because it names the video.

    >>> puzzle_id("video0-s000-v0")
    '410cbfc0acd2559e'
    """
    return f"{stable_hash('quiz', key):016x}"


def read_answers(path: Path) -> tuple[QuizConfig, tuple[Answer, ...]]:
    """The quiz and the answers in a file that a page saved. Raises `ConfigError` for any other file."""
    remedy = "save it again from the page of `mvp-data quiz`"
    try:
        if path.exists() and not path.is_file():  # reading a pipe could block
            raise ConfigError(f"{path}: not a file: {remedy}")
        with path.open("rb") as file:
            data = file.read(MAX_ANSWERS_BYTES + 1)
        values = parse_object(data, limit_bytes=MAX_ANSWERS_BYTES)
        if "summary" in values:
            raise ConfigError(f"{path}: contains graded results: pass the answers that a page saved to --grade")
        items = as_list(values, "answers")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except ShardError as error:
        raise ConfigError(f"{path}: not the answers of a quiz: {remedy}") from error
    if values.keys() != {"format", "tool_version", "quiz", "answers"} or values["format"] != FORMAT:
        raise ConfigError(f"{path}: not the answers of a quiz of format {FORMAT}: {remedy}")
    if not items:
        raise ConfigError(f"{path}: contains no answers: answer a puzzle, then {remedy}")
    answers = tuple(parse_answer(item, f"{path}: answer {number}") for number, item in enumerate(items, 1))
    if len({answer.id for answer in answers}) < len(answers):
        raise ConfigError(f"{path}: answers a puzzle twice: {remedy}")
    return QuizConfig.parse(values["quiz"], str(path)), answers


def _spans(path: Path) -> Iterator[tuple[Path, Span]]:
    for shard in shard_paths(path):
        for span in sample_spans(shard):
            yield shard, span


def _asked(record: Record, config: QuizConfig) -> bool:
    return config.split in ("", record.split) and config.task in ("", record.task)


def _place(shard: Path, record: Record, offset: int, size: int) -> _Place:
    pool = sorted(f"{c.video_id} {c.frame}" for c in record.candidates)
    return _Place(
        shard=shard, offset=offset, bytes=size, group=record.video_group, pool=stable_hash(record.task, *pool)
    )


def _load(places: Iterable[_Place]) -> Iterator[Sample]:
    for place in places:
        try:
            with place.shard.open("rb") as file:
                file.seek(place.offset)
                data = file.read(place.bytes)
        except OSError as error:
            raise ShardError(f"{place.shard}: cannot be read ({error.strerror}): check the path") from error
        yield parse_sample(data, f"{place.shard}: at byte {place.offset}")


def _puzzle(sample: Sample) -> dict[str, object]:
    """The values of a sample for the page, listed one by one, so a new field of `Record` cannot reveal an answer."""
    record = sample.record
    task = TASKS[record.task]
    question = task.asks_briefly.format(k=record.k, n=len(record.candidates))
    hidden = {candidate.label for candidate in record.candidates if candidate.order >= 0}
    return {
        "id": puzzle_id(record.key),
        "question": question[0].upper() + question[1:],
        "words": task.form.words,
        "answer_is_gap": set(task.right_answer(record.candidates)) == hidden,  # the same for all samples of a task
        "in_a_row": task.in_a_row,
        "k": record.k,
        **asdict(record.question),
        "gap": record.mask_start,
        "width_px": record.width_px,
        "height_px": record.height_px,
        "context": [base64.b64encode(data).decode() for data in sample.context],
        "candidates": [base64.b64encode(data).decode() for data in sample.candidates],
    }
