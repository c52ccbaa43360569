"""examples/learn_tiny.py at a size of seconds: all its parts run together; the model learns nothing."""

from pathlib import Path

import pytest

pytest.importorskip("trl")

from examples import learn_tiny
from examples.learn_tiny import Size
from mvp_data.shards.prompt import PromptConfig
from mvp_train.dataset import to_row
from mvp_train.models.load import load_processor
from mvp_train.reward import MvpReward, RewardConfig

SIZE = Size(films=7, form_steps=2, right_steps=2, warm_up_batch=2, steps=(1, 1), prompts=2, generations=2)


@pytest.fixture(scope="module")
def shards(tinyvit: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learn")
    return learn_tiny.shards(folder, SIZE.films, embedder=tinyvit, workers=1)


def test_a_room_is_hidden_and_the_rooms_around_it_are_shown(shards: Path) -> None:
    """Three frames of one shot, two frames before and two after it, and no video in both splits."""
    shown, held_out = learn_tiny.split_of(shards, "train"), learn_tiny.split_of(shards, "test")
    assert len(shown) >= 8
    assert len(held_out) >= 1
    films = [{samples[i].record.video_group for i in range(len(samples))} for samples in (shown, held_out)]
    assert not films[0] & films[1]
    for record in (shown[i].record for i in range(len(shown))):
        assert [frame.time_s for frame in record.context] == sorted(frame.time_s for frame in record.context)
        assert record.mask_start == 2
        assert len({candidate.shot for candidate in record.candidates}) == 1
        assert not {frame.shot for frame in record.context} & {candidate.shot for candidate in record.candidates}
        assert {c.video_id for c in record.candidates} == {record.video_id}


def test_an_answer_has_the_tokens_that_the_warm_up_expects(shards: Path, tmp_path: Path) -> None:
    samples = learn_tiny.split_of(shards, "train")
    processor = load_processor(learn_tiny.untrained(tmp_path / "model", samples, 0))
    row = {**to_row(samples[0], PromptConfig()), "shown": ", ".join(samples[0].record.answer)}
    inputs, answers = learn_tiny._taught(processor, [row])
    taught = inputs["input_ids"][0][answers[0] != -100]
    a, b, c = samples[0].record.answer
    wanted = ["<answer>", a, ", ", b, ", ", c, "</answer>", "<|im_end|>"]
    assert processor.tokenizer.convert_ids_to_tokens(taught) == wanted
    assert inputs["input_ids"].shape[1] < 70


def test_the_control_has_shuffled_rewards_and_logs_real_metrics(shards: Path) -> None:
    samples = learn_tiny.split_of(shards, "train")
    reward = learn_tiny.of_other_puzzles(MvpReward(RewardConfig()), samples, 0)
    logged: list[float] = []
    truths = ["".join(samples[i].record.answer) for i in range(len(samples))]
    paid = reward(
        completions=[f"<answer>{', '.join(truth)}</answer>" for truth in truths],
        answer=truths,
        pool=[3] * len(truths),
        key=samples.keys,
        log_metric=lambda name, value: logged.append(value) if name == "mvp/exact" else None,
    )
    assert logged == [1.0]
    assert sum(paid) / len(paid) < 0.8


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_whole_experiment_runs(shards: Path, tmp_path: Path) -> None:
    found = learn_tiny.prove(tmp_path, shards, SIZE, 0)
    runs = [f"{name}, run {number}" for name in ("control", "grpo") for number in (1, 2)]
    assert list(found) == ["warmed up", *runs, "grpo, removed-context", "grpo, shuffled-context"]
    assert {row.samples for row in found.values()} == {len(learn_tiny.split_of(shards, "test"))}
    assert [step for step, _ in learn_tiny.curve([tmp_path / "grpo-1", tmp_path / "grpo-2"])] == [1, 2]
    pytest.importorskip("matplotlib")
    learn_tiny.plot(tmp_path, 1 / 6, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
