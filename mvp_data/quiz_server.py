"""The quiz on 127.0.0.1: grades each answer as it comes, and saves it before it says whether it was right.

A random port and a token in the address keep other users and other pages out; the `Host` and `Origin` headers are
checked against DNS rebinding; a request has one known path, one known form and a limited size.
"""

import json
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from mvp_data.errors import ConfigError, MvpError, OutputError, ShardError
from mvp_data.files import atomic_write
from mvp_data.quiz import MAX_ANSWERS_BYTES, Quiz, page, prepare, puzzle_id
from mvp_data.quiz_score import Graded, QuizConfig, QuizResult, graded, parse_answer, result, to_json
from mvp_data.schema import as_list, parse_object

MAX_REQUEST_BYTES = 8 << 10  # an answer with the longest note has 4 kB


def serve(
    path: Path, results: Path, config: QuizConfig | None = None, *, say: Callable[[str], None] = print
) -> QuizResult:
    """Serve a quiz until its last puzzle is answered or Ctrl-C; `say` gets the address. The answers, graded.

    Each answer is in `results` before its grade is shown; the same call goes on where it ended.

    Raises:
        ConfigError: no sample is of that split and task.
        OutputError: `results` is no such file, is of another quiz, or cannot be written.
        ShardError: a shard is damaged.
    """
    with QuizServer(prepare(path, config or QuizConfig()), results) as server:
        if server.open_puzzles:
            say(server.url)
            with suppress(KeyboardInterrupt):  # what was answered is saved
                server.serve_forever(poll_interval=0.05)
        return server.result


class QuizServer(ThreadingHTTPServer):
    """Holds a quiz and the answers so far; stops by itself after the last one."""

    daemon_threads = True

    def __init__(self, quiz: Quiz, results: Path) -> None:
        self.quiz, self.results = quiz, results
        self.done, self.saved = _resume(quiz, results)
        self.lock = threading.Lock()
        self.token = secrets.token_urlsafe(16)
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def host(self) -> str:
        """What a browser that was sent here calls this server."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The address of the page; who has it may answer."""
        return f"http://{self.host}/{self.token}/"

    @property
    def open_puzzles(self) -> int:
        """How many are not answered yet."""
        return len(self.quiz.records) - len(self.done)

    @property
    def result(self) -> QuizResult:
        """The answers so far, graded."""
        return result(self.quiz.shards, self.quiz.config, self.done)

    def page(self) -> bytes:
        """The page, as things stand."""
        with self.lock:
            return page(self.quiz, self.done)

    def take(self, data: bytes) -> dict[str, object]:
        """Grade and save one answer; the first to a puzzle counts, since its grade tells the rest.

        Raises:
            ConfigError: no answer to an open puzzle of this quiz.
            OutputError: it cannot be saved.
        """
        try:
            answer = parse_answer(parse_object(data, limit_bytes=MAX_REQUEST_BYTES), "the answer")
        except ShardError as error:
            raise ConfigError(f"the answer: {error}") from error
        with self.lock:
            if answer.id not in self.quiz.records:
                raise ConfigError("no puzzle of this quiz: load the page again")
            if answer.id in {puzzle_id(item.key) for item in self.done}:
                raise ConfigError("this puzzle is answered already: load the page again")
            grade = graded(self.quiz.records[answer.id], answer)
            found = result(self.quiz.shards, self.quiz.config, [*self.done, grade])
            self._save(to_json(found).encode())
            self.done.append(grade)
        return {"right": grade.right, "metrics": grade.metrics, "rows": [asdict(row) for row in found.summary]}

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over a browser that closed its connection, as it does when a page is left; tell of all else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def _save(self, data: bytes) -> None:
        """Replace the results, unless somebody else did in the meantime."""
        try:
            found = self.results.read_bytes() if self.results.exists() else b""
        except OSError as error:
            raise OutputError(f"{self.results}: cannot be read ({error.strerror}): choose another --results") from error
        if found != self.saved:
            raise OutputError(f"{self.results}: changed by another program: choose another --results")
        with atomic_write(self.results) as file:
            file.write(data)
        self.saved = data


class _Handler(BaseHTTPRequestHandler):
    server: QuizServer
    server_version, sys_version = "mvp-data", ""
    timeout = 30  # seconds that a silent client may hold a thread

    def do_GET(self) -> None:
        if self._admitted(""):
            self._send(HTTPStatus.OK, self.server.page(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        if not self._admitted("answer"):
            return
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != "application/json" or not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, "not JSON of a known length")
        elif len(length) > 6 or int(length) > MAX_REQUEST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {MAX_REQUEST_BYTES} bytes")
        else:
            try:
                reply = self.server.take(self.rfile.read(int(length)))
            except MvpError as error:
                self._refuse(HTTPStatus.CONFLICT, str(error))
                return
            self._send(HTTPStatus.OK, json.dumps(reply).encode(), "application/json")
            if not self.server.open_puzzles:
                self.server.shutdown()

    def log_message(self, *args: object) -> None:
        """Say nothing: the address in the log would be the key to the quiz."""

    def _admitted(self, name: str) -> bool:
        """Whether the request came to this server under its own name, with the token, from our page if from any."""
        host, wanted = self.server.host, f"/{self.server.token}/{name}"
        if self.headers.get("Host") != host or self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            self._refuse(HTTPStatus.FORBIDDEN, "not from the page of this quiz")
        elif not secrets.compare_digest(self.path.encode("latin-1", "replace"), wanted.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "no such page: use the address that mvp-data quiz printed")
        else:
            return True
        return False

    def _refuse(self, status: HTTPStatus, problem: str) -> None:
        self._send(status, json.dumps({"problem": problem}).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _resume(quiz: Quiz, results: Path) -> tuple[list[Graded], bytes]:
    """The answers that an earlier run saved, graded anew, and the bytes they were read from."""
    if not results.exists():
        return [], b""
    options = "--n, --seed, --split and --task"
    problem = f"{results}: exists and holds no results of this very quiz ({options}): choose another --results"
    try:
        if not results.is_file() or results.stat().st_size > MAX_ANSWERS_BYTES:
            raise OutputError(problem)
        data = results.read_bytes()
        values = parse_object(data, limit_bytes=MAX_ANSWERS_BYTES)
        if values.get("quiz") != asdict(quiz.config) or values.get("shards") != quiz.shards:
            raise OutputError(problem)
        done = [_again(quiz, item) for item in as_list(values, "puzzles")]
    except (ShardError, ConfigError, KeyError, TypeError) as error:
        raise OutputError(problem) from error
    if len({item.key for item in done}) < len(done):
        raise OutputError(problem)
    return done, data


def _again(quiz: Quiz, item: dict[str, object]) -> Graded:
    """One answer of a results file."""
    name = puzzle_id(str(item["key"]))
    told = {field: item[field] for field in ("answer", "seconds", "clear", "note")}
    return graded(quiz.records[name], parse_answer({"id": name, **told}, "the results"))
