"""Key pictures: whole reference pictures in a bundle, the same pixels on every machine.

`clc.bundle` stores them, and the encoder and the decoder read and warp them. An aligned reference enters the exact path
by its pixels, so every decoder must have the very same ones. The file is WebP, lossless or lossy, or PNG where a side
is longer than WebP can say; the contract is the SHA-256 of the pixels that it decodes to, which is checked whenever one
is read. Files are read on demand: opening a bundle of a thousand key pictures reads none.
"""

from __future__ import annotations

import io
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from clc.bitstream.alignment import Alignment, without_brightness
from clc.bitstream.stream import Reference
from clc.errors import DictionaryMismatch, InputError, MissingReference, StorageError
from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_PICTURE_FILE_BYTES, check_size
from clc.pictures.formats import WEBP_SIDE_PX
from clc.pictures.images import png_bytes, read_image, read_picture
from clc.pictures.picture import Picture
from clc.references.warp import Warped, warp, with_brightness
from storage.atomic import write_bytes
from storage.digest import sha256_bytes
from storage.regular import read_regular

FOLDER = "pictures"
"""Folder of a bundle that holds its key pictures, each named by its entry."""

CACHED_PICTURES = 8
"""Decoded key pictures that a `KeyPictureCache` keeps."""

LOSSLESS = "webp-lossless"
WEBP, PNG = "webp", "png"
"""Kinds of files, which are their endings too."""
_LOSSY = "webp-"
_METHOD = 6  # WebP's slowest and smallest


@dataclass(frozen=True)
class KeyPicture:
    """One stored picture: its file, sizes in px and bytes, and the SHA-256 of its RGB pixels, uint8, row by row."""

    path: Path
    width: int
    height: int
    file_bytes: int
    pixels_sha256: str

    @property
    def kind(self) -> str:
        """`WEBP` or `PNG`."""
        return self.path.suffix.removeprefix(".")

    def read(self) -> Picture:
        """The pixels, uint8 (H, W, 3). Raises `StorageError` if the file is missing or decodes to other pixels."""
        data = self.file_data()
        try:
            image_HW3 = read_picture(data, str(self.path), background="white").image_HW3
        except InputError as error:
            raise StorageError(f"key picture {self.path.name}: {error}; get the bundle again") from error
        if image_HW3.shape != (self.height, self.width, 3) or sha256_bytes(image_HW3.tobytes()) != self.pixels_sha256:
            raise StorageError(
                f"key picture {self.path.name} does not decode to the pixels that the bundle names: the file is "
                f"damaged or this machine decodes {self.kind} differently; get the bundle again or update Pillow"
            )
        return image_HW3

    def is_there(self) -> bool:
        """Whether the file is there and as large as is stated; it is not read."""
        try:
            status = self.path.stat()
        except (OSError, ValueError):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == self.file_bytes

    def file_data(self) -> bytes:
        """The file as it is. Raises `StorageError` where it is missing, no regular file, or larger than is stated."""
        try:
            return read_regular(self.path, min(self.file_bytes, MAX_PICTURE_FILE_BYTES))
        except OSError as error:
            raise StorageError(f"key picture {self.path}: {error.strerror}; get the bundle again") from error


class PictureSource(Protocol):
    """What registration and warping ask of reference pictures, such as `KeyPictureCache` or `PicturesInMemory`."""

    def read(self, reference: Reference, /) -> Picture:
        """The picture of a reference, uint8 (H, W, 3)."""


