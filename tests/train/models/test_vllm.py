"""The vLLM engine as far as it can be tested without vLLM: signature, messages and errors."""

import importlib.util
import inspect
import json
from pathlib import Path

import pytest

from mvp_data.core.errors import ConfigError, MissingDependencyError
from mvp_data.shards.prompt import PromptConfig
from mvp_train.dataset import to_row
from mvp_train.models.load import LocalModel
from mvp_train.models.vllm import VllmModel, chat
from mvp_train.recipe import ModelConfig
from tests.samples import make_sample


def test_both_engines_have_the_same_signature() -> None:
    assert inspect.signature(VllmModel.answer) == inspect.signature(LocalModel.answer)


def test_each_placeholder_gets_its_image() -> None:
    row = to_row(make_sample(0), PromptConfig())
    (message,) = chat(row["prompt"], row["images"])
    assert message["role"] == "user"
    pieces = message["content"]
    assert [p["image_pil"] for p in pieces if p["type"] == "image_pil"] == row["images"]
    assert [p for p in pieces if p["type"] == "text"] == [p for p in row["prompt"][0]["content"] if p["type"] == "text"]
    assert all(piece["type"] in ("text", "image") for piece in row["prompt"][0]["content"])  # the row is unchanged


def test_adapters_and_a_missing_vllm_are_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tiny)}))
    with pytest.raises(ConfigError, match="a LoRA adapter"):
        VllmModel(ModelConfig(path=str(tmp_path / "adapter")), images=20, max_new_tokens=64)
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(MissingDependencyError, match="pip install vllm"):
            VllmModel(ModelConfig(path=str(tiny)), images=20, max_new_tokens=64)
