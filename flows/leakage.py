"""Refuses an evaluation whose pictures the dictionary or the training part has seen.

A codec codes a picture that it was trained on better than any other, so such a picture measures nothing.
`flows.evaluate` calls `refuse_leaks` before it measures. The built-in pair is exempt: the dictionary holds the other
view of its scene on purpose.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar

from clc.collection.patches import PatchReader
from clc.errors import InputError
from clc.evaluation.measure import PAIR
from clc.pictures.near_duplicates import Duplicate, Fingerprint, find_duplicates, fingerprint
from flows.items import Item
from storage.blobs import BlobStore

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Leak(InputError):
    """Pictures to be evaluated were seen before by the codec, or nearly."""


_CHUNK = 2048
_NAMED = 5


def refuse_leaks(blobs: BlobStore, evaluated: Sequence[Item], known: Sequence[Item]) -> None:
    """Raise `Leak` that names pictures of `evaluated` which show a photo of `known`, or nearly do.

    An item of the row "pair" may resemble the items of that row in the dictionary.
    """
    reader = PatchReader(blobs)
    # Two tables, for the copy of a known picture has its id.
    known_by_id, evaluated_by_id = ({item.item_id: item for item in items} for items in (known, evaluated))
    leaks = _same_photos(evaluated, known)
    leaked = {one.evaluated for one in leaks}
    wanted = [_fingerprint(reader, item) for item in evaluated if item.item_id not in leaked]
    for chunk in _in_chunks(known):
        found = find_duplicates(wanted, [_fingerprint(reader, item) for item in chunk])
        leaks += [one for one in found if not _is_declared(evaluated_by_id[one.evaluated], known_by_id[one.known])]
    if leaks:
        named = "; ".join(
            _describe(evaluated_by_id[one.evaluated], known_by_id[one.known], one) for one in leaks[:_NAMED]
        )
        more = f" and {len(leaks) - _NAMED} more" if len(leaks) > _NAMED else ""
        raise Leak(
            f"{len({one.evaluated for one in leaks})} evaluation pictures were seen before: {named}{more};"
            " remove one of each from the source, or evaluate on other pictures"
        )
    logger.info("no_leaks evaluated=%d known=%d", len(evaluated), len(known))


def _same_photos(evaluated: Sequence[Item], known: Sequence[Item]) -> list[Duplicate]:
    """Return the evaluated items that were cut from a known photo, wherever they lie in it, with one known item each.

    Fingerprints do not find another crop of a photo, and another ingest may have put the photo into another part.
    """
    of_photo = {item.photo_digest: item for item in known}
    pairs = ((item, of_photo.get(item.photo_digest)) for item in evaluated)
    return [Duplicate(one.item_id, other.item_id, 1.0) for one, other in pairs if other is not None]


def _is_declared(evaluated: Item, known: Item) -> bool:
    return evaluated.row == known.row == PAIR and known.part == "dictionary"


def _describe(evaluated: Item, known: Item, leak: Duplicate) -> str:
    return f"{evaluated.name} resembles {known.name} of the {known.part} part ({leak.correlation:.2f})"


def _fingerprint(reader: PatchReader, item: Item) -> Fingerprint:
    return fingerprint(item.item_id, reader.read(item.blob, item.rectangle))


def _in_chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
