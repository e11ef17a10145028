"""The index of a dictionary follows from the number of its entries, and lies beside it where it is more than keys."""

from pathlib import Path

import numpy as np
import pytest

from clc.dictionary import saved_index
from clc.dictionary.dictionary import DICTIONARY_NAME, Dictionary
from clc.dictionary.saved_index import INDEX_NAME, MOST_EXHAUSTIVE, index_for, open_dictionary, save_index
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.retrieval.index import ExhaustiveIndex
from clc.retrieval.inverted_lists import InvertedListsIndex
from storage.errors import StorageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a dictionary of 60 entries."""
    names = tuple(map(str, range(60)))
    Dictionary(
        keys=np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32),
        item_ids=names, photos=names, blobs=names, names=names, sources=names, licences=names,
        cluster_sizes=np.ones(60, np.int32), distances=np.zeros(60, np.float32),
        rectangles=(None,) * 60, relevances=np.ones(60),
    ).write(tmp_path / DICTIONARY_NAME)  # fmt: skip
    return tmp_path


def keys_in(folder: Path) -> np.ndarray:
    return Dictionary.read(folder / DICTIONARY_NAME).keys


def test_the_kind_is_chosen_by_the_number_of_entries() -> None:
    assert index_for(1) == index_for(MOST_EXHAUSTIVE) == "exhaustive"
    assert index_for(MOST_EXHAUSTIVE + 1) == index_for(1_000_000) == "inverted_lists"
    assert MAX_DICTIONARY_ENTRIES <= MOST_EXHAUSTIVE, "a bundle is searched exhaustively"


def test_few_entries_leave_no_file_and_are_all_measured(folder: Path) -> None:
    assert save_index(folder, keys_in(folder)) == "exhaustive"
    assert not (folder / INDEX_NAME).exists()
    dictionary, index = open_dictionary(folder)
    assert isinstance(index, ExhaustiveIndex)
    assert index.search(dictionary.keys[7:8], 1).indices.tolist() == [[7]]


def test_many_entries_have_an_index_beside_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_index, "MOST_EXHAUSTIVE", 59)
    assert save_index(folder, keys_in(folder)) == "inverted_lists"
    dictionary, index = open_dictionary(folder)
    assert isinstance(index, InvertedListsIndex)
    assert index.search(dictionary.keys[7:8], 1).indices.tolist() == [[7]]


def test_an_index_that_is_missing_or_of_another_dictionary_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_index, "MOST_EXHAUSTIVE", 59)
    with pytest.raises(StorageError, match="60 entries and no index"):
        open_dictionary(folder)
    save_index(folder, keys_in(folder) + 1)
    with pytest.raises(StorageError, match="no index of these keys"):
        open_dictionary(folder)
