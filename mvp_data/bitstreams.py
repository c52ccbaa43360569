"""Which packets of a video stream can be left out: pictures on which no other picture is built.

The headers of a packet say so exactly, in H.264, HEVC, MPEG-1, MPEG-2 and MPEG-4. Whatever is out of the ordinary is
needed: parameters of the codec in the packet, more or less than one picture in it, fields in place of frames. VP8,
VP9 and AV1 carry their entropy tables and motion from one picture to the next, so there all packets are needed.
"""

from collections.abc import Callable, Iterator

from mvp_data.errors import Unskimmable

IsSpare = Callable[[bytes], bool]  # whether nothing is built on the picture of a packet; sees every packet, in order

_START = b"\0\0\1"
_UNIT_BYTES = 1024  # of a unit are looked at; parameters are shorter
_H264_SLICE, _H264_SLICES, _H264_SPS, _H264_PARAMETERS = 1, range(1, 6), 7, (7, 8, 13, 15)
_H264_CHROMA_PROFILES = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
_HEVC_SLICES, _HEVC_SPARE, _HEVC_PARAMETERS = range(32), (0, 2, 4, 6, 8), range(32, 35)
_MPEG_PICTURE, _MPEG_EXTENSION, _MPEG4_PICTURE = 0x00, 0xB5, 0xB6
_MPEG_PARAMETERS = {0xB3, 0xB7, 0xB8}  # of the sequence and of groups of pictures
_MPEG_B, _MPEG4_B, _WHOLE_FRAME, _CODING_EXTENSION = 3, 2, 3, 8


def reader(codec: str, header: bytes) -> IsSpare | None:
    """What tells the packets of a stream apart, None where all are needed; `header` is the codec's extra data."""
    match codec:
        case "h264":
            return _H264(header).is_spare
        case "hevc":
            return _Hevc(header).is_spare
        case "mpeg1video" | "mpeg2video":
            return _mpeg_is_spare
        case "mpeg4":
            return _mpeg4_is_spare
    return None


class _H264:
    """nal_ref_idc says it; interlaced streams are needed whole, since a packet may hold one field alone."""

    def __init__(self, header: bytes) -> None:
        self._length_bytes = (header[4] & 3) + 1 if header[:1] == b"\1" and len(header) > 6 else 0
        self._frames_only: bool | None = None  # unknown until the stream's parameters have come
        if self._length_bytes:
            for parameters in _avcc_parameters(header):
                self._take(parameters)
        else:
            for unit in _by_start_code(header):
                self._take(unit)

    def is_spare(self, packet: bytes) -> bool:
        slices, spare = 0, True
        for unit in _by_length(packet, self._length_bytes) if self._length_bytes else _by_start_code(packet):
            kind = unit[0] & 31 if len(unit) > 1 else -1
            if kind == _H264_SPS:
                self._take(unit)
            if kind in _H264_SLICES:
                slices += unit[1] >> 7  # first_mb_in_slice is 0: a picture begins
                spare &= kind == _H264_SLICE and not unit[0] & 0x60
            elif kind in _H264_PARAMETERS or kind < 0:
                spare = False
        return spare and slices == 1 and self._frames_only is True

    def _take(self, unit: bytes) -> None:
        if len(unit) > 4 and unit[0] & 31 == _H264_SPS:
            self._frames_only = self._frames_only is not False and _has_frames_only(unit)


class _Hevc:
    """The kind of the unit says it for the pictures of one temporal layer: so only the highest can be left out."""

    def __init__(self, header: bytes) -> None:
        self._length_bytes = (header[21] & 3) + 1 if header[:1] == b"\1" and len(header) > 22 else 0
        self._highest = -1
        self._spared = False

    def is_spare(self, packet: bytes) -> bool:
        pictures, spare, layer = 0, True, 0
        for unit in _by_length(packet, self._length_bytes) if self._length_bytes else _by_start_code(packet):
            kind = unit[0] >> 1 & 63 if len(unit) > 2 else -1
            if kind in _HEVC_SLICES:
                pictures += unit[2] >> 7  # the first slice of a picture
                layer = max(layer, unit[1] & 7)
                spare &= kind in _HEVC_SPARE and not unit[0] & 1 and not unit[1] >> 3  # of the base view
            elif kind in _HEVC_PARAMETERS or kind < 0:
                spare = False
        if layer > self._highest >= 0 and self._spared:
            raise Unskimmable("a picture of a higher temporal layer, which may be built on those left out")
        self._highest = max(self._highest, layer)
        spare = spare and pictures == 1 and layer == self._highest
        self._spared |= spare
        return spare


