"""Embedding of the images in a bank; test_scheduler embeds whole banks."""

import io
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mvp_data.bank.bank import Bank
from mvp_data.core.errors import OutputError
from mvp_data.core.types import Encoder, Picture, Vectors, VideoEntry
from mvp_data.embedding.onnx import OnnxEmbedder
from mvp_data.engines.base import Lost
from mvp_data.engines.local import Local
from mvp_data.ingest import embed
from mvp_data.ingest.embed import Jpegs, embed_all, embed_with
from mvp_data.video.decode.images import decoded
from tests.builders import films, jpeg_of, store
from tests.embedding.test_base import toy_model


def test_images_are_decoded_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("L", (8, 6), 90).save(buffer, "JPEG")
    asked: list[bytes] = []
    monkeypatch.setattr(embed, "decoded", lambda jpeg: asked.append(jpeg) or decoded(jpeg))
    pictures = Jpegs([b"not an image", buffer.getvalue(), buffer.getvalue()])
    assert len(pictures) == 3
    assert pictures[1].shape == (6, 8, 3)  # grey ones become RGB
    assert [picture.shape for picture in pictures[1:]] == [(6, 8, 3)] * 2
    assert len(asked) == 3, "the first one, which is not an image, was not read"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_video_has_the_same_vectors_whatever_it_is_embedded_with(tmp_path: Path, threads: int) -> None:
    videos = films(3, frames=30)
    bank = Bank(tmp_path / "bank", "h")
    for video in videos:
        store(bank, video)
    model = toy_model()
    embed_all(bank, [v.entry for v in videos], OnnxEmbedder(name="builtin:toy", model=model, threads=threads))
    alone = OnnxEmbedder(name="builtin:toy", model=model, threads=1)
    for video in videos:
        (path,) = tmp_path.rglob(f"{video.entry.video_id}.npy")
        pictures = [decoded(jpeg_of(video, index)) for index in video.entry.usable]
        np.testing.assert_array_equal(np.load(path), alone.embed(pictures).astype(np.float16))


class Stopping:
    """An embedder that is interrupted in its second batch."""

    encoder = Encoder(name="test:stopping", weights_sha256="0" * 64, dimension=2, engine="numpy")
    calls = 0

    def embed(self, pictures: Sequence[Picture]) -> Vectors:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return np.tile(np.array([[1, 0]], np.float32), (len(pictures), 1))


def test_what_was_embedded_before_it_was_stopped_is_kept(tmp_path: Path) -> None:
    videos = films(3, frames=30)  # 64 frames a batch: two videos, and four frames of the third
    bank = Bank(tmp_path / "bank", "h")
    for video in videos:
        store(bank, video)
    entries, embedder = [video.entry for video in videos], Stopping()
    with pytest.raises(KeyboardInterrupt):
        embed_all(bank, entries, embedder)
    assert [bank.has_vectors(entry.video_id, embedder.encoder) for entry in entries] == [True, True, False]
    done: list[int] = []
    embed_all(bank, entries, embedder, done.append)
    assert sum(done) == len(entries[2].usable), "the third is begun again, the others are not"


class FakeCluster(Local):
    """A cluster whose only worker is this process; `lost` loses every job."""

    def __init__(self, lost: bool = False) -> None:
        super().__init__(1)
        self.lost, self.jobs = lost, list[tuple[str, ...]]()

    def run_stateful(self, make: Any, jobs: Any, *, gpu: bool) -> Iterator[tuple[Any, Any]]:
        assert not gpu
        work = pickle.loads(pickle.dumps(make))()
        for job in jobs:
            self.jobs.append(job)
            yield job, Lost("crash", "3 workers of the cluster were lost with it") if self.lost else work(job)


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bank, list[VideoEntry], OnnxEmbedder]:
    """A bank with three videos, and the encoder that `load_embedder` gives on a node."""
    bank, videos = Bank(tmp_path / "bank", "h"), films(3, frames=30)
    for video in videos:
        store(bank, video)
    toy = OnnxEmbedder(name="builtin:toy", model=toy_model(), threads=1)
    monkeypatch.setattr(embed, "load_embedder", lambda spec, threads: toy)
    monkeypatch.setattr(embed, "JOB_FRAMES", 50)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return bank, [video.entry for video in videos], toy


def test_a_cluster_gets_jobs_of_several_videos(filled: tuple[Bank, list[VideoEntry], OnnxEmbedder]) -> None:
    bank, entries, toy = filled
    cluster, done = FakeCluster(), list[int]()
    embed_with(cluster, bank, entries, toy, "builtin:toy", done.append)
    ids = [entry.video_id for entry in entries]
    assert cluster.jobs == [tuple(ids[:2]), tuple(ids[2:])]
    assert done == [60, 30]
    assert all(bank.has_vectors(video_id, toy.encoder) for video_id in ids)


def test_a_lost_job_of_embedding_ends_the_run(filled: tuple[Bank, list[VideoEntry], OnnxEmbedder]) -> None:
    bank, entries, toy = filled
    with pytest.raises(OutputError, match="videos cannot be embedded: 3 workers of the cluster were lost with it"):
        embed_with(FakeCluster(lost=True), bank, entries, toy, "builtin:toy")


def test_one_machine_embeds_in_this_process(filled: tuple[Bank, list[VideoEntry], OnnxEmbedder]) -> None:
    bank, entries, toy = filled
    done: list[int] = []
    embed_with(Local(2), bank, entries, toy, "builtin:toy", done.append)
    assert done == [64, 26], "batches run across videos"
