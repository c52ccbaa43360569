"""GRPO for real, on a tiny random model: files, logs, exact resume, and everything that is refused before it starts."""

import json
import multiprocessing
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mvp_data.errors import ConfigError, MissingDependencyError, MvpError, OutputError, ShardError
from mvp_train.recipe import Recipe, from_values
from tests.samples import make_folder, make_shard

pytest.importorskip("trl", reason="needs the train extra")
import torch
from safetensors.torch import load_file

from mvp_train.models.untrained import save
from mvp_train.training.dry_run import describe, facts
from mvp_train.training.plan import Plan
from mvp_train.training.prepare import plan
from mvp_train.training.run import train
from mvp_train.training.run_folder import last_checkpoint, owned, trained_model

LANGUAGE = r".*language_model.*\.(q_proj|v_proj)"
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
    "report_to": "tensorboard",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 8, context=3, mask_start=2, k=2, distractors=1)])
    return folder


def recipe(model: Path, shards: Path, out: Path, **grpo: Any) -> Recipe:
    return from_values(
        {
            "model": {"path": str(model), "dtype": "float32"},
            "data": {"shards": str(shards)},
            "grpo": {**GRPO, "output_dir": str(out), **grpo},
        }
    )


def by_length(completions: Sequence[Any], **columns: Any) -> list[float]:
    """A reward that an untrained model meets in different degrees, so that there is a gradient."""
    return [len(completion[0]["content"]) % 7 / 7 for completion in completions]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "model.safetensors"))


def test_a_run_leaves_what_it_promises(model: Path, shards: Path, tmp_path: Path) -> None:
    planned = plan(recipe(model, shards, tmp_path / "run"))
    final = train(planned)
    assert final == tmp_path / "run" / "final" == trained_model(tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"checkpoint-2", "checkpoint-4", "metrics.jsonl", "completions.html", "run.yaml", "README.md"} <= names
    assert list((tmp_path / "run").rglob("events.out.tfevents.*"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        assert {"mvp/valid", "mvp/exact", "mvp/selection", "mvp/order", "mvp/position"} <= line.keys()
        assert {"frac_reward_zero_std", "completions/mean_length", "completions_per_second"} <= line.keys()
        shares = [line[f"{part}_share"] for part in ("data_wait", "generation", "reward", "update")]
        assert all(0 <= share <= 1 for share in shares)
        assert sum(shares) == pytest.approx(1)
    page = (tmp_path / "run" / "completions.html").read_text()
    assert "data:image/jpeg" in page
    assert "step 4" in page.lower()


@pytest.mark.parametrize("lora", [None, {"r": 2, "target_modules": LANGUAGE}], ids=["all", "lora"])
def test_a_resumed_run_ends_with_the_same_weights(
    model: Path, shards: Path, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    """With a gradient in each step, and several updates from one generation."""
    grpo = {"lr_scheduler_type": "constant", "gradient_accumulation_steps": 2, "beta": 0.1}
    for name, stops in (("straight", [4]), ("resumed", [2, 4])):
        for stop in stops:
            planned = plan(replace(recipe(model, shards, tmp_path / name, max_steps=stop, **grpo), lora=lora))
            assert planned.first_step == (2 if stop == 4 and name == "resumed" else 0)
            train(planned, reward=by_length)
    file = "model.safetensors" if lora is None else "adapter_model.safetensors"
    at = {step: load_file(tmp_path / "straight" / step / file) for step in ("checkpoint-2", "final")}
    resumed = load_file(tmp_path / "resumed" / "final" / file)
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in at["final"].items())
    assert any(not torch.equal(tensor, at["final"][key]) for key, tensor in at["checkpoint-2"].items())


@pytest.mark.parametrize("stop", [3, 4])
def test_a_run_resumed_in_a_later_epoch_sees_the_samples_of_that_epoch(
    model: Path, shards: Path, tmp_path: Path, stop: int
) -> None:
    """Two prompts a step and four steps a pass of the eight samples; resumed in the second pass and at its end."""
    seen: dict[str, list[str]] = {"straight": [], "resumed": []}
    for name, steps in (("straight", [10]), ("resumed", [stop + 3, 10])):
        for last in steps:

            def reward(completions: Sequence[Any], key: Sequence[str], name: str = name, **_: Any) -> list[float]:
                seen[name] += key[::4]
                return by_length(completions)

            grpo = {"per_device_train_batch_size": 8, "lr_scheduler_type": "constant", "save_steps": 100}
            train(plan(recipe(model, shards, tmp_path / name, max_steps=last, **grpo)), reward=reward)
    assert seen["straight"] == seen["resumed"]
    passes = [seen["straight"][at : at + 8] for at in (0, 8)]
    assert set(passes[0]) == set(passes[1])
    assert passes[0] != passes[1], "each pass has an order of its own"
    last = [weights(tmp_path / name / "final") for name in seen]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])


