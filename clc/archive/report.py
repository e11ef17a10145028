"""The page of an archive: what it holds, what it saves, what refers to what, and what became of the pictures.

`clc report` and `flows.strip` call `make_report`. The page is one HTML file that needs nothing beside it
(`clc.pages.page`). Names in an archive are whatever somebody called a file, so they are shown as one line of text each
and escaped. A large archive is told in full by its totals and shown in part: how many pictures, the page says.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from clc.archive.layout import Archive
from clc.archive.manifest import ArchivedPicture, Manifest
from clc.archive.unpack import ArchiveReader
from clc.archive.wording import asked_text, decibels_text
from clc.codec.beside import DecodedPicture
from clc.codec.codec import Codec
from clc.console import one_line
from clc.errors import ClcError, InputError
from clc.limits import MAX_PICTURE_FILE_BYTES
from clc.pages import page
from clc.pictures.images import ReadPicture, read_picture
from clc.pictures.picture import Picture
from storage.digest import sha256_bytes
from storage.names import shown_name
from storage.regular import read_regular

TEMPLATE = Path(__file__).parent / "report.html"

MOST_SHOWN = 200
"""Pictures with a thumbnail: about 2 MB of page, and as many to decode."""

MOST_COMPARED = 24
"""Pictures that are shown beside their sources, at up to `_COMPARED_PX`."""

_THUMBNAIL_PX, _THUMBNAIL_QUALITY = 240, 75
_COMPARED_PX, _COMPARED_QUALITY = 1024, 95
_DEEPEST = 8
"""Levels of the tree that are moved further to the right each."""

Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Compared:
    """A picture and its source as data of a page; `is_smaller` where they are shown at less than their size."""

    original: str
    decoded: str
    is_smaller: bool


@dataclass(frozen=True)
class Shown:
    """One picture of the page; `number` tells it from the others.

    `beside` are the pictures that it refers to, by name and number, None for one that the page does not show; `users`
    counts the pictures that refer to it. `asked` is what was asked of it, in words. `fault` says why it cannot be
    decoded, `note` why it is not compared with its source; both are "" where nothing is wrong. `psnr_db` is that
    against its source, None where it is not known.
    """

    number: int
    name: str
    row: ArchivedPicture
    beside: tuple[tuple[str, int | None], ...]
    users: int
    asked: str = ""
    thumbnail: str = ""
    fault: str = ""
    note: str = ""
    psnr_db: float | None = None
    compared: Compared | None = None


@dataclass(frozen=True)
class Totals:
    """Sums over all pictures of an archive, in bytes.

    `archive_bytes` counts streams, table and model. `alone_bytes` is what the pictures take alone at the quality that
    was asked for, None where that is not known of every one of them.
    """

    pictures: int
    source_bytes: int
    archive_bytes: int
    alone_bytes: int | None
    most_needed: int
    key_pictures: int


@dataclass(frozen=True)
class ArchiveReport:
    """The page as HTML; `faults` are the names of pictures on it that cannot be decoded, with reasons."""

    html: str
    shown: int
    faults: tuple[tuple[str, str], ...]


def make_report(
    archive: Archive,
    codec: Codec,
    sources: Path | None = None,
    watch: Watch = lambda done, of: None,
    at_equal_psnr: Sequence[tuple[str, int]] = (),
) -> ArchiveReport:
    """Return the page of an archive, decoded with the codec of its bundle.

    `sources` is the folder that was packed: its pictures are shown beside the decoded ones. `watch` is told how many
    of the pictures that the page shows are done. `at_equal_psnr` are the bytes of other ways to store the pictures at
    the archive's PSNR, with the name of each, where somebody measured that; they are shown beside sources. Raises
    `InputError` where `sources` is no folder; a picture that cannot be decoded is shown as such.
    """
    if sources is not None and not sources.is_dir():
        raise InputError(f"{sources}: is no folder; name the folder that was packed")
    manifest = archive.manifest
    chosen = choose_shown(manifest, MOST_SHOWN)
    shown = _show(ArchiveReader(archive, codec), chosen, sources, watch)
    compared = [one.row for one in shown if one.psnr_db is not None]
    html = page.render(
        TEMPLATE,
        title=shown_name(archive.folder.absolute().name),
        totals=totals_of(archive),
        pictures=shown,
        tree=tree_of(shown),
        alone=[one for one in shown if not one.beside and not one.users],
        pairs=[one for one in shown if one.compared],
        psnr_db=_psnr_of_all(shown) if compared else None,
        compared=len(compared),
        has_sources=sources is not None,
        faults=[one for one in shown if one.fault],
        notes=[one for one in shown if one.note],
        model=_model(manifest),
        deepest=_DEEPEST,
        decibels=decibels_text,
        is_promised=archive.promised_error() is not None,
        at_equal_psnr=at_equal_psnr if compared else (),
    )
    return ArchiveReport(html, len(shown), tuple((one.row.name, one.fault) for one in shown if one.fault))


def choose_shown(manifest: Manifest, most: int) -> list[ArchivedPicture]:
    """Return the pictures that a page shows, by name: all, or `most` of them, spread evenly, key pictures first.

    Key pictures take no more than half of the places.
    """
    pictures = manifest.pictures
    if len(pictures) <= most:
        return list(pictures)
    referred = {one for picture in pictures for one in picture.references}
    keys = _spread([one for one in pictures if one.id in referred], most // 2)
    names = {one.name for one in keys}
    others = _spread([one for one in pictures if one.name not in names], most - len(keys))
    return sorted([*keys, *others], key=lambda one: one.name)


def _spread(pictures: Sequence[ArchivedPicture], most: int) -> list[ArchivedPicture]:
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[place * len(pictures) // most] for place in range(most)]


def totals_of(archive: Archive) -> Totals:
    """Return the sums over an archive."""
    manifest = archive.manifest
    alone = [one.alone_bytes for one in manifest.pictures]
    referred = {one for picture in manifest.pictures for one in picture.references}
    return Totals(
        pictures=len(alone),
        source_bytes=sum(one.source_bytes for one in manifest.pictures),
        archive_bytes=archive.bytes_of_all,
        alone_bytes=sum(alone) if all(alone) else None,
        most_needed=max((len(manifest.needed_for(one)) for one in manifest.pictures), default=0),
        key_pictures=sum(one.id in referred for one in manifest.pictures),
    )


def tree_of(shown: Sequence[Shown]) -> list[tuple[int, Shown]]:
    """Return the pictures that refer to others or are referred to, each behind the first that it refers to, with depth.

    What refers only to pictures that the page does not show begins a tree of its own.
    """
    below: dict[int | None, list[Shown]] = {}
    for one in shown:
        if one.beside or one.users:
            first = next((number for _, number in one.beside if number is not None), None)
            below.setdefault(first, []).append(one)
    found: list[tuple[int, Shown]] = []
    waiting = [(0, one) for one in reversed(below.get(None, []))]
    while waiting:
        depth, one = waiting.pop()
        found.append((depth, one))
        waiting += [(depth + 1, other) for other in reversed(below.get(one.number, []))]
    return found


def _show(reader: ArchiveReader, chosen: Sequence[ArchivedPicture], sources: Path | None, watch: Watch) -> list[Shown]:
    manifest = reader.archive.manifest
    names = {one.id: shown_name(one.name) for one in manifest.pictures}
    numbers = {one.id: number for number, one in enumerate(chosen)}
    users = Counter(reference for one in manifest.pictures for reference in one.references)
    compared = {one.name for one in _spread(chosen, MOST_COMPARED)} if sources is not None else set()
    shown = []
    for number, row in enumerate(chosen):
        watch(number, len(chosen))
        plain = Shown(
            number=number,
            name=shown_name(row.name),
            row=row,
            beside=tuple((names[one], numbers.get(one)) for one in row.references),
            users=users[row.id],
            asked=asked_text(row.quality, reader.archive.promised_error_of(row)),
        )
        shown.append(_decoded(plain, reader, sources, with_pair=row.name in compared))
    watch(len(chosen), len(chosen))
    return shown


def _decoded(plain: Shown, reader: ArchiveReader, sources: Path | None, *, with_pair: bool) -> Shown:
    """A picture with its thumbnail, and beside its source where that is to be had."""
    try:
        decoded = reader.decode(plain.row)
    except ClcError as error:
        return replace(plain, fault=one_line(str(error), plain.row.name, plain.row.stream))
    image_HW3 = decoded.image_HW3
    shown = replace(plain, thumbnail=page.lossy_uri(_fitting(image_HW3, _THUMBNAIL_PX), _THUMBNAIL_QUALITY))
    if sources is None:
        return shown
    try:
        source_HW3 = _source(sources, plain.row, decoded).image_HW3
    except ClcError as error:
        return replace(shown, note=one_line(str(error), plain.row.name))
    pair = _pair(source_HW3, image_HW3) if with_pair else None
    return replace(shown, psnr_db=_psnr_db(source_HW3, image_HW3), compared=pair)


def _source(sources: Path, row: ArchivedPicture, decoded: DecodedPicture) -> ReadPicture:
    """The very picture that was packed. Raises `InputError` for another one, or one that would compare as another."""
    try:
        data = read_regular(sources / row.name, MAX_PICTURE_FILE_BYTES)
    except OSError as error:
        raise InputError(f"its source cannot be read: {error.strerror}") from error
    if sha256_bytes(data) != row.source_sha256:
        raise InputError("its source is another file now than was packed")
    source = read_picture(data, row.name)
    if source.alpha_HW is not None and decoded.alpha_HW is None:
        raise InputError("its source is transparent, and was laid over a colour when it was packed")
    if source.image_HW3.shape != decoded.image_HW3.shape:
        raise InputError("its source has another size")
    return source


def _pair(source_HW3: Picture, decoded_HW3: Picture) -> Compared:
    original, decoded = (
        page.lossy_uri(_fitting(one, _COMPARED_PX), _COMPARED_QUALITY) for one in (source_HW3, decoded_HW3)
    )
    return Compared(original, decoded, max(source_HW3.shape[:2]) > _COMPARED_PX)


def _fitting(image_HW3: Picture, side_px: int) -> Picture:
    """A picture whose longer side is `side_px` at most."""
    height, width = image_HW3.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return image_HW3
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller: Picture = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return smaller


def _psnr_db(source_HW3: Picture, decoded_HW3: Picture) -> float:
    error = float(np.square(source_HW3.astype(np.float32) - decoded_HW3).mean(dtype=np.float64))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def _psnr_of_all(shown: Sequence[Shown]) -> float:
    """PSNR in dB of all pixels of the pictures whose own is known."""
    known = [(one.row.width * one.row.height, one.psnr_db) for one in shown if one.psnr_db is not None]
    error = sum(pixels * 10 ** (-psnr_db / 10) for pixels, psnr_db in known) / sum(pixels for pixels, _ in known)
    return math.inf if error == 0 else -10 * math.log10(error)


def _model(manifest: Manifest) -> str:
    where = f"in its folder {manifest.model_folder}" if manifest.model_folder else "not in it: keep a copy beside it"
    return f"{manifest.model_id}, {where}"
