"""The encoder's side of pass 1: vectors for the frames of every video in the bank, and the thresholds for them."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from mvp_data.bank import Bank, damaged
from mvp_data.calibrate import MAX_PICTURES_PER_VIDEO, MAX_VIDEOS, SHIPPED, Calibration, calibrate
from mvp_data.config import digest
from mvp_data.embed import Embedder
from mvp_data.files import make_folder
from mvp_data.seeds import stable_hash
from mvp_data.types import Picture, Vectors, VideoEntry

EMBED_BATCH = 64  # pictures given to the encoder at once; has no influence on the vectors


class Jpegs(Sequence[Picture]):
    """Pictures that are decoded each time they are asked for: by the encoder's threads, and never all at once."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        self._jpegs = jpegs

    def __len__(self) -> int:
        return len(self._jpegs)

    def __getitem__(self, place: Any) -> Any:
        found = self._jpegs[place]
        return Jpegs(found) if isinstance(place, slice) else decoded(found)


def decoded(jpeg: bytes) -> Picture:
    """The RGB picture [H, W, 3] of a JPEG."""
    from PIL import Image

    return np.asarray(Image.open(BytesIO(jpeg)).convert("RGB"))


def embed_all(
    bank: Bank,
    entries: Iterable[VideoEntry],
    embedder: Embedder,
    on_frames: Callable[[int], object] = lambda _: None,
) -> None:
    """Give every video its vectors; `on_frames` is told how many frames were done.

    Pictures are read from the bank's JPEGs, so another encoder needs no decoding, and batches run across videos.
    """
    encoder = embedder.encoder
    todo = (entry for entry in entries if not bank.has_vectors(entry.video_id, encoder))
    jpegs = ((entry.video_id, jpeg) for entry in todo for jpeg in _jpegs(bank, entry, entry.usable))
    for video_id, rows in groupby(_embedded(jpegs, embedder, on_frames), key=itemgetter(0)):
        bank.write_vectors(video_id, encoder, np.stack([vector for _, vector in rows]))


def _embedded(
    jpegs: Iterator[tuple[str, bytes]], embedder: Embedder, on_frames: Callable[[int], object]
) -> Iterator[tuple[str, Vectors]]:
    """(video id, vector [D]) of each picture, in order."""
    while batch := list(islice(jpegs, EMBED_BATCH)):
        vectors = embedder.embed(Jpegs([jpeg for _, jpeg in batch]))
        on_frames(len(batch))
        yield from zip((video_id for video_id, _ in batch), vectors, strict=True)


def calibration_for(embedder: Embedder, bank: Bank, entries: Mapping[str, VideoEntry], seed: int) -> Calibration:
    """The encoder's shipped thresholds, or ones measured on frames of this corpus and kept in the bank.

    Raises:
        ConfigError: the encoder is not calibrated, and there are no frames to do it with.
    """
    if embedder.encoder.name in SHIPPED:
        return SHIPPED[embedder.encoder.name]
    chosen = sorted((v for v in entries if entries[v].usable), key=lambda v: stable_hash("calibrate", seed, v))
    chosen = chosen[:MAX_VIDEOS]
    path = bank.calibration_path(embedder.encoder, digest(chosen))
    if path.exists():
        try:
            return Calibration(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise damaged(path, error) from error
    pictures = {}
    for video_id in chosen:
        usable = entries[video_id].usable
        spread = np.unique(np.linspace(0, len(usable) - 1, MAX_PICTURES_PER_VIDEO).round().astype(int))
        pictures[video_id] = [decoded(jpeg) for jpeg in _jpegs(bank, entries[video_id], [usable[i] for i in spread])]
    measured = calibrate(embedder, pictures, seed=seed)
    make_folder(path.parent)
    with bank.file(path) as file:
        file.write(json.dumps(asdict(measured)).encode())
    return measured


def _jpegs(bank: Bank, entry: VideoEntry, indices: Sequence[int]) -> Iterator[bytes]:
    with bank.pictures(entry) as jpeg:
        yield from map(jpeg, indices)
