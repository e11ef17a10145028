"""The flow `ingest-images`: pictures of any source become blobs, byte by byte as they are, and rows of `items.parquet`.

A source that is no folder of files (an archive, a table, a store, URLs) is brought into the workspace first
(`flows.intake`). Pictures are examined by Dask's workers, who decode behind a wall (`clc.collection.wall`); a patch is
a rectangle of a blob. A picture that cannot be used is a row with a reason and does not end the run, whatever its
decoder does; so is a folder that cannot be searched, and a URL that gave none. `ledger.parquet` has a row for each.
Equal pictures are kept once. What a picture loses by becoming 8-bit sRGB without transparency stands in its row and is
counted in the summary. A picture's part (dictionary, training or evaluation) follows from the content of its scene
(`flows.parts`), so that no two parts share one. Each of the built-in photos has a fixed part.
"""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow

from clc.collection.examination import Examined, Refused
from clc.collection.thumbnails import Thumbnails
from clc.errors import InputError
from clc.pictures.folders import passed_over_text
from clc.pictures.images import picture_bytes
from clc.pictures.picture import Rectangle
from flows.intake.examining import count_unknown, examined
from flows.intake.gather import gather
from flows.intake.ledger import hosts, read_ledger, reasons, write_ledger
from flows.items import Item, RefusedPicture, read_items, write_items
from flows.outcomes import NOT_SEARCHED, SAME, Decoded, ledger_row, publish
from flows.parts import with_parts
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Count, Part, PatchSide, Share
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from flows.sources import PARTS, Source, SourcePicture, brought, read_source
from storage.digest import digest_json, sha256_file
from storage.errors import StorageError

logger = logging.getLogger(__name__)

