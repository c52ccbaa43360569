"""Nearest neighbours among frame vectors, with FAISS: exact for small sets, inverted lists above."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.types import Vectors

EXACT_BELOW = 200_000  # rows; an exact query there takes a few milliseconds, and is the same on every run
PROBED_LISTS = 32  # of 4 * sqrt(rows) inverted lists
RECALL_QUERIES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The neighbours of one query, nearest first, ties by row number."""

    rows: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]  # cosine


class Neighbours:
    """An index over the rows of a matrix [N, D] of unit vectors.

    `kind` is `exact` or `inverted lists`; `recall` is the measured share of the true 64 nearest that it finds.
    """

    def __init__(self, vectors: Vectors, *, exact_below: int = EXACT_BELOW) -> None:
        import faiss

        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        rows, dimension = self._vectors.shape
        self._index: Any = faiss.IndexFlatIP(dimension)
        self.kind, self.recall = "exact", 1.0
        if rows >= exact_below:
            lists = int(4 * rows**0.5)
            self._index = faiss.IndexIVFFlat(self._index, dimension, lists, faiss.METRIC_INNER_PRODUCT)
            self._index.nprobe = PROBED_LISTS
            self._index.train(self._vectors[:: max(1, rows // (lists * 64))])
            self.kind = "inverted lists"
        self._index.add(self._vectors)
        if self.kind != "exact":
            self.recall = self._measure_recall()

    def search(self, queries: Vectors, k: int, *, without: range = range(0)) -> list[Found]:
        """The `k` nearest rows of each query [Q, D], leaving out a range of rows (a video's own, say)."""
        import faiss

        exclude = faiss.IDSelectorNot(faiss.IDSelectorRange(without.start, without.stop))
        parameters = (
            faiss.SearchParameters(sel=exclude)  # type: ignore[call-arg]  # not in its stubs
            if self.kind == "exact"
            else faiss.SearchParametersIVF(sel=exclude, nprobe=PROBED_LISTS)  # type: ignore[call-arg]
        )
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # a handful of queries: waking other threads costs 20 times the search itself
        try:
            _, nearest = self._index.search(queries, min(k, len(self._vectors)), params=parameters)
        finally:
            faiss.omp_set_num_threads(threads)
        return [self._ranked(query, rows[rows >= 0]) for query, rows in zip(queries, nearest, strict=True)]

    def _ranked(self, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> Found:
        # Computed again row by row and rounded: the order must not hang on how FAISS sums up a batch.
        similarity = np.round([float(query @ self._vectors[row]) for row in rows], 5).astype(np.float32)
        order = np.lexsort((rows, -similarity))
        return Found(rows=rows[order], similarity=similarity[order])

    def _measure_recall(self) -> float:
        """Share of the exact 64 nearest rows that the index finds, over rows spread through the matrix."""
        picked = np.linspace(0, len(self._vectors) - 1, RECALL_QUERIES).astype(int)
        shares = []
        for query in self._vectors[picked]:
            exact = np.argpartition(-(self._vectors @ query), 64)[:64]
            found = self.search(query[None], 64)[0].rows
            shares.append(len(np.intersect1d(exact, found)) / 64)
        return float(np.mean(shares))
