"""The reward in other trainers' signatures: the same number everywhere, from the truth that the export writes."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mvp_data.core.errors import ConfigError
from mvp_data.export.run import export
from mvp_data.shards.prompt import PromptConfig
from mvp_data.tasks.catalogue import TASKS
from mvp_train import adapters
from mvp_train.adapters import SwiftReward, easyr1_score, verl_score
from mvp_train.reward import RewardConfig, score
from tests.task_samples import ANY_ORDER, make_mixed_folder

COMPLETIONS = (
    "<answer>C, A, F, B</answer>",
    "<think>hm</think> <answer>c a f b</answer>",
    "<answer>B, F, A, C</answer>",
    "<answer>C, A, D, E</answer>",
    "<answer>C, A</answer>",
    "",
)


@pytest.mark.parametrize("text", COMPLETIONS)
def test_all_adapters_return_the_reward(text: str) -> None:
    wanted = score(text, "CAFB", 8, RewardConfig())
    verl = verl_score(data_source="mvp", solution_str=text, ground_truth="CAFB/8", extra_info={"index": 3}, other=1)
    (easyr1,) = easyr1_score([{"response": text, "response_length": 5, "ground_truth": "CAFB/8"}])
    swift = SwiftReward(args=object())([text, text], solution=["CAFB/8"] * 2, messages=None, trainer_state=None)
    assert (verl["score"], easyr1["overall"], swift) == (wanted.reward, wanted.reward, [wanted.reward] * 2)
    assert (verl["acc"], easyr1["accuracy"], easyr1["format"]) == (wanted.exact, wanted.exact, float(wanted.valid))
    for logged in (verl, easyr1):
        assert "reward" not in logged  # verl keeps a list under that name
        assert logged["order"] == wanted.order
        assert all(type(value) is float for value in logged.values())


def test_a_batch_keeps_its_order() -> None:
    rewards = [score(text, "CAFB", 8, RewardConfig()).reward for text in COMPLETIONS]
    inputs = [{"response": text, "ground_truth": "CAFB/8"} for text in COMPLETIONS]
    assert [item["overall"] for item in easyr1_score(inputs)] == rewards
    assert SwiftReward()(COMPLETIONS, ["CAFB/8"] * len(COMPLETIONS)) == rewards
    assert len(set(rewards)) > 3


def test_an_answer_in_any_order() -> None:
    assert verl_score("select", "<answer>F, B, A, C</answer>", "ABCF/8/any")["score"] == pytest.approx(1)
    assert verl_score("select", "<answer>F, B, A, C</answer>", "ABCF/8")["acc"] == 0


def test_the_exported_truth_of_every_task_is_its_answer(tmp_path: Path) -> None:
    folder = make_mixed_folder(tmp_path / "shards")
    for to in ("verl", "easyr1", "ms-swift"):
        export(folder, tmp_path / to, to=to, prompt=PromptConfig())
    rows = pq.read_table(tmp_path / "verl/train.parquet").to_pylist()
    easyr1 = pq.read_table(tmp_path / "easyr1/train.parquet").column("answer").to_pylist()
    swift = [json.loads(line)["solution"] for line in (tmp_path / "ms-swift/train.jsonl").read_text().splitlines()]
    assert [row["reward_model"]["ground_truth"] for row in rows] == easyr1 == swift
    assert [row["data_source"] for row in rows] == [task for task in TASKS for _ in range(2)]
    for row in rows:
        truth = row["reward_model"]["ground_truth"]
        labels = truth.partition("/")[0]
        assert truth.endswith("/any") == (row["data_source"] == "select")
        assert verl_score("mvp", f"<answer>{', '.join(labels)}</answer>", truth)["acc"] == 1.0
        turned = verl_score("mvp", f"<answer>{', '.join(labels[::-1])}</answer>", truth)["acc"]
        assert turned == (row["data_source"] in ANY_ORDER)


BAD_TRUTHS = ["CAFB/8/all", "CAFB/8/any/any", "CAFB/8/", "CAFB/٨", "CAFB", "CAFB/", "/8", "CAFB/x", "CAFZ/8"]


@pytest.mark.parametrize("truth", [*BAD_TRUTHS, "CAFB/8/8", "CAFB/-8", ""])
def test_an_invalid_ground_truth_is_an_error(truth: str) -> None:
    with pytest.raises(ConfigError, match=r"CAFB"):
        verl_score("mvp", "<answer>C, A, F, B</answer>", truth)


def test_easyr1_finds_the_function_by_the_path_of_the_file() -> None:
    """Like its FunctionRewardManager, which imports the file under another name."""
    spec = importlib.util.spec_from_file_location("custom_reward_fn", adapters.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.REWARD_TYPE == "batch"
    (scored,) = module.easyr1_score([{"response": COMPLETIONS[0], "response_length": 9, "ground_truth": "CAFB/8"}])
    assert scored["overall"] == 1.0


def test_none_of_the_projects_is_loaded() -> None:
    code = "import sys, mvp_train.adapters; print([n for n in ('swift', 'verl', 'torch', 'trl') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
