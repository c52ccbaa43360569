"""The shared functions, the catalogue, and ONNX embedders: a toy model, and the built-in ones if they are fetched."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mvp_data.core.errors import ConfigError, WeightsError
from mvp_data.core.types import Picture, Vectors
from mvp_data.embedding import onnx as onnx_module
from mvp_data.embedding.base import network_input, normalise, run_batches, shrink, value_table
from mvp_data.embedding.load import load_embedder
from mvp_data.embedding.onnx import OnnxEmbedder
from mvp_data.embedding.weights import WEIGHTS, find
from tests import ROOT


def toy_model() -> bytes:
    """[N, 3, 224, 224] -> `tokens` [N, 16, 3], a 4 x 4 grid of mean colours -> `out` [N, 48], twice that."""
    onnx = pytest.importorskip("onnx", reason="the toy model is built with the onnx package")
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("AveragePool", ["in"], ["pooled"], kernel_shape=[56, 56], strides=[56, 56]),
        node("Reshape", ["pooled", "grid"], ["columns"]),
        node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
        node("Add", ["tokens", "tokens"], ["doubled"]),
        node("Flatten", ["doubled"], ["out"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "toy",
        [info("in", onnx.TensorProto.FLOAT, ["batch", 3, 224, 224])],
        [info("out", onnx.TensorProto.FLOAT, ["batch", 48])],
        [onnx.numpy_helper.from_array(np.array([0, 3, 16]), "grid")],
    )
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=7)
    return bytes(model.SerializeToString())


def toy_images(count: int) -> list[Picture]:
    """Images of different sizes, each of large soft patches."""
    rng = np.random.default_rng(3)
    grids = rng.integers(0, 256, (count, 5, 7, 3), dtype=np.uint8)
    return [grid.repeat(16 + i % 3, axis=0).repeat(20 + i % 4, axis=1) for i, grid in enumerate(grids)]


def drawings() -> list[Picture]:
    """A landscape, a page of text and a chequered board."""
    land = Image.new("RGB", (320, 180), (120, 180, 240))
    pen = ImageDraw.Draw(land)
    pen.rectangle((0, 110, 320, 180), fill=(60, 140, 50))
    pen.ellipse((230, 20, 270, 60), fill=(250, 220, 60))
    page = Image.new("RGB", (320, 180), "white")
    for y in range(10, 170, 14):
        ImageDraw.Draw(page).text((12, y), "the quick brown fox jumps over the lazy dog " * 2, fill="black")
    board = (np.indices((180, 320)) // 30).sum(axis=0) % 2
    red = np.where(board[..., None] == 1, [200, 30, 40], [240, 230, 210])
    return [np.asarray(land), np.asarray(page), red.astype(np.uint8)]


def builtin(name: str, threads: int = 0) -> OnnxEmbedder:
    try:
        find(name)
    except WeightsError:
        pytest.skip(f"run 'mvp-data weights fetch {name}'")
    embedder = load_embedder(f"builtin:{name}", threads=threads)
    assert isinstance(embedder, OnnxEmbedder)
    return embedder


def test_vectors_match_the_model() -> None:
    embedder = OnnxEmbedder(name="builtin:toy", model=toy_model())
    red = np.zeros((90, 160, 3), np.uint8)
    red[:, :80, 0] = 255  # the left half is red
    (row,) = embedder.embed([red])
    tokens = row.reshape(16, 3)
    colours = np.stack([tokens[0], tokens[3]]) / np.linalg.norm(tokens[[0, 3]])
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (np.array([[1.0, 0, 0], [0, 0, 0]]) - mean) / std
    np.testing.assert_allclose(colours, expected / np.linalg.norm(expected), atol=1e-3)
    assert embedder.encoder.dimension == 48
    assert embedder.encoder.engine in ("onnxruntime-cpu-fp32", "onnxruntime-cuda-fp32")


def test_rows_have_length_1_and_an_empty_list_gives_none() -> None:
    embedder = OnnxEmbedder(name="builtin:toy", model=toy_model())
    rows = embedder.embed(toy_images(5))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 48)


def test_padding_a_run_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = toy_images(6)
    single = OnnxEmbedder(name="builtin:toy", model=toy_model()).embed(images)
    monkeypatch.setattr(onnx_module, "CPU_BATCH", 4)  # as on a GPU: runs of 4, the second one half empty
    padded = OnnxEmbedder(name="builtin:toy", model=toy_model()).embed(images)
    np.testing.assert_allclose(padded, single, atol=1e-6)


def test_an_inner_tensor_is_read_by_its_first_row() -> None:
    whole = OnnxEmbedder(name="builtin:toy", model=toy_model())
    inner = OnnxEmbedder(name="builtin:toy", model=toy_model(), inner_output="tokens")
    images = toy_images(4)
    first = whole.embed(images)[:, :3]
    np.testing.assert_allclose(inner.embed(images), first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6)
    assert inner.encoder.dimension == 3
    assert inner.encoder.weights_sha256 == whole.encoder.weights_sha256  # of the file, not of the cut


def test_the_whole_image_counts() -> None:
    embedder = OnnxEmbedder(name="builtin:toy", model=toy_model())
    plain = np.full((90, 320, 3), 90, np.uint8)
    edge = plain.copy()
    edge[:, :40] = 220  # a centre crop would hide this
    a, b = embedder.embed([plain, edge])
    assert a @ b < 0.95


def test_levels_are_looked_up_to_the_last_bit() -> None:
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    squares = [np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype=np.uint8) for i in range(2)]
    found = network_input(squares, value_table(mean, std), 3)
    computed = ((np.stack(squares) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found[:2], computed)
    assert not found[2].any()  # filled up
    assert found.dtype == np.float32


def first_pixels(squares: Sequence[Picture]) -> Vectors:
    """A run that takes longer for darker images, so that parallel runs end in another order."""
    time.sleep(0.002 * (8 - squares[0][0, 0, 0] // 30))
    return np.stack([square[0, 0] for square in squares]).astype(np.float32)


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (3, 1), (3, 2), (2, 50)])
def test_run_batches_keeps_the_order(parallel: bool, threads: int, batch: int) -> None:
    images = [np.full((20, 30, 3), 30 * i, np.uint8) for i in range(8)]
    rows = run_batches(images, 4, first_pixels, batch=batch, threads=threads, parallel=parallel)
    np.testing.assert_array_equal(rows[:, 0], [30 * i for i in range(8)])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embed")]


def test_batches_run_in_parallel_only_if_asked_to() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def run(squares: Sequence[Picture]) -> Vectors:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.01)
        with lock:
            inside -= 1
        return np.ones((len(squares), 2), np.float32)

    images = toy_images(6)
    run_batches(images, 4, run, batch=1, threads=3, parallel=False)
    assert most == 1
    run_batches(images, 4, run, batch=1, threads=3, parallel=True)
    assert 2 <= most <= 3


def test_an_error_in_a_thread_ends_the_rest() -> None:
    runs = []

    def run(squares: Sequence[Picture]) -> Vectors:
        runs.append(len(squares))
        if len(runs) == 3:
            raise WeightsError("the third")
        time.sleep(0.01)
        return np.ones((len(squares), 2), np.float32)

    with pytest.raises(WeightsError, match="the third"):
        run_batches(toy_images(40), 4, run, batch=1, threads=2, parallel=True)
    assert len(runs) < 10
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("embed")]


def test_an_interrupt_takes_effect_after_the_running_images(tmp_path: Path) -> None:
    """A hundred calls that would take 40 s on two threads."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "import numpy as np\n"
        "from mvp_data.embedding.base import run_batches\n"
        "def run(squares):\n"
        "    print('run', flush=True)\n"
        "    time.sleep(0.2)\n"
        "    return np.ones((1, 2), np.float32)\n"
        "for _ in range(100):\n"
        "    run_batches([np.zeros((8, 8, 3), np.uint8)] * 4, 4, run, batch=1, threads=2, parallel=True)\n"
    )
    said = tmp_path / "said.txt"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    with said.open("wb") as output:
        running = subprocess.Popen(
            [sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=output, stderr=output
        )
    signal.signal(signal.SIGINT, before)
    try:
        while "run" not in said.read_text():
            assert running.poll() is None, said.read_text()
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        running.wait(timeout=30)
    finally:
        running.kill()
        running.wait()
    assert said.read_text().rstrip().endswith("KeyboardInterrupt")
    assert said.read_text().count("run\n") < 100


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((448, 448, 3), np.uint8)
    stripes[:, ::2] = 255
    small = shrink(stripes, 224)
    assert small.shape == (224, 224, 3)
    assert 120 <= small[:, 4:-4].min() <= small[:, 4:-4].max() <= 135


def test_damaged_weights_are_named() -> None:
    with pytest.raises(WeightsError, match="builtin:x"):
        normalise(np.array([[1, np.nan]], np.float32), "builtin:x")
    with pytest.raises(WeightsError, match="builtin:x"):
        normalise(np.zeros((1, 4), np.float32), "builtin:x")


@pytest.mark.parametrize("spec", ["", "clip", "builtin:resnet", "open_clip", "Builtin"])
def test_an_unknown_spec_lists_the_known(spec: str) -> None:
    with pytest.raises(ConfigError, match=r"builtin:tinyvit.*open_clip:"):
        load_embedder(spec)


def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVP_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="mvp-data weights fetch"):
        load_embedder("builtin")


