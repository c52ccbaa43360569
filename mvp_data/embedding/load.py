"""The catalogue of embedders: a new kind is a new module and one line of `KINDS`."""

from pathlib import Path

from mvp_data.core.errors import ConfigError
from mvp_data.embedding.base import Embedder, EmbedderKind
from mvp_data.embedding.onnx import Builtin
from mvp_data.embedding.open_clip import OpenClip

KINDS: tuple[EmbedderKind, ...] = (Builtin(), OpenClip())


def load_embedder(spec: str, *, threads: int = 0) -> Embedder:
    """The embedder of a spec, such as `builtin`, `builtin:tinyvit` or `open_clip:ViT-B-32/openai`.

    It uses `threads` CPU threads, 0 for one per core; vectors do not depend on their number. Never downloads.
    Raises ConfigError for an unknown spec, WeightsError where weights are missing.
    """
    return _kind(spec).load(spec, threads)


def fetch(name: str) -> Path:
    """Download, verify and store the weights of an encoder, unless they are there; return their file.

    `name` is a spec or the short name of a built-in encoder. Raises ConfigError for an unknown one, WeightsError.
    """
    spec = name if ":" in name or name == "builtin" else f"builtin:{name}"
    return _kind(spec).fetch(spec)


def _kind(spec: str) -> EmbedderKind:
    for kind in KINDS:
        if kind.accepts(spec):
            return kind
    known = ", ".join(known for kind in KINDS for known in kind.specs())
    raise ConfigError(f"no embedder '{spec}'; there are: {known}")
