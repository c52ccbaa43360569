"""Search against brute force, with and without inverted lists."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvp_data.core.types import Vectors
from mvp_data.embedding import search
from mvp_data.embedding.search import Neighbours, centres, nearest_centre, spread
from tests.builders import rng, walk


def brute_force(vectors: Vectors, query: Vectors, k: int, without: range) -> tuple[list[int], list[float]]:
    similarity = np.round(vectors.astype(np.float64) @ query.astype(np.float64), 5)
    rows = sorted((r for r in range(len(vectors)) if r not in without), key=lambda r: (-similarity[r], r))[:k]
    return rows, [float(similarity[r]) for r in rows]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 60), st.integers(0, 60), st.integers(0, 10**6))
def test_exact_search_is_brute_force(rows: int, k: int, start: int, length: int, seed: int) -> None:
    vectors = walk(rows, "exact", seed, dimension=6)
    without = range(min(start, rows), min(start + length, rows))
    index = Neighbours(vectors)
    assert (index.kind, index.recall) == ("exact", 1.0)
    for query, found in zip(vectors[:3], index.search(vectors[:3], k, without=without), strict=True):
        wanted_rows, wanted_similarity = brute_force(vectors, query, k, without)
        assert len(found.rows) == min(k, rows - len(without))
        assert found.similarity.tolist() == pytest.approx(wanted_similarity, abs=2e-5)
        similarity = vectors @ query
        if len(set(np.round(similarity, 4).tolist())) == rows:  # no near-ties
            assert found.rows.tolist() == wanted_rows


def test_ties_come_in_row_order() -> None:
    one, two = np.eye(4, dtype=np.float32)[:2]
    vectors = np.stack([two, one, two, one, (one + two) / np.float32(2**0.5), one])
    (found,) = Neighbours(vectors).search(one[None], 6)
    assert found.rows.tolist() == [1, 3, 5, 4, 0, 2]
    assert found.similarity.tolist() == pytest.approx([1, 1, 1, 0.70711, 0, 0])
    (found,) = Neighbours(vectors).search(one[None], 2)
    assert found.rows.tolist() == [1, 3], "also where the cut goes through a tie"


@pytest.mark.parametrize("copies", [40, 500, 3000])
def test_of_too_many_ties_the_first_rows_are_found(copies: int) -> None:
    """A title card occurs in thousands of frames; which of them are found must not depend on chance."""
    card = np.eye(8, dtype=np.float32)[:1]
    vectors = np.concatenate([walk(50, "ties", dimension=8), np.repeat(card, copies, axis=0)])
    (found,) = Neighbours(vectors).search(card, 32)
    assert found.rows.tolist() == list(range(50, 82))


def test_a_query_does_not_depend_on_other_queries() -> None:
    vectors = walk(3000, "company", dimension=64)
    index = Neighbours(vectors)
    alone = [index.search(vectors[i : i + 1], 10, without=range(i, i + 1))[0] for i in range(40)]
    for first in (0, 39):
        together = index.search(vectors[:40], 10, without=range(first, first + 1))[first]
        assert together.rows.tolist() == alone[first].rows.tolist()
        assert together.similarity.tolist() == alone[first].similarity.tolist()


@pytest.fixture(scope="module")
def clusters() -> Vectors:
    """6,000 frames in 300 shots."""
    centres = rng("centres").normal(size=(300, 32))
    rows = np.repeat(centres, 20, axis=0) + 0.6 * rng("spread").normal(size=(6000, 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_inverted_lists_above_a_size(clusters: Vectors) -> None:
    assert Neighbours(clusters[:2000], exact_below=2001).kind == "exact"
    index = Neighbours(clusters, exact_below=6000)
    assert index.kind == "inverted lists"
    assert 0.95 < index.recall <= 1.0


def test_recall_is_the_measured_one(clusters: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed here from searches and brute force, for the same 64 rows."""
    monkeypatch.setattr(search, "PROBED_LISTS", 2)
    monkeypatch.setattr(search, "LIST_ROWS", 20)
    index = Neighbours(clusters, exact_below=1)
    shares = []
    for row in np.linspace(0, len(clusters) - 1, 64).astype(int):
        found = index.search(clusters[row][None], 64)[0].rows.tolist()
        wanted, _ = brute_force(clusters, clusters[row], 64, range(0))
        shares.append(len(set(wanted) & set(found)) / 64)
    assert index.recall == pytest.approx(np.mean(shares), abs=0.005)
    assert index.recall < 1, "2 of 300 lists cannot find all"


