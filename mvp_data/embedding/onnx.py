"""Built-in embedders, run by ONNX Runtime."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.config.options import usable_cores
from mvp_data.core.types import Encoder, Picture, Vectors
from mvp_data.embedding.base import network_input, normalise, side_by_side, value_table

SIDE_PX = 224
CPU_BATCH = 1  # the quickest there: a larger batch falls out of the cache
CUDA_BATCH = 32
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet, as both built-in encoders were trained
_STD = np.array([0.229, 0.224, 0.225], np.float32)
# The quickest convolution by the clock, as is the default, may be another one the next time; 1 for a whole number.
_CUDA = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
# DINOv2's file ends in a pooled patch grid; its class token is row 0 of this inner tensor, [N, 257, 384].
_INNER_OUTPUT = {"dinov2-s": "/norm/Add_1_output_0"}


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
