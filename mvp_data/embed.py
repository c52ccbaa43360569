"""Pictures to vectors: the one seam, and the built-in encoders on ONNX Runtime.

    >>> embedder = load_embedder("builtin")  # doctest: +SKIP
    >>> embedder.embed([picture, other]).shape  # doctest: +SKIP
    (2, 320)

docs/embedders.md has the measurements behind the default and the preparation of the pictures.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mvp_data.config import usable_cores
from mvp_data.errors import ConfigError, WeightsError
from mvp_data.interrupts import held_back
from mvp_data.types import Picture, Vectors
from mvp_data.weights import DEFAULT, OPEN_CLIP_PREFIX, WEIGHTS, find

SIDE_PX = 224
CPU_BATCH = 1  # the quickest there: a larger batch falls out of the cache
CUDA_BATCH = 32
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, as both built-in encoders were trained
_STD = np.array([0.229, 0.224, 0.225], np.float32)
# The quickest convolution by the clock, as is the default, may be another one the next time; 1 for a whole number.
_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
# DINOv2's file ends in a pooled patch grid; its class token is row 0 of this inner tensor, [N, 257, 384].
_INNER_OUTPUT = {"dinov2-s": "/norm/Add_1_output_0"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Who made a vector: this travels into bank and shards, and vectors of two encoders never mix."""

    name: str  # builtin:<name> | open_clip:<model>/<pretrained>
    weights_sha256: str
    dimension: int
    engine: str  # <runtime>-<device>-<number format>, as onnxruntime-cpu-fp32

    def __str__(self) -> str:
        return f"{self.name}, {self.engine}"


class Embedder(Protocol):
    """The seam: RGB pictures of any sizes in, [N, D] rows of length 1 out, each independent of its batch."""

    encoder: Encoder

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """One row for each picture, in order."""
        ...


def load_embedder(spec: str, *, threads: int = 0) -> Embedder:
    """The embedder of `builtin`, `builtin:<name>` or `open_clip:<model>/<pretrained name or local file>`.

    `threads` of the CPU, 0 for as many as there are cores; vectors do not depend on it. Never downloads.
    Raises ConfigError for a spec it does not know, WeightsError where weights are missing.
    """
    if spec.startswith(OPEN_CLIP_PREFIX):
        from mvp_data.embed_open_clip import load_open_clip

        return load_open_clip(spec, threads=threads)
    kind, _, name = spec.partition(":")
    name = name or DEFAULT
    if kind != "builtin" or name not in WEIGHTS:
        known = ", ".join(f"builtin:{n}" for n in WEIGHTS)
        raise ConfigError(f"no embedder '{spec}'; there are: builtin, {known}, open_clip:<model>/<pretrained>")
    model = find(name).read_bytes()
    return OnnxEmbedder(name=f"builtin:{name}", model=model, inner_output=_INNER_OUTPUT.get(name, ""), threads=threads)


