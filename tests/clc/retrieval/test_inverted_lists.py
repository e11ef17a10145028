"""Laws of the index for many keys: it finds nearly all neighbours, measures exactly, and is read back as it was."""

from pathlib import Path

import numpy as np
import pytest

from clc.errors import InputError
from clc.retrieval import inverted_lists
from clc.retrieval.index import open_index
from clc.retrieval.inverted_lists import RECALL, InvertedListsIndex, recall
from storage.arrays import read_arrays, write_arrays
from storage.errors import StorageError


def clustered(count: int, seed: int, dimension: int = 16) -> np.ndarray:
    """Vectors about 100 centres; other ones of the same centres for another seed."""
    centres = np.random.default_rng(0).standard_normal((100, dimension)) * 10
    generator = np.random.default_rng(seed)
    return (centres[generator.integers(0, 100, count)] + generator.standard_normal((count, dimension))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def built() -> tuple[np.ndarray, InvertedListsIndex]:
    """Keys and their index, which reads a part of its lists."""
    keys = clustered(3_000, 1)
    index = InvertedListsIndex(keys)
    assert 1 <= index._inverted.nprobe < index._inverted.nlist == 62
    return keys, index


def test_nearly_all_neighbours_are_found(built: tuple[np.ndarray, InvertedListsIndex]) -> None:
    keys, index = built
    queries = clustered(400, 2)
    wanted = open_index(keys, "faiss").search(queries, 3)
    assert recall(index.search(queries, 3).indices, wanted.indices) > RECALL - 0.02


def test_what_is_found_is_measured_exactly_and_in_order(built: tuple[np.ndarray, InvertedListsIndex]) -> None:
    keys, index = built
    queries = clustered(20, 3)
    found = index.search(queries, 5)
    exact = np.linalg.norm(keys[found.indices].astype(np.float64) - queries[:, None].astype(np.float64), axis=2)
    np.testing.assert_array_equal(found.distances, exact)
    assert (np.diff(found.distances, axis=1) >= 0).all()


def test_a_key_finds_itself_at_distance_zero(built: tuple[np.ndarray, InvertedListsIndex]) -> None:
    keys, index = built
    found = index.search(keys[:200], 1)
    np.testing.assert_array_equal(found.indices[:, 0], np.arange(200))
    np.testing.assert_array_equal(found.distances, 0)


def test_where_the_lists_that_are_read_hold_too_few_all_lists_are_read(
    built: tuple[np.ndarray, InvertedListsIndex],
) -> None:
    keys, index = built
    found = index.search(clustered(5, 4), 2_900)
    assert found.indices.shape == (5, 2_900)
    assert found.indices.min() >= 0
    assert all(len(set(row)) == 2_900 for row in found.indices.tolist())
    assert len(keys) == 3_000


@pytest.mark.parametrize("count", [1, 2, 40, 100])
def test_few_keys_are_searched_like_many(count: int) -> None:
    keys, queries = clustered(count, 5), clustered(7, 6)
    found = InvertedListsIndex(keys).search(queries, 3)
    np.testing.assert_array_equal(found.indices, open_index(keys).search(queries, 3).indices)


def test_more_lists_are_read_where_one_would_miss_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = np.random.default_rng(0).standard_normal((2_000, 16)).astype(np.float32)
    monkeypatch.setattr(inverted_lists, "RECALL", 0.5)
    few = InvertedListsIndex(keys)._inverted.nprobe
    monkeypatch.setattr(inverted_lists, "RECALL", 0.99)
    assert few < InvertedListsIndex(keys)._inverted.nprobe


def test_a_saved_index_gives_the_same_answers(built: tuple[np.ndarray, InvertedListsIndex], tmp_path: Path) -> None:
    keys, index = built
    index.save(tmp_path / "index.safetensors")
    loaded = InvertedListsIndex.load(tmp_path / "index.safetensors", keys)
    queries = clustered(50, 7)
    for ours, theirs in zip(loaded.search(queries, 4), index.search(queries, 4), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (tmp_path / "index.safetensors").stat().st_size < keys.nbytes


def test_an_index_of_other_keys_is_refused(built: tuple[np.ndarray, InvertedListsIndex], tmp_path: Path) -> None:
    keys, index = built
    index.save(tmp_path / "index.safetensors")
    with pytest.raises(StorageError, match="no index of these keys"):
        InvertedListsIndex.load(tmp_path / "index.safetensors", keys[::-1])


def test_a_damaged_index_is_refused_before_faiss_reads_it(
    built: tuple[np.ndarray, InvertedListsIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, index = built
    path = tmp_path / "index.safetensors"
    index.save(path)
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    monkeypatch.setattr("faiss.deserialize_index", lambda _: pytest.fail("faiss was given damaged bytes"))
    with pytest.raises(StorageError, match="altered"):
        InvertedListsIndex.load(path, keys)


def test_what_this_faiss_does_not_read_is_refused(built: tuple[np.ndarray, InvertedListsIndex], tmp_path: Path) -> None:
    keys, index = built
    path = tmp_path / "index.safetensors"
    index.save(path)
    metadata = {"keys_sha256": inverted_lists._digest(keys)}
    unknown = read_arrays(path)["faiss"].copy()
    unknown[:4] = 255
    write_arrays(path, {"faiss": unknown}, metadata)
    with pytest.raises(StorageError, match="no index that this faiss reads"):
        InvertedListsIndex.load(path, keys)


def test_a_search_that_cannot_be_answered_is_refused(built: tuple[np.ndarray, InvertedListsIndex]) -> None:
    _, index = built
    for queries, count in [(clustered(1, 0, 15), 1), (clustered(1, 0), 0), (np.full((1, 16), np.nan, np.float32), 1)]:
        with pytest.raises(InputError):
            index.search(queries, count)


def test_recall_is_the_share_of_neighbours_found_without_those_that_do_not_count() -> None:
    found, exact = np.array([[1, 2, 9], [4, 8, 8]]), np.array([[1, 3], [4, 5]])
    assert recall(found, exact) == 0.5
    assert recall(found, exact, but_Q=np.array([3, 5])) == 1.0
    assert recall(found, exact, but_Q=np.array([1, 4])) == 0.0
    assert recall(found[:1, :1], exact[:1, :1], but_Q=np.array([1])) == 1.0
