"""A bank whose finished files lie in an object store too: what nodes without a common disk have in common.

Names in the store are those of the bank. A worker has an empty bank of its own for each job, puts what it has finished
into the store, and fetches from there what others have; the driver fetches all of it into the bank of the run. As on
a disk the Parquet file comes last, so an entry is there in full or not at all.
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

SCRATCH_PREFIX = "mvp-scratch-"  # of the folders of jobs; a killed worker leaves its own behind, to be swept by it


class StoredBank(Bank):
    """A bank that is filled from a store, and fills it."""

    def __init__(self, root: Path, extract_hash: str, kind: str = "frames", *, store: Store) -> None:
        """As for `Bank`, and the store."""
        super().__init__(root, extract_hash, kind)
        self._extract_hash, self._store = extract_hash, store

    def has(self, video_id: str) -> bool:
        """Whether pass 1 is done with this video; then it is here."""
        return super().has(video_id) or self._fetch(video_id)

    def read(self, video_id: str) -> VideoEntry:
        """What is known of a video, here or in the store."""
        self.has(video_id)
        return super().read(video_id)

    def remove(self, video_id: str) -> None:
        """Forget an entry, in the store too."""
        super().remove(video_id)
        for suffix in (".parquet", ".jpgs"):
            self._store.remove(self._name(self._path(video_id, suffix)))

    def write_facts(self, entry: VideoEntry) -> None:
        """Store the Parquet side of an entry, and send all of it."""
        super().write_facts(entry)
        self._send(entry)

    def bring(self, video_id: str) -> tuple[str, str]:
        """Have what a worker has finished; returns the `facts`. What came out well here before stays.

        Raises:
            OutputError: it is not in the store.
        """
        if (not super().has(video_id) or self.facts(video_id)[0]) and not self._fetch(video_id):
            name = self._name(self._path(video_id, ".parquet"))
            raise OutputError(f"{self._store}/{name}: is gone or damaged; run again")
        return self.facts(video_id)

    def send(self, video_id: str) -> None:
        """See to it that the store has an entry that is here, of an earlier run without it."""
        path = self._path(video_id, ".parquet")
        if self._store.size(self._name(path)) != path.stat().st_size:
            self._send(super().read(video_id))

    def has_vectors(self, video_id: str, encoder: Encoder) -> bool:
        """Whether they are here or in the store."""
        path = self._vector_path(video_id, encoder)
        return path.exists() or self._store.size(self._name(path)) >= 0

    def write_vectors(self, video_id: str, encoder: Encoder, vectors: Vectors) -> None:
        """Store the vectors of the usable frames, and send them."""
        super().write_vectors(video_id, encoder, vectors)
        self._put(self._vector_path(video_id, encoder))

    def bring_vectors(self, video_id: str, encoder: Encoder) -> None:
        """Have the vectors that a worker has made, if there are any: a video may have no usable frame."""
        path = self._vector_path(video_id, encoder)
        if not path.exists() and self.has_vectors(video_id, encoder):
            self._get(path)

    @contextmanager
    def afield(self) -> Iterator["StoredBank"]:
        """An empty bank for one job of a worker, with the same store."""
        with scratch() as folder:
            bank = StoredBank(folder, self._extract_hash, store=self._store)
            bank.create()
            yield bank

    def _fetch(self, video_id: str) -> bool:
        """Bring an entry here; what is not there in full counts as not there, and will be made again."""
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

    def _send(self, entry: VideoEntry) -> None:
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
        """The name of a file of the bank in the store."""
        return path.relative_to(self._root).as_posix()


def bank_at(root: Path, extract_hash: str, kind: str = "frames", *, store: str = "") -> Bank:
    """A bank, with a store if there is a URL of one."""
    return StoredBank(root, extract_hash, kind, store=Store(store)) if store else Bank(root, extract_hash, kind)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of this machine for one job, removed at its end.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-")
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: cannot be written ({error.strerror}); set TMPDIR") from error
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> None:
    """Remove what killed processes of this machine have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        process_id = path.name.removeprefix(_prefix()).partition("-")[0]
        if process_id.isdecimal() and not lives(int(process_id)):
            shutil.rmtree(path, ignore_errors=True)


def _prefix() -> str:
    """Others on other machines, whose folder for temporary files this may be as well, have the same numbers."""
    return f"{SCRATCH_PREFIX}{''.join(c if c.isalnum() else '-' for c in socket.gethostname())}."
