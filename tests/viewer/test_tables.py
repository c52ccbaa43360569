"""Statistics compared with values computed by hand; text fits a terminal and has no control characters."""

import io
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mvp_data.core.errors import ShardError
from mvp_data.core.statistics import chi_square_p, quantiles
from mvp_data.core.text import WIDTH
from mvp_data.shards.record import LABELS, CandidateFrame, from_json
from mvp_data.shards.tar import Sample, iter_samples, write_shard
from mvp_data.viewer.summary import Spread, label_balance, summarize, to_json
from mvp_data.viewer.tables import find_sample, puzzle_in_words, to_table
from tests import ROOT
from tests.samples import make_folder, make_record, make_sample, make_shard, make_twins


def test_figures_of_a_folder(tmp_path: Path) -> None:
    shards = [make_shard(tmp_path / "shard-000000.tar", 6), make_shard(tmp_path / "shard-000001.tar", 3, split="test")]
    make_folder(tmp_path, shards)
    found = summarize(tmp_path)
    records = [make_record(i) for i in range(6)] + [make_record(i, split="test") for i in range(3)]
    assert (found.shards, found.samples, found.videos) == (2, 9, 2)
    assert found.splits == {"train": 6, "val": 0, "test": 3}
    assert (found.k, found.l, found.context_frames) == (4, 4, 12)
    assert found.picture_sizes == {"112x56": 9}
    assert found.mask_policies == {"anchored": 9}
    assert found.bytes == sum(path.stat().st_size for path in tmp_path.glob("*.tar"))
    assert {n: count for n, count in found.mask_starts.items() if count} == {"5": 9}
    assert list(found.mask_starts) == [str(i) for i in range(13)]
    for origin, spread in found.similarity.items():
        values = sorted(c.similarity for r in records for c in r.candidates if c.origin == origin)
        assert (spread.count, spread.min, spread.max) == (len(values), values[0], values[-1])
    assert sum(spread.count for spread in found.similarity.values()) == 9 * 8
    assert [x.positives for x in found.labels] == [sum(a in r.answer for r in records) for a in LABELS[:8]]
    assert found.difficulty_deciles[0] == min(r.difficulty for r in records)
    assert found.difficulty_deciles[10] == max(r.difficulty for r in records)


def test_median_of_an_even_count(tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 1, k=2, distractors=0)
    low, high = sorted(c.similarity for c in make_record(0, k=2, distractors=0).candidates)
    found = summarize(tmp_path / "a.tar")
    assert found.similarity == {"hidden": Spread(count=2, min=low, median=round((low + high) / 2, 6), max=high)}
    assert found.labels_p == 1.0  # no distractor: every label is right, and that is fair
    assert found.difficulty_deciles == (make_record(0).difficulty,) * 11


def test_quantiles() -> None:
    assert quantiles([3.0, 1.0, 2.0], 4) == (1.0, 1.5, 2.0, 2.5, 3.0)
    assert quantiles([5.0], 2) == (5.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("statistic", "freedom", "p"),
    [  # from tables of the chi-square distribution
        (3.841, 1, 0.05),
        (5.991, 2, 0.05),
        (7.815, 3, 0.05),
        (14.067, 7, 0.05),
        (18.475, 7, 0.01),
        (37.652, 25, 0.05),
        (0.0, 7, 1.0),
        (5.0, 0, 1.0),
    ],
)
def test_chi_square_p(statistic: float, freedom: int, p: float) -> None:
    assert chi_square_p(statistic, freedom) == pytest.approx(p, abs=1e-4)