def test_importing_the_module_loads_no_runtime() -> None:
    code = (
        "import sys, mvp_data.embedding.base, mvp_data.embedding.load; "
        "print(*{'onnxruntime', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_a_vector_depends_on_neither_batch_nor_threads(name: str) -> None:
    images = toy_images(5)
    one, two = builtin(name, threads=1), builtin(name, threads=3)
    whole = one.embed(images)
    for size in (1, 3):
        parts = np.concatenate([one.embed(images[i : i + size]) for i in range(0, 5, size)])
        np.testing.assert_array_equal(parts, whole)
    np.testing.assert_array_equal(two.embed(images), whole)


@pytest.mark.parametrize(("name", "dimension"), [("dinov2-s", 384), ("tinyvit", 320)])
def test_built_in_encoders_tell_images_apart(name: str, dimension: int) -> None:
    embedder = builtin(name)
    assert embedder.encoder.name == f"builtin:{name}"
    assert embedder.encoder.weights_sha256 == WEIGHTS[name].sha256
    assert embedder.encoder.dimension == dimension
    images = drawings()
    brighter = [np.clip(image * 1.05, 0, 255).astype(np.uint8) for image in images]
    similarity = embedder.embed(images) @ embedder.embed(brighter).T
    assert similarity.diagonal().min() > 0.95
    assert similarity[~np.eye(3, dtype=bool)].max() < 0.75
