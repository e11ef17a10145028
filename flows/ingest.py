"""The flow `ingest-images`: pictures of any source become lossless PNG in the blob store and rows of `items.parquet`.

A picture that cannot be used is a row with a reason and does not end the run, whatever its decoder raises; so is a
folder that cannot be searched. Equal pictures are kept once. What a picture loses by becoming 8-bit sRGB without
transparency stands in its row and is counted in the summary. A picture's part (dictionary, training or evaluation)
follows from its content, so that no two parts share a picture. Each of the built-in photos has a fixed part.
"""

import logging
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from prefect import flow, task
from prefect.task_runners import ThreadPoolTaskRunner

from clc.console import text_of
from clc.errors import InputError
from clc.pictures.folders import passed_over_text
from clc.pictures.images import ReadPicture, png_bytes, read_image, read_picture
from flows.items import Item, RefusedPicture, write_items
from flows.runtime.progress import track
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from flows.sources import PARTS, Source, SourcePicture, read_source, split_parts
from storage.blobs import BlobStore
from storage.digest import digest_json, sha256_bytes, sha256_file
from storage.errors import StorageError

logger = logging.getLogger(__name__)

T = TypeVar("T")

MODULES = (
    "clc.bundle.identity",
    "clc.limits",
    "clc.pictures",
    "flows.ingest",
    "flows.items",
    "flows.listing",
    "flows.sources",
    "storage.blobs",
    "storage.digest",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what this stage makes."""

SHARD_PICTURES = 16
READERS = 4
METADATA_LOST = "EXIF and XMP data were left out, for the pipeline works on pixels"


@dataclass(frozen=True)
class Decoded:
    """A picture after reading: the digest of its pixels, its PNG's blob and what it lost, or why there is none."""

    picture: SourcePicture
    content: str = ""
    blob: str = ""
    reason: str = ""
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cut:
    """What a shard of decoded pictures was cut into, and the pictures that could not be cut, with their reasons."""

    items: list[Item]
    refused: list[Decoded]


@flow(name="ingest-images", task_runner=ThreadPoolTaskRunner(max_workers=READERS))
def ingest_images(
    source: str = "builtin",
    patch_px: int | None = None,
    dictionary_share: float = 0.4,
    training_share: float = 0.4,
) -> str:
    """Read pictures, split them into dictionary, training and evaluation parts, and store them lossless.

    Args:
        source: "builtin" for the photos that come with the packages, a folder, or a text file with one path a line
            (and, behind a tab, the picture's licence).
        patch_px: Side of the square patches that every picture is cut into, in pixels. Without it the built-in photos
            and the dictionary part of other sources are cut into patches of 256, other parts stay whole.
        dictionary_share: Part of the pictures that goes into the dictionary, 0 to 1; not used for the built-in photos.
        training_share: Part of the pictures that is trained on, 0 to 1; the rest is for evaluation.

    Returns:
        The key of the finished stage, which other flows take as `ingest`.
    """
    shares = _checked_shares(dictionary_share, training_share)
    if patch_px is not None and patch_px < 16:
        raise InputError(f"patch_px is {patch_px}; patches of at least 16 pixels are wanted")
    workspace = Workspace.from_environment()
    pictures = read_source(source)
    _tell_what_is_missing(pictures)
    config = {"source": pictures.label, "patch_px": patch_px, "shares": shares}
    result = run_stage(
        workspace,
        "ingest-images",
        inputs={"pictures": _source_digest(pictures)},
        config=config,
        modules=MODULES,
        body=lambda folder: _ingest(workspace.blobs, pictures, patch_px, shares, folder),
    )
    return result.key


@task(task_run_name="decode-{shard}")
def decode_shard(shard: int, pictures: Sequence[SourcePicture], blob_root: Path) -> list[Decoded]:
    """Read one shard of pictures into the blob store; a picture that cannot be read yields its reason."""
    blobs = BlobStore(blob_root)
    return [_decode(picture, blobs) for picture in pictures]


@task(task_run_name="cut-{shard}")
def cut_shard(shard: int, pictures: Sequence[Decoded], sides_px: Mapping[str, int | None], blob_root: Path) -> Cut:
    """Turn one shard of decoded pictures, whose parts are known, into items, cut where `sides_px` names a side."""
    blobs = BlobStore(blob_root)
    cut = Cut([], [])
    for decoded in pictures:
        try:
            cut.items.extend(_items(decoded, sides_px[decoded.picture.part or ""], blobs))
        except MemoryError as error:
            cut.refused.append(replace(decoded, reason=text_of(error)))
    return cut


def _ingest(
    blobs: BlobStore, source: Source, patch_px: int | None, shares: Mapping[str, float], folder: Path
) -> dict[str, Any]:
    """Decode, split, cut, cap, write; the body of the stage."""
    shards = _in_shards(source.pictures)
    futures = [decode_shard.submit(index, shard, blobs.root) for index, shard in enumerate(shards)]
    decoded = [one for shard in track(futures, "reading pictures") for one in shard]
    kept, refused = _without_duplicates(decoded)
    if not kept:
        raise InputError(f"none of the {len(refused)} pictures of {source.label} can be used: {refused[0].reason}")
    kept = _with_parts(kept, shares)
    sides_px = _sides_px(source, patch_px)
    futures = [cut_shard.submit(index, shard, sides_px, blobs.root) for index, shard in enumerate(_in_shards(kept))]
    cuts = list(track(futures, "cutting patches"))
    items = _capped([item for cut in cuts for item in cut.items], source.evaluation_items)
    refused += [one for cut in cuts for one in cut.refused]
    rows = [_refused(index, one) for index, one in enumerate([*refused, *_unreadable(source)])]
    write_items(folder, items, rows)
    summary = {
        "source": source.label,
        "pictures": len(kept) - sum(len(cut.refused) for cut in cuts),
        "failed": len(refused),
        "items": {part: sum(item.part == part for item in items) for part in PARTS},
        "losses": dict(Counter(loss for one in kept for loss in one.losses)),
        "unreadable": dict(source.unreadable),
        "passed_over": dict(source.passed_over),
    }
    logger.info("ingested %s", " ".join(f"{name}={value}" for name, value in summary.items()))
    return summary


def _tell_what_is_missing(source: Source) -> None:
    """Log what of a folder is not among the pictures, also where a finished stage is used again."""
    for name, reason in source.unreadable.items():
        logger.warning("folder_unreadable name=%s reason=%s", name, reason)
    if source.passed_over:
        logger.info("passed_over source=%s files=%r", source.label, passed_over_text(source.passed_over))


def _decode(picture: SourcePicture, blobs: BlobStore) -> Decoded:
    try:
        read = _read(picture.path)
        png = png_bytes(read.image_HW3)
    except Exception as error:  # a decoder may raise anything over a file from outside
        reason = text_of(error, picture.path)
        logger.warning("picture_refused name=%s reason=%s", picture.name, reason)
        return Decoded(picture, reason=reason)
    losses = (*read.losses, METADATA_LOST) if read.metadata else read.losses
    for loss in losses:
        logger.info("picture_lost name=%s loss=%s", picture.name, loss)
    content = sha256_bytes(repr(read.image_HW3.shape).encode() + read.image_HW3.tobytes())
    return Decoded(picture, content=content, blob=blobs.put(png), losses=losses)


def _read(path: Path) -> ReadPicture:
    """Return a picture as the pipeline works with it: pixels alone, what is transparent over white."""
    return read_picture(path, background="white")


def _unreadable(source: Source) -> list[Decoded]:
    """Return what could not be searched as if it were a picture that was refused."""
    origin = source.pictures[0].source
    return [
        Decoded(SourcePicture(name, Path(name), origin, "not stated"), reason=f"cannot be searched: {reason}")
        for name, reason in source.unreadable.items()
    ]


def _without_duplicates(decoded: Sequence[Decoded]) -> tuple[list[Decoded], list[Decoded]]:
    """Return the readable pictures, the first of equal ones only, and the rest with a reason each."""
    first: dict[str, str] = {}
    kept, refused = [], []
    for one in decoded:
        if one.reason:
            refused.append(one)
        elif one.content in first:
            refused.append(replace(one, reason=f"the same picture as {first[one.content]}"))
        else:
            first[one.content] = one.picture.name
            kept.append(one)
    return kept, refused


def _with_parts(kept: Sequence[Decoded], shares: Mapping[str, float]) -> list[Decoded]:
    """Return the pictures with a part each: the source's own, or the one that their content falls into."""
    free = [one.content for one in kept if one.picture.part is None]
    parts = split_parts(free, shares) if free else {}
    return [
        replace(one, picture=replace(one.picture, part=parts[one.content])) if one.content in parts else one
        for one in kept
    ]


def _sides_px(source: Source, patch_px: int | None) -> dict[str, int | None]:
    """Return the side of the patches of each part; None keeps pictures whole."""
    if patch_px is not None:
        return dict.fromkeys(PARTS, patch_px)
    return {part: source.patch_px if source.are_all_parts_cut or part == "dictionary" else None for part in PARTS}


def _items(decoded: Decoded, side_px: int | None, blobs: BlobStore) -> list[Item]:
    """Return the items of one picture: itself, or patches that cover it and overlap where its size demands it."""
    image_HW3 = read_image(blobs.get(decoded.blob))
    height, width = image_HW3.shape[:2]
    if side_px is None or (height <= side_px and width <= side_px):
        return [_item(decoded, image_HW3, decoded.blob, "")]
    items = []
    for top in _offsets(height, side_px):
        for left in _offsets(width, side_px):
            patch_HW3 = np.ascontiguousarray(image_HW3[top : top + side_px, left : left + side_px])
            items.append(_item(decoded, patch_HW3, blobs.put(png_bytes(patch_HW3)), f"{left}-{top}"))
    return items


def _offsets(size_px: int, side_px: int) -> list[int]:
    """Return the starts of the fewest patches that cover `size_px`, evenly spread."""
    if size_px <= side_px:
        return [0]
    last = -(-size_px // side_px) - 1
    return [index * (size_px - side_px) // last for index in range(last + 1)]


def _item(decoded: Decoded, image_HW3: np.ndarray[Any, Any], blob: str, place: str) -> Item:
    """Return a picture (`place` is empty), or the patch of it at `place`, as an item."""
    picture = decoded.picture
    return Item(
        item_id=f"{decoded.content[:16]}-{place}" if place else decoded.content[:16],
        name=f"{picture.name} {place}" if place else picture.name,
        photo=picture.name,
        part=picture.part or "",
        row=picture.row,
        blob=blob,
        width=image_HW3.shape[1],
        height=image_HW3.shape[0],
        source=picture.source,
        licence=picture.licence,
        losses=decoded.losses,
    )


def _refused(index: int, decoded: Decoded) -> RefusedPicture:
    picture = decoded.picture
    return RefusedPicture(
        item_id=f"failed-{index:06d}",
        name=picture.name,
        photo=picture.name,
        row=picture.row,
        reason=decoded.reason,
        source=picture.source,
        licence=picture.licence,
    )


def _capped(items: Sequence[Item], limits: Mapping[str, int]) -> list[Item]:
    """Drop evaluation items beyond the limit of their row, taking turns among the photos so that none dominates.

    Within a photo the order is that of a digest: it is arbitrary, and the same on every machine.
    """
    queues: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(items, key=lambda item: digest_json(item.item_id)):
        if item.part == "evaluation" and item.row in limits:
            queues[item.row][item.photo].append(item.item_id)
    dropped: set[str] = set()
    for row, photos in queues.items():
        turns = sorted((turn, photo, item_id) for photo, ids in photos.items() for turn, item_id in enumerate(ids))
        dropped.update(item_id for _, _, item_id in turns[limits[row] :])
    return [item for item in items if item.item_id not in dropped]


def _in_shards(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + SHARD_PICTURES] for start in range(0, len(values), SHARD_PICTURES)]


def _checked_shares(dictionary: float, training: float) -> dict[str, float]:
    shares = {"dictionary": dictionary, "training": training, "evaluation": 1.0 - dictionary - training}
    if min(shares.values()) < 1e-9:
        raise InputError(f"the shares {dictionary:g} and {training:g} leave a part empty; all must be over 0")
    return shares


def _source_digest(source: Source) -> str:
    """Return the digest of all names and file contents; an unreadable file counts as such."""
    return digest_json([[picture.name, _file_digest(picture.path)] for picture in source.pictures])


def _file_digest(path: Path) -> str:
    try:
        # A list may name a pipe or a device, which would never end.
        return sha256_file(path) if os.path.isfile(path) else "unreadable"  # noqa: PTH113 - no error for any path
    except StorageError:
        return "unreadable"
