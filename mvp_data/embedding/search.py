"""Nearest neighbours among frame vectors with FAISS: exact for small sets, inverted lists of quantised vectors above.

Results are the same to the bit for any number of threads: steps that are not reproducible run on one thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mvp_data.core.types import Vectors

EXACT_BELOW = 10_000  # rows; up to there an exact query takes as long as one through lists, half a millisecond
LIST_ROWS = 128  # rows of a list on average: more rows give more lists, not longer ones, so a query costs the same
MOST_LISTS = 1 << 16  # their centres are kept in float32
PROBED_LISTS = 96
MORE_LISTS = 10  # factor on the probed lists where the excluded rows (a video's own) fill them
LINKS, BUILD_BREADTH = 32, 100  # of the graph (HNSW) that finds the lists
# Centres examined to find a row's list, and for each list that is probed. Frames need a quarter of it. Where tens of
# thousands of films have nothing in common, as in noise, a narrow search takes a wrong list two times in three.
ADD_BREADTH, PROBE_BREADTH = 64, 4
TRAINING_ROWS = 200_000  # spread through the vectors; more do not change the recall measurably
ROUNDS = 10  # of k-means
RECALL_QUERIES = 64
OVERSHOOT = 2  # 8-bit vectors misplace a few rows, so twice as many are compared by their float32 vectors
ADDED_AT_ONCE = 1 << 16  # rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The neighbours of one query, nearest first, ties by row number."""

    rows: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float32]  # cosine


