"""What a table is measured on: the pictures that are coded, those that dictionaries are made of, and the bundle.

The contract: what is coded was not seen by the dictionary, nor by a training that this room makes; where key pictures
are aligned, pictures overlap on purpose, and nothing is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clc.bundle.bundle import SHIPPED
from clc.bundle.identity import id_of, read_manifest_bytes
from clc.collection.patches import PatchReader
from clc.errors import InputError
from clc.evaluation.measure import NATURAL, PictureUnderTest
from clc.pictures.picture import Picture
from flows.evaluation.picture_sets import read_picture_set
from flows.evaluation_subject import find_bundle, first_items
from flows.items import Item, read_items
from flows.leakage import refuse_leaks
from flows.reproduction.windows import evenly
from flows.runtime.stage import resolve
from flows.runtime.workspace import Workspace
from storage.blobs import BlobStore
from storage.digest import digest_json


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The pictures that are coded (`evaluated`), one item a photo that is `known`, and the bundle whose model codes.

    `origin` and `evaluation` say where both kinds are from; `left_out` counts pictures that cannot be read. With a
    `crop_px` the middle square of that side is coded in place of each picture.
    """

    blobs: BlobStore
    evaluated: tuple[Item, ...]
    known: tuple[Item, ...]
    bundle: Path
    origin: str
    evaluation: str
    left_out: int
    crop_px: int | None = None

    @property
    def bundle_id(self) -> str:
        """Id of the bundle, 16 hex digits."""
        return id_of(read_manifest_bytes(self.bundle))

    @property
    def inputs(self) -> dict[str, str]:
        """What decides the figures, as digests."""
        parts = {"evaluated": self.evaluated, "known": self.known}
        digests = {name: digest_json([[item.item_id, item.blob] for item in items]) for name, items in parts.items()}
        return {"bundle": self.bundle_id, "crop": str(self.crop_px), **digests}

    def check(self) -> None:
        """Raise `Leak` where a picture that is coded shows a photo that is known."""
        refuse_leaks(self.blobs, self.evaluated, self.known)

    def pictures(self) -> list[PictureUnderTest]:
        """The pictures to code, whole or their middles, each read when its turn comes."""
        reader = PatchReader(self.blobs)

        def read(item: Item) -> Picture:
            return middle(reader.read(item.blob, item.rectangle), self.crop_px)

        return [PictureUnderTest(one.item_id, one.name, lambda one=one: read(one)) for one in self.evaluated]  # type: ignore[misc]

    def photos(self, most: int) -> tuple[list[Item], list[Picture]]:
        """At most so many known photos, whole, evenly apart in the order of their names."""
        reader = PatchReader(self.blobs)
        chosen = evenly(self.known, most)
        return chosen, [reader.read(item.blob) for item in chosen]


def make_subject(
    workspace: Workspace, ingest: str, evaluation: str, most_pictures: int, bundle: str, crop_px: int | None
) -> Subject:
    """Choose what is coded: the evaluation part of a finished ingest, or the pictures of another folder or set.

    With `evaluation` all pictures of the ingest may be in dictionaries, else those of its other parts. Raises
    `InputError` where one of both is empty.
    """
    ingested = resolve(workspace, "ingest-images", ingest)
    source = str(ingested.manifest.summary.get("source", ingest))
    items = read_items(ingested.directory)
    unreadable = 0
    if evaluation:
        given = read_picture_set(workspace, evaluation)
        evaluated, unreadable = list(given.items), len(given.unreadable)
    else:
        evaluated = [item for item in items if item.part == "evaluation"]
    known = _one_a_photo(item for item in items if evaluation or item.part != "evaluation")
    chosen = first_items(evaluated, NATURAL, most_pictures)
    if not chosen or not known:
        lacking = "evaluation" if not chosen else "dictionary"
        raise InputError(f"{source} has no picture in its {lacking} part; add pictures, or name others to evaluate")
    return Subject(
        blobs=workspace.blobs,
        evaluated=tuple(sorted(chosen, key=lambda item: item.name)),
        known=tuple(known),
        bundle=find_bundle(workspace, bundle) or SHIPPED,
        origin=source,
        evaluation=evaluation or f"the evaluation part of {source}",
        left_out=unreadable,
        crop_px=crop_px,
    )


def middle(image_HW3: Picture, side_px: int | None) -> Picture:
    """Return the middle square of a picture, or as much of it as there is; the picture itself without a side."""
    if side_px is None:
        return image_HW3
    top, left = (max(0, side - side_px) // 2 for side in image_HW3.shape[:2])
    return np.ascontiguousarray(image_HW3[top : top + side_px, left : left + side_px])


def _one_a_photo(items: Iterator[Item]) -> list[Item]:
    """One item for each photo, which stands for all of it, by name."""
    return sorted({item.blob: item for item in items}.values(), key=lambda item: (item.photo, item.blob))
