"""The output folder of a run: its owner, its checkpoints, and its lock."""

from pathlib import Path

import pytest

from mvp_data.core.errors import OutputError
from tests.train.training.runs import recipe

pytest.importorskip("trl", reason="needs the train extra")

from mvp_train.training.prepare import plan
from mvp_train.training.run_folder import last_checkpoint, owned
from mvp_train.training.trainer import train


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
