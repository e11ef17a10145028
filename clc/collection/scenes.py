"""Which pictures of a collection are copies of one another, and which show one scene.

`flows.ingest` keeps the pictures of a scene in one part: a burst, or what a fixed camera saw, split at random between
training and evaluation would measure how well a codec knows its training pictures. Two pictures are put into one scene

- where they are copies: the difference hashes of their thumbnails agree in all but 5 of 64 bits, in any of the eight
  orientations, and their detail correlates (`clc.pictures.near_duplicates`);
- where they follow each other in a sequence, that is in names of one folder that differ by their last number alone, and
  their cameras' clocks say that no more than 10 s lie between them;
- where they follow each other in a sequence, and look alike: 16 of 64 bits, and a correlation of 0.6.

What is alike to the same picture is of one scene, and so on along a chain.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, islice, pairwise
from typing import NamedTuple, SupportsBytes

import numpy as np
from numpy.typing import NDArray

from clc.pictures.near_duplicates import HASH_PX, NEAR_BITS, SAME_DETAIL, THUMBNAIL_PX, have_detail, likeness

COPY_BITS = 5
"""Most bits in which the hashes of copies differ: re-encoded, resized, brightened, mirrored or turned ones."""

SAME_VIEW = 0.6
"""Least correlation of two pictures that follow each other and show one scene; different photographs reach 0.52."""

BURST_S = 10.0
"""Most seconds between two pictures of a burst."""

_CHUNK = 256
_PAIRS = [pair for half in (range(4), range(4, 8)) for pair in combinations(half, 2)]
"""Pairs of a hash's bytes. Hashes that differ in 5 bits agree in three bytes of eight, two of which share a half."""
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)


@dataclass(frozen=True)
class Shot:
    """A picture as far as scenes go: its name with its folders, its thumbnail's 4,096 grey levels, and its time.

    The levels are bytes, or what gives them each time it is asked (`clc.collection.thumbnails`).

    `taken` is the time as EXIF has it ("2024:05:31 12:00:01"), empty where it has none.
    """

    name: str
    thumbnail: SupportsBytes
    taken: str = ""


def find_copies(shots: Sequence[Shot]) -> list[int]:
    """Return for each picture the number of the first one that it is a copy of; its own where there is none."""
    known: dict[int, list[int]] = defaultdict(list)
    words: dict[int, int] = {}
    found = list(range(len(shots)))
    for number, oriented in enumerate(_all_hashes(shots)):
        if not oriented:
            continue
        copied = next(_copied(number, oriented, known, words, shots), None)
        if copied is not None:
            found[number] = copied
            continue
        upright = oriented[0]
        words[number] = upright.word
        for key in upright.keys:
            known[key].append(number)
    return found


