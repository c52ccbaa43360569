"""Finds the common codecs that a back end cannot decode on this machine, by decoding a clip of each.

    >>> undecodable("pyav")  # doctest: +SKIP
    ('AV1',)

Each clip is a few hundred bytes: two frames of 64 x 64 px. The first is white on the left and black on the right, the
second the other way round. So a decoder that gives wrong frames is found too.
"""

import tempfile
from pathlib import Path
from zipfile import ZipFile

from mvp_data.core.errors import MissingDependencyError, Skip
from mvp_data.video.decode.open import open_video

CLIPS = Path(__file__).parent / "codec_clips.zip"  # CODEC/FILE, without x264's version text (ffmpeg's filter_units)
_SIDE_PX, _EDGE_PX = 64, 4  # near the border between the halves, where ringing is normal


def trial(backend: str) -> dict[str, str]:
    """Decode the clip of each codec with this back end; return the fault of each codec, "" if there is none.

    Raises:
        MissingDependencyError: the back end is not installed.
        OSError: the folder for temporary files cannot be written.
    """
    with ZipFile(CLIPS) as clips, tempfile.TemporaryDirectory(prefix="mvp-data-") as folder:
        return {str(Path(name).parent): _fault(Path(clips.extract(name, folder)), backend) for name in clips.namelist()}


def undecodable(backend: str) -> tuple[str, ...]:
    """Return the common codecs whose videos a build with this back end would skip; () if that cannot be checked."""
    try:
        return tuple(codec for codec, fault in trial(backend).items() if fault)
    except (MissingDependencyError, OSError):  # the build reports the first itself; the second affects only this check
        return ()


def _fault(path: Path, backend: str) -> str:
    try:
        with open_video(path, backend=backend) as video:
            images = [frame.image(_SIDE_PX**2).rgb() for frame in video.frames()]
    except Skip as skip:
        return skip.detail
    halves = [
        "".join("white" if half.mean() > 240 else "black" if half.mean() < 15 else "?" for half in (left, right))
        for left, right in ((p[:, : p.shape[1] // 2 - _EDGE_PX], p[:, p.shape[1] // 2 + _EDGE_PX :]) for p in images)
    ]
    return "" if halves == ["whiteblack", "blackwhite"] else "it gives wrong images"
