"""The stock `trl grpo` trains on the export with the reward named in its `grpo.yaml`. Untrained tiny model, CPU."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from mvp_data.export.run import export
from mvp_data.export.target import ExportReport
from mvp_data.shards.prompt import PromptConfig
from tests.samples import make_shard

pytest.importorskip("trl", reason="needs the extra `train`: pip install '.[train]'")

TINY = {
    "num_generations": 2,
    "per_device_train_batch_size": 2,
    "max_completion_length": 6,
    "max_steps": 2,
    "save_steps": 2,
    "dtype": "float32",
    "bf16": "false",
    "use_cpu": "true",
    "report_to": "none",
}  # changed for a test on a CPU; the rest of grpo.yaml is as exported


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("trl")
    make_shard(folder / "shard-000000.tar", 4)
    return export(folder / "shard-000000.tar", folder / "exported", to="trl", prompt=PromptConfig(timestamps=True))


def run_here(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the script that `trl grpo` launches in this process, which has loaded torch already."""
    from trl.scripts import grpo

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "hf")
    monkeypatch.setattr(sys, "argv", ["grpo.py", *arguments])
    monkeypatch.chdir(folder)
    grpo.main(*grpo.make_parser().parse_args_and_config(fail_with_unknown_args=False))


def run_command(arguments: list[str], folder: Path, _: pytest.MonkeyPatch) -> None:
    command = [str(Path(sys.executable).with_name("trl")), "grpo", *arguments]
    hidden = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        command, env=os.environ | hidden, cwd=folder, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.filterwarnings("ignore:.* is deprecated:FutureWarning")
@pytest.mark.parametrize("run", [run_here, pytest.param(run_command, marks=pytest.mark.slow)])
def test_two_steps_of_the_stock_command(
    exported: ExportReport,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Callable[[list[str], Path, pytest.MonkeyPatch], None],
) -> None:
    options = {"config": exported.out / "grpo.yaml", "model_name_or_path": tiny, "output_dir": tmp_path / "out", **TINY}
    run([word for name, value in options.items() for word in (f"--{name}", str(value))], tmp_path, monkeypatch)
    state = json.loads((tmp_path / "out" / "checkpoint-2" / "trainer_state.json").read_bytes())
    steps = [entry for entry in state["log_history"] if "reward" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    for entry in steps:  # the first is TRL's own, by the name of our function; the second is logged by our function
        assert {"rewards/mvp_reward/mean", "mvp/valid"} <= entry.keys()
        assert all(math.isfinite(value) for value in entry.values() if isinstance(value, float))
        assert 0 <= entry["rewards/mvp_reward/mean"] <= 1


def test_prompts_stay_below_the_limit_that_the_readme_names(exported: ExportReport, tiny: Path, tmp_path: Path) -> None:
    """The tiny tokenizer makes more tokens of a text than any released one."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(tiny)
    rows = datasets.load_dataset(str(exported.out), cache_dir=str(tmp_path), split="train")
    for row in rows:
        text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
        inputs: Any = processor(text=[text], images=[row["images"]])
        assert len(inputs["image_grid_thw"]) == exported.pictures
        assert len(inputs["input_ids"][0]) < exported.prompt_tokens