def test_inverted_lists_leave_out_a_range_and_rank_like_exact(clusters: Vectors) -> None:
    index = Neighbours(clusters, exact_below=1)
    for row in (0, 2500, 5999):
        without = range(row // 20 * 20, row // 20 * 20 + 20)
        (found,) = index.search(clusters[row][None], 20, without=without)
        assert len(found.rows) == 20
        assert not set(found.rows.tolist()) & set(without)
        exact = np.round(clusters[found.rows] @ clusters[row], 5)
        assert found.similarity.tolist() == pytest.approx(exact.tolist(), abs=2e-5)
        assert (np.diff(found.similarity) <= 0).all()


def test_more_lists_are_probed_where_own_rows_fill_them(clusters: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest rows of a long video are all its own; the search must find rows of other videos beyond them."""
    monkeypatch.setattr(search, "PROBED_LISTS", 2)
    near = np.argsort(-clusters @ clusters[0], kind="stable")[:2000]
    moved = np.concatenate([near, np.setdiff1d(np.arange(len(clusters)), near)])
    index = Neighbours(clusters[moved], exact_below=1)
    (found,) = index.search(clusters[:1], 64, without=range(2000))
    assert len(found.rows) == 64
    assert found.rows.min() >= 2000


@pytest.mark.parametrize("threads", [(2, 2), (1, 4)])
def test_two_indexes_of_the_same_rows_agree(clusters: Vectors, threads: tuple[int, int]) -> None:
    """For any number of threads, although k-means by itself would differ."""
    usual = faiss.omp_get_max_threads()
    made = []
    try:
        for count in threads:
            faiss.omp_set_num_threads(count)
            made.append(Neighbours(clusters, exact_below=1))
            assert faiss.omp_get_max_threads() == count, "left as it was"
    finally:
        faiss.omp_set_num_threads(usual)
    one, two = (index.search(clusters[::100], 64) for index in made)
    assert made[0].recall == made[1].recall
    for a, b in zip(one, two, strict=True):
        assert (a.rows.tolist(), a.similarity.tolist()) == (b.rows.tolist(), b.similarity.tolist())


def test_centres_of_clusters(clusters: Vectors) -> None:
    """Centres have length 1 and are most similar to their own rows; more threads give the same bits."""
    found = centres(clusters, 40)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    nearest = nearest_centre(clusters, found, 2)
    similarity = clusters @ found.T
    assert (nearest[:, 0] == similarity.argmax(axis=1)).mean() > 0.999
    assert (np.sort(similarity, axis=1)[:, -2] - similarity[np.arange(6000), nearest[:, 1]]).max() < 1e-5
    assert len(set(nearest[:, 0].tolist())) == 40
    usual = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    try:
        assert centres(clusters, 40).tobytes() == found.tobytes()
    finally:
        faiss.omp_set_num_threads(usual)


def test_spread_rows() -> None:
    vectors = walk(10, "spread")
    assert spread(vectors, 3).tolist() == vectors[[0, 4, 9]].tolist()
    assert spread(vectors, 20).tolist() == vectors.tolist()


def test_everything_left_out() -> None:
    vectors = walk(5, "out")
    (found,) = Neighbours(vectors).search(vectors[:1], 3, without=range(5))
    assert len(found.rows) == len(found.similarity) == 0
