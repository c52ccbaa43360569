"""CLIP through the real open_clip, with a tiny randomly initialised model saved to a file."""

import json
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mvp_data.core.errors import ConfigError, WeightsError
from mvp_data.embedding import load
from mvp_data.embedding.base import Embedder, sha256_of
from mvp_data.embedding.load import load_embedder
from mvp_data.embedding.open_clip import Spec, parse
from tests.embedding.test_base import toy_images

CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def open_clip() -> ModuleType:
    module: ModuleType = pytest.importorskip("open_clip", reason="needs masked-video-prediction[clip]")
    return module


@pytest.fixture(scope="module")
def tiny(open_clip: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights file of a random model of the architecture `tiny-test`, which open_clip then knows."""
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-test.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.save(open_clip.create_model("tiny-test").state_dict(), folder / "tiny.pt")
    return folder / "tiny.pt"


@pytest.fixture(scope="module")
def embedder(tiny: Path) -> Embedder:
    return load_embedder(f"open_clip:tiny-test/{tiny}")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty Hugging Face cache, and a hub address that does not answer."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", Spec(model="ViT-B-32", weights="laion2b_s34b_b79k", bf16=False)),
        ("ViT-B-32/openai@bf16", Spec(model="ViT-B-32", weights="openai", bf16=True)),
        ("ViT-B-32//data/b 32.pt", Spec(model="ViT-B-32", weights="/data/b 32.pt", bf16=False)),
        ("ViT-B-32/b/32.pt@bf16", Spec(model="ViT-B-32", weights="b/32.pt", bf16=True)),
    ],
)
def test_specs(spec: str, expected: Spec) -> None:
    assert parse(f"open_clip:{spec}") == expected


@pytest.mark.parametrize("spec", ["open_clip:", "open_clip:ViT-B-32", "open_clip:/x.pt", "open_clip:ViT-B-32/"])
def test_incomplete_specs_are_refused(spec: str) -> None:
    with pytest.raises(ConfigError, match="open_clip:<model>/<pretrained name or local file>"):
        load_embedder(spec)


def test_vectors_equal_those_of_open_clip(open_clip: ModuleType, tiny: Path, embedder: Embedder) -> None:
    import torch

    square = toy_images(1)[0][:64, :64]  # of the model's size: neither resized nor cropped
    model, _, transform = open_clip.create_model_and_transforms("tiny-test", pretrained=str(tiny))
    from PIL import Image

    with torch.inference_mode():
        expected = model.eval().encode_image(transform(Image.fromarray(square))[None], normalize=True)
    np.testing.assert_allclose(embedder.embed([square]), expected.numpy(), atol=1e-5)


def test_the_encoder_names_the_file_not_its_place(tiny: Path, embedder: Embedder) -> None:
    assert embedder.encoder.name == "open_clip:tiny-test/tiny.pt"
    assert embedder.encoder.weights_sha256 == sha256_of(tiny)
    assert embedder.encoder.dimension == 32
    assert embedder.encoder.engine in ("torch-cpu-fp32", "torch-cuda-fp32")


def test_a_vector_does_not_depend_on_its_batch(embedder: Embedder) -> None:
    images = toy_images(19)
    whole = embedder.embed(images)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)
    for size in (1, 7, 19):
        parts = np.concatenate([embedder.embed(images[i : i + size]) for i in range(0, 19, size)])
        np.testing.assert_allclose(parts, whole, atol=1e-6)
    assert embedder.embed([]).shape == (0, 32)


def test_threads_change_nothing_and_torch_is_left_as_it_was(tiny: Path) -> None:
    import torch

    images = toy_images(19)
    one, three = (load_embedder(f"open_clip:tiny-test/{tiny}", threads=threads) for threads in (1, 3))
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    np.testing.assert_array_equal(three.embed(images), one.embed(images))
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic) == before


def test_bf16_weights_give_close_vectors_and_another_encoder(tiny: Path, embedder: Embedder) -> None:
    half = load_embedder(f"open_clip:tiny-test/{tiny}@bf16")
    images = toy_images(9)
    assert np.einsum("nd,nd->n", half.embed(images), embedder.embed(images)).min() > 0.999
    assert half.encoder.name == "open_clip:tiny-test/tiny.pt@bf16"
    assert half.encoder.engine.endswith("-bf16")
    assert half.encoder != embedder.encoder
    parts = np.concatenate([half.embed(images[:2]), half.embed(images[2:])])
    np.testing.assert_allclose(parts, half.embed(images), atol=1e-3)


def test_safetensors(tiny: Path, embedder: Embedder) -> None:
    import torch
    from safetensors.torch import save_file

    path = tiny.with_suffix(".safetensors")
    save_file(torch.load(tiny, weights_only=True), path)
    images = toy_images(3)
    again = load_embedder(f"open_clip:tiny-test/{path}")
    np.testing.assert_array_equal(again.embed(images), embedder.embed(images))


class Trap:
    """Pickles into a call that creates a file, as a hostile weights file could."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.path),)  # type: ignore[return-value]


def test_a_hostile_file_is_not_run(tmp_path: Path, tiny: Path) -> None:
    import torch

    torch.save({"visual.proj": Trap(tmp_path / "owned")}, tmp_path / "trap.pt")
    with pytest.raises(WeightsError, match=r"trap\.pt"):
        load_embedder(f"open_clip:tiny-test/{tmp_path / 'trap.pt'}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x02}q\x00."], ids=["empty", "text", "empty dict"])
def test_a_file_that_holds_no_weights(tmp_path: Path, tiny: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"bad{suffix}.*tiny-test"):
        load_embedder(f"open_clip:tiny-test/{path}")


def test_weights_of_another_architecture(tiny: Path) -> None:
    with pytest.raises(WeightsError, match="ViT-B-32"):
        load_embedder(f"open_clip:ViT-B-32/{tiny}")


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("open_clip:ViT-B-33/openai", ConfigError, "ViT-B-32"),
        ("open_clip:ViT-B-32/opnai", ConfigError, "laion2b_s34b_b79k"),
        ("open_clip:ViT-B-32/nowhere/x.pt", WeightsError, "nowhere/x.pt"),
        ("open_clip:ViT-B-32/openai", WeightsError, "mvp-data weights fetch open_clip:ViT-B-32/openai'"),
        ("open_clip:ViT-B-32/openai@bf16", WeightsError, "mvp-data weights fetch open_clip:ViT-B-32/openai'"),
    ],
)
def test_missing_weights_fail_at_once(open_clip: ModuleType, spec: str, error: type[Exception], words: str) -> None:
    started = time.perf_counter()
    with pytest.raises(error, match=words):
        load_embedder(spec)
    assert time.perf_counter() - started < 5


def test_fetching_without_a_network_fails_at_once(open_clip: ModuleType) -> None:
    started = time.perf_counter()
    with pytest.raises(WeightsError, match=r"127\.0\.0\.1:9 cannot be reached"):
        load.fetch("open_clip:ViT-B-32/openai")
    assert time.perf_counter() - started < 5


def test_fetching_a_local_file_returns_it(tiny: Path) -> None:
    assert load.fetch(f"open_clip:tiny-test/{tiny}") == tiny
    with pytest.raises(WeightsError, match=r"gone\.pt"):
        load.fetch("open_clip:tiny-test/gone.pt")
