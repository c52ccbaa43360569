"""The command line of the trainer, end to end on a tiny model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mvp_train.cli import app, main
from tests.samples import make_folder, make_shard

pytest.importorskip("trl", reason="needs the train extra")

COMMANDS = ("grpo", "eval", "filter")
RECIPE = """
model: {{path: {model}, dtype: float32}}
data: {{shards: {shards}}}
grpo:
  output_dir: {out}
  max_steps: 2
  per_device_train_batch_size: 2
  num_generations: 2
  max_completion_length: 4
  use_cpu: true
  bf16: false
  logging_steps: 1
  save_steps: 2
"""


@pytest.fixture(scope="module")
def here(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards of two splits and a recipe."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "shards").mkdir()
    shape: dict[str, Any] = {"context": 2, "mask_start": 1, "k": 2, "distractors": 1}
    made = [
        make_shard(folder / "shards" / "shard-000000.tar", 4, **shape),
        make_shard(folder / "shards" / "val-000000.tar", 3, split="val", **shape),
    ]
    make_folder(folder / "shards", made)
    recipe = RECIPE.format(model=tiny, shards=folder / "shards", out=folder / "run")
    (folder / "recipe.yaml").write_text(recipe)
    return folder


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_train_then_evaluate(here: Path, tiny: Path) -> None:
    recipe = here / "recipe.yaml"
    plan = json.loads(run("grpo", recipe, "--dry-run", "--json"))
    assert (plan["samples"], plan["steps"], plan["first_step"]) == (4, 2, 0)
    assert "2 steps done" in run("grpo", recipe)
    report = json.loads(run("eval", recipe, "--out", here / "eval", "--json"))
    assert report["about"]["model"]["path"] == str(here / "run" / "final"), "the trained model, not the recipe's"
    assert report["samples"] == 3
    said = run("eval", "--model", tiny, "--shards", here / "shards", "--split", "val", "--out", here / "base")
    assert "exact" in said
    assert "chance" in said
    compared = run("eval", "--compare", here / "base" / "report.json", here / "eval" / "report.json")
    assert "mvp: 3 samples" in compared
    assert "exact" in compared


def test_the_report_names_the_probe(here: Path, tiny: Path) -> None:
    for name in ("removed-context", "unmarked-gap"):
        out = here / name
        said = run("eval", "--model", tiny, "--shards", here / "shards", "--probe", name, "--out", out, "--json")
        assert json.loads(said)["ask"]["probe"] == name


def test_filter_then_train(here: Path) -> None:
    rates = here / "rates.parquet"
    recipe = here / "recipe.yaml"
    told = json.loads(run("filter", recipe, "--rollouts", 2, "--out", rates, "--json"))
    assert told["mvp"]["samples"] == 4
    with pytest.raises(Exception, match="leaves no sample"):  # an untrained model is never right
        run("grpo", recipe, f"data.pass_rates={rates}", "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grpo", "none.yaml"], "none.yaml: cannot be read"),
        (["grpo", "{recipe}", "grpo.learning_rat=1"], "did you mean learning_rate"),
        (["grpo", "{recipe}", "data.shards=nowhere"], "nowhere"),
        (["grpo", "{recipe}", "data.split=test"], "train 4, val 3"),
        (["grpo", "{recipe}", "grpo.num_generations=3"], "divisible"),
        (["grpo", "{recipe}", "model.path=org/absent", "grpo.output_dir=new"], "hf download org/absent"),
        (["eval"], "name a recipe"),
        (["eval", "{recipe}", "--split", "test", "--out", "new"], "train 4, val 3"),
        (["eval", "{recipe}", "--probe", "magic"], "probe 'magic': must be one of shuffled-context, removed-context"),
        (["eval", "{recipe}", "--probe", "moved-gap"], "no same-strip twins"),
        (["eval", "{recipe}", "--engine", "magic"], "must be transformers or vllm"),
        (["eval", "--compare", "a.json", "b.json"], "a.json"),
        (["filter", "{recipe}", "--temperature", "0"], "all the same"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(
    here: Path, arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("{recipe}", str(here / "recipe.yaml")) for argument in arguments]
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "argv", ["mvp-train", *given])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("mvp-train: ")
    assert said in line


def test_a_command_in_its_own_process(here: Path) -> None:
    command = [sys.executable, "-m", "mvp_train", "grpo", str(here / "recipe.yaml"), "data.split=test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("mvp-train: data.split: there are no samples of split 'test' (")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str) -> None:
    text = run(command, "--help")
    assert "Examples:" in text
    assert f"mvp-train {command}" in text


def test_every_command_is_documented() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    assert {command.name for command in app.registered_commands} == set(COMMANDS)
    assert all(f"mvp-train {command}" in docs for command in COMMANDS)


def test_version() -> None:
    from mvp_data.core.version import __version__

    assert run("--version").strip() == f"mvp-train {__version__}"
