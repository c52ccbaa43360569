"""Pairs that are whole, and each way in which a pair can be broken."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from mvp_data.shards.record import ContextFrame, Record
from mvp_data.verify.pair_checks import PairCheck, pair_problem
from tests.samples import make_record, make_twins


def records(number: int = 0) -> list[Record]:
    return [sample.record for sample in make_twins(number)]


def problems(*shards: list[Record]) -> list[str]:
    check = PairCheck()
    return [finding.text for shard in shards for finding in check.shard(shard)]


def test_whole_pairs_and_samples_without_a_pair() -> None:
    assert problems([*records(0), make_record(9)], records(1)) == []


def test_a_pair_must_be_whole_and_in_one_shard() -> None:
    a, b = records()
    assert problems([a]) == [f"{a.key}: pair '{a.key}' must have 2 samples in one shard, there are 1 here"]
    first, second = problems([a], [b])
    assert "1 here" in first
    assert "others in another shard" in second
    assert "there are 3 here" in problems([a, b, replace(b, key="another")])[0]
    assert "others in another shard" in problems([a, b], records(1), [a, b])[0]


def other_context(record: Record) -> Record:
    first = record.context[0]
    moved = ContextFrame(time_s=first.time_s + 0.5, shot=first.shot, frame=70)
    return replace(record, context=(moved, *record.context[1:]))


def other_decoy(record: Record) -> Record:
    pool = [replace(c, frame=71) if c.decoy == 0 else c for c in record.candidates]
    return replace(record, candidates=tuple(pool))


def same_strip_elsewhere(record: Record) -> Record:
    pool = [replace(c, origin="same_video") if c.decoy >= 0 else c for c in record.candidates]
    return replace(record, candidates=tuple(pool))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (other_context, "different context frames"),
        (other_decoy, "the hidden frames of each are not the decoys of the other"),
        (same_strip_elsewhere, "have pair_kind 'same_strip' and 'same_video'"),
        (lambda record: replace(record, split="val"), "have split 'train' and 'val'"),
        (lambda record: replace(record, video_group="else"), "have video_group"),
    ],
)
def test_each_rule_of_a_pair(spoil: Callable[[Record], Record], words: str) -> None:
    a, b = records()
    assert pair_problem(a, b) == ""
    assert words in pair_problem(a, spoil(b))
    assert words in problems([a, spoil(b)])[0]


def test_the_same_answer_to_both() -> None:
    """Two copies of one puzzle are not a pair: the gap of the second must be at the decoys of the first."""
    a, _ = records()
    assert "not the decoys" in pair_problem(a, replace(a, key="copy"))


def test_pairs_of_separate_strips_share_only_the_candidates() -> None:
    a, b = (same_strip_elsewhere(record) for record in records())
    assert pair_problem(a, other_context(b)) == ""
    extra = replace(a.candidates[0], label="I", order=-1, decoy=-1, origin="neighbourhood", frame=90, time_s=55.0)
    wider = replace(a, l=5, candidates=(*a.candidates, extra))
    assert "different candidates" in pair_problem(wider, b)