class Neighbours:
    """An index over the rows of a matrix [N, D] of unit vectors; the matrix is not copied and may be on disk.

    `kind` is `exact` or `inverted lists`; `recall` is the measured share of the true 64 nearest rows that it finds.
    """

    def __init__(self, vectors: Vectors, *, exact_below: int = EXACT_BELOW) -> None:
        import faiss

        self._vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        rows, dimension = self._vectors.shape
        self.kind, self.recall = "exact", 1.0
        self._index: Any = faiss.IndexFlatIP(dimension)
        if rows >= exact_below:
            self.kind = "inverted lists"
            self._index = self._lists()
        for start in range(0, rows, ADDED_AT_ONCE):  # on all threads: a row's list does not depend on other rows
            self._index.add(self._vectors[start : start + ADDED_AT_ONCE])
        if self.kind != "exact":
            self.recall = self._measure_recall()

    def _lists(self) -> Any:
        """Empty inverted lists around centres of the vectors."""
        import faiss

        rows, dimension = self._vectors.shape
        sample = spread(self._vectors, TRAINING_ROWS)
        with _one_thread():
            found = _many_centres(sample, max(1, min(rows // LIST_ROWS, MOST_LISTS)))
            finder = faiss.IndexHNSWFlat(dimension, LINKS, faiss.METRIC_INNER_PRODUCT)
            finder.hnsw.efConstruction, finder.hnsw.efSearch = BUILD_BREADTH, ADD_BREADTH
            finder.add(found)
            # One byte per number: the index takes a quarter of the size of the vectors, which may be on disk. Both are
            # needed: FAISS finds more rows than asked for, and the vectors rank them.
            bytes_ = faiss.ScalarQuantizer.QT_8bit
            lists = faiss.IndexIVFScalarQuantizer(finder, dimension, len(found), bytes_, faiss.METRIC_INNER_PRODUCT)
            lists.train(sample)
        return lists

    def search(self, queries: Vectors, k: int, *, without: range = range(0)) -> list[Found]:
        """The `k` nearest rows of each query [Q, D] outside the range `without` (a video's own rows, for example)."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        with _one_thread():  # for a few queries, waking other threads costs 20 times as much as the search
            if self.kind == "exact":
                nearest = self._nearest(queries, k, without)
            else:
                nearest = self._nearest(queries, OVERSHOOT * k, without, PROBED_LISTS)
                few = np.flatnonzero((nearest >= 0).sum(axis=1) < min(k, len(self._vectors) - len(without)))
                if len(few):
                    nearest[few] = self._nearest(queries[few], OVERSHOOT * k, without, MORE_LISTS * PROBED_LISTS)
        return [self._ranked(query, rows[rows >= 0], k) for query, rows in zip(queries, nearest, strict=True)]

    def _nearest(self, queries: Vectors, k: int, without: range, lists: int = 0) -> npt.NDArray[np.int64]:
        """Rows [Q, k] that FAISS finds, -1 where there are no more; `lists` to probe, 0 for an exact index."""
        import faiss

        chosen = faiss.IDSelectorNot(faiss.IDSelectorRange(without.start, without.stop))
        parameters: Any = faiss.SearchParameters(sel=chosen)  # type: ignore[call-arg]  # not in its stubs
        if lists:
            breadth = faiss.SearchParametersHNSW(efSearch=PROBE_BREADTH * lists)  # type: ignore[attr-defined]
            parameters = faiss.SearchParametersIVF(  # type: ignore[call-arg]
                sel=chosen, nprobe=min(lists, self._index.nlist), quantizer_params=breadth
            )
        _, nearest = self._index.search(queries, min(k, len(self._vectors)), params=parameters)
        found: npt.NDArray[np.int64] = nearest
        return found

    def _ranked(self, query: npt.NDArray[np.float32], rows: npt.NDArray[np.int64], k: int) -> Found:
        # Computed again row by row and rounded: the order must not depend on how FAISS sums up a batch.
        similarity = np.round([float(query @ self._vectors[row]) for row in rows], 5).astype(np.float32)
        order = np.lexsort((rows, -similarity))[:k]
        return Found(rows=rows[order], similarity=similarity[order])

    def _measure_recall(self) -> float:
        """Share of the exact 64 nearest rows that the index finds, over rows spread through the matrix."""
        import faiss

        queries = spread(self._vectors, RECALL_QUERIES)
        found = [set(hit.rows.tolist()) for hit in self.search(queries, 64)]
        best = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self._vectors), ADDED_AT_ONCE):  # one pass over the vectors, which may be on disk
            block = self._vectors[start : start + ADDED_AT_ONCE]
            with _one_thread():
                similar, at = faiss.knn(queries, block, min(64, len(block)), faiss.METRIC_INNER_PRODUCT)
            best, rows = np.concatenate([best, similar], axis=1), np.concatenate([rows, at + start], axis=1)
            top = np.argsort(-best, axis=1, kind="stable")[:, :64]
            best, rows = np.take_along_axis(best, top, axis=1), np.take_along_axis(rows, top, axis=1)
        shares = [len(hits & set(exact)) / len(exact) for hits, exact in zip(found, rows.tolist(), strict=True)]
        return float(np.mean(shares))


def spread(vectors: Vectors, rows: int) -> Vectors:
    """A copy of `rows` evenly spread rows of a matrix, or of all rows if it has fewer."""
    places = np.linspace(0, len(vectors) - 1, min(rows, len(vectors))).astype(np.int64)
    return np.ascontiguousarray(vectors[places], dtype=np.float32)


def centres(sample: Vectors, count: int) -> Vectors:
    """Centres [count, D] of length 1 of the k-means clusters of a sample, which has at least `count` rows."""
    import faiss

    clustering = faiss.Clustering(sample.shape[1], count)
    clustering.niter, clustering.spherical, clustering.min_points_per_centroid = ROUNDS, True, 1
    with _one_thread():
        clustering.train(sample, faiss.IndexFlatIP(sample.shape[1]))
    return np.asarray(faiss.vector_to_array(clustering.centroids)).reshape(count, -1)


def nearest_centre(vectors: Vectors, among: Vectors, count: int = 1) -> npt.NDArray[np.int64]:
    """The numbers [N, count] of the centres nearest to each row, nearest first."""
    import faiss

    with _one_thread():
        blocks = [
            faiss.knn(vectors[start : start + ADDED_AT_ONCE], among, count, faiss.METRIC_INNER_PRODUCT)[1]
            for start in range(0, len(vectors), ADDED_AT_ONCE)
        ]
    return np.concatenate(blocks)


def _many_centres(sample: Vectors, count: int) -> Vectors:
    """About `count` centres, found in two steps: clusters, then centres of each. One step would take far longer."""
    coarse = centres(sample, max(1, int(count**0.5)))
    cluster = nearest_centre(sample, coarse)[:, 0]
    found = []
    for number in range(len(coarse)):
        members = np.ascontiguousarray(sample[cluster == number])
        if len(members):
            found.append(centres(members, min(len(members), max(1, count * len(members) // len(sample)))))
    return np.concatenate(found)


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
