"""The JSON record of a sample: the puzzle, the origin of each frame, and the answer.

A `Record` checks types and rounds floats to six decimals when it is created. So `to_json` gives the same bytes for the
same values, and `from_json(to_json(record)) == record`.
"""

import json
import re
import string
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

from mvp_data.core.errors import ShardError
from mvp_data.core.text import valid_unicode
from mvp_data.tasks.catalogue import TASKS
from mvp_data.tasks.task import Question

SCHEMA_VERSION = 3
SPLITS = ("train", "val", "test")
ORIGINS = ("hidden", "same_strip", "neighbourhood", "same_video", "corpus")
DOUBTS = ("", "reversible", "exchangeable", "looping")  # why the order of the hidden frames can be disputed
LABELS = string.ascii_uppercase
MAX_KEY = 84  # a USTAR name holds 100 bytes and `.candidate_a.jpg` takes 16
MAX_CONTEXT = 100  # two digits in `context_00`
MAX_SIDE_PX = 65_500  # what libjpeg can write
MAX_PICTURE_PX = 1 << 22  # the limit of `--max-pixels`; a small file may expand to an image that fills the memory
MAX_JSON_BYTES = 1 << 20  # records have 2 to 10 kB
MAX_COSINE = 1.001  # float16 vectors of length 1 give cosines a little above 1
DECIMALS = 6  # microseconds for times; finer than cosines of float16 vectors
REBUILD = "make it again with the `mvp-data build` command that wrote it"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextFrame:
    """A visible frame: its time, its shot, and its number among the sampled frames of the video."""

    time_s: float
    shot: int
    frame: int

    def __post_init__(self) -> None:
        """Check types and ranges, round times."""
        _canonical(self, "a context frame")
        _require(self.time_s >= 0 and self.shot >= 0 and self.frame >= 0, f"negative number in {self}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateFrame:
    """A candidate. `order` is its position in the hidden segment, from 0, or -1 for a distractor."""

    label: str
    order: int
    decoy: int  # its position in a decoy run, from 0, or -1
    origin: str  # one of ORIGINS
    video_id: str
    video_path: str
    time_s: float
    shot: int
    frame: int
    similarity: float  # highest cosine to a hidden frame (to another one if it is hidden itself)

    def __post_init__(self) -> None:
        """Check types and ranges, round floats; hidden frames and no others have the origin `hidden`."""
        _canonical(self, "a candidate")
        _require(self.time_s >= 0 and self.shot >= 0 and self.frame >= 0, f"negative number in {self}")
        _require(self.origin in ORIGINS, f"origin {self.origin!r} is not one of {', '.join(ORIGINS)}")
        _require((self.origin == "hidden") == (self.order >= 0), f"origin and order disagree in {self}")
        _require(self.decoy < 0 or self.order < 0, f"both a hidden frame and a decoy: {self}")
        _require(abs(self.similarity) <= MAX_COSINE, f"similarity {self.similarity} is not a cosine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """All data of a sample except its images; raises `ShardError` for fields that are invalid or disagree."""

    key: str
    schema_version: int = SCHEMA_VERSION
    task: str = "mvp"  # one of TASKS
    pair_id: str = ""  # shared by the two samples of a pair; empty for a sample of its own
    split: str  # train | val | test
    k: int  # hidden frames
    l: int  # distractors  # noqa: E741 - the name of the paper
    answer: tuple[str, ...]  # for most tasks the labels of the hidden frames in order
    width_px: int
    height_px: int
    mask_start: int  # number of context frames before the gap
    mask_policy: str
    hidden_start_s: float
    hidden_end_s: float
    sampled_fps: float  # sampling rate of the video
    difficulty: float  # 0 easy .. 1 hard
    doubt: str = ""  # why its order can be disputed: one of DOUBTS
    margin: float  # ambiguity threshold minus the highest cosine of two frames that must differ
    seed: int
    config_hash: str
    tool_version: str
    encoder_name: str
    encoder_weights_sha256: str
    video_id: str
    video_path: str
    video_group: str  # shared by near-duplicate videos, which are in the same split
    video_duration_s: float
    clip_start_s: float = 0.0  # the part of the video that was used; both 0: all of it
    clip_end_s: float = 0.0
    caption: str = ""
    licence: str = ""
    extra: str = "{}"  # the other columns of the manifest, as a JSON object
    context: tuple[ContextFrame, ...]
    candidates: tuple[CandidateFrame, ...]

    def __post_init__(self) -> None:
        """Check every field, then that the fields agree; round floats."""
        check_version(self.schema_version)
        _canonical(self, "the record")
        _check_scalars(self)
        _check_candidates(self)
        _check_times(self)

    @property
    def question(self) -> Question:
        """The form of an answer to this sample."""
        return TASKS[self.task].question(self.k, self.l)

    @property
    def pair_kind(self) -> str:
        """The origin of its decoy run: `same_strip` for twins, else `same_video` or `corpus`; empty without a pair."""
        decoys = {c.origin for c in self.candidates if c.decoy >= 0} if self.pair_id else set()
        return next((kind for kind in ("same_strip", "corpus") if kind in decoys), "same_video" if decoys else "")

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of the files of the sample in a shard, in order: JSON, context, candidates."""
        context = (f"{self.key}.context_{i:02d}.jpg" for i in range(len(self.context)))
        candidates = (f"{self.key}.candidate_{c.label.lower()}.jpg" for c in self.candidates)
        return (f"{self.key}.json", *context, *candidates)


def to_json(record: Record) -> bytes:
    """The record as canonical JSON: sorted keys, no spaces, UTF-8.

    Raises `ShardError` if extra columns of the manifest make it larger than readers accept.
    """
    text = json.dumps(asdict(record), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = text.encode()
    if len(data) > MAX_JSON_BYTES:
        raise ShardError(
            f"{record.key}: the record has {len(data)} bytes, the limit is {MAX_JSON_BYTES}: "
            "leave long columns out of the manifest"
        )
    return data


def from_json(data: bytes) -> Record:
    """Parse a record and check every field.

    Raises `ShardError` for anything that `to_json` cannot write: unknown or missing keys, wrong types, another schema
    version, NaN, more than 1 MiB.
    """
    values = parse_object(data, limit_bytes=MAX_JSON_BYTES)
    check_version(values.get("schema_version"))
    for name, cls in (("context", ContextFrame), ("candidates", CandidateFrame)):
        values[name] = tuple(build(cls, item, f"{name}[{i}]") for i, item in enumerate(as_list(values, name)))
    values["answer"] = tuple(as_list(values, "answer"))
    return build(Record, values, "the record")


def extra_json(columns: tuple[tuple[str, str], ...]) -> str:
    """The other columns of a manifest as the text in `Record.extra`.

    >>> extra_json((("caption", "a dog"), ("licence", "CC0")))
    '{"caption":"a dog","licence":"CC0"}'
    """
    return json.dumps(dict(columns), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse_object(data: bytes, *, limit_bytes: int) -> dict[str, Any]:
    """The JSON object in untrusted `data`; raises `ShardError`.

    Unlike Python's parser, it refuses NaN, duplicate keys, and nesting that exhausts the stack.
    """
    _require(len(data) <= limit_bytes, f"JSON of {len(data)} bytes, the limit is {limit_bytes}")
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, numbers of 4,300 digits
        raise ShardError(f"not readable as JSON ({error or 'nested too deep'}): {REBUILD}") from error
    _require(isinstance(value, dict), "the JSON is not an object")
    return dict(value)


def build(cls: type[T], values: object, where: str) -> T:
    """`cls(**values)`; raises `ShardError` if the keys are not exactly the fields of `cls`."""
    _require(isinstance(values, dict), f"{where} is not an object")
    assert isinstance(values, dict)
    names = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    missing, unknown = sorted(names - values.keys()), sorted(values.keys() - names)
    _require(not missing, f"{where} lacks {', '.join(missing)}")
    _require(not unknown, f"{where} has unknown keys {', '.join(map(repr, unknown[:5]))}")
    return cls(**values)


def check_version(version: object) -> None:
    """Raise `ShardError` for a schema version that this code cannot read."""
    if type(version) is not int or version != SCHEMA_VERSION:
        problem = f"schema_version {version!r:.40}, this mvp-data reads {SCHEMA_VERSION}"
        raise ShardError(f"{problem}: use the mvp-data that wrote it, or {REBUILD}, with --overwrite")


def as_list(values: dict[str, Any], name: str) -> list[Any]:
    """The list with key `name`; raises `ShardError`."""
    value = values.get(name)
    _require(isinstance(value, list), _wrong(name, value, "a list"))
    assert isinstance(value, list)
    return value


def _canonical(item: object, where: str) -> None:
    """Check the scalar fields of a dataclass against their annotations and round its floats in place."""
    for field in fields(item):  # type: ignore[arg-type]
        value, name = getattr(item, field.name), f"{field.name} of {where}"
        if field.type is float:
            _require(type(value) is int or isinstance(value, float), _wrong(name, value, "a number"))
            _require(abs(value) < 1e15, f"{name} is not a finite number below 1e15")
            object.__setattr__(item, field.name, round(float(value), DECIMALS) + 0.0)  # + 0.0: no -0.0
        elif field.type is int:
            _require(type(value) is int, _wrong(name, value, "a whole number"))
            _require(abs(value) < 1 << 63, f"{name} does not fit 64 bits")
        elif field.type is str:
            _require(isinstance(value, str), _wrong(name, value, "text"))
            _require(valid_unicode(value) == value, f"{name} is not valid Unicode: {value!r}")


def _check_scalars(record: Record) -> None:
    """Check names, sizes and ranges of single fields."""
    _require(
        re.fullmatch(rf"[a-z0-9_-]{{1,{MAX_KEY}}}", record.key) is not None,
        f"key {record.key[:120]!r} is not 1 to {MAX_KEY} of a-z 0-9 _ -",
    )
    _require(record.task in TASKS, f"task {record.task!r} is not one of {', '.join(TASKS)}")
    _require(record.doubt in DOUBTS, f"doubt {record.doubt!r} is not empty and not one of {', '.join(DOUBTS[1:])}")
    _require(record.split in SPLITS, f"split {record.split!r} is not one of {', '.join(SPLITS)}")
    for name in ("width_px", "height_px"):
        _require(1 <= getattr(record, name) <= MAX_SIDE_PX, f"{name} is {getattr(record, name)}")
    pixels = record.width_px * record.height_px
    _require(pixels <= MAX_PICTURE_PX, f"images of {pixels} px, the limit is {MAX_PICTURE_PX}")
    _require(0 <= record.difficulty <= 1, f"difficulty {record.difficulty} is outside 0..1")
    _require(record.sampled_fps > 0, f"sampled_fps {record.sampled_fps} is not positive")
    _require(record.video_duration_s > 0, f"video_duration_s {record.video_duration_s} is not positive")
    texts = ("mask_policy", "config_hash", "tool_version", "encoder_name", "video_id", "video_path", "video_group")
    for name in texts:
        _require(getattr(record, name) != "", f"{name} is empty")
    parse_object(record.extra.encode(), limit_bytes=MAX_JSON_BYTES)
    span = record.clip_start_s, record.clip_end_s
    _require(0 <= span[0] < span[1] or span == (0, 0), f"clip from {span[0]} s to {span[1]} s")


def _check_candidates(record: Record) -> None:
    """Check that labels are A, B, C ... and that the answer follows from the task and the orders."""
    pool = record.candidates
    _require(all(isinstance(c, CandidateFrame) for c in pool), "a candidate is not a CandidateFrame")
    _require(record.k >= 1 and record.l >= 0, f"k {record.k}, l {record.l}")
    _require(len(pool) <= len(LABELS), f"{len(pool)} candidates, there are only {len(LABELS)} labels")
    _require(len(pool) == record.k + record.l, f"{len(pool)} candidates, k + l is {record.k + record.l}")
    labels = [c.label for c in pool]
    _require(labels == list(LABELS[: len(pool)]), f"labels {labels} are not A, B, C ... in pool order")
    hidden = _hidden(record)
    _require(
        [c.order for c in hidden] == list(range(record.k)),
        f"orders {[c.order for c in pool]} for k {record.k}",
    )
    task = TASKS[record.task]
    problem = task.problem([c.order for c in pool], len(record.context) - record.mask_start)
    _require(not problem, problem)
    answer = task.right_answer(pool)
    _require(record.answer == answer, f"the answer is {record.answer}, the candidates say {answer}")
    foreign = [c.label for c in pool if c.origin != "corpus" and c.video_id != record.video_id]
    _require(not foreign, f"candidates {foreign} are not from this video, but their origin says so")
    _require(
        record.pair_id == "" or any(c.decoy >= 0 for c in pool),
        f"pair_id {record.pair_id!r:.100} without a decoy run",
    )


def _check_times(record: Record) -> None:
    """Check that times increase through context and hidden frames, and that the gap is at `mask_start`."""
    _require(all(isinstance(c, ContextFrame) for c in record.context), "a context frame is not a ContextFrame")
    size = len(record.context)
    _require(1 <= size <= MAX_CONTEXT, f"{size} context frames, not 1 to {MAX_CONTEXT}")
    _require(0 <= record.mask_start <= size, f"mask_start {record.mask_start} outside {size} context frames")
    hidden = [c.time_s for c in _hidden(record)]
    context = [c.time_s for c in record.context]
    times = context[: record.mask_start] + hidden + context[record.mask_start :]
    _require(all(a < b for a, b in pairwise(times)), f"times do not rise: {times}")
    _require(
        0 <= record.hidden_start_s <= hidden[0] and hidden[-1] <= record.hidden_end_s,
        f"hidden frames at {hidden} outside [{record.hidden_start_s}, {record.hidden_end_s}]",
    )


def _hidden(record: Record) -> list[CandidateFrame]:
    return sorted((c for c in record.candidates if c.order >= 0), key=lambda c: c.order)


def _require(ok: bool, problem: str) -> None:
    if not ok:
        raise ShardError(problem if problem.endswith(REBUILD) else f"{problem}: {REBUILD}")


def _wrong(name: str, value: object, wanted: str) -> str:
    found = "missing" if value is None else f"of type {type(value).__name__}"
    return f"{name} is {found}, not {wanted}"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is given twice")
    return values
