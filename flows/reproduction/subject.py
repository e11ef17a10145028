"""What a table is measured on: the pictures that are coded, those that dictionaries are made of, and the bundle.

The contract: what is coded was not seen by the dictionary, nor by a training that this room makes; where key pictures
are aligned, pictures overlap on purpose, and nothing is refused.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from clc.bundle.bundle import SHIPPED
from clc.bundle.identity import id_of, read_manifest_bytes
from clc.collection.patches import PatchReader
from clc.errors import InputError
from clc.evaluation.measure import NATURAL, PictureUnderTest
from clc.pictures.patches import ENTRY_PX, entry_patch
from clc.pictures.picture import Picture
from flows.evaluation.picture_sets import read_picture_set
from flows.evaluation_subject import find_bundle, first_items
from flows.ingest import ingest_images
from flows.items import Item, read_items
from flows.leakage import refuse_leaks
from flows.reproduction.grid import Windows
from flows.runtime.stage import StageResult, resolve
from flows.runtime.workspace import Workspace
from storage.blobs import BlobStore
from storage.digest import digest_json

T = TypeVar("T")


@dataclass(frozen=True)
class Window:
    """A window of a photo that a dictionary may hold: the photo's blob, where the window lies, and where from."""

    blob: str
    left: int
    top: int
    photo: str
    source: str
    licence: str


def provenance(one: Window | Item) -> dict[str, str]:
    """Return what a bundle says of an entry that is a window, or a whole photo."""
    return {"name": one.photo, "photo": one.photo, "source": one.source, "licence": one.licence}


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

    def windows(self, asked: Windows) -> list[Window]:
        """The windows of the known photos, thinned out evenly; a photo that is smaller than one is one."""
        found = [
            Window(item.blob, left, top, item.photo, item.source, item.licence)
            for item, (height, width) in zip(self.known, self._sizes(), strict=True)
            for top in range(0, max(1, height - ENTRY_PX + 1), asked.stride_px)
            for left in range(0, max(1, width - ENTRY_PX + 1), asked.stride_px)
        ]
        return evenly(found, asked.most)

    def patches(self, windows: Sequence[Window]) -> Iterator[Picture]:
        """Read windows, uint8 (256, 256, 3), one after the other."""
        reader = PatchReader(self.blobs)
        for one in windows:
            yield entry_patch(reader.read(one.blob)[one.top :, one.left :])

    def _sizes(self) -> Iterator[tuple[int, int]]:
        reader = PatchReader(self.blobs)
        for item in self.known:
            height, width, _ = reader.read(item.blob).shape
            yield height, width


def make_subject(
    workspace: Workspace, source: str, evaluation: str, most_pictures: int, bundle: str, crop_px: int | None
) -> Subject:
    """Ingest the source, and choose what is coded: its evaluation part, or the pictures of another folder or set.

    With `evaluation` all pictures of the source may be in dictionaries, else those of its other parts. Raises
    `InputError` where one of both is empty.
    """
    ingested = resolve(workspace, "ingest-images", ingest_images(source=source))
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
        origin=_label(ingested, source),
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


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many of a sequence, evenly apart, in its order."""
    if len(things) <= most:
        return list(things)
    return [things[place * len(things) // most] for place in range(most)]


def _label(ingested: StageResult, source: str) -> str:
    return str(ingested.manifest.summary.get("source", source))


def _one_a_photo(items: Iterator[Item]) -> list[Item]:
    """One item for each photo, which stands for all of it, by name."""
    return sorted({item.blob: item for item in items}.values(), key=lambda item: (item.photo, item.blob))
