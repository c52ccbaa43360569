"""The frames of a video in columns: some 45 bytes each and a thumbnail, where an object a frame takes a kilobyte."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from mvp_data.types import THUMBNAIL_HEIGHT_PX, THUMBNAIL_WIDTH_PX, Frame

Thumbnails = npt.NDArray[np.uint8]  # [M, 576]

THUMBNAIL_BYTES = THUMBNAIL_WIDTH_PX * THUMBNAIL_HEIGHT_PX
_NAMES = tuple(f.name for f in fields(Frame))
# Texts and thumbnails are numbers here: of the text among those of the video, of the row among its thumbnails.
_DTYPE = np.dtype([(f.name, np.float64 if f.type is float else np.int32) for f in fields(Frame)])
_NO_THUMBNAIL = -1


class FrameTable(Sequence[Frame]):
    """The frames of one video: a sequence of `Frame`, each made when it is asked for, and whole columns."""

    __slots__ = ("_reasons", "_rows", "_thumbnails")

    def __init__(self, columns: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> None:
        """`columns`: the values of each field of `Frame`.

        Raises:
            ValueError: a thumbnail has another size.
        """
        pictures = columns["thumbnail"]
        stored = [picture for picture in pictures if picture]
        if any(len(picture) != THUMBNAIL_BYTES for picture in stored):
            raise ValueError(f"a thumbnail that has not {THUMBNAIL_BYTES} bytes")
        self._thumbnails: Thumbnails = np.frombuffer(b"".join(stored), np.uint8).reshape(-1, THUMBNAIL_BYTES)
        self._reasons = tuple(dict.fromkeys(columns["reject"]))
        numbers = {reason: number for number, reason in enumerate(self._reasons)}
        has_one = np.array([bool(picture) for picture in pictures], dtype=bool)
        self._rows = np.empty(len(pictures), _DTYPE)
        for name in _NAMES:
            self._rows[name] = (
                np.where(has_one, np.cumsum(has_one) - 1, _NO_THUMBNAIL)
                if name == "thumbnail"
                else [numbers[reason] for reason in columns[name]]
                if name == "reject"
                else columns[name]
            )

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> "FrameTable":
        """These frames."""
        rows = tuple(frames)
        return cls({name: [getattr(frame, name) for frame in rows] for name in _NAMES})

    def with_thumbnails(self, thumbnails: Thumbnails) -> "FrameTable":
        """The same frames with their thumbnails in another place."""
        table = FrameTable.__new__(FrameTable)
        table._rows, table._reasons, table._thumbnails = self._rows, self._reasons, thumbnails
        return table

    @property
    def thumbnails(self) -> Thumbnails:
        """Those there are, in order: [M, 576]."""
        return self._thumbnails

    @property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Time of each frame."""
        return self._rows["time_s"]

    @property
    def shots(self) -> npt.NDArray[np.int32]:
        """Shot of each frame."""
        return self._rows["shot"]

    @property
    def jpeg_bytes(self) -> npt.NDArray[np.int32]:
        """Length of each JPEG."""
        return self._rows["jpeg_bytes"]

    @property
    def usable(self) -> npt.NDArray[np.intp]:
        """Indices of the frames that were not rejected."""
        if "" not in self._reasons:
            return np.empty(0, np.intp)
        return np.flatnonzero(self._rows["reject"] == self._reasons.index(""))

    def rejections(self) -> Counter[str]:
        """How many frames are no key frames, by reason."""
        counts = np.bincount(self._rows["reject"], minlength=len(self._reasons)).tolist()
        return Counter({reason: count for reason, count in zip(self._reasons, counts, strict=True) if reason})

    def thumbnail(self, index: int) -> bytes:
        """The thumbnail of one frame: quicker than to make the frame."""
        row = self._rows["thumbnail"][index]
        return self._thumbnails[row].tobytes() if row != _NO_THUMBNAIL else b""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Frame, ...]: ...
    def __getitem__(self, index: int | slice) -> Frame | tuple[Frame, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        values = dict(zip(_NAMES, self._rows[index].item(), strict=True))
        return Frame(**values | {"reject": self._reasons[values["reject"]], "thumbnail": self.thumbnail(index)})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrameTable) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of every container of arrays
