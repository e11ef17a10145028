"""What an archive holds: `Manifest`, its table in memory, and the checks of the values that stand in one.

`clc.archive.table` writes and reads it as `archive.json`, `clc.archive.parquet` as `archive.parquet` where it is large.
A reader trusts nothing in it: names that would lead out of the folder, references to streams that are not there and
circles are refused.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

from clc.bitstream.alignment import MAX_ALIGNMENTS
from clc.codec.files import ENCODE
from clc.errors import StorageError
from storage.digest import sha256_bytes

NAME = "archive.json"
PARQUET_NAME = "archive.parquet"
"""The table of an archive of very many pictures. Where both lie in a folder, this is the newer one."""

WORK_FOLDER = ".packing"
"""Where the state of packing lies until it is finished."""

ID_DIGITS, SHA256_DIGITS = 16, 64
_SHA256_LETTERS = 43
_SHOWN = 80
"""Characters of a wrong value that a message shows."""


@dataclass(frozen=True, slots=True)
class ArchivedPicture:
    """One picture of an archive.

    - `name`: the path of the source below the folder that was packed, with "/" between its parts.
    - `stream`: the path of its stream below the archive; `bytes` its size.
    - `id`: by which other streams refer to it, 16 hex digits (`clc.bitstream.container.stream_id`).
    - `check`: the head of the SHA-256 of the stream's file, 16 hex digits: the `id` where it has no sections.
    - `width`, `height`: in px. `quality`: 0..100, at which it was coded.
    - `references`: ids of the streams that it refers to. They stand in the archive.
    - `source_bytes`, `source_sha256`: of the file that was packed.
    - `alone_bytes`: what the picture takes alone, at the quality that was asked for; 0 where that is not known.
    - `pixels_sha256`: of the decoded RGB pixels, row by row, where other streams refer to this one; else "".
    """

    name: str
    stream: str
    id: str
    bytes: int
    check: str
    width: int
    height: int
    quality: float
    references: tuple[str, ...]
    source_bytes: int
    source_sha256: str
    alone_bytes: int = 0
    pixels_sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; what is not known is left out."""
        told = {**asdict(self), "references": list(self.references)}
        return {key: value for key, value in told.items() if value not in ("", [], 0) or key in _NEEDED}


_NEEDED = {one.name for one in fields(ArchivedPicture)} - {"references", "alone_bytes", "pixels_sha256"}


@dataclass(frozen=True)
class Manifest:
    """The table of an archive: the bundle's id, 16 hex digits, the folder that holds it or "", and the pictures.

    `model_files` are the SHA-256 of the files in the bundle's folder, by their paths in it. Raises `StorageError` on
    construction where pictures contradict one another: two of one name or stream, a stream in the place of the table or
    the model, a reference to none of them, or a circle.
    """

    model_id: str
    model_folder: str
    pictures: tuple[ArchivedPicture, ...]
    model_files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", tuple(sorted(self.pictures, key=lambda picture: picture.name)))
        for what in ("name", "stream"):
            seen = Counter(getattr(picture, what) for picture in self.pictures)
            twice = [one for one, count in seen.items() if count > 1]
            if twice:
                raise broken(f"two pictures have the same {what}, {twice[0]!r}")
        for picture in self.pictures:
            if picture.stream.split("/", 1)[0] in (NAME, PARQUET_NAME, WORK_FOLDER, self.model_folder):
                raise broken(f"the stream of {picture.name} cannot be {picture.stream!r}, which has another meaning")
            if len(picture.references) > MAX_ALIGNMENTS:
                raise broken(f"{picture.name} refers to {len(picture.references)} streams, and {MAX_ALIGNMENTS} may be")
        known = {picture.id for picture in self.pictures}
        for picture in self.pictures:
            missing = [one for one in picture.references if one not in known]
            if missing:
                raise broken(f"{picture.name} refers to stream {missing[0]}, which the archive does not hold")
        self.in_order()

    @cached_property
    def by_id(self) -> dict[str, ArchivedPicture]:
        """The pictures by their ids; of equal streams one whose pixels are named, and else the first by name."""
        found: dict[str, ArchivedPicture] = {}
        for picture in self.pictures:
            known = found.get(picture.id)
            if known is None or (picture.pixels_sha256 and not known.pixels_sha256):
                found[picture.id] = picture
        return found

    @cached_property
    def by_name(self) -> dict[str, ArchivedPicture]:
        """The pictures by their names."""
        return {picture.name: picture for picture in self.pictures}

    @cached_property
    def by_stream(self) -> dict[str, ArchivedPicture]:
        """The pictures by the paths of their streams."""
        return {picture.stream: picture for picture in self.pictures}

    def in_order(self) -> list[ArchivedPicture]:
        """The pictures in an order in which each comes after those that it refers to. Raises `StorageError`."""
        depths = self.depths()
        return sorted(self.pictures, key=lambda picture: (depths[picture.id], picture.name))

    def depths(self) -> dict[str, int]:
        """By id, how many streams stand in the longest chain that a stream depends on; 0 for one that stands alone."""
        by_id, depths = self.by_id, dict[str, int]()
        for first in by_id:
            path = [first]
            while path:
                here = path[-1]
                missing = [one for one in by_id[here].references if one not in depths]
                if here in depths or not missing:
                    depths.setdefault(here, max((depths[one] + 1 for one in by_id[here].references), default=0))
                    path.pop()
                elif missing[0] in path:
                    raise broken(f"{by_id[here].name} depends on itself")
                else:
                    path.append(missing[0])
        return depths

    def dependents(self, ids: Iterable[str]) -> list[ArchivedPicture]:
        """The pictures that cannot be decoded without the streams `ids`, these not among them, in order of names."""
        lost = set(ids)
        found = []
        for picture in self.in_order():
            if picture.id not in lost and lost.intersection(picture.references):
                lost.add(picture.id)
                found.append(picture)
        return sorted(found, key=lambda picture: picture.name)

    def needed_for(self, picture: ArchivedPicture) -> list[ArchivedPicture]:
        """The other pictures whose streams must be decoded to decode this one."""
        by_id, wanted, needed = self.by_id, list(picture.references), dict[str, ArchivedPicture]()
        while wanted:
            one = by_id[wanted.pop()]
            if one.id not in needed:
                needed[one.id] = one
                wanted += one.references
        return list(needed.values())


