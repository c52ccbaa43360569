"""The record: canonical bytes, and `ShardError` for all other bytes."""

import json
import re
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.errors import ShardError
from mvp_data.shards import record as record_module
from mvp_data.shards.record import CandidateFrame, Record, extra_json, from_json, to_json
from tests.conftest import ROOT
from tests.samples import make_record

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def plain(record: Record) -> dict[str, object]:
    """The record as `json.loads` returns it, to be damaged."""
    return dict(json.loads(to_json(record)))


def changed(**changes: object) -> bytes:
    return json.dumps({**plain(make_record()), **changes}).encode()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(
    ("k", "distractors", "context", "mask_start"), [(4, 4, 12, 5), (1, 0, 1, 0), (13, 13, 100, 100)]
)
def test_round_trip(number: int, k: int, distractors: int, context: int, mask_start: int) -> None:
    record = make_record(number, k=k, distractors=distractors, context=context, mask_start=mask_start)
    data = to_json(record)
    assert from_json(data) == record
    assert to_json(from_json(data)) == data


def test_bytes_are_canonical() -> None:
    data = to_json(make_record(video_path="clips/été 🎬.mp4"))
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert "été 🎬".encode() in data


def test_floats_are_rounded_and_keep_their_type() -> None:
    record = make_record()
    noisy = replace(record, difficulty=0.1 + 0.2, video_duration_s=60)
    assert noisy.difficulty == 0.3
    assert b'"difficulty":0.3,' in to_json(noisy)
    assert b'"video_duration_s":60.0,' in to_json(noisy)
    zero = replace(record, difficulty=-0.0)
    assert b'"difficulty":0.0,' in to_json(zero)


def test_every_type_is_stable_over_samples() -> None:
    """The first row determines the columns of a Hugging Face dataset, so no value may be null or an empty list."""

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {name: shape(item) for name, item in value.items()}
        if isinstance(value, list):
            shapes = [shape(item) for item in value]
            assert shapes
            assert all(item == shapes[0] for item in shapes)
            return shapes[:1]
        assert value is not None
        return type(value)

    shapes = [shape(plain(make_record(n, extra=extra_json((("n", str(n)),))))) for n in range(5)]
    assert all(item == shapes[0] for item in shapes)


def test_member_names() -> None:
    record = make_record(k=1, distractors=1, context=2, mask_start=1)
    key = record.key
    assert record.member_names == (
        f"{key}.json",
        f"{key}.context_00.jpg",
        f"{key}.context_01.jpg",
        f"{key}.candidate_a.jpg",
        f"{key}.candidate_b.jpg",
    )
    longest = replace(record, key="k" * record_module.MAX_KEY)
    assert max(len(name) for name in longest.member_names) == 100  # what USTAR holds
    with pytest.raises(ShardError, match="key"):
        replace(record, key="k" * (record_module.MAX_KEY + 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "a.b"}, "key 'a.b'"),
        ({"key": ""}, "key"),
        ({"key": "a\n"}, "key"),
        ({"schema_version": 2}, "schema_version 2, this mvp-data reads 3"),
        ({"schema_version": True}, "schema_version True"),
        ({"task": "sudoku"}, "task"),
        ({"task": "jigsaw"}, "jigsaw with k 4, l 4"),
        ({"task": "next"}, "next with context frames after the gap"),
        ({"task": "odd-one-out"}, "l 4"),
        ({"split": "dev"}, "split"),
        ({"k": 3}, "k \\+ l"),
        ({"k": "4"}, "k of the record is of type str, not a whole number"),
        ({"k": True}, "k of the record is of type bool"),
        ({"seed": 1 << 63}, "64 bits"),
        ({"answer": ["A", "B", "C", "D"]}, "the candidates say"),
        ({"answer": "ABCD"}, "not a list"),
        ({"answer": None}, "answer is missing"),
        ({"width_px": 0}, "width_px"),
        ({"mask_start": 13}, "mask_start 13 outside 12"),
        ({"mask_start": 4}, "times do not rise"),
        ({"hidden_start_s": 7.0}, "outside"),
        ({"difficulty": 1.5}, "difficulty"),
        ({"difficulty": "hard"}, "not a number"),
        ({"sampled_fps": 0}, "sampled_fps"),
        ({"video_duration_s": 1e400}, "Infinity|finite"),
        ({"video_path": ""}, "video_path is empty"),
        ({"extra": "[]"}, "not an object"),
        ({"extra": "[" * 100_000}, "nested too deep|not readable"),
        ({"context": []}, "context frames"),
        ({"context": [3]}, "context\\[0\\] is not an object"),
        ({"candidates": {}}, "not a list"),
        ({"surprise": 1}, "unknown keys 'surprise'"),
    ],
)
def test_wrong_fields_are_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(ShardError, match=says) as caught:
        from_json(changed(**change))
    assert "mvp-data build" in str(caught.value)  # what to do


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "B"}, "A, B, C"),
        ({"order": 9}, "orders"),
        ({"origin": "moon"}, "origin 'moon'"),
        ({"origin": "corpus"}, "origin and order disagree"),
        ({"video_id": "elsewhere"}, "not"),
        ({"time_s": -1.0}, "negative"),
        ({"similarity": 1.2}, "cosine"),
        ({"shot": 1.0}, "whole number"),
        ({"video_path": "\ud800"}, "Unicode"),
    ],
)
def test_wrong_candidates_are_named(change: dict[str, object], says: str) -> None:
    values = plain(make_record(k=1, distractors=0))
    candidates = values["candidates"]
    assert isinstance(candidates, list)
    candidates[0].update(change)
    with pytest.raises(ShardError, match=says):
        from_json(json.dumps(values).encode())


