"""A local HTTP server with the properties and faults of real ones."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class Site:
    """The settings of the server, and counters of its responses."""

    def __init__(self, folder: Path, *, ranges: bool, head: bool) -> None:
        self.folder, self.ranges, self.head = folder, ranges, head
        self.url = ""
        self.bytes_sent = 0
        self.stalled = threading.Event()


@contextmanager
def serve(folder: Path, *, ranges: bool = True, head: bool = True) -> Iterator[Site]:
    """Serves `folder`, and these names: `stall.mp4` never responds, `cut.mp4` ends early, `private.mp4` is 403,
    `broken.mp4` is 500, `endless.html` does not end, `drip.mp4` sends a byte at a time, `go?URL` redirects to the URL.

    `ranges=False` ignores range requests, `head=False` refuses HEAD.
    """
    site = Site(folder, ranges=ranges, head=head)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            if not site.head:
                self.send_error(405)
            elif not self.fault():
                super().do_HEAD()

        def do_GET(self) -> None:
            if not self.fault():
                span = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                path = Path(self.translate_path(self.path))
                if span and site.ranges and path.is_file():
                    self.part(path.read_bytes(), int(span[1]), int(span[2]))
                else:
                    site.bytes_sent += path.stat().st_size if path.is_file() else 0
                    super().do_GET()

        def part(self, whole: bytes, first: int, last: int) -> None:
            body = whole[first : last + 1]
            if not body:
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(whole)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            site.bytes_sent += len(body)

        def fault(self) -> bool:
            name = self.path.partition("?")[0].rstrip("/").rpartition("/")[2]
            if name == "private.mp4":
                self.send_error(403)
            elif name == "broken.mp4":
                self.send_error(500)
            elif name == "cut.mp4":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(b"x" * 10)
                self.close_connection = True
            elif name == "fickle.mp4":  # HEAD announces more than GET sends; GET has no length
                self.send_response(200)
                if self.command == "HEAD":
                    self.send_header("Content-Length", "1000")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(b"x" * 10)
            elif name == "stall.mp4":
                site.stalled.wait(20)
                self.close_connection = True
            else:
                return self.trick(name)
            return True

        def trick(self, name: str) -> bool:
            if name == "go":
                self.send_response(302)
                self.send_header("Location", unquote(self.path.partition("?")[2]) or self.path)
                self.end_headers()
            elif name == "drip.mp4":
                self.send_response(200)
                self.end_headers()
                while self.command == "GET" and not site.stalled.wait(0.02):
                    self.wfile.write(b"x")
                    self.wfile.flush()
            elif name in ("endless.mp4", "endless.html", "endless.tar"):  # no length, and far more bytes than allowed
                self.send_response(200)
                if name == "endless.html":
                    self.send_header("Content-Type", "text/html")
                self.end_headers()
                if self.command == "GET":
                    for _ in range(64):
                        self.wfile.write(b"x" * 65536)
            else:
                return False
            return True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.stalled.set()
        server.shutdown()
        thread.join()
        server.server_close()