def check_of(data: bytes) -> str:
    """By which the file of a stream is known from another or a damaged one: the head of its SHA-256, 16 hex digits."""
    return sha256_bytes(data)[:ID_DIGITS]


def stream_named(name: str) -> str:
    """The path of the stream of a picture, below the archive, by the rule of `clc.codec.files`."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + ENCODE.named(last)


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder that it is joined to, on any system; the table names no others."""
    if not path or "\0" in path or "\\" in path or not _is_of_bytes(path):
        return False
    parts = path.split("/")
    return not {"", ".", ".."}.intersection(parts) and ":" not in parts[0]


def checked_hex(value: object, digits: int, what: str) -> str:
    """So many hex digits in lower case. Raises `StorageError` for anything else."""
    if isinstance(value, str) and len(value) == digits and not set(value) - set("0123456789abcdef"):
        return value
    raise broken(f"{what} is {cut(value)}, not {digits} hexadecimal digits")


def checked_whole(value: object, what: str, most: int = 1 << 62) -> int:
    """A whole number from 0 to `most`. Raises `StorageError` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    raise broken(f"{what} cannot be {cut(value)}")


def checked_digest(value: object, what: str) -> str:
    """A SHA-256 as 64 hex digits from its base64 of 43 letters. Raises `StorageError` for anything else."""
    if isinstance(value, str) and len(value) == _SHA256_LETTERS and value.isascii():
        try:
            data = base64.b64decode(value + "=", validate=True)
        except binascii.Error:
            data = b""
        if digest_letters(data.hex()) == value:
            return data.hex()
    raise broken(f"{what} is {cut(value)}, not a SHA-256 in {_SHA256_LETTERS} letters of base64")


def digest_letters(digest: str) -> str:
    """A SHA-256 of 64 hex digits as base64 without its last "=", 43 letters: the inverse of `checked_digest`."""
    return base64.b64encode(bytes.fromhex(digest)).decode().rstrip("=")


def checked_model(told: object) -> tuple[str, str, dict[str, str]]:
    """Id, folder and files of the model, as `Manifest` has them, from a JSON value. Raises `StorageError`."""
    if not isinstance(told, dict):
        raise broken("it has no model")
    files = told.get("files", {})
    if not isinstance(files, dict):
        raise broken("the model's files are no object")
    digests = {
        _utf8(checked_path(name, "a file of the model")): checked_hex(digest, SHA256_DIGITS, "a file of the model")
        for name, digest in files.items()
    }
    folder = _model_folder(told["folder"]) if told.get("folder") else ""
    return checked_hex(told.get("id"), ID_DIGITS, "the model's id"), folder, digests


def checked_quality(value: object, name: str) -> float:
    """A quality from 0 to 100. Raises `StorageError` for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100:
        return float(value)
    raise broken(f"{name}: no quality is {cut(value)}")


def _model_folder(value: object) -> str:
    name = checked_path(value, "the model's folder")
    if "/" in name or not name.isascii():
        raise broken(f"the model's folder cannot be {cut(name)}: a plain name is expected")
    return name


def _utf8(name: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise broken(f"a file of the model cannot be {cut(name)}")
    return name


def checked_path(value: object, what: str) -> str:
    """A path for which `is_inside` holds; raises `StorageError` for anything else."""
    if isinstance(value, str) and is_inside(value):
        return value
    raise broken(f"{what} cannot be {cut(value)}: a path inside of the archive is expected")


def _is_of_bytes(name: str) -> bool:
    """Whether a text can be the name of a file: half a surrogate pair that stands for no byte has no encoding."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def cut(value: object) -> str:
    """A wrong value as a message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def broken(reason: str) -> StorageError:
    """The error of a table that cannot be; whoever read it from a file says which."""
    return StorageError(f"the table is damaged: {reason}; get the archive again, or a copy of its table")