class PicturesInMemory:
    """The pictures of a collection as a `PictureSource`; the entry is the index in the sequence."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures

    def read(self, reference: Reference, /) -> Picture:
        """The picture at an index."""
        return self._pictures[_entry_of(reference)]


def _entry_of(reference: Reference) -> int:
    if isinstance(reference, bytes):
        raise MissingReference(
            f"the stream refers to stream {reference.hex()} of its archive: decode it there, clc unpack ARCHIVE OUT"
        )
    return reference


class KeyPictureCache:
    """The key pictures of one bundle, the last `CACHED_PICTURES` of them decoded in memory. Threads may share it."""

    def __init__(self, pictures: Mapping[int, KeyPicture]) -> None:
        self._pictures = pictures
        self._read = lru_cache(CACHED_PICTURES)(self._decode)

    def read(self, reference: Reference, /) -> Picture:
        """The key picture of an entry, uint8 (H, W, 3); the array is shared, so do not write into it.

        Raises `DictionaryMismatch` for an entry without a key picture, `StorageError` where its file is damaged,
        `MissingReference` for the id of a stream: a bundle has none.
        """
        return self._read(_entry_of(reference))

    def _decode(self, entry: int) -> Picture:
        picture = self._pictures.get(entry)
        if picture is None:
            raise DictionaryMismatch(f"the stream aligns entry {entry}, of which the bundle holds no key picture")
        return picture.read()


class WarpedKeyPictures:
    """Key pictures warped onto one picture that is being coded; the last warp of each entry is kept.

    Registration and every way to code the picture need the same warps. A kept warp has neutral brightness, so that
    alignments which differ in brightness alone are warped once.
    """

    def __init__(self, source: PictureSource) -> None:
        self._source = source
        self._warps: dict[Reference, tuple[tuple[tuple[int, int], Alignment], Warped]] = {}

    def warp(self, reference: Reference, size: tuple[int, int], alignment: Alignment) -> Warped:
        """`clc.references.warp.warp` of a reference picture; `size` is (height, width) of the target."""
        view = size, without_brightness(alignment)
        known = self._warps.get(reference)
        if known is None or known[0] != view:
            known = view, warp(self._source.read(reference), *view)
            self._warps[reference] = known
        return known[1] if alignment.is_neutral_in_brightness else with_brightness(known[1], alignment)


def write_key_picture(bundle: Path, entry: int, image_HW3: Picture, picture_format: str = LOSSLESS) -> KeyPicture:
    """Store the key picture of an entry, uint8 (H, W, 3), in a bundle folder.

    `picture_format` is "webp-lossless" or "webp-QUALITY" with a quality of 0 to 100. A picture with a side above
    `WEBP_SIDE_PX` becomes a PNG, lossless whatever the format. Raises `InputError` for another format, `LimitError`
    over the caps of `clc.limits`.
    """
    check_size(image_HW3.shape[1], image_HW3.shape[0])
    options = _webp_options(picture_format)
    is_webp = max(image_HW3.shape[:2]) <= WEBP_SIDE_PX
    data = _webp_bytes(image_HW3, options) if is_webp else png_bytes(image_HW3)
    path = _path(bundle, entry, WEBP if is_webp else PNG)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data)
    decoded = read_image(data)
    return KeyPicture(path, decoded.shape[1], decoded.shape[0], len(data), sha256_bytes(decoded.tobytes()))


def _webp_options(picture_format: str) -> dict[str, Any]:
    quality = picture_format.removeprefix(_LOSSY)
    if picture_format == LOSSLESS:
        return {"lossless": True, "exact": True, "quality": 80}
    if picture_format.startswith(_LOSSY) and quality.isascii() and quality.isdigit() and int(quality) <= 100:
        return {"quality": int(quality)}
    raise InputError(f"no format {picture_format!r} for key pictures: say {LOSSLESS} or webp-QUALITY (0 to 100)")


def _webp_bytes(image_HW3: Picture, options: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HW3)).save(buffer, "WEBP", method=_METHOD, **options)
    return buffer.getvalue()


def key_pictures_to_json(pictures: Mapping[int, KeyPicture]) -> list[dict[str, Any]]:
    """The JSON of a bundle's manifest: one object a picture, by ascending entry, which also names the file.

    The kind of a file is said where it is not WebP, the only one before version 8 of the bundle.
    """
    return [
        {
            "entry": entry,
            "width": picture.width,
            "height": picture.height,
            "bytes": picture.file_bytes,
            "pixels_sha256": picture.pixels_sha256,
            **({} if picture.kind == WEBP else {"kind": picture.kind}),
        }
        for entry, picture in sorted(pictures.items())
    ]


def key_pictures_from_json(bundle: Path, fields: list[dict[str, Any]]) -> dict[int, KeyPicture]:
    """The inverse of `key_pictures_to_json`.

    Raises `StorageError` for an entry that is out of range or twice there and for a kind of file that no bundle has,
    `InputError` for a size that cannot be.
    """
    pictures: dict[int, KeyPicture] = {}
    for item in fields:
        entry, width, height = int(item["entry"]), int(item["width"]), int(item["height"])
        if not 0 <= entry < MAX_DICTIONARY_ENTRIES or entry in pictures:
            raise StorageError(f"the bundle in {bundle} names a key picture for entry {entry} that cannot be")
        kind = item.get("kind", WEBP)
        if kind not in (WEBP, PNG):
            raise StorageError(f"the bundle in {bundle} names a key picture of a kind that no bundle has: {kind!r}")
        check_size(width, height)
        path = _path(bundle, entry, kind)
        pictures[entry] = KeyPicture(path, width, height, int(item["bytes"]), str(item["pixels_sha256"]))
    return pictures


def _path(bundle: Path, entry: int, kind: str) -> Path:
    return bundle / FOLDER / f"{entry:04d}.{kind}"
