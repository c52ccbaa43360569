"""The second half of pass 1: embeds the frames of every video in the bank, and calibrates the encoder's thresholds."""

import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from mvp_data.bank.bank import Bank, damaged
from mvp_data.bank.remote_bank import RemoteBank
from mvp_data.config.options import digest
from mvp_data.core.errors import OutputError, WeightsError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.types import Encoder, Picture, Vectors, VideoEntry
from mvp_data.embedding.base import Embedder
from mvp_data.embedding.calibration import MAX_IMAGES_PER_VIDEO, MAX_VIDEOS, SHIPPED, Calibration, calibrate
from mvp_data.embedding.load import load_embedder
from mvp_data.engines.base import Engine, Lost, StatefulEngine
from mvp_data.system.files import make_folder
from mvp_data.video.decode.images import decoded

EMBED_BATCH = 64  # frames per call of the encoder; the vectors do not depend on it
JOB_FRAMES = 512  # minimum frames of a job on a cluster: at least a second of work, so sending the job costs little


class Jpegs(Sequence[Picture]):
    """Images that are decoded when they are read: in the threads of the encoder, and never all at once."""

    def __init__(self, jpegs: Sequence[bytes]) -> None:
        self._jpegs = jpegs

    def __len__(self) -> int:
        return len(self._jpegs)

    def __getitem__(self, place: Any) -> Any:
        found = self._jpegs[place]
        return Jpegs(found) if isinstance(place, slice) else decoded(found)


def embed_all(
    bank: Bank,
    entries: Iterable[VideoEntry],
    embedder: Embedder,
    on_frames: Callable[[int], object] = lambda _: None,
) -> None:
    """Embed all videos in this process; `on_frames` is called with the number of frames of each batch.

    The frames are read from the JPEGs in the bank, so a change of encoder does not decode any video again. A batch may
    hold frames of several videos.
    """
    encoder = embedder.encoder
    todo = (entry for entry in entries if not bank.has_vectors(entry.video_id, encoder))
    jpegs = ((entry.video_id, jpeg) for entry in todo for jpeg in _jpegs(bank, entry, entry.usable))
    for video_id, rows in groupby(_embedded(jpegs, embedder, on_frames), key=itemgetter(0)):
        bank.write_vectors(video_id, encoder, np.stack([vector for _, vector in rows]))


def embed_with(
    engine: Engine,
    bank: Bank,
    entries: Iterable[VideoEntry],
    embedder: Embedder,
    spec: str,
    on_frames: Callable[[int], object] = lambda _: None,
) -> None:
    """Embed videos that have no vectors yet: on the cluster if the engine has one, otherwise in this process.

    A cluster uses its GPUs if `embedder` runs on a GPU here, otherwise its CPUs.

    Args:
        engine: the engine of this run.
        bank: the bank of this run, with its store if it has one.
        entries: the videos.
        embedder: the encoder in this process.
        spec: the name with which nodes load the same encoder.
        on_frames: called with the number of frames that were embedded.

    Raises:
        OutputError: too many workers of the cluster were lost.
    """
    if not isinstance(engine, StatefulEngine):
        embed_all(bank, entries, embedder, on_frames)
        return
    encoder = embedder.encoder
    make = partial(EmbedWork, bank, spec, encoder)
    for video_ids, frames in engine.run_stateful(make, _jobs(bank, entries), gpu="cuda" in encoder.engine):
        if isinstance(frames, Lost):
            raise OutputError(f"videos cannot be embedded: {frames.detail} ({', '.join(video_ids)}); run again")
        if isinstance(bank, RemoteBank):
            for video_id in video_ids:
                bank.download_vectors(video_id, encoder)
        on_frames(frames)


class EmbedWork:
    """The job function of embedding on a node; it holds a loaded encoder."""

    def __init__(self, bank: Bank, spec: str, encoder: Encoder) -> None:
        """Load the encoder `spec`, see `load_embedder`.

        Raises:
            WeightsError: it differs from `encoder`, the encoder of the run; vectors of two encoders must not be mixed.
        """
        if "cuda" not in encoder.engine:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # otherwise a GPU would compute different vectors
        self._bank, self._embedder = bank, load_embedder(spec, threads=1)
        if (found := self._embedder.encoder) != encoder:
            raise WeightsError(f"node {platform.node()} loads another encoder ({found}) than the run ({encoder})")

    def __call__(self, video_ids: tuple[str, ...]) -> int:
        """Embed these videos; return the number of their frames that have vectors."""
        with self._bank.worker_bank() if isinstance(self._bank, RemoteBank) else nullcontext(self._bank) as bank:
            entries = [bank.read(video_id) for video_id in video_ids]
            embed_all(bank, entries, self._embedder)
            return sum(len(entry.usable) for entry in entries)


def _jobs(bank: Bank, entries: Iterable[VideoEntry]) -> Iterator[tuple[str, ...]]:
    """Yield the video ids of each job; with a store, upload the videos first so that nodes can read them."""
    job: list[str] = []
    frames = 0
    for entry in entries:
        if isinstance(bank, RemoteBank):
            bank.upload(entry.video_id)
        job.append(entry.video_id)
        frames += len(entry.usable)
        if frames >= JOB_FRAMES:
            yield tuple(job)
            job, frames = [], 0
    if job:
        yield tuple(job)


def _embedded(
    jpegs: Iterator[tuple[str, bytes]], embedder: Embedder, on_frames: Callable[[int], object]
) -> Iterator[tuple[str, Vectors]]:
    """Yield (video id, vector [D]) of each frame, in order."""
    while batch := list(islice(jpegs, EMBED_BATCH)):
        vectors = embedder.embed(Jpegs([jpeg for _, jpeg in batch]))
        on_frames(len(batch))
        yield from zip((video_id for video_id, _ in batch), vectors, strict=True)


def calibration_for(embedder: Embedder, bank: Bank, entries: Mapping[str, VideoEntry], seed: int) -> Calibration:
    """Return the thresholds shipped for the encoder, or measure them on this corpus and keep them in the bank.

    Raises:
        ConfigError: the encoder is not calibrated, and there are no frames to calibrate it with.
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
    images = {}
    for video_id in chosen:
        usable = entries[video_id].usable
        spread = np.unique(np.linspace(0, len(usable) - 1, MAX_IMAGES_PER_VIDEO).round().astype(int))
        images[video_id] = [decoded(jpeg) for jpeg in _jpegs(bank, entries[video_id], [usable[i] for i in spread])]
    measured = calibrate(embedder, images, seed=seed)
    make_folder(path.parent)
    with bank.file(path) as file:
        file.write(json.dumps(asdict(measured)).encode())
    return measured


def _jpegs(bank: Bank, entry: VideoEntry, indices: Sequence[int]) -> Iterator[bytes]:
    with bank.jpegs(entry) as jpeg:
        yield from map(jpeg, indices)
