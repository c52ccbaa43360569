"""Shared by the tests of the trainer: one thread for torch, and tiny untrained models that are made once."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tiny models are slower on several threads


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny untrained Qwen2.5-VL. Tests only read it."""
    return _saved(tmp_path_factory, "qwen2_5_vl")


@pytest.fixture(scope="session")
def tiny_qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny untrained Qwen3-VL. Tests only read it."""
    return _saved(tmp_path_factory, "qwen3_vl")


def _saved(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    pytest.importorskip("transformers", reason="needs the train extra")
    import torch

    from mvp_train.models.untrained import save

    torch.set_num_threads(1)
    return save(tmp_path_factory.mktemp("models") / name, name)
