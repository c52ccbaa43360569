"""CLIP image towers, loaded with open_clip.

A spec is `open_clip:<model>/<weights>`. The model ends at the first slash; the weights are a tag or a file. A suffix
`@bf16` selects bfloat16 weights (3 times faster on CPUs that support them, half the memory):

    open_clip:ViT-B-32/laion2b_s34b_b79k
    open_clip:ViT-B-32/laion2b_s34b_b79k@bf16
    open_clip:ViT-B-32/weights/b32.safetensors        relative to the current folder
    open_clip:ViT-B-32//data/weights/b32.pt           absolute: /data/weights/b32.pt
"""

import contextlib
import difflib
import pickle
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.config.options import usable_cores
from mvp_data.core.errors import ConfigError, MissingDependencyError, WeightsError
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.embedding.base import network_input, normalise, run_batches, sha256_of, value_table

PREFIX = "open_clip:"
CPU_BATCH = 8  # 25 % faster than 1 with ViT-B-32; 32 gains nothing more
CUDA_BATCH = 32
HUB_TIMEOUT_S = 2  # the retries of huggingface_hub take 50 s to report that there is no network
FILE_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
BF16 = "@bf16"
# Before 2.6, torch.load runs code from a crafted file even with weights_only=True (CVE-2025-32434).
MIN_TORCH = (2, 6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Spec:
    """A parsed `open_clip:` spec."""

    model: str
    weights: str  # a tag, or the path of a file
    bf16: bool

    @property
    def is_file(self) -> bool:
        """Whether the weights are a file; no tag of open_clip ends like one."""
        return self.weights.endswith(FILE_SUFFIXES)

    @property
    def name(self) -> str:
        """The encoder's name. It has only the file name of a weights file, so moving the file does not change it."""
        weights = Path(self.weights).name if self.is_file else self.weights
        return f"{PREFIX}{self.model}/{weights}{BF16 if self.bf16 else ''}"


def parse(spec: str) -> Spec:
    """Parse a spec. Raises ConfigError if it lacks the model or the weights."""
    body = spec.removeprefix(PREFIX)
    model, _, weights = body.removesuffix(BF16).partition("/")
    if not model or not weights:
        raise ConfigError(f"'{spec}' is not open_clip:<model>/<pretrained name or local file>[@bf16]")
    return Spec(model=model, weights=weights, bf16=body.endswith(BF16))


class OpenClip:
    """The image towers of open_clip's models: `open_clip:<model>/<pretrained name or local file>`."""

    def specs(self) -> tuple[str, ...]:
        """The form of a spec."""
        return (f"{PREFIX}<model>/<pretrained>",)

    def accepts(self, spec: str) -> bool:
        """Whether the spec begins with `open_clip:`."""
        return spec.startswith(PREFIX)

    def load(self, spec: str, threads: int) -> "OpenClipEmbedder":
        """The embedder, if its weights are in the local cache or a file.

        Raises ConfigError (unknown model or tag), WeightsError (missing or damaged weights), MissingDependencyError.
        """
        parsed = parse(spec)
        open_clip = _import_open_clip()
        path = _find(open_clip, parsed)
        return OpenClipEmbedder(parsed, _load_model(open_clip, parsed, path), sha256_of(path), threads=threads)

    def fetch(self, spec: str) -> Path:
        """Download the weights of a tag into the Hugging Face cache with open_clip.

        Raises WeightsError, within seconds where the hub cannot be reached.
        """
        parsed = parse(spec)
        open_clip = _import_open_clip()
        with contextlib.suppress(WeightsError):
            return _find(open_clip, parsed)
        if parsed.is_file:
            raise WeightsError(f"no weights file at {parsed.weights}; to fetch, give one of open_clip's tags instead")
        from huggingface_hub import constants

        _check_reachable(constants.ENDPOINT)
        config = open_clip.get_pretrained_cfg(parsed.model, parsed.weights)
        try:
            return Path(open_clip.download_pretrained(config))
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"could not fetch {parsed.name} from {constants.ENDPOINT}: {error}") from error


