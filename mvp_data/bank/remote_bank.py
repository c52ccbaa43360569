"""A bank that copies its finished files to an object store, for nodes without a shared disk.

Files have the same names in the store and in the bank. A worker has an empty bank for each job: it uploads its finished
files to the store and downloads those of other workers. The driver downloads all of them into the bank of the run. As
on disk, the Parquet file of an entry comes last, so an entry is either complete or absent.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from mvp_data.bank.bank import Bank
from mvp_data.core.errors import OutputError
from mvp_data.core.types import Encoder, Vectors, VideoEntry
from mvp_data.system.files import make_folder
from mvp_data.system.locks import lives
from mvp_data.system.object_store import Store

SCRATCH_PREFIX = "mvp-scratch-"  # of the folders of jobs; with it, `sweep_scratch` finds those of killed workers


class RemoteBank(Bank):
    """A bank that uploads its files to an object store and downloads missing ones from it."""

    def __init__(self, root: Path, extract_hash: str, kind: str = "frames", *, store: Store) -> None:
        """See `Bank`; `store` holds the copies."""
        super().__init__(root, extract_hash, kind)
        self._extract_hash, self._store = extract_hash, store

    def has(self, video_id: str) -> bool:
        """Whether pass 1 has finished this video; downloads the entry if only the store has it."""
        return super().has(video_id) or self._download(video_id)

    def read(self, video_id: str) -> VideoEntry:
        """The entry of a video, here or in the store. Raises OutputError if it is missing or damaged."""
        self.has(video_id)
        return super().read(video_id)

    def remove(self, video_id: str) -> None:
        """Remove an entry here and in the store."""
        super().remove(video_id)
        for suffix in (".parquet", ".jpgs"):
            self._store.remove(self._name(self._path(video_id, suffix)))

    def write_facts(self, entry: VideoEntry) -> None:
        """Store the Parquet file of an entry, and upload the entry."""
        super().write_facts(entry)
        self._upload(entry)

    def download(self, video_id: str) -> tuple[str, str]:
        """Download an entry, unless it is here and has no skip reason; return its `facts`.

        Raises:
            OutputError: the store does not have the complete entry.
        """
        if (not super().has(video_id) or self.facts(video_id)[0]) and not self._download(video_id):
            name = self._name(self._path(video_id, ".parquet"))
            raise OutputError(f"{self._store}/{name}: is missing or damaged; run again")
        return self.facts(video_id)

    def upload(self, video_id: str) -> None:
        """Upload an entry unless the store has it; an earlier run without a store may have written it."""
        path = self._path(video_id, ".parquet")
        if self._store.size(self._name(path)) != path.stat().st_size:
            self._upload(super().read(video_id))

    def has_vectors(self, video_id: str, encoder: Encoder) -> bool:
        """Whether the vectors are here or in the store."""
        path = self._vector_path(video_id, encoder)
        return path.exists() or self._store.size(self._name(path)) >= 0

    def write_vectors(self, video_id: str, encoder: Encoder, vectors: Vectors) -> None:
        """Store the vectors of the usable frames, and upload them."""
        super().write_vectors(video_id, encoder, vectors)
        self._put(self._vector_path(video_id, encoder))

    def download_vectors(self, video_id: str, encoder: Encoder) -> None:
        """Download the vectors of a video, if there are any; a video without usable frames has none."""
        path = self._vector_path(video_id, encoder)
        if not path.exists() and self.has_vectors(video_id, encoder):
            self._get(path)

    @contextmanager
    def worker_bank(self) -> Iterator["RemoteBank"]:
        """Yield an empty bank with the same store, for one job of a worker."""
        with scratch() as folder:
            bank = RemoteBank(folder, self._extract_hash, store=self._store)
            bank.create()
            yield bank

    def _download(self, video_id: str) -> bool:
        """Download an entry; return whether it was complete. An incomplete entry counts as absent."""
        facts, blob = self._path(video_id, ".parquet"), self._path(video_id, ".jpgs")
        data = self._store.read(self._name(facts))
        if data is None:
            return False
        try:
            entry = self.parse(BytesIO(data), facts)
        except OutputError:
            return False
        if not entry.skip:
            if self._store.size(self._name(blob)) != entry.frames.jpeg_bytes.sum():
                return False
            self._get(blob)
        make_folder(facts.parent)
        with self.file(facts) as file:
            file.write(data)
        return True

    def _upload(self, entry: VideoEntry) -> None:
        if not entry.skip:
            self._put(self._path(entry.video_id, ".jpgs"))
        self._put(self._path(entry.video_id, ".parquet"))

    def _put(self, path: Path) -> None:
        self._store.put(path, self._name(path), path.stat().st_size)

    def _get(self, path: Path) -> None:
        make_folder(path.parent)
        with self.file(path) as file:
            self._store.get(self._name(path), file)

    def _name(self, path: Path) -> str:
        """The name in the store of a file of the bank."""
        return path.relative_to(self._root).as_posix()


def bank_at(root: Path, extract_hash: str, kind: str = "frames", *, store: str = "") -> Bank:
    """A bank; a `RemoteBank` if `store` is the URL of an object store."""
    return RemoteBank(root, extract_hash, kind, store=Store(store)) if store else Bank(root, extract_hash, kind)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a temporary folder for one job, which is removed at the end.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-")
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: is not writable ({error.strerror}); set TMPDIR") from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> None:
    """Remove the folders that killed processes of this machine left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        process_id = path.name.removeprefix(_prefix()).partition("-")[0]
        if process_id.isdecimal() and not lives(int(process_id)):
            shutil.rmtree(path, ignore_errors=True)


def _prefix() -> str:
    """The prefix of this machine's folders. Machines may share the temporary folder and use the same process ids."""
    return f"{SCRATCH_PREFIX}{''.join(c if c.isalnum() else '-' for c in socket.gethostname())}."
