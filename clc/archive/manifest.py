"""`archive.json`, the table of what an archive holds: `Manifest` <-> bytes.

    {
     "format": "clc-archive", "version": 1,
     "sha256": "...",                            of all the rest, as canonical JSON
     "model": {"id": "de3449ba54d8c6e8", "folder": "model", "files": {"manifest.json": "...", ...}},
     "pictures": [
      {"name": "flight/0001.jpg", "stream": "flight/0001.jpg.clc", "id": "...", "bytes": 30211, "sha256": "...", ...},
      ...
     ]
    }

One picture stands on a line, in the order of names, so that the file compares well between versions. A reader trusts
nothing in it: names that would lead out of the folder, references to streams that are not there and circles are
refused, and the digest tells a changed value from a written one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from clc.errors import StorageError
from clc.limits import MAX_SIDE_PX
from storage.digest import digest_json

NAME = "archive.json"
WORK_FOLDER = ".packing"
"""Where the state of packing lies until it is finished."""

FORMAT, VERSION = "clc-archive", 1
MAX_BYTES = 1 << 30
"""Of `archive.json`: about two million pictures."""

_ID_DIGITS, _SHA256_DIGITS = 16, 64
_SHOWN = 80
"""Characters of a wrong value that a message shows."""


@dataclass(frozen=True)
class ArchivedPicture:
    """One picture of an archive.

    - `name`: the path of the source below the folder that was packed, with "/" between its parts.
    - `stream`: the path of its stream below the archive; `bytes` its size and `sha256` its digest.
    - `id`: by which other streams refer to it, 16 hex digits (`clc.bitstream.container.stream_id`).
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
    sha256: str
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
                raise _broken(f"two pictures have the same {what}, {twice[0]!r}")
        for picture in self.pictures:
            if picture.stream.split("/")[0] in (NAME, WORK_FOLDER, self.model_folder):
                raise _broken(f"the stream of {picture.name} cannot be {picture.stream!r}, which has another meaning")
        known = {picture.id for picture in self.pictures}
        for picture in self.pictures:
            missing = [one for one in picture.references if one not in known]
            if missing:
                raise _broken(f"{picture.name} refers to stream {missing[0]}, which the archive does not hold")
        self.in_order()

    @property
    def by_id(self) -> dict[str, ArchivedPicture]:
        """The pictures by their ids; of equal streams one whose pixels are named, and else the first by name."""
        found: dict[str, ArchivedPicture] = {}
        for picture in self.pictures:
            known = found.get(picture.id)
            if known is None or (picture.pixels_sha256 and not known.pixels_sha256):
                found[picture.id] = picture
        return found

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
                    raise _broken(f"{by_id[here].name} depends on itself")
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

    def to_bytes(self) -> bytes:
        """The bytes of `archive.json`."""
        head = {"format": FORMAT, "version": VERSION, "sha256": digest_json(self._content())}
        lines = [json.dumps(picture.to_json(), ensure_ascii=False) for picture in self.pictures]
        model = json.dumps(self._model())
        told = ",\n".join(f' "{key}": {json.dumps(value)}' for key, value in head.items())
        listed = ",\n".join(f"  {line}" for line in lines)
        return f'{{\n{told},\n "model": {model},\n "pictures": [\n{listed}\n ]\n}}\n'.encode("utf-8", "surrogateescape")

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The inverse of `to_bytes`. Raises `StorageError`, which says what is wrong, for anything else."""
        try:
            told = json.loads(data.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise _broken(f"it is no JSON ({error})") from error
        if not isinstance(told, dict) or told.get("format") != FORMAT:
            raise _broken(f'it does not say "format": "{FORMAT}"')
        if told.get("version") != VERSION:
            raise _broken(f"it is of version {_cut(told.get('version'))}, and this release reads version {VERSION}")
        model, pictures = told.get("model"), told.get("pictures")
        if not isinstance(model, dict) or not isinstance(pictures, list):
            raise _broken("it has no model or no pictures")
        manifest = cls(
            _hexadecimal(model.get("id"), _ID_DIGITS, "the model's id"),
            _model_folder(model["folder"]) if model.get("folder") else "",
            tuple(_picture(one) for one in pictures),
            _model_files(model.get("files", {})),
        )
        if told.get("sha256") != digest_json(manifest._content()):
            raise _broken("its content does not match its digest")
        return manifest

    def _model(self) -> dict[str, Any]:
        files = {"files": dict(sorted(self.model_files.items()))} if self.model_files else {}
        return {"id": self.model_id, "folder": self.model_folder, **files}

    def _content(self) -> dict[str, Any]:
        pictures = [_escaped(picture.to_json()) for picture in self.pictures]
        return {"version": VERSION, "model": self._model(), "pictures": pictures}


def _escaped(told: Mapping[str, Any]) -> dict[str, Any]:
    """A picture for the digest: names that are no UTF-8, whose bytes stand in the file as they are, made writable."""
    names = {key: told[key].encode("utf-8", "surrogateescape").decode("latin-1") for key in ("name", "stream")}
    return {**told, **names}


def _picture(told: object) -> ArchivedPicture:
    if not isinstance(told, dict):
        raise _broken("a picture is no object")
    name = checked_path(told.get("name"), "a picture's name")
    references = told.get("references", [])
    if not isinstance(references, list):
        raise _broken(f"{name}: its references are no list")
    quality = told.get("quality")
    if not isinstance(quality, int | float) or not 0 <= quality <= 100:
        raise _broken(f"{name}: no quality is {_cut(quality)}")
    pixels = told.get("pixels_sha256", "")
    return ArchivedPicture(
        name=name,
        stream=checked_path(told.get("stream"), f"the stream of {name}"),
        id=_hexadecimal(told.get("id"), _ID_DIGITS, f"{name}: its id"),
        bytes=_whole(told.get("bytes"), f"{name}: its bytes"),
        sha256=_hexadecimal(told.get("sha256"), _SHA256_DIGITS, f"{name}: its digest"),
        width=_whole(told.get("width"), f"{name}: its width", MAX_SIDE_PX),
        height=_whole(told.get("height"), f"{name}: its height", MAX_SIDE_PX),
        quality=float(quality),
        references=tuple(_hexadecimal(one, _ID_DIGITS, f"{name}: a reference") for one in references),
        source_bytes=_whole(told.get("source_bytes"), f"{name}: the bytes of its source"),
        source_sha256=_hexadecimal(told.get("source_sha256"), _SHA256_DIGITS, f"{name}: the digest of its source"),
        alone_bytes=_whole(told.get("alone_bytes", 0), f"{name}: its bytes alone"),
        pixels_sha256=_hexadecimal(pixels, _SHA256_DIGITS, f"{name}: the digest of its pixels") if pixels else "",
    )


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder that it is joined to, on any system; the table names no others."""
    if not path or "\0" in path or "\\" in path or not _is_of_bytes(path):
        return False
    parts = PurePosixPath(path).parts
    return path == "/".join(parts) and not {".", ".."}.intersection(parts) and ":" not in parts[0]


