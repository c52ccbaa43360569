"""Banks that share an object store: each finds the finished entries of the others, and only complete ones."""

import os
import pickle
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mvp_data.bank.bank import Bank, skipped
from mvp_data.bank.remote_bank import SCRATCH_PREFIX, RemoteBank, bank_at, scratch, sweep_scratch
from mvp_data.core.errors import OutputError, SkipReason
from tests.builders import ENCODER, kept_video, store, walk

VIDEO = kept_video(walk(7, "bank"), name="ab12", shots=[0, 0, 0, 1, 1, 1, 1])


def bank(tmp_path: Path, name: str) -> RemoteBank:
    made = bank_at(tmp_path / name, "hash", store=f"file://{tmp_path}/store")
    assert isinstance(made, RemoteBank)
    made.create()
    return made


def one(tmp_path: Path, pattern: str) -> Path:
    (path,) = (tmp_path / "store").rglob(pattern)
    return path


def test_without_a_store_it_is_a_plain_bank(tmp_path: Path) -> None:
    assert type(bank_at(tmp_path, "hash")) is Bank


def test_an_entry_is_shared(tmp_path: Path) -> None:
    worker, driver = bank(tmp_path, "worker"), bank(tmp_path, "driver")
    store(worker, VIDEO)
    assert driver.download("ab12") == ("", "")
    assert Bank(tmp_path / "driver", "hash").read("ab12") == VIDEO.entry
    for suffix in (".jpgs", ".parquet"):
        (there,), (here,) = ((tmp_path / name).rglob(f"ab12{suffix}") for name in ("worker", "driver"))
        assert there.read_bytes() == here.read_bytes() == one(tmp_path, f"ab12{suffix}").read_bytes()
    third: RemoteBank = pickle.loads(pickle.dumps(bank(tmp_path, "third")))
    assert third.has("ab12")
    assert bank(tmp_path, "fourth").read("ab12") == VIDEO.entry
    third.remove("ab12")
    assert not bank(tmp_path, "fifth").has("ab12")


@pytest.mark.parametrize("suffix", [".jpgs", ".parquet"])
def test_an_incomplete_entry_is_made_again(tmp_path: Path, suffix: str) -> None:
    store(bank(tmp_path, "worker"), VIDEO)
    path = one(tmp_path, f"ab12{suffix}")
    path.write_bytes(path.read_bytes()[:-1])
    driver, other = bank(tmp_path, "driver"), bank(tmp_path, "other")
    assert not other.has("ab12")
    with pytest.raises(OutputError, match=r"store/hash/frames/ab/ab12.parquet: is missing or damaged"):
        driver.download("ab12")
    store(other, VIDEO)
    assert driver.download("ab12") == ("", "")
    path.unlink()
    assert not bank(tmp_path, "third").has("ab12")


def test_a_used_entry_replaces_a_skipped_one_and_never_the_reverse(tmp_path: Path) -> None:
    worker, driver = bank(tmp_path, "worker"), bank(tmp_path, "driver")
    driver.write_facts(skipped("ab12", SkipReason.TIMEOUT, "slow"))
    assert worker.has("ab12")
    assert worker.facts("ab12") == ("timeout", "slow")
    store(worker, VIDEO)
    assert driver.download("ab12") == ("", "")
    worker.write_facts(skipped("ab12", SkipReason.TIMEOUT, "slow"))
    assert driver.download("ab12") == ("", "")
    driver.upload("ab12")
    assert bank(tmp_path, "third").read("ab12") == VIDEO.entry


def test_entries_made_without_the_store_are_uploaded(tmp_path: Path) -> None:
    driver = bank(tmp_path, "driver")
    store(Bank(tmp_path / "driver", "hash"), VIDEO)
    assert not list((tmp_path / "store").rglob("*.*"))
    driver.upload("ab12")
    before = one(tmp_path, "*.parquet").stat().st_mtime_ns
    driver.upload("ab12")
    assert one(tmp_path, "*.parquet").stat().st_mtime_ns == before
    assert bank(tmp_path, "worker").read("ab12") == VIDEO.entry


def test_vectors_are_shared(tmp_path: Path) -> None:
    driver = bank(tmp_path, "driver")
    driver.download_vectors("ab12", ENCODER)
    assert not driver.has_vectors("ab12", ENCODER)
    with bank(tmp_path, "node").worker_bank() as worker:
        worker.write_vectors("ab12", ENCODER, VIDEO.vectors)
    assert driver.has_vectors("ab12", ENCODER), "so they are not made again"
    driver.download_vectors("ab12", ENCODER)
    plain = Bank(tmp_path / "driver", "hash")
    assert plain.read_vectors("ab12", ENCODER, rows=7).shape == VIDEO.vectors.shape


def test_scratch_folders_are_removed_also_those_of_killed_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = "".join(c if c.isalnum() else "-" for c in socket.gethostname())
    left = tmp_path / f"{SCRATCH_PREFIX}{host}.{gone.pid}-abc" / "tmp"
    left.mkdir(parents=True)
    elsewhere = tmp_path / f"{SCRATCH_PREFIX}{host}-1.{gone.pid}-abc"
    elsewhere.mkdir()
    with scratch() as folder:
        (folder / "file").touch()
        assert str(os.getpid()) in folder.name
        sweep_scratch()
        assert set(tmp_path.iterdir()) == {folder, elsewhere}
    assert list(tmp_path.iterdir()) == [elsewhere]
