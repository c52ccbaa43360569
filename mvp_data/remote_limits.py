"""What a server may not do: send pages without end, links that take for ever to read, or one byte now and then."""

import asyncio
import html
import re
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin

MAX_ANSWER_BYTES = 16 << 20  # of a page with links or one block of a file: what is held in memory at once
MAX_ANSWER_S = 300.0  # for one of them
SLOW_S = 60.0  # a file that after this long still comes slower than this is given up:
SLOW_BYTES_PER_S = 1000.0  # where it is read from end to end
SLOW_HEADERS_BYTES_PER_S = 100.0  # where a few bytes are read here and there

_LINK = re.compile(r"""\bhref\s{0,8}=\s{0,8}("[^"<>]{1,4096}"|'[^'<>]{1,4096}')""", re.IGNORECASE)


@lru_cache(maxsize=1)
def limited(http: Any) -> tuple[Any, Any]:
    """fsspec's filesystem for HTTP with two limits it lacks: on what a page may hold, and on the time that links take.

    Its patterns for links take time that grows with the cube of the length of a page.
    """
    import aiohttp

    class Answer(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            if self._body is None:
                parts, came = list[bytes](), 0
                async with asyncio.timeout(MAX_ANSWER_S):
                    async for part in self.content.iter_any():
                        came += len(part)
                        if came > MAX_ANSWER_BYTES:
                            self.close()
                            raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
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
    """Where a page that lists the folder `url` leads to, below that folder.

    >>> sorted(links("http://h/a", '<a href="b.mp4"> <a href="../c.mp4"> <a href="file:///etc/passwd">'))
    ['http://h/a/b.mp4']
    """
    base = url.rstrip("/") + "/"
    found = set[str]()
    for quoted in _LINK.findall(page):
        with suppress(ValueError):  # no address, such as http://[
            found.add(urljoin(base, html.unescape(quoted[1:-1])).partition("#")[0])
    inside = {link for link in found if link.startswith(base) and link != base}
    return {link for link in inside if ".." not in link[len(base) :].split("/")}


class Paced:
    """A remote file that is given up when it comes too slowly: else a byte now and then could hold the command."""

    def __init__(self, file: Any, *, streaming: bool) -> None:
        self._file, self._least = file, SLOW_BYTES_PER_S if streaming else SLOW_HEADERS_BYTES_PER_S
        self._came, self._took_s = 0, 0.0

    def read(self, size: int = -1) -> bytes:
        """As a file does; raises `TimeoutError`."""
        start = time.monotonic()
        data: bytes = self._file.read(size)
        self._came += len(data)
        self._took_s += time.monotonic() - start
        if self._took_s > SLOW_S and self._came < self._took_s * self._least:
            raise TimeoutError(f"slower than {self._least:g} bytes a second")
        return data

    def seek(self, offset: int) -> int:
        """As a file does."""
        return int(self._file.seek(offset))
