"""Locks on folders, so that two runs do not write to the same folder."""

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvp_data.core.errors import OutputError

LOCK_NAME = ".lock"
ALIVE_S = 120.0  # the holder touches the lock file every few seconds
_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class Lock:
    """A lock on a folder, released when its process ends: a file that is locked with `flock` and names the holder.

    Some network file systems do not share locks between machines. So the holder also touches the file, and a lock that
    another machine touched within ALIVE_S counts as held. Windows has no `flock`.
    """

    def __init__(self, folder: Path, *, alone: bool) -> None:
        """Prepare an exclusive lock if `alone`, otherwise a shared lock; `take` locks."""
        self._path, self._alone, self._descriptor = folder / LOCK_NAME, alone, -1

    def take(self) -> bool:
        """Try to lock the folder; return whether it is locked. A shared lock waits while another process cleans up.

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
                if self._is_in_place():  # otherwise the last holder removed the file meanwhile: try again
                    if self._alone:
                        self._sign()
                    return True
            except OSError:  # such as a full disk: this process must not keep the lock
                self._close()
                raise
            self._close()

    def only_holder(self) -> bool:
        """Try to make the lock exclusive until `share` is called; return False if another process holds it too."""
        return self._flock("LOCK_EX", "LOCK_NB")

    def share(self) -> None:
        """Make the lock shared; waits while another process has an exclusive lock."""
        self._flock("LOCK_SH")

    def holder(self) -> str:
        """A description of the holder for messages."""
        owner = read_owner(self._path.parent)
        return f"process {owner['pid']} on {owner['host']}, since {owner['since']}" if owner else "another process"

    def touch(self) -> None:
        """Show other machines that the holder is alive."""
        with suppress(OSError):
            os.utime(self._path)

    def release(self) -> None:
        """Unlock; the last holder removes the file."""
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
    """`pid`, `host` and `since` of the current or last exclusive holder of a folder; empty if there is none."""
    try:
        with (folder / LOCK_NAME).open("rb") as file:
            owner = json.loads(file.read(4096))
        return {name: str(owner[name]) for name in ("pid", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def is_fresh(path: Path) -> bool:
    """Whether a file was touched within ALIVE_S before or after the local time: the clocks of machines differ."""
    try:
        return abs(time.time() - path.stat().st_mtime) < ALIVE_S
    except OSError:
        return False


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a folder; changes nothing."""
    lock_file = folder / LOCK_NAME
    owner = read_owner(folder)
    if os.name == "nt" or (owner and owner["host"] != socket.gethostname()):
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
    """Hold an exclusive lock on a folder, which is created if it does not exist.

    Raises:
        OutputError: the folder cannot be created (message `unusable`), or another process holds the lock (`busy`).
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
    """Whether a process exists on this machine; always True on Windows, where `os.kill` would terminate it."""
    if os.name == "nt":
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process of another user
        pass
    return True
