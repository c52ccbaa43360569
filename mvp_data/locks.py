"""Whose a folder is while work goes on in it."""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvp_data.errors import OutputError

LOCK_NAME = ".lock"
ALIVE_S = 120.0  # a holder touches its lock every few seconds
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class Lock:
    """A hold on a folder that dies with its process: a file in it, locked by the system, that names the holder.

    Not every network file system shares its locks with other machines. So the holder also touches the file, and one
    that another machine touched within ALIVE_S is taken for held. Windows goes without the system's part.
    """

    def __init__(self, folder: Path, *, alone: bool) -> None:
        """Nothing is held yet; `alone` keeps all others out, else any number may hold it together."""
        self._path, self._alone, self._descriptor = folder / LOCK_NAME, alone, -1

    def take(self) -> bool:
        """Whether it is held now; one that is shared is waited for while somebody cleans up.

        Raises:
            OSError: the folder is not writable.
        """
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if self._alone and (not self.only_holder() or self._held_elsewhere()):
                    self._close()
                    return False
                if not self._alone:
                    self.share()
                if self._is_in_place():  # or its last holder removed it between our two calls
                    if self._alone:
                        self._sign()
                    return True
            except OSError:  # a full disk, say: this process must not go on holding it
                self._close()
                raise
            self._close()

    def only_holder(self) -> bool:
        """Whether nobody else holds it; from then on nobody can, until `share`."""
        return self._flock("LOCK_EX", "LOCK_NB")

    def share(self) -> None:
        """Let others in who share it."""
        self._flock("LOCK_SH")

    def holder(self) -> str:
        """Who holds it, in words."""
        owner = read_owner(self._path.parent)
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}" if owner else "another process"

    def touch(self) -> None:
        """Show other machines that the holder is alive."""
        with suppress(OSError):
            os.utime(self._path)

    def release(self) -> None:
        """Let go; the last one leaves a folder that looks as if nobody had been there."""
        try:
            if self.only_holder() and self._is_in_place():
                with suppress(OSError):
                    self._path.unlink()
        finally:
            self._close()

    def _close(self) -> None:
        os.close(self._descriptor)

    def _flock(self, *kinds: str) -> bool:
        if os.name == "nt":
            return True
        import fcntl

        try:
            fcntl.flock(self._descriptor, sum(getattr(fcntl, kind) for kind in kinds))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
        return True

    def _held_elsewhere(self) -> bool:
        owner = read_owner(self._path.parent)
        return bool(owner) and owner["host"] != socket.gethostname() and is_fresh(self._path)

    def _is_in_place(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._descriptor)
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)

    def _sign(self) -> None:
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)


def read_owner(folder: Path) -> dict[str, str]:
    """`pid`, `host` and `since` of who holds a folder alone, or did when it died; empty where nobody signed."""
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            owner = json.loads(file.read(4096))
        return {name: str(owner[name]) for name in ("pid", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def is_fresh(path: Path) -> bool:
    """Whether a file was written or touched within ALIVE_S, by whatever clock."""
    try:
        return abs(time.time() - path.stat().st_mtime) < ALIVE_S
    except OSError:
        return False


def is_held(folder: Path) -> bool:
    """Whether a run is at work in a folder; nothing is changed."""
    lock_file = folder / LOCK_NAME
    owner = read_owner(folder)
    if owner and owner["host"] != socket.gethostname():
        return is_fresh(lock_file)
    if os.name == "nt":
        return is_fresh(lock_file)
    import fcntl

    try:
        descriptor = os.open(lock_file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return is_fresh(lock_file)
    finally:
        os.close(descriptor)
    return False


@contextmanager
def locked_folder(folder: Path, *, unusable: str, busy: str) -> Iterator[Lock]:
    """Hold a folder, made if need be, for one process alone.

    Raises:
        OutputError: it cannot be made (`unusable` says for what), or another process holds it (`busy`).
    """
    lock = Lock(folder, alone=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = lock.take()
    except OSError as error:
        raise OutputError(f"{folder}: {unusable} ({error.strerror})") from error
    if not held:
        raise OutputError(f"{folder}: {busy} (held by {lock.holder()})")
    try:
        yield lock
    finally:
        lock.release()


def lives(process_id: int) -> bool:
    """Whether a process of this machine is there; Windows cannot tell without ending it."""
    if os.name == "nt":
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