class OnnxEmbedder:
    """An image encoder in ONNX form: input [N, 3, 224, 224], output [N, D] or [N, tokens, D] (row 0 is used).

    Every run holds the same number of pictures (on a GPU the last run is padded): a runtime chooses its
    kernels by shape, and a vector must not depend on how many pictures it came with. TinyViT's would.
    """

    def __init__(self, *, name: str, model: bytes, inner_output: str = "", threads: int = 0) -> None:
        digest = hashlib.sha256(model).hexdigest()
        self._session, device = _session(model + (_declare_output(inner_output) if inner_output else b""))
        self._input = self._session.get_inputs()[0].name
        self._output = inner_output or self._session.get_outputs()[0].name
        self._batch = CUDA_BATCH if device == "cuda" else CPU_BATCH
        self._threads = threads or usable_cores()
        self._at_once = device == "cpu"
        self._table = value_table(_MEAN, _STD)
        blank = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        self.encoder = Encoder(
            name=name,
            weights_sha256=digest,
            dimension=self._run([blank]).shape[1],
            engine=f"onnxruntime-{device}-fp32",
        )

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        """[N, D] float32 rows of length 1 for RGB uint8 pictures, whose sizes may differ."""
        if not pictures:
            return np.empty((0, self.encoder.dimension), np.float32)
        rows = side_by_side(
            pictures, SIDE_PX, self._run, batch=self._batch, threads=self._threads, at_once=self._at_once
        )
        return normalise(rows, self.encoder.name)

    def _run(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw vectors [n, D] of n pictures [224, 224, 3], no more than fit into one run."""
        values = network_input(squares, self._table, self._batch)
        output: npt.NDArray[np.float32] = self._session.run([self._output], {self._input: values})[0]
        return (output[:, 0] if output.ndim == 3 else output)[: len(squares)]


def _session(model: bytes) -> tuple[Any, str]:
    """An ONNX Runtime session, on the GPU where the installed runtime can use one, and its device: cuda or cpu.

    A run on the CPU takes one thread, its caller's: several runs side by side do more a second than one run that
    spreads over several threads, and the sums are made in one order whatever their number.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only
    providers: list[Any] = ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", _CUDA))
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    return session, "cuda" if session.get_providers()[0] == "CUDAExecutionProvider" else "cpu"


def side_by_side(
    pictures: Sequence[Picture],
    side_px: int,
    run: Callable[[Sequence[npt.NDArray[np.uint8]]], npt.NDArray[np.float32]],
    *,
    batch: int,
    threads: int,
    at_once: bool,
) -> npt.NDArray[np.float32]:
    """What `run` makes of the pictures, shrunk and cut into batches, as one matrix [N, D] in their order; N > 0.

    Pictures are shrunk on `threads` threads. So are batches run if `at_once`, else one after another on this thread,
    which fits a GPU: it works while the next pictures are shrunk. Ctrl-C counts when all are done.
    """
    with held_back(), ThreadPoolExecutor(threads, thread_name_prefix="embed") as pool:
        try:
            # By index: a sequence that decodes its pictures when asked for them does so on these threads as well.
            squares = pool.map(lambda i: shrink(pictures[i], side_px), range(len(pictures)))
            batches = iter(lambda: list(islice(squares, batch)), [])
            return np.concatenate(list(pool.map(run, batches) if at_once else map(run, batches)))
        finally:
            pool.shutdown(cancel_futures=True)


def shrink(picture: Picture, side_px: int) -> npt.NDArray[np.uint8]:
    """The whole picture squeezed into a square [side_px, side_px, 3].

    Not the usual centre crop: that hides 44 % of a 16:9 frame, and with it what tells two frames apart.
    """
    size = (side_px, side_px)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def value_table(mean: npt.NDArray[np.float32], std: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What a network is given for each of 256 levels, by colour [3, 256]: looked up, not computed for every pixel."""
    levels = np.arange(256, dtype=np.uint8)[:, None] / np.float32(255)
    return np.ascontiguousarray(((levels - mean) / std).T)


def network_input(
    squares: Sequence[npt.NDArray[np.uint8]], table: npt.NDArray[np.float32], batch: int
) -> npt.NDArray[np.float32]:
    """Pictures [side, side, 3] as the input [batch, 3, side, side] of a network; zeros fill it up."""
    side_px = len(squares[0])
    values = np.zeros((batch, 3, side_px, side_px), np.float32)
    for place, square in zip(values, squares, strict=False):
        for channel in range(3):
            # "clip" only keeps NumPy from a copy: no level is out of bounds.
            table[channel].take(square[..., channel], out=place[channel], mode="clip")
    return values


def normalise(rows: npt.NDArray[np.float32], name: str) -> Vectors:
    """Rows scaled to length 1. Raises WeightsError for a row without a direction: damaged weights."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise WeightsError(f"{name} gives vectors that are zero or not a number: its weights are damaged")
    unit: Vectors = rows / lengths[:, None]
    return unit


def _declare_output(tensor: str) -> bytes:
    """Bytes which, put behind an ONNX file, make an inner float tensor one more output of its graph.

    A protobuf message put behind another one of its type is merged into it, so ModelProto{graph{output{...}}}
    is all it takes (field numbers of onnx.proto3): no onnx package, no second copy of the weights.
    """
    float_tensor = _field(1, b"\x08\x01")  # TypeProto.tensor_type{elem_type: FLOAT}
    value_info = _field(1, tensor.encode()) + _field(2, float_tensor)
    return _field(7, _field(12, value_info))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    if number > 15 or len(content) > 127:
        raise ValueError("this small encoder writes one-byte tags and lengths only")
    return bytes([number << 3 | 2, len(content)]) + content
