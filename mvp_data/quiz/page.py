"""Writes a quiz page for a reader and grades the answers that it saves.

A reader who has seen one sample of a pair knows the answer to the other one. So a page shows one sample of each pair;
another reader gets the other half, and the answers of both give the pair score.

The page contains the images and the question of each puzzle. It contains no answer, video path or sample key, so its
HTML source does not reveal an answer. The saved answers are untrusted: `grade` checks every field.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path

from mvp_data.core.errors import ConfigError, OutputError, ShardError
from mvp_data.core.html import MAX_PAGE_BYTES, check_free, page_json, write_html
from mvp_data.core.seeds import stable_hash
from mvp_data.core.text import printable
from mvp_data.core.version import __version__
from mvp_data.quiz.score import Answer, Graded, QuizConfig, QuizResult, graded, parse_answer, result, to_json
from mvp_data.shards.reader import Place, places
from mvp_data.shards.record import Record, as_list, parse_object
from mvp_data.shards.tar import Sample, sample_spans, shard_paths
from mvp_data.system.files import atomic_write
from mvp_data.tasks.catalogue import TASKS

FORMAT = 2
MAX_ANSWERS_BYTES = 8 << 20  # an answer with the longest note takes 4 kB
MARK = b"<!doctype html>\n<!-- a page of mvp-data quiz -->"  # the first bytes of a quiz page


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
    parts = (page_json(_puzzle(place.read())) for place in choose(path, config))
    state = {"format": FORMAT, "tool_version": __version__, "quiz": asdict(config)}
    values = {name: page_json(value) for name, value in state.items()}
    with atomic_write(out_html) as file:
        return write_html(file, "mvp_data.quiz", "page.html", parts, limit=MAX_PAGE_BYTES, **values)


def grade(path: Path, answers: Sequence[Path]) -> QuizResult:
    """Grade the answers that pages saved, one file for each reader.

    `path` is the shard or folder that the pages were made from.

    Raises:
        ConfigError: a file is damaged, or answers other puzzles; or a reader answers a puzzle twice.
        ShardError: a shard is damaged.
    """
    read = [(file, *read_answers(file)) for file in answers]
    wanted = {answer.id for *_, given in read for answer in given}
    spans = (span for shard in shard_paths(path) for span in sample_spans(shard))
    records = {name: span.record for span in spans if (name := puzzle_id(span.record.key)) in wanted}
    found: list[Graded] = []
    for file, config, given in read:
        foreign = [a.id for a in given if a.id not in records or not _asked(records[a.id], config)]
        if foreign:
            raise ConfigError(
                f"{file}: {len(foreign)} of {len(given)} answers belong to puzzles that {path} does not contain: "
                "give the shards that the page was made from"
            )
        found += [graded(records[answer.id], answer, config) for answer in given]
    twice = [item for item, count in Counter((item.reader, item.key) for item in found).items() if count > 1]
    if twice:
        raise ConfigError(f"{twice[0][0] or 'a reader without a name'} answers a puzzle twice: give each file once")
    name = printable(path.resolve().name)  # not the whole path, because people share results
    return result(name, [config for _, config, _ in read], found)


def write_results(found: QuizResult, results: Path) -> None:
    """Write graded answers as JSON to a new file. Raises `OutputError`."""
    if results.exists():
        raise OutputError(f"{results}: already exists: choose another name")
    with atomic_write(results) as file:
        file.write(to_json(found).encode())


def choose(path: Path, config: QuizConfig) -> list[Place]:
    """Choose the samples of a quiz: one of each pair, from as many video groups as possible.

    The halves `first` and `second` have the same pairs in the same order, and both have the samples without a pair; a
    draw decides which sample of a pair is in which half. `both` has whole pairs, the second samples after all first
    ones. The order spreads the samples over the groups, so an interrupted quiz is not biased.
    """
    found = list(places(path, lambda record: _asked(record, config)))
    if not found:
        wanted = " and ".join(f"{name} {value!r}" for name, value in (("split", config.split), ("task", config.task)))
        raise ConfigError(f"{path}: no sample of {wanted}: `mvp-data inspect` lists the splits and tasks")
    pairs: dict[str, list[Place]] = {}
    for place in sorted(found, key=lambda place: stable_hash("quiz", config.seed, place.key)):
        pairs.setdefault(place.unit, []).append(place)
    groups: Counter[str] = Counter()
    turns: list[tuple[int, list[Place]]] = []
    for pair in pairs.values():
        turns.append((groups[pair[0].group], pair))
        groups[pair[0].group] += 1
    spread = [pair for _, pair in sorted(turns, key=lambda turn: turn[0])]
    if config.half != "both":
        return [pair[config.half == "second" and len(pair) > 1] for pair in spread[: config.puzzles]]
    sizes = accumulate(map(len, spread))
    whole = [pair for pair, size in zip(spread, sizes, strict=True) if size <= config.puzzles]
    if not whole:
        raise ConfigError(f"{config.puzzles} puzzles are less than a pair: ask for 2 or more")
    return [*(pair[0] for pair in whole), *(place for pair in whole for place in pair[1:])]


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


def _asked(record: Record, config: QuizConfig) -> bool:
    return config.split in ("", record.split) and config.task in ("", record.task)


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