def test_a_stop_inside_a_generation_is_refused_beforehand(model: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"save_steps: 3 must be a multiple of 2, the updates of a generation"):
        plan(recipe(model, shards, tmp_path / "run", num_iterations=2, save_steps=3))
    plan(recipe(model, shards, tmp_path / "run", num_iterations=2, save_steps=4))


def test_files_that_are_no_runs_are_never_removed(model: Path, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "final").mkdir(parents=True)
    (tmp_path / "mine" / "final" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"holds models but no run\.yaml"):
            plan(recipe(model, shards, tmp_path / "mine"), overwrite=overwrite)
    assert (tmp_path / "mine" / "final" / "thesis.txt").exists()


def test_other_data_under_the_same_path_is_another_run(model: Path, shards: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(shards, tmp_path / "shards")
    train(plan(recipe(model, copy, tmp_path / "run", max_steps=2)))
    moved = copy.rename(tmp_path / "elsewhere")
    copy.mkdir()
    make_folder(copy, [make_shard(copy / "shard-000000.tar", 7, context=3, mask_start=2, k=2, distractors=1)])
    with pytest.raises(OutputError, match=r"differs in the content of data\.shards"):
        plan(recipe(model, copy, tmp_path / "run", max_steps=4))
    shutil.rmtree(copy)
    moved.rename(copy)
    assert plan(recipe(model, copy, tmp_path / "run", max_steps=4)).first_step == 2


def test_a_home_folder_in_the_output(
    model: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = recipe(model, shards, Path("~/run"), max_steps=1)
    train(plan(made))
    assert {"final", "checkpoint-1", "run.yaml"} <= {path.name for path in (tmp_path / "run").iterdir()}


def test_a_finished_run_is_left_as_it_is(model: Path, shards: Path, tmp_path: Path) -> None:
    made = recipe(model, shards, tmp_path / "run", max_steps=2, lr_scheduler_type="constant")
    final = train(plan(made), reward=by_length)
    before = {path: path.stat().st_mtime_ns for path in final.parent.rglob("*") if path.name != "grpo_config.json"}
    first = weights(final)
    assert train(plan(made), reward=by_length) == final
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.name for path in before if before[path] != after[path]] in (
        [],
        ["run.yaml", "run_inputs.json"],
        ["run_inputs.json", "run.yaml"],
    )
    assert not (final.parent / "checkpoint-3").exists()
    shutil.rmtree(final)  # killed after the last checkpoint and before this
    train(plan(made), reward=by_length)
    assert all(torch.equal(first[key], value) for key, value in weights(final).items())


def test_a_longer_run_replaces_the_final_model(model: Path, shards: Path, tmp_path: Path) -> None:
    """Also when it is killed between its last checkpoint and the end."""
    final = train(plan(recipe(model, shards, tmp_path / "run", max_steps=2)), reward=by_length)
    first = weights(final)
    train(plan(recipe(model, shards, tmp_path / "run", max_steps=4)), reward=by_length)
    assert any(not torch.equal(first[key], value) for key, value in weights(final).items())


def test_lines_after_the_checkpoint_are_taken_out(model: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(plan(recipe(model, shards, out, max_steps=3)))
    shutil.rmtree(out / "final")
    shutil.rmtree(out / "checkpoint-3")
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "rew')
    train(plan(recipe(model, shards, out, max_steps=3)))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "reward" in line] == [1, 2, 3]


def test_two_runs_do_not_meet(model: Path, shards: Path, tmp_path: Path) -> None:
    planned = plan(recipe(model, shards, tmp_path / "run"))
    with (
        owned(planned.recipe, planned.inputs, "{}", overwrite=False),
        pytest.raises(OutputError, match="another run uses it"),
    ):
        train(planned)


def test_validation_during_training(model: Path, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    shape: dict[str, Any] = {"context": 2, "mask_start": 1, "k": 2, "distractors": 1}
    made = [
        make_shard(tmp_path / "shards" / "shard-000000.tar", 4, **shape),
        make_shard(tmp_path / "shards" / "val-000000.tar", 2, split="val", **shape),
    ]
    make_folder(tmp_path / "shards", made)
    values = recipe(model, tmp_path / "shards", tmp_path / "run", max_steps=2, eval_strategy="steps", eval_steps=1)
    train(plan(values))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_reward" in line] == [1, 2]
    assert all("eval_mvp/exact" in line for line in lines if "eval_reward" in line)


def test_a_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path) -> None:
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


def test_another_recipe_is_not_mixed_in(model: Path, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(plan(recipe(model, shards, out, max_steps=2)))
    with pytest.raises(OutputError, match=r"differs in grpo\.learning_rate"):
        plan(recipe(model, shards, out, learning_rate=1e-3))
    final = train(plan(recipe(model, shards, out, learning_rate=1e-3, max_steps=2), overwrite=True))
    assert final.is_dir()
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "reward" in json.loads(line)] == [1, 2]


def test_lora(model: Path, shards: Path, tmp_path: Path) -> None:
    made = recipe(model, shards, tmp_path / "run", max_steps=1, save_steps=1)
    made = replace(made, lora={"r": 2, "target_modules": LANGUAGE})
    final = train(plan(made))
    assert (final / "adapter_model.safetensors").is_file()
    names = load_file(final / "adapter_model.safetensors")
    assert len(names) == 2 * 2 * 2  # layers, projections, A and B
    assert facts(plan(made))["memory_bytes"]["gradients"] == 4 * sum(t.numel() for t in names.values())


def test_dry_run(model: Path, shards: Path, tmp_path: Path) -> None:
    planned = plan(
        recipe(model, shards, tmp_path / "run", gradient_accumulation_steps=2, num_train_epochs=3, max_steps=-1)
    )
    told = facts(planned)
    assert told["completions_per_step"] == 8
    assert told["prompts_per_generation"] == 2
    assert told["steps"] == 3 * 8 // 2
    assert told["picture_tokens"] == (3 + 3) * (112 // 28) * (56 // 28)
    parameters = sum(tensor.numel() for tensor in weights(model).values())
    assert told["memory_bytes"]["weights"] == 4 * parameters
    assert "<|image_pad|> x 8" in describe(planned)
    assert not (tmp_path / "run").exists()


def test_the_steps_of_the_plan_are_those_of_the_trainer(model: Path, shards: Path, tmp_path: Path) -> None:
    made = recipe(
        model,
        shards,
        tmp_path / "run",
        max_steps=-1,
        num_train_epochs=2,
        gradient_accumulation_steps=3,
        num_generations=2,
    )
    planned: Plan = plan(made)
    train(planned)
    state = json.loads((trained_model_state(tmp_path / "run")).read_text())
    assert state["max_steps"] == planned.steps


def trained_model_state(folder: Path) -> Path:
    checkpoint = last_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint / "trainer_state.json"


@pytest.mark.parametrize(
    ("grpo", "said"),
    [
        ({"learning_rat": 1}, "unknown key learning_rat; did you mean learning_rate"),
        ({"num_generations": 3}, "divisible"),
        ({"save_only_model": True}, "a run cannot resume"),
        ({"model_init_kwargs": "abc"}, "grpo"),
        ({"max_completion_length": "abc"}, "max_completion_length"),
        ({"remove_unused_columns": True}, "cannot be set"),
        ({"per_device_train_batch_size": 64}, "8 samples, and but one step needs 16"),
        ({"max_steps": "many"}, "max_steps"),
        ({"use_vllm": True}, "pip install vllm"),
        ({"report_to": "trackio"}, "pip install trackio"),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, "pip install deepspeed"),
    ],
)
def test_grpo_settings_that_are_refused(
    model: Path, shards: Path, tmp_path: Path, grpo: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, MissingDependencyError), match=r"grpo|samples") as error:
        plan(recipe(model, shards, tmp_path / "run", **grpo))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_pictures_that_do_not_fit_the_model(shards: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "three", "qwen3_vl")
    with pytest.raises(ConfigError, match="--patch-multiple 32"):
        plan(recipe(other, shards, tmp_path / "run"))


