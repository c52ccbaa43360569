"""Uploads of a finished build through fsspec's local files; faults of a store are simulated."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec.implementations.local
import pytest
from typer.testing import CliRunner

from mvp_data import ShardError, read_index
from mvp_data.cli.main import app
from mvp_data.core.errors import MvpError, OutputError, SourceError
from mvp_data.pipeline.upload import MARK_NAME, upload
from tests.samples import make_folder, make_shard

Local = fsspec.implementations.local.LocalFileSystem


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A small build, with a status file of a run."""
    folder = tmp_path / "shards"
    folder.mkdir()
    make_folder(folder, [make_shard(folder / f"shard-00000{n}.tar", count=n + 1) for n in range(2)])
    (folder / "README.md").write_text("a card")
    (folder / "notes.txt").write_text("somebody's")
    (folder / ".status.json").write_text("{}")
    return folder


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket" / "deep"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_exactly_the_files_of_a_build_are_uploaded(shards: Path, bucket: Path) -> None:
    report = upload(shards, f"file://{bucket}/")
    assert content(bucket) == {
        name: data for name, data in content(shards).items() if name not in ("notes.txt", ".status.json")
    }
    assert (report.files, report.known) == (len(content(bucket)), 0)
    assert report.bytes == sum(map(len, content(bucket).values()))
    assert read_index(bucket) == read_index(shards)
    again = upload(shards, f"file://{bucket}")
    assert (again.files, again.known, again.bytes) == (report.files, report.files, report.bytes)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_index_comes_last_and_the_same_command_resumes(
    shards: Path, bucket: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of two shards and a card."""
    with monkeypatch.context() as patch:
        patch.setattr(Local, "put_file", breaks(Local.put_file, at))
        with pytest.raises(OutputError, match=r"file://.*deep: No route; run the same command again to resume"):
            upload(shards, f"file://{bucket}")
    assert "index.json" not in content(bucket)
    assert MARK_NAME in content(bucket)
    assert upload(shards, f"file://{bucket}").known == at
    assert set(content(bucket)) == {"shard-000000.tar", "shard-000001.tar", "README.md", "index.json"}


def test_an_upload_killed_before_its_last_step_is_finished_by_the_next(shards: Path, bucket: Path) -> None:
    upload(shards, f"file://{bucket}")
    (bucket / MARK_NAME).write_text("{}")
    assert upload(shards, f"file://{bucket}").known == 4
    assert MARK_NAME not in content(bucket)


def breaks(put: Callable[..., Any], at: int) -> Callable[..., Any]:
    """A store that fails at this file after it has received half of it."""
    calls = []

    def put_file(self: Any, source: str, target: str, **options: Any) -> None:
        calls.append(target)
        if len(calls) > at:
            Path(target).write_bytes(Path(source).read_bytes()[:3])
            raise OSError(113, "No route")
        put(self, source, target, **options)

    return put_file


def test_a_truncated_upload_is_detected(shards: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Local, "put_file", lambda self, source, target, **_: Path(target).write_bytes(b"x"))
    with pytest.raises(OutputError, match=r"1 of [0-9]+ bytes have arrived"):
        upload(shards, f"file://{bucket}")


def test_a_damaged_or_unfinished_build_is_not_sent(shards: Path, bucket: Path) -> None:
    shard = next(shards.glob("*.tar"))
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"x")
    with pytest.raises(ShardError, match="differs from the index"):
        upload(shards, f"file://{bucket}")
    shard.unlink()
    with pytest.raises(ShardError, match="cannot be read"):
        upload(shards, f"file://{bucket}")
    shard.write_bytes(data)
    (shards / "index.json").unlink()
    with pytest.raises(MvpError):
        upload(shards, f"file://{bucket}")
    assert not bucket.exists()


@pytest.mark.parametrize("left", ["index.json", MARK_NAME])
def test_another_build_is_left_alone(shards: Path, bucket: Path, left: str) -> None:
    bucket.mkdir(parents=True)
    (bucket / left).write_text("{}")
    with pytest.raises(OutputError, match="holds another build"):
        upload(shards, f"file://{bucket}")
    assert content(bucket) == {left: b"{}"}


@pytest.mark.parametrize("url", ["https://host/x", "plain/folder", "memory://x", "ftp://host/x"])
def test_urls_that_cannot_be_written(shards: Path, url: str) -> None:
    with pytest.raises(SourceError, match="cannot write to this URL; use one of file://, s3://"):
        upload(shards, url)


@pytest.mark.parametrize("same_size", [True, False])
def test_files_of_others_are_left_alone(shards: Path, bucket: Path, same_size: bool) -> None:
    """A foreign file of the same size must not count as sent by an earlier run."""
    bucket.mkdir(parents=True)
    size = (shards / "shard-000000.tar").stat().st_size if same_size else 1
    (bucket / "shard-000000.tar").write_bytes(bytes(size))
    with pytest.raises(OutputError, match=r"holds another shard-000000\.tar"):
        upload(shards, f"file://{bucket}")
    assert content(bucket) == {"shard-000000.tar": bytes(size)}


def test_a_build_is_not_sent_into_itself(shards: Path) -> None:
    before = content(shards)
    for place in (shards, shards / "inner"):
        with pytest.raises(OutputError, match="is inside the build itself"):
            upload(shards, f"file://{place}")
    assert content(shards) == before


def test_the_command(shards: Path, bucket: Path) -> None:
    done = CliRunner().invoke(app, ["upload", str(shards), f"file://{bucket}"])
    assert done.exit_code == 0, done.output
    assert f"are in file://{bucket}" in done.output
    shutil.rmtree(bucket)
    done = CliRunner().invoke(app, ["upload", str(shards), f"file://{bucket}", "--json"])
    assert json.loads(done.stdout)["known"] == 0
