"""Prompts."""

from itertools import pairwise

import pytest

from mvp_data.shards.prompt import PromptConfig, flat_text, messages, prompt_images, twin_gap
from mvp_data.tasks.catalogue import TASKS
from tests.samples import make_record, make_sample, make_twins
from tests.task_samples import make_task_sample

DEFAULT = PromptConfig()


def test_the_whole_prompt() -> None:
    record = make_record(context=4, mask_start=1, k=2, distractors=1)
    assert flat_text(record, DEFAULT, "#") == (
        "These are frames of one video, in order. At the gap, 2 frames are missing. "
        "Other frames may be left out without a mark.\n"
        "#\n[gap: 2 frames are missing here]\n###\n"
        "3 candidates, shuffled; 2 of them fill the gap, the others do not:\n"
        "A: #\nB: #\nC: #\n"
        "Which candidates fill the gap, in their original order? "
        "Give 2 different letters, first to last, like this: <answer>Y, Z</answer>"
    )


INTRO = "These are frames of one video, in order. At the gap, 2 frames are missing."
SILENT = " Other frames may be left out without a mark."  # where the twin's frames may be left out
GAP = "\n#\n[gap: 2 frames are missing here]\n#\n"
THREE = "3 candidates, shuffled; 2 of them fill the gap, the others do not:\nA: #\nB: #\nC: #\n"
WHOLE = {
    "mvp": f"{INTRO}{SILENT}{GAP}{THREE}Which candidates fill the gap, in their original order? "
    "Give 2 different letters, first to last, like this: <answer>Y, Z</answer>",
    "jigsaw": f"{INTRO}{GAP}The 2 missing frames, shuffled:\nA: #\nB: #\nIn what order do they fill the gap? "
    "Give 2 different letters, first to last, like this: <answer>Y, Z</answer>",
    "select": f"{INTRO}{SILENT}{GAP}{THREE}Which candidates fill the gap? "
    "Give 2 different letters, in any order, like this: <answer>Y, Z</answer>",
    "next": f"{INTRO}{SILENT}\n##\n[gap: 2 frames are missing here]\n\n{THREE}"
    "Which candidates come next, in their original order? "
    "Give 2 different letters, first to last, like this: <answer>Y, Z</answer>",
    "arrow": f"{INTRO}{GAP}The 2 missing frames, all in their original order or all in reverse:\n##\n"
    "Do they run forwards (A) or backwards (B)? Give one letter, like this: <answer>Z</answer>",
    "odd-one-out": f"{INTRO}{GAP}3 candidates, shuffled; 2 of them fill the gap, one does not:\nA: #\nB: #\nC: #\n"
    "Which candidate does not fill the gap? Give one letter, like this: <answer>Z</answer>",
}


@pytest.mark.parametrize("task", WHOLE)
def test_the_whole_prompt_of_each_task(task: str) -> None:
    record = make_task_sample(task, k=2, distractors=1, context=2).record
    assert flat_text(record, DEFAULT, "#") == WHOLE[task]
    think = WHOLE[task].replace(" Give ", " First think about what happens, between <think> and </think>. Then give ")
    assert flat_text(record, PromptConfig(thinking=True), "#") == think


@pytest.mark.parametrize("task", TASKS)
def test_the_text_does_not_depend_on_the_answer(task: str) -> None:
    records = [make_task_sample(task, number).record for number in range(12)]
    assert len({record.answer for record in records}) > 1
    assert len({flat_text(record, DEFAULT) for record in records}) == 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("config", [DEFAULT, PromptConfig(context=False), PromptConfig(thinking=True, timestamps=True)])
def test_as_many_images_as_placeholders_in_each_task(task: str, config: PromptConfig) -> None:
    sample = make_task_sample(task, 3)
    assert flat_text(sample.record, config, "#").count("#") == len(prompt_images(sample, config))
    assert prompt_images(sample, config)[-len(sample.candidates) :] == sample.candidates


def test_one_user_message_of_text_and_images() -> None:
    (message,) = messages(make_record(), DEFAULT)
    assert message["role"] == "user"
    pieces = message["content"]
    assert isinstance(pieces, list)
    assert {tuple(sorted(piece)) for piece in pieces} == {("text", "type"), ("type",)}
    texts = [i for i, piece in enumerate(pieces) if piece["type"] == "text"]
    assert all(b - a > 1 for a, b in pairwise(texts)), "neighbouring texts are one piece"


def test_images_have_the_order_of_the_placeholders() -> None:
    sample = make_sample(1)
    assert prompt_images(sample, DEFAULT) == sample.context + sample.candidates
    assert prompt_images(sample, PromptConfig(context=False)) == sample.candidates


@pytest.mark.parametrize("mask_start", [0, 5, 12])
def test_the_position_of_the_gap(mask_start: int) -> None:
    text = flat_text(make_record(mask_start=mask_start), DEFAULT, "#")
    before, gap, after = text.partition("[gap: 4 frames are missing here]")
    assert gap
    assert before.count("#") == mask_start
    assert after.count("#") == 12 - mask_start + 8


def test_only_context_frames_have_timestamps() -> None:
    record = make_record(context=4, mask_start=2)
    text = flat_text(record, PromptConfig(timestamps=True), "#")
    assert all(f"{frame.time_s:.1f} s: #" in text for frame in record.context)
    assert text.count(" s: #") == len(record.context)


def test_without_context_the_prompt_has_no_context_frame() -> None:
    record = make_record()
    text = flat_text(record, PromptConfig(context=False, timestamps=True), "#")
    assert text.count("#") == 8
    assert " s: " not in text


def test_thinking_is_asked_for() -> None:
    assert "<think>" in flat_text(make_record(), PromptConfig(thinking=True))
    assert "<think>" not in flat_text(make_record(), DEFAULT)


@pytest.mark.parametrize(
    ("k", "distractors", "example"), [(4, 4, "W, X, Y, Z"), (1, 3, "Z"), (4, 20, "letter, letter")]
)
def test_the_example_is_not_a_valid_answer(k: int, distractors: int, example: str) -> None:
    record = make_record(k=k, distractors=distractors)
    text = flat_text(record, DEFAULT)
    assert f"<answer>{example}" in text
    assert not {c.label for c in record.candidates} & set(example.replace("letter", ""))


def test_the_answer_is_not_in_the_prompt() -> None:
    """Records that differ only in the answer have the same prompt."""
    records = [make_record(number) for number in range(12)]
    assert len({record.answer for record in records}) > 1
    assert len({flat_text(record, DEFAULT) for record in records}) == 1


def test_twins_differ_only_in_the_place_of_the_gap() -> None:
    first, second = (sample.record for sample in make_twins(mask_start=3, bridge=2))
    texts = [flat_text(record, DEFAULT, "#") for record in (first, second)]
    assert [text.partition("[gap")[0].count("#") for text in texts] == [3, 5]
    mark = "\n[gap: 4 frames are missing here]\n"
    assert texts[0].replace(mark, "") == texts[1].replace(mark, "")
    assert [twin_gap(first), twin_gap(second)] == [5, 3]
    assert twin_gap(make_record()) == -1


def test_without_the_mark_of_the_gap() -> None:
    first, second = (flat_text(sample.record, PromptConfig(gap=False), "#") for sample in make_twins())
    assert first == second
    assert first.startswith("These are frames of one video, in order. Somewhere, 4 frames are missing. Other frames")
    assert "[gap" not in flat_text(make_record(mask_start=12), PromptConfig(gap=False))


def test_no_distractors() -> None:
    assert "The 3 missing frames, shuffled:" in flat_text(make_record(k=3, distractors=0), DEFAULT)