def _hexadecimal(value: object, digits: int, what: str) -> str:
    if isinstance(value, str) and len(value) == digits and not set(value) - set("0123456789abcdef"):
        return value
    raise _broken(f"{what} is {_cut(value)}, not {digits} hexadecimal digits")


def _whole(value: object, what: str, most: int = 1 << 62) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most:
        return value
    raise _broken(f"{what} cannot be {_cut(value)}")


def _model_folder(value: object) -> str:
    name = checked_path(value, "the model's folder")
    if "/" in name or not name.isascii():
        raise _broken(f"the model's folder cannot be {_cut(name)}: a plain name is expected")
    return name


def _model_files(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _broken("the model's files are no object")
    return {
        _utf8(checked_path(name, "a file of the model")): _hexadecimal(digest, _SHA256_DIGITS, "a file of the model")
        for name, digest in value.items()
    }


def _utf8(name: str) -> str:
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise _broken(f"a file of the model cannot be {_cut(name)}")
    return name


def checked_path(value: object, what: str) -> str:
    """A path for which `is_inside` holds; raises `StorageError` for anything else."""
    if isinstance(value, str) and is_inside(value):
        return value
    raise _broken(f"{what} cannot be {_cut(value)}: a path inside of the archive is expected")


def _is_of_bytes(name: str) -> bool:
    """Whether a text can be the name of a file: half a surrogate pair that stands for no byte has no encoding."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _cut(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _broken(reason: str) -> StorageError:
    return StorageError(f"{NAME} is damaged: {reason}; get the archive again, or a copy of this file")


def total_bytes(pictures: Sequence[ArchivedPicture]) -> int:
    """The bytes of the streams of some pictures."""
    return sum(picture.bytes for picture in pictures)
