"""Encodes frames as JPEG, and decodes a JPEG to RGB or luma."""

from io import BytesIO

import numpy as np

from mvp_data.core.errors import Skip, SkipReason
from mvp_data.core.types import Luma, Picture
from mvp_data.video.decode.facts import stop_without_memory


def encode_jpeg(picture: Picture, *, quality: int) -> bytes:
    """JPEG bytes of RGB [H, W, 3]: 4:2:0, no metadata."""
    from PIL import Image

    height, width, _ = picture.shape
    buffer = BytesIO()
    image = Image.frombuffer("RGB", (width, height), picture, "raw", "RGB", 0, 1)
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()


def decoded(jpeg: bytes) -> Picture:
    """Decode a JPEG to RGB, uint8 [H, W, 3]."""
    from PIL import Image

    return np.asarray(Image.open(BytesIO(jpeg)).convert("RGB"))


def jpeg_luma(data: bytes) -> Luma:
    """Return the luma [H, W] of a JPEG; raises Skip for missing or wrong code words, which Pillow decodes as grey."""
    import av

    codec = av.CodecContext.create("mjpeg", "r")
    codec.options, codec.thread_count = {"err_detect": "explode"}, 1
    try:
        (frame,) = [*codec.decode(av.Packet(data)), *codec.decode(None)]
    except (av.FFmpegError, ValueError) as error:
        stop_without_memory(error)
        raise Skip(SkipReason.DECODE_ERROR, "a JPEG with missing or wrong data") from error
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
