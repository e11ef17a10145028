"""Refuses an evaluation whose pictures the dictionary or the training part has seen.

A codec codes a picture that it was trained on better than any other, so such a picture measures nothing.
`flows.evaluate` calls `refuse_leaks` before it measures. The built-in pair is exempt: the dictionary holds the other
view of its scene on purpose.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

from clc.errors import InputError
from clc.evaluation.measure import PAIR
from clc.pictures.images import read_image
from clc.pictures.near_duplicates import Duplicate, Fingerprint, find_duplicates, fingerprint
from flows.items import Item
from storage.blobs import BlobStore

logger = logging.getLogger(__name__)

T = TypeVar("T")

_CHUNK = 2048
_NAMED = 5


def refuse_leaks(blobs: BlobStore, evaluated: Sequence[Item], known: Sequence[Item]) -> None:
    """Raise `InputError` that names pictures of `evaluated` which have a near-duplicate in `known`.

    An item of the row "pair" may resemble the items of that row in the dictionary.
    """
    by_id = {item.item_id: item for item in (*known, *evaluated)}
    wanted = [_fingerprint(blobs, item) for item in evaluated]
    leaks: list[Duplicate] = []
    for chunk in _in_chunks(known):
        found = find_duplicates(wanted, [_fingerprint(blobs, item) for item in chunk])
        leaks += [one for one in found if not _is_declared(by_id[one.evaluated], by_id[one.known])]
    if leaks:
        named = "; ".join(_describe(by_id, one) for one in leaks[:_NAMED])
        more = f" and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
        raise InputError(
            f"{len({one.evaluated for one in leaks})} evaluation pictures were seen before: {named}{more};"
            " remove one of each from the source, or evaluate on other pictures"
        )
    logger.info("no_leaks evaluated=%d known=%d", len(evaluated), len(known))


def _is_declared(evaluated: Item, known: Item) -> bool:
    return evaluated.row == known.row == PAIR and known.part == "dictionary"


def _describe(by_id: dict[str, Item], leak: Duplicate) -> str:
    known = by_id[leak.known]
    return f"{by_id[leak.evaluated].name} resembles {known.name} of the {known.part} part ({leak.correlation:.2f})"


def _fingerprint(blobs: BlobStore, item: Item) -> Fingerprint:
    return fingerprint(item.item_id, read_image(blobs.get(item.blob)))


def _in_chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
