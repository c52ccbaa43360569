"""Training: checking a recipe, the plan, the output folder, and GRPO on a tiny untrained model with exact resume.

All in one file, because the imports and the first models take a process some seconds.
"""

import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mvp_data.core.errors import ConfigError, MissingDependencyError, OutputError, ShardError
from mvp_train.recipe import Recipe, from_values
from mvp_train.reward import MvpReward, RewardConfig
from tests.samples import make_folder, make_shard
from tests.task_samples import make_mixed_folder

pytest.importorskip("trl", reason="needs the train extra")
import torch
from safetensors.torch import load_file

from mvp_train.training.plan import describe, facts
from mvp_train.training.prepare import plan
from mvp_train.training.run_folder import RECIPE_NAME, last_checkpoint, owned, trained_model
from mvp_train.training.trainer import train

CONSTANT = {"lr_scheduler_type": "constant"}
LANGUAGE = r".*language_model.*\.(q_proj|v_proj)"
LORA = {"r": 2, "target_modules": LANGUAGE}
GRPO: dict[str, Any] = {
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 6,
    "learning_rate": 1e-2,
    "use_cpu": True,
    "bf16": False,
    "logging_steps": 1,
    "save_steps": 2,
    "report_to": "none",
    "disable_tqdm": True,
}


def recipe(model: Path, shards: Path, out: Path, **grpo: Any) -> Recipe:
    return from_values(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "data": {"shards": str(shards)},
            "grpo": {**GRPO, "output_dir": str(out), **grpo},
        }
    )


def by_length(completions: Sequence[Any], **columns: Any) -> list[float]:
    """A reward that differs between the completions of an untrained model, so that there is a gradient."""
    MvpReward(RewardConfig())(completions=completions, **columns)  # logs the parts of the real reward
    return [len(completion[0]["content"]) % 7 / 7 for completion in completions]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight samples of split train. Tests only read it."""
    folder = tmp_path_factory.mktemp("shards")
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 8, context=3, mask_start=2, k=2, distractors=1)])
    return folder


def test_a_checkpoint_inside_a_generation_is_refused(tiny: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"save_steps: 3 must be a multiple of 2, the updates of a generation"):
        plan(recipe(tiny, shards, tmp_path / "run", num_iterations=2, save_steps=3))
    plan(recipe(tiny, shards, tmp_path / "run", num_iterations=2, save_steps=4))


@pytest.mark.parametrize(
    ("grpo", "said"),
    [
        ({"learning_rat": 1}, "unknown key learning_rat; did you mean learning_rate"),
        ({"num_generations": 3}, "divisible"),
        ({"save_only_model": True}, "a run cannot resume"),
        ({"model_init_kwargs": "abc"}, "grpo"),
        ({"max_completion_length": "abc"}, "max_completion_length"),
        ({"remove_unused_columns": True}, "cannot be set"),
        ({"per_device_train_batch_size": 64}, "8 samples, but one step needs 16"),
        ({"max_steps": "many"}, "max_steps"),
        ({"use_vllm": True}, "pip install vllm"),
        ({"report_to": "trackio"}, "pip install trackio"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "pip install deepspeed"),
    ],
)
def test_grpo_settings_that_are_refused(
    tiny: Path, shards: Path, tmp_path: Path, grpo: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, MissingDependencyError), match=r"grpo|samples") as error:
        plan(recipe(tiny, shards, tmp_path / "run", **grpo))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_that_do_not_fit_the_model(tiny_qwen3: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--patch-multiple 32"):
        plan(recipe(tiny_qwen3, shards, tmp_path / "run"))


def test_a_prompt_that_is_too_long(tiny: Path, shards: Path, tmp_path: Path) -> None:
    made = recipe(tiny, shards, tmp_path / "run")
    made = replace(made, model=replace(made.model, max_prompt_tokens=100))
    with pytest.raises(ConfigError, match=r"a prompt takes \d+ tokens \(48 for images\)"):
        plan(made)


def test_a_bad_lora_section(tiny: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lora: unknown key rank"):
        plan(replace(recipe(tiny, shards, tmp_path / "run"), lora={"rank": 2}))


def test_dry_run(tiny: Path, shards: Path, tmp_path: Path) -> None:
    planned = plan(
        recipe(tiny, shards, tmp_path / "run", gradient_accumulation_steps=2, num_train_epochs=3, max_steps=-1)
    )
    found = facts(planned)
    assert found["completions_per_step"] == 8
    assert found["prompts_per_generation"] == 2
    assert found["steps"] == 3 * 8 // 2
    assert found["picture_tokens"] == (3 + 3) * (112 // 28) * (56 // 28)
    parameters = sum(tensor.numel() for tensor in load_file(tiny / "model.safetensors").values())
    assert found["memory_bytes"]["weights"] == 4 * parameters
    assert "<|image_pad|> x 8" in describe(planned)
    assert not (tmp_path / "run").exists()


def test_files_of_the_user_are_never_removed(tiny: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "final").mkdir(parents=True)
    (tmp_path / "mine" / "final" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"holds models but no run\.yaml"):
            plan(recipe(tiny, shards, tmp_path / "mine"), overwrite=overwrite)
    assert (tmp_path / "mine" / "final" / "thesis.txt").exists()


def test_a_second_run_is_refused(tiny: Path, shards: Path, tmp_path: Path) -> None:
    planned = plan(recipe(tiny, shards, tmp_path / "run"))
    with (
        owned(planned.recipe, planned.inputs, "{}", overwrite=False),
        pytest.raises(OutputError, match="another run uses it"),
    ):
        train(planned)


def test_an_incomplete_checkpoint_is_skipped(tmp_path: Path) -> None:
    for step, state in ((2, '{"global_step": 2}'), (3, "{}"), (4, '{"global_step": 4}'), (10, '{"glo'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").touch()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5}')  # without an optimiser
    (tmp_path / "checkpoint-best").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    assert last_checkpoint(tmp_path / "checkpoint-4") is None


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.glob("*model.safetensors")  # of a whole model or of an adapter
    return dict(load_file(path))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def log_lines(folder: Path, name: str = "reward") -> list[dict[str, Any]]:
    """The lines of the log that have a value of this name."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if name in line]


