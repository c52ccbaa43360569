"""Nearest neighbours among frame vectors, with FAISS: exact for small sets, inverted lists of bytes above."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.types import Vectors

EXACT_BELOW = 200_000  # rows; an exact query there takes a few milliseconds, and is the same on every run
PROBED_LISTS = 32  # of 4 * sqrt(rows) inverted lists
RECALL_QUERIES = 64
OVERSHOOT = 2  # bytes misplace a few: twice as many are looked at again by their vectors
ADDED_AT_ONCE = 1 << 16  # rows


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
            # A byte a number: the index takes a quarter of the vectors, which may lie on disk. Both are needed: FAISS
            # finds more than is asked for, the vectors decide.
            bytes_ = faiss.ScalarQuantizer.QT_8bit
            self._index = faiss.IndexIVFScalarQuantizer(
                self._index, dimension, lists, bytes_, faiss.METRIC_INNER_PRODUCT
            )
            self._index.nprobe = PROBED_LISTS
            self._index.train(np.ascontiguousarray(self._vectors[:: max(1, rows // (lists * 64))]))
            self.kind = "inverted lists"
        for start in range(0, rows, ADDED_AT_ONCE):
            self._index.add(self._vectors[start : start + ADDED_AT_ONCE])
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
            wanted = k if self.kind == "exact" else OVERSHOOT * k
            _, nearest = self._index.search(queries, min(wanted, len(self._vectors)), params=parameters)
        finally:
            faiss.omp_set_num_threads(threads)
        return [self._ranked(query, rows[rows >= 0], k) for query, rows in zip(queries, nearest, strict=True)]

    def _ranked(self, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> Found:
        # Computed again row by row and rounded: the order must not hang on how FAISS sums up a batch.
        similarity = np.round([float(query @ self._vectors[row]) for row in rows], 5).astype(np.float32)
        order = np.lexsort((rows, -similarity))[:k]
        return Found(rows=rows[order], similarity=similarity[order])

    def _measure_recall(self) -> float:
        """Share of the exact 64 nearest rows that the index finds, over rows spread through the matrix."""
        picked = np.linspace(0, len(self._vectors) - 1, RECALL_QUERIES).astype(int)
        queries = np.ascontiguousarray(self._vectors[picked])
        found = [set(hit.rows.tolist()) for hit in self.search(queries, 64)]
        best = np.empty((RECALL_QUERIES, 0), np.float32)
        rows = np.empty((RECALL_QUERIES, 0), np.int64)
        for start in range(0, len(self._vectors), ADDED_AT_ONCE):  # once through the vectors, wherever they lie
            block = queries @ self._vectors[start : start + ADDED_AT_ONCE].T
            best = np.concatenate([best, block], axis=1)
            rows = np.concatenate(
                [rows, np.tile(np.arange(start, start + block.shape[1]), (RECALL_QUERIES, 1))], axis=1
            )
            top = np.argsort(-best, axis=1, kind="stable")[:, :64]
            best, rows = np.take_along_axis(best, top, axis=1), np.take_along_axis(rows, top, axis=1)
        shares = [len(hits & set(exact)) / len(exact) for hits, exact in zip(found, rows.tolist(), strict=True)]
        return float(np.mean(shares))
