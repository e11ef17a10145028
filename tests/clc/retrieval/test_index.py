"""Laws of the search: every kind of index is the exhaustive search, and give the same answer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.errors import InputError
from clc.retrieval.index import multi_query, open_index, query_vectors
from clc.retrieval.pca import fit

KINDS = ("exhaustive", "ball_tree", "faiss")


def vectors(count: int, dimension: int, seed: int, scale: float = 1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, dimension)) * scale).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    keys=st.integers(1, 60), dimension=st.integers(1, 40), queries=st.integers(1, 30), count=st.integers(1, 8),
    scale=st.sampled_from([1e-3, 1.0, 1e4]), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_search_is_the_exhaustive_search(
    kind: Any, keys: int, dimension: int, queries: int, count: int, scale: float, seed: int
) -> None:
    keys_KD, queries_QD = vectors(keys, dimension, seed, scale), vectors(queries, dimension, seed + 1, scale)
    found = open_index(keys_KD, kind).search(queries_QD, count)
    exact = np.linalg.norm(queries_QD[:, None].astype(np.float64) - keys_KD[None], axis=2)
    np.testing.assert_array_equal(found.indices, np.argsort(exact, axis=1, kind="stable")[:, :count])
    np.testing.assert_array_equal(found.distances, np.sort(exact, axis=1)[:, :count])


@pytest.mark.parametrize("kind", KINDS)
def test_many_queries_are_searched_in_blocks_with_the_same_answer(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    index, queries = open_index(vectors(40, 6, 0), kind), vectors(23, 6, 1)
    whole = index.search(queries, 3)
    monkeypatch.setattr("clc.retrieval.index._BLOCK_VALUES", 200)
    for ours, theirs in zip(index.search(queries, 3), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_all_kinds_give_the_same_answer_far_from_the_origin() -> None:
    keys_KD, queries_QD = vectors(300, 64, 0) + np.float32(100), vectors(50, 64, 1) + np.float32(100)
    first, *others = (open_index(keys_KD, kind).search(queries_QD, 3) for kind in KINDS)
    for other in others:
        np.testing.assert_array_equal(other.indices, first.indices)
        np.testing.assert_array_equal(other.distances, first.distances)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_finds_itself_at_distance_zero(kind: Any) -> None:
    keys_KD = vectors(40, 16, 0, scale=1e3)
    found = open_index(keys_KD, kind).search(keys_KD, 1)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(40))
    np.testing.assert_array_equal(found.distances, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_more_neighbours_than_keys_gives_all_keys(kind: Any) -> None:
    assert open_index(vectors(2, 4, 0), kind).search(vectors(5, 4, 1), 3).indices.shape == (5, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_keys_come_in_the_order_of_their_indices(kind: Any) -> None:
    found = open_index(np.ones((4, 3), np.float32), kind).search(np.zeros((1, 3), np.float32), 4)
    assert found.indices.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_multi_query_merges_by_distance_and_names_an_entry_once(kind: Any) -> None:
    index = open_index(np.array([[0.0], [1.0], [10.0], [12.0]], np.float32), kind)
    found = multi_query(index, np.array([[0.2], [10.5]], np.float32), 3)
    assert found.indices.tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.distances, [0.2, 0.5, 0.8], atol=1e-6)
    assert multi_query(index, np.array([[0.0], [0.0]], np.float32), 9).indices.tolist() == [0, 1, 2, 3]


@settings(max_examples=25, deadline=None)
@given(keys=st.integers(1, 20), count=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_multi_query_is_the_search_by_the_nearest_of_its_queries(keys: int, count: int, seed: int) -> None:
    keys_KD, queries_QD = vectors(keys, 5, seed), vectors(2, 5, seed + 1)
    nearest = np.linalg.norm(queries_QD[:, None].astype(np.float64) - keys_KD[None], axis=2).min(axis=0)
    found = multi_query(open_index(keys_KD), queries_QD, count)
    np.testing.assert_array_equal(found.indices, np.argsort(nearest, kind="stable")[:count])


def test_a_picture_and_its_turned_copy_find_the_same_entries() -> None:
    class Corner:
        name, dimension = "corner", 12

        def describe(self) -> dict[str, Any]:
            return {}

        def vectors(self, images: Any) -> np.ndarray:
            return np.stack([image[:2, :2].astype(np.float32).ravel() for image in images])

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    reduction = fit([vectors(20, 12, 0, scale=90)], 6)
    queries = query_vectors(image, Corner(), reduction)
    assert queries.shape == (2, 6)
    np.testing.assert_array_equal(queries[::-1], query_vectors(image[::-1, ::-1], Corner(), reduction))


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_cannot_be_answered_is_refused(kind: Any) -> None:
    index = open_index(vectors(5, 4, 0), kind)
    for queries, count in [
        (vectors(1, 3, 0), 1),
        (vectors(1, 4, 0), 0),
        (np.full((1, 4), np.inf, np.float32), 1),
        (np.zeros(4, np.float32), 1),
        (np.zeros((1, 4)), 1),
    ]:
        with pytest.raises(InputError):
            index.search(queries, count)
    with pytest.raises(InputError):
        open_index(np.zeros((0, 4), np.float32), kind)


def test_an_unknown_kind_of_index_is_answered_with_the_known_ones() -> None:
    unknown: Any = "kd_tree"
    with pytest.raises(InputError, match="exhaustive or ball_tree or faiss"):
        open_index(vectors(2, 2, 0), unknown)