def find_scenes(shots: Sequence[Shot], copies: Sequence[int]) -> list[int]:
    """Return for each picture the number of the first picture of its scene; `copies` is of `find_copies`."""
    first = list(range(len(shots)))

    def scene_of(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    def join(a: int, b: int) -> None:
        a, b = sorted((scene_of(a), scene_of(b)))
        first[b] = a

    for number, copied in enumerate(copies):
        join(number, copied)
    for a, b in _neighbours(shots):
        if _is_burst(shots[a], shots[b]) or _is_same_view(shots[a], shots[b]):
            join(a, b)
    return [scene_of(number) for number in range(len(shots))]


class _Hash(NamedTuple):
    """A difference hash, and what it is found by: the twelve pairs of bytes of `_PAIRS`, each a number of its own."""

    word: int
    keys: list[int]


def _all_hashes(shots: Sequence[Shot]) -> Iterator[list[_Hash]]:
    """Yield the hashes of each picture in its eight orientations, upright first; none where it shows nothing."""
    for start in range(0, len(shots), _CHUNK):
        thumbnails = _thumbnails(shots[start : start + _CHUNK])
        words = _oriented_hashes(thumbnails)
        rows = zip(have_detail(thumbnails), words.tolist(), _keys(words).tolist(), strict=True)
        for is_told, of_one, keys in rows:
            yield list(map(_Hash, of_one, keys)) if is_told else []


def _copied(
    number: int,
    oriented: Sequence[_Hash],
    known: Mapping[int, list[int]],
    words: Mapping[int, int],
    shots: Sequence[Shot],
) -> Iterator[int]:
    """Yield the known pictures that a picture, given with its hashes in eight orientations, is a copy of."""
    for turn, (word, keys) in enumerate(oriented):
        near = {other for key in keys for other in known.get(key, ())}
        for other in sorted(near):
            if (words[other] ^ word).bit_count() <= COPY_BITS:
                mine, others = _thumbnails([shots[number]]), _thumbnails([shots[other]])
                if likeness(next(islice(_orientations(mine), turn, None))[0], others[0]) >= SAME_DETAIL:
                    yield other


def _neighbours(shots: Sequence[Shot]) -> Iterator[tuple[int, int]]:
    """Yield the pictures that follow each other in a sequence of names."""
    sequences: dict[tuple[str, str, str], list[tuple[int, int]]] = defaultdict(list)
    for number, shot in enumerate(shots):
        folder, _, file = shot.name.rpartition("/")
        stem, dot, _ = file.rpartition(".")  # an extension may hold a digit
        found = _NUMBERED.fullmatch(stem if dot else file)
        if found:
            before, digits, after = found.groups()
            sequences[folder, before, after].append((int(digits), number))
    for sequence in sequences.values():
        ordered = [number for _, number in sorted(sequence)]
        yield from pairwise(ordered)


def _is_burst(a: Shot, b: Shot) -> bool:
    try:
        times = [datetime.strptime(one.taken, "%Y:%m:%d %H:%M:%S") for one in (a, b)]
    except ValueError:
        return False
    return abs((times[1] - times[0]).total_seconds()) <= BURST_S


def _is_same_view(a: Shot, b: Shot) -> bool:
    thumbnails = _thumbnails([a, b])
    first, second = _hashes(thumbnails).tolist()
    return (first ^ second).bit_count() <= NEAR_BITS and likeness(thumbnails[0], thumbnails[1]) >= SAME_VIEW


def _thumbnails(shots: Sequence[Shot]) -> NDArray[np.float32]:
    """Return the thumbnails of pictures, float32 (N, 64, 64)."""
    levels = np.frombuffer(b"".join(bytes(shot.thumbnail) for shot in shots), np.uint8)
    return levels.reshape(len(shots), THUMBNAIL_PX, THUMBNAIL_PX).astype(np.float32)


def _orientations(thumbnails: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for turns in range(4):
        turned = np.rot90(thumbnails, turns, axes=(1, 2))
        yield turned
        yield np.flip(turned, axis=2)


_EDGES = np.arange(HASH_PX + 1) * THUMBNAIL_PX // (HASH_PX + 1)
_WIDTHS = np.diff(np.append(_EDGES, THUMBNAIL_PX)).astype(np.float32)


def _hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return difference hashes, uint64 (N,), computed in whole numbers so that cells of one level stay equal."""
    return _words(_bits(_bands_of_rows(thumbnails)))


def _oriented_hashes(thumbnails: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return the hashes of `_hashes` of all that `_orientations` yields, uint64 (N, 8), from four sums of one pass."""
    bands = (_bands_of_rows(thumbnails), _bands_of_rows(thumbnails.swapaxes(1, 2)))
    (plain, mirrored), (down, up) = ((_bits(band), _bits(band[:, :, ::-1])) for band in bands)
    # A quarter turn makes rows of columns; what is turned over has its rows, a byte of the hash each, the other way.
    oriented = (plain, mirrored, down[:, ::-1], up[:, ::-1], mirrored[:, ::-1], plain[:, ::-1], up, down)
    return np.stack([_words(bits) for bits in oriented], axis=1)


def _bands_of_rows(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of 8 bands of rows, float32 (N, 8, 64): whole numbers."""
    bands: NDArray[np.float32] = thumbnails.reshape(len(thumbnails), HASH_PX, -1, THUMBNAIL_PX).sum(axis=2)
    return bands


def _bits(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return for each band, as the bits of a byte, whether a cell is brighter than the one to its right: (N, 8)."""
    cells = np.add.reduceat(bands, _EDGES, axis=2)
    return np.packbits(cells[:, :, :-1] * _WIDTHS[1:] > cells[:, :, 1:] * _WIDTHS[:-1], axis=2)[:, :, 0]


def _words(bits: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(bits).view(">u8").reshape(-1).astype(np.uint64)


def _keys(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the pairs of bytes of many hashes, int64 (..., 12): equal only for equal bytes in the same places."""
    parts = words.astype(">u8")[..., None].view(np.uint8).astype(np.int64)
    keys = [place << 16 | parts[..., a] << 8 | parts[..., b] for place, (a, b) in enumerate(_PAIRS)]
    return np.stack(keys, axis=-1)