def test_label_balance_is_calibrated() -> None:
    """Fair shuffles give p < .1 in about one of ten builds; a label that never occurs gives almost 0."""
    small = 0
    for build in range(400):
        counts: Counter[str] = Counter()
        for number in range(50):
            counts.update(make_record_answer(build * 50 + number))
        _, p = label_balance(counts, samples=50, k=4, pool=8)
        small += p < 0.1
    assert 20 < small < 60  # 40 expected, deviation 6
    rigged = Counter(dict.fromkeys("BCDEFGH", 400 // 7))
    shares, p = label_balance(rigged, samples=100, k=4, pool=8)
    assert p < 1e-6
    assert shares[0].share == 0
    assert shares[0].z == -10


def make_record_answer(number: int) -> list[str]:
    from mvp_data.core.seeds import shuffled

    return shuffled(LABELS[:8], "answer", number)[:4]


def test_uneven_labels_are_reported(tmp_path: Path) -> None:
    """Twelve puzzles whose answer is always among A to D."""
    samples = []
    for number in range(12):
        sample = make_sample(number)
        order = sorted(range(8), key=lambda at: sample.record.candidates[at].order < 0)
        candidates = tuple(replace(sample.record.candidates[at], label=LABELS[i]) for i, at in enumerate(order))
        hidden: list[CandidateFrame] = sorted(candidates[:4], key=lambda c: c.order)
        record = replace(sample.record, candidates=candidates, answer=tuple(c.label for c in hidden))
        samples.append(replace(sample, record=record, candidates=tuple(sample.candidates[at] for at in order)))
    write_shard(tmp_path / "a.tar", samples)
    assert "UNEVEN: the labels are a shortcut" in to_table(summarize(tmp_path / "a.tar"))


def test_table_fits_a_terminal(tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 30)
    deep.mkdir()
    make_shard(deep / "shard-000000.tar", 4, context=100, mask_start=70)
    table = to_table(summarize(deep / "shard-000000.tar"))
    assert max(map(len, table.splitlines())) <= WIDTH
    assert len(table.splitlines()) < 50
    assert table.splitlines()[0].endswith("shard-000000.tar")
    for fact in ("4 from 2 videos (train 4)", "K=4 hidden + l=4 distractors, 100 context", "112x56 px", "even (chi"):
        assert fact in table
    assert "   64-71       4  ████" in table


def test_json_is_the_summary(tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 2)
    found = summarize(tmp_path / "a.tar")
    values = json.loads(to_json(found))
    assert values["samples"] == 2
    assert values["similarity"]["hidden"]["count"] == 8
    assert values["labels"][0]["label"] == "A"


def test_puzzle_in_words() -> None:
    words = puzzle_in_words(make_sample(0))
    record = make_record(0)
    assert f"  answer  {', '.join(record.answer)}" in words
    before, gap, after = words.partition("[ gap: 4 frames hidden, 5.25 to 8.25 ]")
    assert gap
    assert "4.25" in before
    assert "9.25" in after.splitlines()[1]
    first = next(c for c in record.candidates if c.order == 0)
    line = next(line for line in words.splitlines() if line.startswith(f"    {first.label}  hidden, 1 of 4"))
    assert f"{first.time_s:.2f} s" in line
    assert sum("distractor" in line for line in words.splitlines()) == 4
    assert "clips/other.mp4" in words


def test_a_twin_in_words() -> None:
    """The frames of the twin's gap are shown as left out, in their place."""
    first, second = make_twins(mask_start=4, bridge=2)
    lines = puzzle_in_words(second).splitlines()
    assert f"  one of a pair (same_strip): {first.record.pair_id}" in lines
    at = lines.index("      [ left out without a mark: 4 frames, 4.00 to 7.00 ]")
    assert lines[at - 1].split() == ["0.00", "1.00", "2.00", "3.00"]
    assert lines[at + 1].split() == ["8.00", "9.00"]
    assert lines[at + 2] == "      [ gap: 4 frames hidden, 10.00 to 13.00 ]"
    assert sum(f"decoy run, {place}" in line for line in lines for place in range(1, 5)) == 4
    assert "left out" not in puzzle_in_words(make_sample(0))
    hostile = replace(second, record=replace(second.record, pair_id="\x1b[2J" + "x" * 200))
    assert "\x1b" not in puzzle_in_words(hostile)
    assert max(map(len, puzzle_in_words(hostile).splitlines())) <= WIDTH


def test_the_table_counts_pairs(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [*make_twins(0), *make_twins(1), make_sample(5)])
    found = summarize(tmp_path / "a.tar")
    assert found.pairs == {"no pair": 1, "same_strip": 4}
    assert "  pairs        same_strip (4), no pair (1)" in to_table(found)


def test_the_example_of_the_docs_is_real() -> None:
    page = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)\n```", page, re.DOTALL)
    record = from_json(example.encode())
    file = io.BytesIO()
    Image.new("RGB", (record.width_px, record.height_px)).save(file, "JPEG")
    images = [file.getvalue()] * 20
    words = puzzle_in_words(Sample(record=record, context=tuple(images[:12]), candidates=tuple(images[12:])))
    assert f"```\n{words}\n```" in page


@pytest.mark.parametrize("mask_start", [0, 12])
def test_puzzle_with_the_gap_at_an_end(mask_start: int) -> None:
    assert "[ gap: 4 frames hidden" in puzzle_in_words(make_sample(0, mask_start=mask_start))


def test_control_characters_of_file_names_are_not_printed(tmp_path: Path) -> None:
    path = "clips/\x1b[31mred\x07\nnew\u202eline " + "x" * 200 + ".mp4"
    words = puzzle_in_words(make_sample(0, video_path=path))
    assert not any(c in words for c in "\x1b\x07\u202e")
    assert max(map(len, words.splitlines())) <= WIDTH


def test_find_sample(tmp_path: Path) -> None:
    make_shard(tmp_path / "a.tar", 3)
    key = make_record(2).key
    assert find_sample(tmp_path / "a.tar", key) == make_sample(2)
    assert find_sample(tmp_path / "a.tar") == make_sample(0)
    with pytest.raises(ShardError, match="no sample has the key 'nobody'"):
        find_sample(tmp_path / "a.tar", "nobody")


def test_shards_of_two_builds(tmp_path: Path) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "a.tar", 1), make_shard(tmp_path / "b.tar", 1, k=3)])
    with pytest.raises(ShardError, match="inspect one shard at a time"):
        summarize(tmp_path)


def test_samples_come_in_the_order_of_the_shards(tmp_path: Path) -> None:
    make_folder(tmp_path, [make_shard(tmp_path / "b.tar", 2), make_shard(tmp_path / "a.tar", 1)])
    samples: list[Sample] = list(iter_samples(tmp_path))
    assert [s.record.key for s in samples] == [make_record(i).key for i in (0, 1, 0)]