MODULES = (
    "clc.bundle.identity",
    "clc.collection",
    "clc.limits",
    "clc.pictures",
    "flows.ingest",
    "flows.intake.examining",
    "flows.intake.ledger",
    "flows.intake.memory",
    "flows.items",
    "flows.listing",
    "flows.outcomes",
    "flows.parts",
    "flows.sources",
    "storage.blobs",
    "storage.digest",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what this stage makes."""

READERS = 4
HOSTS_TOLD = 5


@dataclass(frozen=True)
class Plan:
    """What the stage needs beside its pictures: files' SHA-256 by name, the side of patches, the parts' shares."""

    files: Mapping[str, str]
    patch_px: int | None
    shares: Mapping[str, float]


@flow(name="ingest-images", flow_run_name=run_name("ingest-images of {source}"))
@saying_why
def ingest_images(
    source: str = "builtin",
    patch_px: PatchSide | None = None,
    dictionary_share: Part = 0.4,
    training_share: Part = 0.4,
    retry_failed: str | None = None,
    success_rate: Share = 0.5,
    workers: Count = 2,
    dask_scheduler: str | None = None,
) -> str:
    """Read pictures, split them into dictionary, training and evaluation parts, and store their files as they are.

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
        workers: Pictures that are read at once on this machine, each by a process that decodes it; not used with a
            scheduler's address.
        dask_scheduler: Address of a running Dask scheduler, whose workers see pictures and workspace under the same
            paths; without one, a local cluster.

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
    plan = Plan(files, patch_px, shares)

    def body(folder: Path) -> dict[str, Any]:
        with Thumbnails(workspace.intake) as thumbnails:
            outcomes = examined(
                workspace, pictures.pictures, files, thumbnails, workers=workers, scheduler=dask_scheduler
            )
            return _ingest(pictures, outcomes, plan, folder)

    result = run_stage(
        workspace,
        "ingest-images",
        inputs={"pictures": _source_digest(pictures, files)},
        config=config,
        modules=MODULES,
        body=body,
        pending=lambda: f"{count_unknown(workspace, pictures.pictures, files)} of {len(files)} files are new",
    )
    if result.reused:
        _restore(workspace, pictures, files, result.directory)
    publish(pictures.label, read_ledger(result.directory))
    return result.key


def _ingest(source: Source, outcomes: Sequence[Examined | Refused], plan: Plan, folder: Path) -> dict[str, Any]:
    """Split, cut, cap, write; the body of the stage, once all pictures are examined."""
    decoded = [_decoded(one, outcome, plan.files) for one, outcome in zip(source.pictures, outcomes, strict=True)]
    kept, refused = _without_duplicates(decoded)
    refused += _not_brought(source)
    if not kept:
        raise InputError(f"none of the {len(refused)} pictures of {source.label} can be used: {refused[0].reason}")
    parted = with_parts(kept, plan.shares)
    kept = parted.kept
    refused += parted.left_out
    sides_px = _sides_px(source, plan.patch_px)
    items = [item for one in kept for item in _items(one, _side_px(one, sides_px))]
    rest = [*refused, *_unreadable(source)]
    write_items(folder, items, [_refused(index, one) for index, one in enumerate(rest)])
    ledger = [ledger_row(one, plan.files) for one in (*kept, *rest)]
    write_ledger(folder, ledger)
    summary = {
        "source": source.label,
        "pictures": len(kept),
        "failed": len(refused),
        "reasons": reasons(ledger),
        "hosts": dict(list(hosts(ledger).items())[:HOSTS_TOLD]),
        "items": {part: sum(item.part == part for item in items) for part in PARTS},
        "scenes": parted.scenes,
        "scenes_cut": parted.cut,
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


def _decoded(picture: SourcePicture, outcome: Examined | Refused, files: Mapping[str, str]) -> Decoded:
    if isinstance(outcome, Refused):
        logger.warning("picture_refused name=%s reason=%s", picture.name, outcome.reason)
        return Decoded(picture, reason=outcome.reason, code=outcome.code)
    for loss in outcome.losses:
        logger.info("picture_lost name=%s loss=%s", picture.name, loss)
    return Decoded(picture, outcome, files[picture.name])


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


def _sides_px(source: Source, patch_px: int | None) -> dict[str, int | None]:
    """Return the side of the patches of each part; None keeps pictures whole, as those of the evaluation part are."""
    training_px = patch_px or (source.patch_px if source.is_training_cut else None)
    return {"dictionary": patch_px or source.patch_px, "training": training_px, "evaluation": None}


def _side_px(decoded: Decoded, sides_px: Mapping[str, int | None]) -> int | None:
    """Return the side of a picture's patches; a key picture helps another view of its scene as a whole."""
    return None if decoded.picture.row == "pair" else sides_px[decoded.picture.part or ""]


def _items(decoded: Decoded, side_px: int | None) -> list[Item]:
    """Return the items of one picture: itself, or patches that cover it and overlap where its size demands it."""
    found = decoded.found
    if found is None:
        return []
    if side_px is None or (found.height <= side_px and found.width <= side_px):
        return [_item(decoded, Rectangle(0, 0, found.width, found.height), is_patch=False)]
    height, width = min(side_px, found.height), min(side_px, found.width)
    return [
        _item(decoded, Rectangle(left, top, width, height), is_patch=True)
        for top in _offsets(found.height, side_px)
        for left in _offsets(found.width, side_px)
    ]


def _offsets(size_px: int, side_px: int) -> list[int]:
    """Return the starts of the fewest patches that cover `size_px`, evenly spread."""
    if size_px <= side_px:
        return [0]
    last = -(-size_px // side_px) - 1
    return [index * (size_px - side_px) // last for index in range(last + 1)]


def _item(decoded: Decoded, place: Rectangle, *, is_patch: bool) -> Item:
    """Return a picture, or the patch of it at `place`, as an item."""
    picture, at = decoded.picture, f"{place.left}-{place.top}"
    return Item(
        item_id=f"{decoded.content[:16]}-{at}" if is_patch else decoded.content[:16],
        name=f"{picture.name} {at}" if is_patch else picture.name,
        photo=picture.name,
        part=picture.part or "",
        row=picture.row,
        blob=decoded.blob,
        left=place.left if is_patch else None,
        top=place.top if is_patch else None,
        width=place.width,
        height=place.height,
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
    """Return the SHA-256 of every picture's file by name, empty for one that cannot be read."""
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(_file_digest, source.pictures)
        return dict(zip((one.name for one in source.pictures), found, strict=True))


def _file_digest(picture: SourcePicture) -> str:
    if picture.journal is not None:
        return picture.journal.sha256
    try:
        # A list may name a pipe or a device, which would never end.
        return sha256_file(picture.path) if os.path.isfile(picture.path) else ""  # noqa: PTH113 - no error for any path
    except StorageError:
        return ""


def _restore(workspace: Workspace, source: Source, files: Mapping[str, str], ingested: Path) -> None:
    """Put back blobs of a finished ingest that were removed, as a message of the blob store may have advised."""
    missing = {blob for blob in {item.blob for item in read_items(ingested)} if not workspace.blobs.has(blob)}
    for one in source.pictures:
        if one.journal is None and files[one.name] in missing:
            missing.discard(workspace.blobs.put(picture_bytes(one.path)))
