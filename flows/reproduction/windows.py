"""Windows of photos, which dictionaries are chosen from, and what a model says of them: a stage of its own.

Both flows of this room and all of their tables use it, so it is made once for a model and its photos.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from clc.bundle.bundle import Bundle
from clc.bundle.entries import DescribedPatches, describe_patches
from clc.collection.patches import PatchReader
from clc.pictures.patches import ENTRY_PX, entry_patch
from clc.pictures.picture import Picture
from flows.items import Item
from flows.runtime.progress import counted
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from storage.arrays import read_arrays, write_arrays
from storage.atomic import write_bytes
from storage.blobs import BlobStore
from storage.digest import digest_json

ARRAYS, PLACES = "windows.safetensors", "windows.json"
MODULES = (
    "clc.bitstream",
    "clc.bundle.bundle",
    "clc.bundle.decoder_bundle",
    "clc.bundle.entries",
    "clc.bundle.extend",
    "clc.bundle.identity",
    "clc.bundle.released",
    "clc.collection.patches",
    "clc.exact",
    "clc.limits",
    "clc.model",
    "clc.pictures",
    "clc.quality",
    "clc.references",
    "clc.retrieval",
    "flows.items",
    "flows.reproduction.windows",
    "storage.arrays",
    "storage.blobs",
    "storage.digest",
    "storage.tables",
)
"""The source text that decides what a model says of windows."""

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


def cut(blobs: BlobStore, photos: Sequence[Item], stride_px: int, most: int) -> list[Window]:
    """Place windows on photos, one every `stride_px`, and keep at most so many, evenly apart.

    A photo that is smaller than a window is one.
    """
    reader = PatchReader(blobs)
    found = []
    for item in photos:
        height, width, _ = reader.read(item.blob).shape
        found += [
            Window(item.blob, left, top, item.photo, item.source, item.licence)
            for top in range(0, max(1, height - ENTRY_PX + 1), stride_px)
            for left in range(0, max(1, width - ENTRY_PX + 1), stride_px)
        ]
    return evenly(found, most)


def read_windows(blobs: BlobStore, windows: Sequence[Window]) -> Iterator[Picture]:
    """Read windows, uint8 (256, 256, 3), one after the other."""
    reader = PatchReader(blobs)
    for one in windows:
        yield entry_patch(reader.read(one.blob)[one.top :, one.left :])


def describe_windows(
    workspace: Workspace, folder: Path, bundle_id: str, photos: Sequence[Item], stride_px: int, most: int
) -> tuple[list[Window], DescribedPatches]:
    """Describe windows of photos by the model of the bundle in `folder`, or take what is kept of them."""
    blobs = workspace.blobs

    def body(staged: Path) -> dict[str, Any]:
        windows = cut(blobs, photos, stride_px, most)
        model = Bundle.load(folder).model
        with counted("describing windows", len(windows)) as one_more:

            def read() -> Iterator[Picture]:
                for patch_HW3 in read_windows(blobs, windows):
                    yield patch_HW3
                    one_more()

            made = describe_patches(model, read())
        write_arrays(staged / ARRAYS, {"tokens": made.tokens, "vectors": made.vectors})
        write_bytes(staged / PLACES, json.dumps([asdict(window) for window in windows]).encode())
        return {"windows": len(made)}

    result = run_stage(
        workspace,
        "describe-windows",
        inputs={"bundle": bundle_id, "photos": digest_json([[item.item_id, item.blob] for item in photos])},
        config={"stride_px": stride_px, "most": most},
        modules=MODULES,
        body=body,
    )
    arrays = read_arrays(result.directory / ARRAYS)
    places = json.loads((result.directory / PLACES).read_bytes())
    return [Window(**values) for values in places], DescribedPatches(arrays["tokens"], arrays["vectors"])


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many of a sequence, evenly apart, in its order."""
    if len(things) <= most:
        return list(things)
    return [things[place * len(things) // most] for place in range(most)]
