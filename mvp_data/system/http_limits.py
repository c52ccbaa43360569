"""Limits for HTTP responses: their size, their speed, and the time to find the links in them."""

import asyncio
import html
import re
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

MAX_ANSWER_BYTES = 16 << 20  # of a web page or a block of a file, which is held in memory
MAX_ANSWER_S = 300.0  # time to receive it
SLOW_S = 60.0  # after this time, a rate below one of these limits is an error:
SLOW_BYTES_PER_S = 1000.0  # when a file is read from start to end
SLOW_HEADERS_BYTES_PER_S = 100.0  # when only the headers of a tar are read

_LINK = re.compile(r"""\bhref\s{0,8}=\s{0,8}("[^"<>]{1,4096}"|'[^'<>]{1,4096}')""", re.IGNORECASE)


@lru_cache(maxsize=1)
def limited(http: Any) -> tuple[Any, Any]:
    """Subclasses of fsspec's HTTP filesystem and of aiohttp's response that limit the size of a response.

    They also find links in linear time: the regular expressions of fsspec take cubic time in the length of a page.
    """
    import aiohttp

    class Answer(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            if self._body is None:
                parts, received = list[bytes](), 0
                async with asyncio.timeout(MAX_ANSWER_S):
                    async for part in self.content.iter_any():
                        received += len(part)
                        if received > MAX_ANSWER_BYTES:
                            self.close()
                            raise ValueError(f"the response has more than {MAX_ANSWER_BYTES} bytes")
                        parts.append(part)
                self._body = b"".join(parts)
            return self._body

    class Pages(http):  # type: ignore[misc]
        async def _ls_real(self, url: str, detail: bool = True, **kwargs: Any) -> Any:
            session = await self.set_session()
            async with session.get(self.encode_url(url), **self.kwargs) as answer:
                self._raise_not_found_for_status(answer, url)
                kind = answer.headers.get("Content-Type", "text/html").partition(";")[0]
                text = (await answer.read()).decode(errors="ignore") if kind == "text/html" else ""
            names = sorted(links(url, text))
            sized = [{"name": n, "size": None, "type": "directory" if n.endswith("/") else "file"} for n in names]
            return sized if detail else names

    return Pages, Answer


def links(url: str, page: str) -> set[str]:
    """The links below the folder `url` on the web page that lists it.

    >>> sorted(links("http://h/a", '<a href="b.mp4"> <a href="../c.mp4"> <a href="file:///etc/passwd">'))
    ['http://h/a/b.mp4']
    """
    base = url.rstrip("/") + "/"
    found = set[str]()
    for quoted in _LINK.findall(page):
        with suppress(ValueError):  # not a URL, such as http://[
            found.add(urljoin(base, html.unescape(quoted[1:-1])).partition("#")[0])
    inside = {link for link in found if link.startswith(base) and link != base}
    return {link for link in inside if ".." not in link[len(base) :].split("/")}


class Paced:
    """A remote file that raises `TimeoutError` if it arrives too slowly."""

    def __init__(self, file: Any, *, streaming: bool) -> None:
        self._file, self._least = file, SLOW_BYTES_PER_S if streaming else SLOW_HEADERS_BYTES_PER_S
        self._received, self._took_s = 0, 0.0

    def read(self, size: int = -1) -> bytes:
        """Read like a file; raises `TimeoutError`."""
        start = time.monotonic()
        data: bytes = self._file.read(size)
        self._received += len(data)
        self._took_s += time.monotonic() - start
        if self._took_s > SLOW_S and self._received < self._took_s * self._least:
            raise TimeoutError(f"slower than {self._least:g} bytes per second")
        return data

    def seek(self, offset: int) -> int:
        """Seek like a file."""
        return int(self._file.seek(offset))
