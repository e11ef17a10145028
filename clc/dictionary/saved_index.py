"""Which index a dictionary is searched with: a matter of how many entries it has. Kept beside `dictionary.parquet`.

Up to `MOST_EXHAUSTIVE` entries every key is measured, which needs nothing but the keys; a bundle, which has 4,096 at
most, is always searched so. Above, the flow build-dictionary leaves `INDEX_NAME` (`clc.retrieval.inverted_lists`) in
the folder of the stage, and `open_dictionary` reads it.
"""

from pathlib import Path
from typing import Literal

from clc.dictionary.dictionary import DICTIONARY_NAME, Dictionary, Floats
from clc.retrieval.index import Index, open_index
from clc.retrieval.inverted_lists import InvertedListsIndex
from storage.errors import StorageError

MOST_EXHAUSTIVE = 10_000
"""Entries up to which all keys are measured for a query: `bench/dictionary.py queries` has the times."""

INDEX_NAME = "index.safetensors"

IndexName = Literal["exhaustive", "inverted_lists"]


def index_for(entries: int) -> IndexName:
    """Return the name of the index that a dictionary of so many entries is searched with."""
    return "exhaustive" if entries <= MOST_EXHAUSTIVE else "inverted_lists"


def save_index(folder: Path, keys_KD: Floats) -> IndexName:
    """Build the index of keys, float32 (K, D), and write it into `folder` where it is more than the keys; return which.

    Raises InputError for keys that cannot be searched, StorageError where the file cannot be written.
    """
    name = index_for(len(keys_KD))
    if name == "inverted_lists":
        InvertedListsIndex(keys_KD).save(folder / INDEX_NAME)
    return name


def open_dictionary(folder: Path) -> tuple[Dictionary, Index]:
    """Return the dictionary in the folder of a finished build-dictionary, and an index over its keys.

    Raises StorageError where a file is missing or damaged, or the index is one of other keys.
    """
    dictionary = Dictionary.read(folder / DICTIONARY_NAME)
    if index_for(len(dictionary)) == "exhaustive":
        return dictionary, open_index(dictionary.keys)
    if not (folder / INDEX_NAME).exists():
        raise StorageError(f"{folder} has {len(dictionary)} entries and no {INDEX_NAME}: build the dictionary again")
    return dictionary, InvertedListsIndex.load(folder / INDEX_NAME, dictionary.keys)