def _mpeg_is_spare(packet: bytes) -> bool:
    """A whole B frame, alone in its packet."""
    units = [unit for unit in _by_start_code(packet) if len(unit) > 3]
    kinds = [unit[0] for unit in units]
    if kinds.count(_MPEG_PICTURE) != 1 or not _MPEG_PARAMETERS.isdisjoint(kinds):
        return False
    if units[kinds.index(_MPEG_PICTURE)][2] >> 3 & 7 != _MPEG_B:
        return False
    extensions = [u for u in units if u[0] == _MPEG_EXTENSION and u[1] >> 4 == _CODING_EXTENSION]
    return all(unit[3] & 3 == _WHOLE_FRAME for unit in extensions)


def _mpeg4_is_spare(packet: bytes) -> bool:
    """A B picture, alone in its packet."""
    units = [unit for unit in _by_start_code(packet) if unit]
    return [u[1] >> 6 for u in units if len(u) > 1 and u[0] == _MPEG4_PICTURE] == [_MPEG4_B] and len(units) == 1


def _by_length(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """The beginnings of the units of a packet in which each is preceded by its length; b"" for a wrong length."""
    place = 0
    while place < len(data):
        length = int.from_bytes(data[place : place + length_bytes], "big")
        place += length_bytes
        whole = 0 < length <= len(data) - place
        yield data[place : place + min(length, _UNIT_BYTES)] if whole else b""
        place = place + length if whole else len(data)


def _by_start_code(data: bytes) -> Iterator[bytes]:
    """The beginnings of the units that start codes mark."""
    place = data.find(_START)
    while place >= 0:
        following = data.find(_START, place + 3)
        end = place + 3 + _UNIT_BYTES
        yield data[place + 3 : end if following < 0 else min(end, following)]
        place = following


def _avcc_parameters(header: bytes) -> Iterator[bytes]:
    """The sequence parameters in the header of an MP4 or Matroska file."""
    place = 6
    for _ in range(header[5] & 31):
        length = int.from_bytes(header[place : place + 2], "big")
        yield header[place + 2 : place + 2 + length]
        place += 2 + length


class _Bits:
    """Reads the bits of a unit, without the bytes that keep start codes out of it."""

    def __init__(self, unit: bytes) -> None:
        data = unit.replace(b"\0\0\3", b"\0\0")
        self._bits, self._place = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}", 0

    def take(self, count: int) -> int:
        """The next bits as a number; 0 beyond the end."""
        self._place += count
        return int(self._bits[self._place - count : self._place] or "0", 2)

    def golomb(self) -> int:
        """The next number in Exp-Golomb code, without sign."""
        zeros = max(0, self._bits.find("1", self._place) - self._place)
        self._place += zeros
        return self.take(zeros + 1) - 1

    def signed(self) -> int:
        """The next one with a sign."""
        number = self.golomb()
        return (number + 1) // 2 if number % 2 else -number // 2


def _has_frames_only(unit: bytes) -> bool:
    """frame_mbs_only_flag of the sequence parameters of H.264 (ITU-T H.264, 7.3.2.1.1)."""
    bits = _Bits(unit)
    bits.take(8)
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    if profile in _H264_CHROMA_PROFILES:
        chroma = bits.golomb()
        bits.take(1 if chroma == 3 else 0)
        bits.golomb()
        bits.golomb()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(min(bits.golomb(), 255)):
            bits.golomb()
    bits.golomb()
    bits.take(1)
    bits.golomb()
    bits.golomb()
    return bits.take(1) == 1


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    if not bits.take(1):
        return
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
