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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise

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
_BANDS = 6  # of bits; hashes that differ in 5 agree in one of them
_NUMBERED = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)


@dataclass(frozen=True)
class Shot:
    """A picture as far as scenes go: its name with its folders, its thumbnail's 4,096 grey levels, and its time.

    `taken` is the time as EXIF has it ("2024:05:31 12:00:01"), empty where it has none.
    """

    name: str
    thumbnail: bytes
    taken: str = ""


def find_copies(shots: Sequence[Shot]) -> list[int]:
    """Return for each picture the number of the first one that it is a copy of; its own where there is none."""
    known: list[dict[int, list[int]]] = [defaultdict(list) for _ in range(_BANDS)]
    words: dict[int, int] = {}
    found = list(range(len(shots)))
    for number, hashes in enumerate(_all_hashes(shots)):
        if not hashes:
            continue
        copied = next(_copied(number, hashes, known, words, shots), None)
        if copied is not None:
            found[number] = copied
            continue
        words[number] = hashes[0]
        for band, key in enumerate(_keys(hashes[0])):
            known[band][key].append(number)
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


def _all_hashes(shots: Sequence[Shot]) -> Iterator[list[int]]:
    """Yield the hashes of each picture in its eight orientations, upright first; none where it shows nothing."""
    for start in range(0, len(shots), _CHUNK):
        thumbnails = _thumbnails(shots[start : start + _CHUNK])
        words = np.stack([_hashes(turned) for turned in _orientations(thumbnails)], axis=1)
        for is_told, row in zip(have_detail(thumbnails), words.tolist(), strict=True):
            yield row if is_told else []


def _copied(
    number: int,
    hashes: Sequence[int],
    known: Sequence[dict[int, list[int]]],
    words: dict[int, int],
    shots: Sequence[Shot],
) -> Iterator[int]:
    """Yield the known pictures that a picture, given with its hashes in eight orientations, is a copy of."""
    for turn, word in enumerate(hashes):
        near = set().union(*filter(None, map(dict.get, known, _keys(word))))
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
    levels = np.frombuffer(b"".join(shot.thumbnail for shot in shots), np.uint8)
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
    rows = thumbnails.reshape(len(thumbnails), HASH_PX, -1, THUMBNAIL_PX).sum(axis=2)
    cells = np.add.reduceat(rows, _EDGES, axis=2)
    brighter = cells[:, :, :-1] * _WIDTHS[1:] > cells[:, :, 1:] * _WIDTHS[:-1]
    packed = np.packbits(brighter.reshape(len(thumbnails), -1), axis=1)
    return packed.view(">u8").reshape(-1).astype(np.uint64)


def _keys(word: int) -> Iterator[int]:
    """Yield the bands of a hash: five of 11 bits and one of 9."""
    for band in range(_BANDS):
        yield (word >> (11 * band)) & 0x7FF