class OpenClipEmbedder:
    """The image tower of a CLIP model, on the GPU where there is one.

    Every run has the same number of images, the last one padded: torch chooses its kernels by shape, and a vector must
    not depend on its batch.
    """

    def __init__(self, spec: Spec, model: Any, weights_sha256: str, *, threads: int = 0) -> None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._torch = torch
        self._dtype = torch.bfloat16 if spec.bf16 else torch.float32
        self._model = model.to(device=device, dtype=self._dtype)
        self._batch = CUDA_BATCH if device == "cuda" else CPU_BATCH
        self._threads = threads or usable_cores()
        settings = model.visual.preprocess_cfg
        size = settings["size"]
        self._side_px = int(size if isinstance(size, int) else size[0])
        self._table = value_table(*(np.array(settings[key], np.float32) for key in ("mean", "std")))
        self._device = device
        blank = np.zeros((self._side_px, self._side_px, 3), np.uint8)
        self.encoder = Encoder(
            name=spec.name,
            weights_sha256=weights_sha256,
            dimension=self._embed([blank]).shape[1],
            engine=f"torch-{device}-{'bf16' if spec.bf16 else 'fp32'}",
        )

    def embed(self, images: Sequence[Picture], /) -> Vectors:
        """[N, D] float32 rows of length 1 for RGB uint8 images, whose sizes may differ."""
        if not images:
            return np.empty((0, self.encoder.dimension), np.float32)
        return normalise(self._embed(images), self.encoder.name)

    def _embed(self, images: Sequence[Picture]) -> npt.NDArray[np.float32]:
        """Raw vectors [N, D]."""
        parallel = self._device == "cpu"
        with _reproducible(self._torch):
            return run_batches(
                images, self._side_px, self._run, batch=self._batch, threads=self._threads, parallel=parallel
            )

    def _run(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw vectors [n, D] of n images; n is at most the batch size."""
        values = network_input(squares, self._table, self._batch)
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(values).to(device=self._device, dtype=self._dtype)
            output = self._model.encode_image(batch).float().cpu().numpy()
        result: npt.NDArray[np.float32] = output[: len(squares)]
        return result


@contextlib.contextmanager
def _reproducible(torch: ModuleType) -> Iterator[None]:
    """Torch with one thread per run, and on a GPU with full fp32 and deterministic kernels, not the fastest ones.

    The settings are restored after the block, since other code of the process may use torch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


def _import_open_clip() -> ModuleType:
    remedy = "open_clip embedders need: pip install 'masked-video-prediction[clip]'"
    try:
        import open_clip
        import torch
    except (ImportError, RuntimeError) as error:  # RuntimeError: torch and torchvision of different versions
        raise MissingDependencyError(f"{remedy} ({error})") from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < MIN_TORCH:
        raise MissingDependencyError(f"{remedy} (torch {torch.__version__} cannot load weights safely)")
    module: ModuleType = open_clip
    return module


def _find(open_clip: ModuleType, spec: Spec) -> Path:
    """The file of the spec, or the tag's file in the local cache. Uses no network."""
    models = open_clip.list_models()
    if spec.model not in models:
        near = ", ".join(difflib.get_close_matches(spec.model, models)) or "see open_clip.list_models()"
        raise ConfigError(f"open_clip has no model '{spec.model}' ({near})")
    if spec.is_file:
        if not Path(spec.weights).is_file():
            raise WeightsError(f"no weights file at {spec.weights}, named in {PREFIX}{spec.model}/...")
        return Path(spec.weights)
    config = open_clip.get_pretrained_cfg(spec.model, spec.weights)
    if not config:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(spec.model)) or "none"
        raise ConfigError(
            f"open_clip has no weights '{spec.weights}' for {spec.model}; its tags: {tags}. "
            f"A local file must end in {', '.join(FILE_SUFFIXES)}"
        )
    try:
        with _offline():
            return Path(open_clip.download_pretrained(config))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights of {spec.name} are not on this machine. Run 'mvp-data weights fetch "
            f"{PREFIX}{spec.model}/{spec.weights}', or copy a file of them here and name it: "
            f"{PREFIX}{spec.model}//path/to/file.safetensors"
        ) from error


def _load_model(open_clip: ModuleType, spec: Spec, path: Path) -> Any:
    """The model with its weights, in evaluation mode. Reading the file runs no code in it."""
    from safetensors import SafetensorError

    # Unpicklers, shape checks and state-dict conversions raise these for a file of another kind.
    unreadable = (RuntimeError, ValueError, LookupError, OSError, EOFError, AssertionError, AttributeError)
    try:
        with _offline():
            model = open_clip.create_model(
                spec.model,
                pretrained=str(path),
                force_preprocess_cfg=_preparation(open_clip, spec),
                pretrained_text=False,  # otherwise open_clip looks for the text tower's weights too
                weights_only=True,
            )
    except (*unreadable, TypeError, StopIteration, pickle.UnpicklingError, SafetensorError) as error:
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise WeightsError(
            f"{path} holds no weights of open_clip's {spec.model} ({type(error).__name__}: {said})"
        ) from error
    return model.eval()


def _preparation(open_clip: ModuleType, spec: Spec) -> dict[str, Any]:
    """Mean and standard deviation for normalising the images, as in the training of the weights; empty if unknown.

    A weights file does not contain them, so those of the model's tags are used if all of them agree, as for SigLIP and
    MobileCLIP.
    """
    tags = [spec.weights]
    if spec.is_file:
        tags = open_clip.list_pretrained_tags_by_model(spec.model)
    known = [open_clip.get_pretrained_cfg(spec.model, tag) for tag in tags]
    settings = [{key: config[key] for key in ("mean", "std") if config.get(key)} for config in known]
    return settings[0] if settings and all(one == settings[0] for one in settings) else {}


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Block requests to the Hugging Face hub, so that a missing file fails at once, not after 50 s of retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _check_reachable(endpoint: str) -> None:
    """Raises WeightsError where the hub's address does not answer."""
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        pass  # it answers; the real client reports an error of its own
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise WeightsError(
            f"{endpoint} cannot be reached ({error}). Fetch the weights on a machine with a network and name "
            f"the file: {PREFIX}<model>//path/to/file.safetensors"
        ) from error
