"""The dry run: the facts of a plan."""

from pathlib import Path

import pytest

from tests.train.training.runs import recipe

pytest.importorskip("trl", reason="needs the train extra")
from safetensors.torch import load_file

from mvp_train.training.plan import describe, facts
from mvp_train.training.prepare import plan


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
