"""What runs on a node of a cluster: a process that owns a worker for videos, or an encoder."""

import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvp_data import __version__
from mvp_data.bank import Bank
from mvp_data.embed import Embedder, Encoder, load_embedder
from mvp_data.embed_bank import embed_all
from mvp_data.errors import MissingDependencyError, MvpError, OutputError, WeightsError
from mvp_data.fleet import Answer
from mvp_data.store import Store
from mvp_data.stored_bank import StoredBank, sweep_scratch
from mvp_data.workers import Limits, Lost, Usage, run_all

Version = tuple[str, str]


def version() -> Version:
    """What must be the same on all nodes."""
    return __version__, platform.python_version()


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """What must hold on a node before it is given any work."""

    mark: Path  # a file that lies in the bank, or in the store, while the run goes on
    version: Version
    store: str = ""  # its URL

    def check(self) -> None:
        """Raises MvpError where the node is not fit."""
        here = platform.node()
        if version() != self.version:
            ours, theirs = (f"mvp-data {tool} on Python {python}" for tool, python in (version(), self.version))
            raise MissingDependencyError(f"node {here} has {ours}, and the run has {theirs}: install the same there")
        if self.store:
            store = Store(self.store)
            if store.size(self.mark.name) < 0:
                raise OutputError(f"node {here} does not find this run in {store}: give a --store that every node has")
        elif not self.mark.is_file() or not os.access(self.mark.parent, os.W_OK):
            folder = self.mark.parent.parent
            wanted = "give --bank a folder that every node has under this name"
            raise OutputError(f"node {here} cannot write to the bank {folder}: {wanted}")


class VideoHand:
    """Owns one worker process of `workers`, so limits and reasons are those of a run on one machine."""

    def __init__(self, terms: Terms, work: Callable[[Any], Any], limits: Limits) -> None:
        """Nothing that may fail: that would look as if the node were lost."""
        self._terms, self._todo, self._usage = terms, deque[Any](), Usage()
        self._results = run_all(work, _until_empty(self._todo), workers=1, limits=limits, usage=self._usage)

    def ready(self) -> Answer:
        """Whether the node is fit."""
        if self._terms.store:
            sweep_scratch()  # after a run that was killed
        # A spawned worker loads the main program first: here Ray's, which would cost it a second and 100 MB.
        vars(sys.modules["__main__"]).pop("__file__", None)
        return _answer(self._terms.check)

    def run(self, job: Any) -> Answer:
        """The result of a job, or `Lost`."""
        self._todo.append(job)
        before_s = self._usage.busy_s
        answer = _answer(lambda: next(self._results)[1])
        if self._terms.store and isinstance(answer.result, Lost):
            sweep_scratch()
        return Answer(result=answer.result, busy_s=self._usage.busy_s - before_s, peak_mb=self._usage.peak_mb)


class EmbedHand:
    """Owns an encoder."""

    def __init__(self, terms: Terms, bank: Bank, spec: str, encoder: Encoder) -> None:
        """`spec` as for `load_embedder`, `encoder`: what must come of it."""
        self._terms, self._bank, self._spec, self._encoder = terms, bank, spec, encoder
        self._embedder: Embedder | None = None

    def ready(self) -> Answer:
        """Whether the node is fit, and has the very encoder of the run: vectors of two never mix."""
        return _answer(self._load)

    def _load(self) -> None:
        self._terms.check()
        if "cuda" not in self._encoder.engine:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # or a node with a GPU would use it, and make other vectors
        self._embedder = load_embedder(self._spec, threads=1)
        if (found := self._embedder.encoder) != self._encoder:
            raise WeightsError(f"node {platform.node()} has another encoder ({found}) than the run ({self._encoder})")

    def run(self, video_ids: tuple[str, ...]) -> Answer:
        """The number of frames that these videos now have vectors of."""
        return _answer(lambda: self._embed(video_ids))

    def _embed(self, video_ids: tuple[str, ...]) -> int:
        assert self._embedder is not None
        with self._bank.afield() if isinstance(self._bank, StoredBank) else nullcontext(self._bank) as bank:
            entries = [bank.read(video_id) for video_id in video_ids]
            embed_all(bank, entries, self._embedder)
            return sum(len(entry.usable) for entry in entries)


def _answer(act: Callable[[], Any]) -> Answer:
    """An MvpError is a result as well: raised in a node it would come wrapped in a traceback."""
    began_s = time.monotonic()
    try:
        result = act()
    except MvpError as error:
        result = error
    return Answer(result=result, busy_s=time.monotonic() - began_s)


def _until_empty(todo: "deque[Any]") -> Iterator[Any]:
    """Jobs as they are put in; each is asked for once it is there."""
    while True:
        yield todo.popleft()
