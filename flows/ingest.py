"""The flow `ingest-images`: pictures of any source become lossless PNG in the blob store and rows of `items.parquet`.

A source that is no folder of files (an archive, a table, a store, URLs) is brought into the workspace first
(`flows.intake`). A picture that cannot be used is a row with a reason and does not end the run, whatever its decoder
raises; so is a folder that cannot be searched, and a URL that gave none. `ledger.parquet` has a row for each. Equal
pictures are kept once. What a picture loses by becoming 8-bit sRGB without transparency stands in its row and is
counted in the summary. A picture's part (dictionary, training or evaluation) follows from its content, so that no two
parts share a picture. Each of the built-in photos has a fixed part.
"""

import logging
import os
from collections import Counter
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
from clc.pictures.near_duplicates import perceptual_hash
from flows.intake.gather import gather
from flows.intake.ledger import hosts, read_ledger, reasons, write_ledger
from flows.items import Item, RefusedPicture, write_items
from flows.outcomes import NO_MEMORY, NOT_SEARCHED, SAME, UNREADABLE, Decoded, code_of, ledger_row, publish
from flows.runtime.progress import track
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from flows.sources import PARTS, Source, SourcePicture, brought, read_source, split_parts
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
    "flows.intake.ledger",
    "flows.items",
    "flows.listing",
    "flows.outcomes",
    "flows.sources",
    "storage.blobs",
    "storage.digest",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what this stage makes."""

SHARD_PICTURES = 16
READERS = 4
HOSTS_TOLD = 5
METADATA_LOST = "EXIF and XMP data were left out, for the pipeline works on pixels"


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
    retry_failed: str | None = None,
    success_rate: float = 0.5,
) -> str:
    """Read pictures, split them into dictionary, training and evaluation parts, and store them lossless.

    Args:
        source: "builtin" for the photos that come with the packages, a folder, a pattern (photos/**/*.jpg), a text file
            with a path or URL a line (and, behind a tab, the picture's licence), a CSV or Parquet file with a column
            of URLs, a Parquet file with a column of bytes, a zip or tar archive, or a store (s3://bucket/folder).
        patch_px: Side of the square patches, in pixels, that the pictures of the dictionary and training parts are cut
            into. Without it the dictionary part is cut into patches of 256, and the training part of the built-in
            photos; that of other sources stays whole. Pictures to evaluate, and the built-in pair, are never cut.
        dictionary_share: Part of the pictures that goes into the dictionary, 0 to 1; not used for the built-in photos.
        training_share: Part of the pictures that is trained on, 0 to 1; the rest is for evaluation.
        retry_failed: Of what was to be fetched or read from an archive or store, and failed before, try again what
            failed for this reason (several with commas between), or "all".
        success_rate: Least share, 0 to 1, of 1,000 entries of such a source that must come; below it the run ends, and
            the next one tries those again that may have passed.

    Returns:
        The key of the finished stage, which other flows take as `ingest`.
    """
    shares = _checked_shares(dictionary_share, training_share)
    if patch_px is not None and patch_px < 16:
        raise InputError(f"patch_px is {patch_px}; patches of at least 16 pixels are wanted")
    workspace = Workspace.from_environment()
    pictures = _source(workspace, source, retry_failed, success_rate)
    _tell_what_is_missing(pictures)
    files = _file_digests(pictures)
    config = {"source": pictures.label, "patch_px": patch_px, "shares": shares}
    result = run_stage(
        workspace,
        "ingest-images",
        inputs={"pictures": _source_digest(pictures, files)},
        config=config,
        modules=MODULES,
        body=lambda folder: _ingest(workspace.blobs, pictures, patch_px, shares, folder, files),
    )
    publish(pictures.label, read_ledger(result.directory))
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
            # A key picture helps another view of its scene as a whole.
            side_px = None if decoded.picture.row == "pair" else sides_px[decoded.picture.part or ""]
            cut.items.extend(_items(decoded, side_px, blobs))
        except MemoryError as error:
            cut.refused.append(replace(decoded, reason=text_of(error), code=NO_MEMORY))
    return cut


def _ingest(
    blobs: BlobStore,
    source: Source,
    patch_px: int | None,
    shares: Mapping[str, float],
    folder: Path,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Decode, split, cut, cap, write; the body of the stage."""
    shards = _in_shards(source.pictures)
    futures = [decode_shard.submit(index, shard, blobs.root) for index, shard in enumerate(shards)]
    decoded = [one for shard in track(futures, "reading pictures") for one in shard]
    kept, refused = _without_duplicates(decoded)
    refused += _not_brought(source)
    if not kept:
        raise InputError(f"none of the {len(refused)} pictures of {source.label} can be used: {refused[0].reason}")
    kept = _with_parts(kept, shares)
    sides_px = _sides_px(source, patch_px)
    futures = [cut_shard.submit(index, shard, sides_px, blobs.root) for index, shard in enumerate(_in_shards(kept))]
    cuts = list(track(futures, "cutting patches"))
    items = [item for cut in cuts for item in cut.items]
    refused += [one for cut in cuts for one in cut.refused]
    rest = [*refused, *_unreadable(source)]
    write_items(folder, items, [_refused(index, one) for index, one in enumerate(rest)])
    not_cut = {one.picture.name for cut in cuts for one in cut.refused}
    ledger = [ledger_row(one, files) for one in (*(one for one in kept if one.picture.name not in not_cut), *rest)]
    write_ledger(folder, ledger)
    summary = {
        "source": source.label,
        "pictures": len(kept) - sum(len(cut.refused) for cut in cuts),
        "failed": len(refused),
        "reasons": reasons(ledger),
        "hosts": dict(list(hosts(ledger).items())[:HOSTS_TOLD]),
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
        read = _read(picture, blobs)
        png = png_bytes(read.image_HW3)
    except StorageError:
        raise  # a blob that is gone or altered is no fault of the picture
    except Exception as error:  # a decoder may raise anything over a file from outside
        reason = text_of(error, picture.name if picture.journal else picture.path)
        logger.warning("picture_refused name=%s reason=%s", picture.name, reason)
        return Decoded(picture, reason=reason, code=code_of(error))
    losses = (*read.losses, METADATA_LOST) if read.metadata else read.losses
    for loss in losses:
        logger.info("picture_lost name=%s loss=%s", picture.name, loss)
    content = sha256_bytes(repr(read.image_HW3.shape).encode() + read.image_HW3.tobytes())
    return Decoded(
        picture,
        content=content,
        blob=blobs.put(png),
        losses=losses,
        perceptual_hash=perceptual_hash(read.image_HW3),
        width=read.image_HW3.shape[1],
        height=read.image_HW3.shape[0],
    )


def _read(picture: SourcePicture, blobs: BlobStore) -> ReadPicture:
    """Return a picture as the pipeline works with it: pixels alone, what is transparent over white."""
    if picture.journal is None:
        return read_picture(picture.path, background="white")
    return read_picture(blobs.get(picture.journal.sha256), picture.name, background="white")


def _unreadable(source: Source) -> list[Decoded]:
    """Return what could not be searched as if it were a picture that was refused."""
    origin = source.pictures[0].source
    return [
        Decoded(
            SourcePicture(name, Path(name), origin, "not stated"),
            reason=f"cannot be searched: {reason}",
            code=NOT_SEARCHED,
        )
        for name, reason in source.unreadable.items()
    ]


def _not_brought(source: Source) -> list[Decoded]:
    """Return the entries that could not be brought as pictures that were refused."""
    lines = [(one, one.journal) for one in source.missing if one.journal is not None]
    return [Decoded(one, reason=line.detail or line.reason, code=line.reason) for one, line in lines]


def _without_duplicates(decoded: Sequence[Decoded]) -> tuple[list[Decoded], list[Decoded]]:
    """Return the readable pictures, the first of equal ones only, and the rest with a reason each."""
    first: dict[str, str] = {}
    kept, refused = [], []
    for one in decoded:
        if one.reason:
            refused.append(one)
        elif one.content in first:
            refused.append(replace(one, reason=f"the same picture as {first[one.content]}", code=SAME))
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
    """Return the side of the patches of each part; None keeps pictures whole, as those of the evaluation part are."""
    training_px = patch_px or (source.patch_px if source.is_training_cut else None)
    return {"dictionary": patch_px or source.patch_px, "training": training_px, "evaluation": None}


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


def _in_shards(values: Sequence[T]) -> list[Sequence[T]]:
    return [values[start : start + SHARD_PICTURES] for start in range(0, len(values), SHARD_PICTURES)]


def _checked_shares(dictionary: float, training: float) -> dict[str, float]:
    shares = {"dictionary": dictionary, "training": training, "evaluation": 1.0 - dictionary - training}
    if min(shares.values()) < 1e-9:
        raise InputError(f"the shares {dictionary:g} and {training:g} leave a part empty; all must be over 0")
    return shares


def _source(workspace: Workspace, source: str, retry_failed: str | None, success_rate: float) -> Source:
    """Return the pictures of a source, brought into the workspace where they do not lie in files of their own."""
    found = read_source(source)
    if isinstance(found, Source):
        return found
    gathered = gather(workspace, found, retry_failed=retry_failed, success_rate=success_rate)
    pictures = brought(found, gathered, workspace.blobs)
    if not pictures.pictures:
        others = f"; it holds {passed_over_text(pictures.passed_over)}" if pictures.passed_over else ""
        first = f": {pictures.missing[0].name}: {gathered.lines[0].detail}" if pictures.missing else ""
        raise InputError(f"no picture came of {found.label}{others}{first}; check it or name another source")
    return pictures


def _source_digest(source: Source, files: Mapping[str, str]) -> str:
    """Return the digest of all names and file contents, and of what is missing and why."""
    missing = [[one.name, one.journal.reason] for one in source.missing if one.journal is not None]
    return digest_json([[[picture.name, files[picture.name]] for picture in source.pictures], missing])


def _file_digests(source: Source) -> dict[str, str]:
    """Return the SHA-256 of every picture's file by name; an unreadable file counts as such."""
    return {one.name: _file_digest(one.path) if one.journal is None else one.journal.sha256 for one in source.pictures}


def _file_digest(path: Path) -> str:
    try:
        # A list may name a pipe or a device, which would never end.
        return sha256_file(path) if os.path.isfile(path) else UNREADABLE  # noqa: PTH113 - no error for any path
    except StorageError:
        return UNREADABLE
