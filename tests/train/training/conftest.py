"""Shared by the tests of training: one small set of shards."""

from pathlib import Path

import pytest

from tests.samples import make_folder, make_shard


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with eight samples of split train. Tests only read it."""
    folder = tmp_path_factory.mktemp("shards")
    make_folder(folder, [make_shard(folder / "shard-000000.tar", 8, context=3, mask_start=2, k=2, distractors=1)])
    return folder