@pytest.fixture(scope="module")
def done(tiny: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe of a finished run of four steps. Tests leave its folder as it is, or work on a copy."""
    root = tmp_path_factory.mktemp("done")
    own = shutil.copytree(shards, root / "shards")
    made = recipe(tiny, own, root / "run", report_to="tensorboard", **CONSTANT)
    train(plan(made), reward=by_length)
    return made


def copied(run: Recipe, out: Path, **grpo: Any) -> Recipe:
    """The recipe of a copy of a finished run, with other settings of its own."""
    shutil.copytree(run.output_dir, out)
    text = (out / RECIPE_NAME).read_text()
    (out / RECIPE_NAME).write_text(text.replace(str(run.output_dir), str(out)))
    return replace(run, grpo={**run.grpo, "output_dir": str(out), **grpo})


def test_a_run_writes_its_files(done: Recipe) -> None:
    folder = done.output_dir
    assert trained_model(folder) == folder / "final"
    names = {path.name for path in folder.iterdir()}
    assert {"checkpoint-2", "checkpoint-4", "metrics.jsonl", "completions.html", "run.yaml", "README.md"} <= names
    assert list(folder.rglob("events.out.tfevents.*"))
    steps = log_lines(folder)
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert {"mvp/valid", "mvp/exact", "mvp/selection", "mvp/order", "mvp/position"} <= line.keys()
        assert {"frac_reward_zero_std", "completions/mean_length", "completions_per_second"} <= line.keys()
        shares = [line[f"{part}_share"] for part in ("data_wait", "generation", "reward", "update")]
        assert all(0 <= share <= 1 for share in shares)
        assert sum(shares) == pytest.approx(1)
    page = (folder / "completions.html").read_text()
    assert "data:image/jpeg" in page
    assert "step 4" in page.lower()


@pytest.fixture(scope="module")
def straight(tiny: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Recipe]:
    """The recipe of a finished run of all weights or of LoRA, with several updates from one generation."""
    grpo = {**CONSTANT, "gradient_accumulation_steps": 2, "beta": 0.1}

    @cache
    def made(lora: bool) -> Recipe:
        out = tmp_path_factory.mktemp("straight") / "run"
        found = replace(recipe(tiny, shards, out, **grpo), lora=LORA if lora else None)
        train(plan(found), reward=by_length)
        return found

    return made


@pytest.mark.parametrize("lora", [False, True], ids=["all", "lora"])
def test_a_resumed_run_ends_with_the_same_weights(
    straight: Callable[[bool], Recipe], tmp_path: Path, lora: bool
) -> None:
    run = straight(lora)
    for stop in (2, 4):
        planned = plan(replace(run, grpo={**run.grpo, "output_dir": str(tmp_path), "max_steps": stop}))
        assert planned.first_step == stop - 2
        train(planned, reward=by_length)
    half, final = (weights(run.output_dir / name) for name in ("checkpoint-2", "final"))
    assert same(final, weights(tmp_path / "final"))
    assert not same(final, half), "there is a gradient"


def test_lora(straight: Callable[[bool], Recipe]) -> None:
    run = straight(True)
    adapter = weights(run.output_dir / "final")
    assert len(adapter) == 2 * 2 * 2  # layers, projections, A and B
    assert facts(plan(run))["memory_bytes"]["gradients"] == 4 * sum(t.numel() for t in adapter.values())


EPOCHS = {**CONSTANT, "per_device_train_batch_size": 8, "save_steps": 100}
EPOCH_STEPS = 9


def seen_keys(made: Recipe, stops: Sequence[int]) -> list[str]:
    """The keys of the prompts of a run that stops and resumes after these steps."""
    seen: list[str] = []

    def reward(completions: Sequence[Any], key: Sequence[str], **columns: Any) -> list[float]:
        seen.extend(key[::4])
        return by_length(completions, **columns)

    for stop in stops:
        train(plan(replace(made, grpo={**made.grpo, "max_steps": stop})), reward=reward)
    return seen


@pytest.fixture(scope="module")
def epochs(tiny: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The final model and the keys of a run without a stop."""
    made = recipe(tiny, shards, tmp_path_factory.mktemp("epochs") / "run", **EPOCHS)
    return made.output_dir / "final", seen_keys(made, [EPOCH_STEPS])


def test_a_run_resumed_in_a_later_epoch_sees_the_samples_of_that_epoch(
    tiny: Path, shards: Path, epochs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Two prompts a step, so four steps an epoch of the eight samples; resumed in the second epoch."""
    final, seen = epochs
    assert seen_keys(recipe(tiny, shards, tmp_path, **EPOCHS), [7, EPOCH_STEPS]) == seen
    assert set(seen[:8]) == set(seen[8:16])
    assert seen[:8] != seen[8:16], "each epoch has its own order"
    assert same(weights(final), weights(tmp_path / "final"))


def test_other_data_under_the_same_path_is_another_run(done: Recipe, tmp_path: Path) -> None:
    shards = Path(done.data.shards[0].path)
    moved = shards.rename(tmp_path / "moved")
    shards.mkdir()
    make_folder(shards, [make_shard(shards / "shard-000000.tar", 7, context=3, mask_start=2, k=2, distractors=1)])
    with pytest.raises(OutputError, match=r"differs in the content of data\.shards"):
        plan(done)
    shutil.rmtree(shards)
    moved.rename(shards)
    assert plan(done).first_step == 4


def test_a_finished_run_does_nothing(done: Recipe, tmp_path: Path) -> None:
    made = copied(done, tmp_path / "run")
    final = made.output_dir / "final"
    before = {path: path.stat().st_mtime_ns for path in final.parent.rglob("*") if path.name != "grpo_config.json"}
    first = weights(final)
    assert train(plan(made), reward=by_length) == final
    changed = {path.name for path in before if before[path] != path.stat().st_mtime_ns}
    assert changed <= {"run.yaml", "run_inputs.json"}
    assert not (final.parent / "checkpoint-5").exists()
    shutil.rmtree(final)  # as if killed after the last checkpoint
    train(plan(made), reward=by_length)
    assert same(weights(final), first)


def test_a_longer_run_replaces_the_final_model(done: Recipe, tmp_path: Path) -> None:
    """Its log loses the lines after the checkpoint, and a line that was cut off."""
    made = copied(done, tmp_path / "run", max_steps=5)
    with (made.output_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "reward": 0.5}\n{"step": 5, "rew')
    final = train(plan(made), reward=by_length)
    assert not same(weights(final), weights(done.output_dir / "final"))
    assert [line["step"] for line in log_lines(made.output_dir)] == [1, 2, 3, 4, 5]


def test_another_recipe_is_refused_or_overwrites(done: Recipe, tmp_path: Path) -> None:
    made = copied(done, tmp_path / "run", learning_rate=1e-3, max_steps=1)
    with pytest.raises(OutputError, match=r"differs in grpo\.learning_rate"):
        plan(made)
    assert train(plan(made, overwrite=True)).is_dir()
    assert [line["step"] for line in log_lines(made.output_dir)] == [1]


def test_a_run_in_a_home_folder_has_the_steps_of_its_plan(
    tiny: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    grpo = {"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 3, "num_generations": 2}
    planned = plan(recipe(tiny, shards, Path("~/run"), **grpo))
    train(planned)
    assert {"final", "run.yaml"} <= {path.name for path in (tmp_path / "run").iterdir()}
    checkpoint = last_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert json.loads((checkpoint / "trainer_state.json").read_text())["max_steps"] == planned.steps


def test_validation_during_training(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    shape: dict[str, Any] = {"context": 2, "mask_start": 1, "k": 2, "distractors": 1}
    made = [
        make_shard(tmp_path / "shards" / "shard-000000.tar", 4, **shape),
        make_shard(tmp_path / "shards" / "val-000000.tar", 2, split="val", **shape),
    ]
    make_folder(tmp_path / "shards", made)
    values = recipe(tiny, tmp_path / "shards", tmp_path / "run", max_steps=2, eval_strategy="steps", eval_steps=1)
    train(plan(values))
    lines = log_lines(tmp_path / "run", "eval_reward")
    assert [line["step"] for line in lines] == [1, 2]
    assert all("eval_mvp/exact" in line for line in lines)


def test_qwen3_vl_learns_from_frames_of_its_multiple(
    tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its deep-stack features and interleaved positions take the same path; 224 suits 28 and 32."""
    monkeypatch.setattr("tests.samples.WIDTH_PX", 224)
    monkeypatch.setattr("tests.samples.HEIGHT_PX", 224)
    (tmp_path / "shards").mkdir()
    made = make_shard(tmp_path / "shards" / "shard-000000.tar", 4, context=2, mask_start=1, k=2, distractors=1)
    make_folder(tmp_path / "shards", [made])
    planned = plan(recipe(tiny_qwen3, tmp_path / "shards", tmp_path / "run", max_steps=1, save_steps=1))
    assert planned.costs[0].images == 5 * (224 // 32) ** 2
    before, after = weights(tiny_qwen3), weights(train(planned, reward=by_length))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("visual" in name for name in changed)
    assert any("language_model" in name for name in changed)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_stops_the_run_with_its_key(tiny: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "shards").mkdir()
    path = tmp_path / "shards" / "shard-000000.tar"
    make_folder(tmp_path / "shards", [make_shard(path, 4, context=2, mask_start=1, k=2, distractors=1)])
    made = recipe(tiny, tmp_path / "shards", tmp_path / "run", max_steps=4, dataloader_num_workers=workers)
    planned = plan(made)
    data = bytearray(path.read_bytes())
    for sample in planned.samples.sets[0].table.to_pylist():
        middle = sample["offset"] + sample["bytes"] // 2
        start = data.index(b"\xff\xda", middle)  # the scan of one of its images
        data[start + 20 : start + 120] = b"\xff\x01" * 50
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"video\d-s00\d-v0.*damaged") as error:
        train(planned)
    assert "\n" not in str(error.value)
    for child in multiprocessing.active_children():  # the loader's, held by the traceback; they end with the process
        child.terminate()
        child.join()


def test_a_step_of_grpo_on_a_mix_of_tasks(tiny: Path, tmp_path: Path) -> None:
    """Prompts of 8 to 12 images in one batch: the weights change, and each task logs its own metrics."""
    tasks = ("mvp", "jigsaw", "arrow", "odd-one-out")
    shards = make_mixed_folder(tmp_path / "shards", 3, context=4)
    made = recipe(tiny, shards, tmp_path / "run", max_steps=1, per_device_train_batch_size=8, num_generations=2)
    planned = plan(replace(made, data=replace(made.data, tasks=tasks, order="curriculum")))
    found = facts(planned)
    assert found["tasks"] == dict.fromkeys(tasks, 3)
    assert found["guessing"]["arrow, 1 of 2"] == {"exact": 0.5, "reward": 0.5}
    assert "guessing     odd-one-out, 1 of 5: reward 0.320, exact 20.00 %" in describe(planned)
    assert len({cost.images for cost in planned.costs}) == 3
    seen: list[str] = []

    def reward(completions: Sequence[Any], task: Sequence[str], **columns: Any) -> list[float]:
        seen.extend(task)
        return by_length(completions, task=task, **columns)

    final = train(planned, reward=reward)
    assert len(seen) == 8
    assert len({*seen}) > 1
    assert not same(weights(tiny), weights(final))
    assert {f"{task}/valid" for task in seen} <= log_lines(tmp_path / "run")[0].keys()
