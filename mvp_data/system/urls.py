"""Open and list files at URLs. This is the only module that imports fsspec; it lists the accepted URL schemes.

A list of videos may come from an untrusted source, so only schemes of plain file storage are accepted. Chained URLs
(`simplecache::https://...`, `zip://a.mp4::file://...`) and schemes that run code are refused.
"""

import errno
import os
import pkgutil
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast
from urllib.parse import unquote

from mvp_data.core.errors import SourceError
from mvp_data.core.text import one_line
from mvp_data.system.http_limits import Paced, limited

CONNECT_TIMEOUT_S = 30.0
READ_TIMEOUT_S = 30.0  # longest wait for the next byte
_CHUNK_BYTES = 1 << 20
TAR_BLOCK_BYTES = 64 * 1024  # read ahead in a remote tar, so one request reads several small members


@dataclass(frozen=True, kw_only=True, slots=True)
class _Driver:
    """The package that a URL scheme needs, and its errors other than `OSError` and `ValueError`."""

    pip: str = ""
    raises: tuple[str, ...] = ()


DRIVERS: dict[str, _Driver] = {
    "file": _Driver(),
    "memory": _Driver(),
    **dict.fromkeys(("http", "https"), _Driver(pip="aiohttp", raises=("aiohttp:ClientError",))),
    "s3": _Driver(pip="s3fs", raises=("botocore.exceptions:BotoCoreError", "botocore.exceptions:ClientError")),
    **dict.fromkeys(
        ("gs", "gcs"),
        _Driver(pip="gcsfs", raises=("gcsfs.retry:HttpError", "google.auth.exceptions:GoogleAuthError")),
    ),
    **dict.fromkeys(("az", "abfs", "abfss"), _Driver(pip="adlfs", raises=("azure.core.exceptions:AzureError",))),
    "hf": _Driver(pip="huggingface_hub"),
    "ftp": _Driver(raises=("ftplib:Error",)),
    **dict.fromkeys(("sftp", "ssh"), _Driver(pip="paramiko", raises=("paramiko:SSHException",))),
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_CHAIN = re.compile(r"[A-Za-z0-9+.-]::[A-Za-z0-9+.-]*://|://.*::[A-Za-z0-9+.-]+://", re.DOTALL)


def scheme_of(location: str) -> str:
    """The scheme of a URL in lower case, or `""` for a local path; raises `SourceError` if it is not accepted.

    >>> scheme_of("HTTPS://host/a.mp4"), scheme_of("/data/a.mp4")
    ('https', '')
    """
    if _CHAIN.search(location):
        raise SourceError(f"{name_in(location)}: chained URLs (`a::b://...`) are not accepted; name the file itself")
    match = _SCHEME.match(location)
    if match is None:
        return ""
    scheme = match[1].lower()
    if scheme not in DRIVERS:
        raise SourceError(f"{name_in(location)}: {scheme}:// is not accepted; use one of {', '.join(DRIVERS)}")
    return scheme


def local_path(location: str) -> str:
    """The local path of a `file://` URL; any other text is returned unchanged.

    >>> local_path("file:///data/a b.mp4"), local_path("file:///data/a%20b.mp4"), local_path("/data/a.mp4")
    ('/data/a b.mp4', '/data/a b.mp4', '/data/a.mp4')

    Browsers and pathlib percent-encode such URLs, fsspec does not: the plain name is used if it exists.
    """
    if scheme_of(location) != "file":
        return location
    path = location[len("file://") :]
    return path if os.path.lexists(path) else unquote(path)


def is_http(location: str) -> bool:
    """Whether `location` is an HTTP URL; its names are percent-encoded, and its folders are web pages."""
    return scheme_of(location) in ("http", "https")


def driver(url: str) -> Any:
    """The fsspec class for a URL, not connected. Raises `SourceError` with the pip line if a package is missing."""
    import fsspec

    scheme = scheme_of(url)
    try:
        return fsspec.get_filesystem_class(scheme)
    except ImportError as err:
        raise SourceError(f"{name_in(url)}: {scheme}:// needs a package: pip install {DRIVERS[scheme].pip}") from err


def filesystem(url: str) -> tuple[Any, str]:
    """The filesystem of a URL and the name in it. This may connect, so it raises what `failures(url)` lists."""
    kind = driver(url)
    options: dict[str, Any] = {}
    if is_http(url):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
        kind, answer = limited(kind)
        options["client_kwargs"] = {"timeout": timeout, "response_class": answer}
    system = kind(**kind._get_kwargs_from_urls(url), **options)
    system.invalidate_cache()  # a cached listing would hide new files
    return system, system._strip_protocol(url)


def failures(location: str) -> tuple[type[Exception], ...]:
    """The errors that reading `location` may raise because of the file or the server."""
    found: list[type[Exception]] = [OSError, ValueError, EOFError]
    for name in DRIVERS[scheme_of(location) or "file"].raises:
        try:
            found.append(pkgutil.resolve_name(name))
        except (ImportError, AttributeError):  # not in this version of the package
            continue
    return tuple(found)


def explain(err: Exception) -> str:
    """The message of an error in one line, with the HTTP status, which fsspec hides in the cause.

    >>> explain(TimeoutError())
    'TimeoutError: no answer in time'
    """
    status = getattr(err, "status", None)
    if isinstance(status, int) and status:
        return f"HTTP status {status} {getattr(err, 'message', '')}".rstrip()
    if isinstance(err.__cause__, Exception):
        return explain(err.__cause__)
    if isinstance(err, TimeoutError):
        own = str(err) if type(err) is TimeoutError else ""  # subclasses of libraries put the address in it
        return f"{type(err).__name__}: {own or 'no answer in time'}"
    if isinstance(err, OSError) and err.strerror:
        return err.strerror
    if isinstance(err, FileNotFoundError):  # its message is only the name, also for HTTP status 404
        return "not found (HTTP status 404)" if str(err).startswith("http") else "not found"
    return one_line(f"{type(err).__name__}: {err}")


def read_chunks(location: str, limit_bytes: int) -> Iterator[bytes]:
    """The content of a file, in order; raises what `failures(location)` lists, also for more than `limit_bytes`."""
    received = 0
    with open_binary(location, streaming=True) as file:
        while chunk := file.read(_CHUNK_BYTES):
            received += len(chunk)
            if received > limit_bytes:
                raise OSError(errno.EFBIG, f"more than {limit_bytes} bytes received")
            yield chunk


@contextmanager
def open_binary(location: str, *, streaming: bool) -> Iterator[IO[bytes]]:
    """Open a local path or a URL for reading; with `streaming`, from start to end in one HTTP request.

    Without `streaming`, `seek` works by range requests. If the server does not support them, the first read after a
    seek raises `ValueError`. Raises what `failures(location)` lists.
    """
    if not scheme_of(location):
        with open(location, "rb") as file:
            yield file
        return
    system, name = filesystem(location)
    if is_http(location):
        info = system.info(name)
        how = {"block_size": 0} if streaming else {"block_size": TAR_BLOCK_BYTES, "cache_type": "readahead"}
        opened = system.open(name, "rb", size=info["size"], **how)
    else:
        opened = system.open(name, "rb", **({} if streaming else {"block_size": TAR_BLOCK_BYTES}))
    with opened:
        yield cast(IO[bytes], Paced(opened, streaming=streaming))


def size_bytes(location: str) -> int | None:
    """Bytes of a file, or None if the server does not state them; raises what `failures(location)` lists."""
    if not scheme_of(location):
        return os.stat(location).st_size
    system, name = filesystem(location)
    size = system.info(name)["size"]
    return None if size is None else int(size)


def name_in(url: str) -> str:
    """A URL for messages: without user name, query and fragment, which may be secret; percent-decoded for HTTP.

    >>> name_in("https://me:pw@host/a%20b.mp4?signature=x")
    'https://host/a b.mp4'
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    if scheme.lower() in ("http", "https"):
        rest = unquote(re.split("[?#]", rest, maxsplit=1)[0])
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