def test_a_prompt_that_is_too_long(model: Path, shards: Path, tmp_path: Path) -> None:
    made = from_values(
        {
            "model": {"path": str(model), "max_prompt_tokens": 100},
            "data": {"shards": str(shards)},
            "grpo": {**GRPO, "output_dir": str(tmp_path / "run")},
        }
    )
    with pytest.raises(ConfigError, match=r"a prompt takes \d+ tokens \(48 for images\)"):
        plan(made)


def test_missing_shards(model: Path, tmp_path: Path) -> None:
    with pytest.raises(MvpError, match="nowhere"):
        plan(recipe(model, tmp_path / "nowhere", tmp_path / "run"))


def test_a_bad_lora_section(model: Path, shards: Path, tmp_path: Path) -> None:
    values = {"model": {"path": str(model)}, "data": {"shards": str(shards)}, "grpo": GRPO}
    with pytest.raises(ConfigError, match="lora: unknown key rank"):
        plan(from_values({**values, "lora": {"rank": 2}}))


def test_qwen3_vl_learns_from_pictures_of_its_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deep-stack features and interleaved positions go through the same path; 224 suits 28 and 32."""
    monkeypatch.setattr("tests.samples.WIDTH_PX", 224)
    monkeypatch.setattr("tests.samples.HEIGHT_PX", 224)
    (tmp_path / "shards").mkdir()
    made = make_shard(tmp_path / "shards" / "shard-000000.tar", 4, context=2, mask_start=1, k=2, distractors=1)
    make_folder(tmp_path / "shards", [made])
    model = save(tmp_path / "three", "qwen3_vl")
    planned = plan(recipe(model, tmp_path / "shards", tmp_path / "run", max_steps=1, save_steps=1))
    assert planned.costs[0].images == 5 * (224 // 32) ** 2
    before, after = weights(model), weights(train(planned, reward=by_length))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("visual" in name for name in changed)
    assert any("language_model" in name for name in changed)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_decoded_stops_the_run_with_its_key(model: Path, tmp_path: Path, workers: int) -> None:
    (tmp_path / "shards").mkdir()
    path = tmp_path / "shards" / "shard-000000.tar"
    make_folder(tmp_path / "shards", [make_shard(path, 4, context=2, mask_start=1, k=2, distractors=1)])
    made = recipe(model, tmp_path / "shards", tmp_path / "run", max_steps=4, dataloader_num_workers=workers)
    planned = plan(made)
    data = bytearray(path.read_bytes())
    for sample in planned.samples.sets[0].table.to_pylist():
        middle = sample["offset"] + sample["bytes"] // 2
        start = data.index(b"\xff\xda", middle)  # the scan of one of its pictures
        data[start + 20 : start + 120] = b"\xff\x01" * 50
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"video\d-s00\d-v0.*damaged") as error:
        train(planned)
    assert "\n" not in str(error.value)
    for child in multiprocessing.active_children():  # the loader's, held by the traceback; they end with the process
        child.terminate()
        child.join()