@pytest.mark.parametrize("name", sorted(asdict(make_record())))
def test_each_field_is_required(name: str) -> None:
    values = plain(make_record())
    del values[name]
    with pytest.raises(ShardError, match=name):
        from_json(json.dumps(values).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"a":1,"a":2}',
        b"[" * 200_000,
        b'{"schema_version":' + b"9" * 5000 + b"}",
        b" " * (record_module.MAX_JSON_BYTES + 1),
        to_json(make_record()).replace(b'"difficulty":', b'"difficulty":NaN,"x":'),
        to_json(make_record())[:-1],
    ],
)
def test_hostile_bytes(data: bytes) -> None:
    with pytest.raises(ShardError):
        from_json(data)


def test_a_record_too_large_to_read_is_not_written() -> None:
    record = make_record(extra=extra_json((("caption", "x" * (record_module.MAX_JSON_BYTES - 100)),)))
    with pytest.raises(ShardError, match="leave long columns out"):
        to_json(record)


def test_numpy_scalars_are_refused() -> None:
    import numpy as np

    candidate = asdict(make_record().candidates[0])
    with pytest.raises(ShardError, match="similarity of a candidate is of type float32"):
        CandidateFrame(**{**candidate, "similarity": np.float32(0.5)})


@settings(deadline=None)  # the machine may be busy
@given(st.binary() | JSON_VALUES.map(lambda v: json.dumps(v).encode()))
def test_fuzz_bytes(data: bytes) -> None:
    with pytest.raises(ShardError):
        from_json(data)


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(sorted(asdict(make_record()))), JSON_VALUES)
def test_fuzz_one_field(name: str, value: object) -> None:
    """Any JSON in any field is refused, or gives a record that round-trips."""
    try:
        record = from_json(changed(**{name: value}))
    except ShardError:
        return
    assert from_json(to_json(record)) == record


@settings(deadline=None)  # the machine may be busy
@given(st.sampled_from(sorted(asdict(make_record().candidates[0]))), JSON_VALUES, st.integers(0, 7))
def test_fuzz_one_candidate(name: str, value: object, at: int) -> None:
    values = plain(make_record())
    candidates = values["candidates"]
    assert isinstance(candidates, list)
    candidates[at][name] = value
    try:
        record = from_json(json.dumps(values).encode())
    except ShardError:
        return
    assert from_json(to_json(record)) == record


def test_the_example_of_the_docs_is_a_record() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    record = from_json(example.encode())
    assert json.loads(to_json(record)) == json.loads(example)
    for name in record.member_names[:2] + record.member_names[-1:]:
        assert name in page


def test_every_field_is_in_the_docs() -> None:
    lines = (ROOT / "docs" / "format.md").read_text(encoding="utf-8").splitlines()
    tables = [line for line in lines if line.startswith("|")]
    named = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in tables)))
    fields = {*asdict(make_record()), *asdict(make_record().candidates[0])}
    assert fields <= named
    assert {*asdict(make_record().context[0])} <= named
