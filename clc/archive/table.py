"""The table of an archive as a file, `archive.json`: `Manifest` <-> bytes.

    {
    "format":"clc-archive","version":2,
    "sha256":"5b1c...",                         of model, columns, pictures and version, as canonical JSON
    "model":{"id":"de3449ba54d8c6e8","folder":"model","files":{"manifest.json":"...",...}},
    "columns":["name","id","bytes",...],
    "pictures":[
    ["flight/0001.jpg","cc68b8dbba5fb5e7",30211,4000,3000,50,8120455,"8sKB6yj741x4FCLJ..."],
    ...
    ]
    }

One picture stands on a line, in the order of names, so that the file compares well between versions. Cells at the end
of a row that say nothing are left out (see `COLUMNS`). Version 1 had an object a picture, with the names of its fields
and digests in hex; it is read, and never written any more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from clc.archive.manifest import (
    ID_DIGITS,
    SHA256_DIGITS,
    ArchivedPicture,
    Manifest,
    broken,
    checked_digest,
    checked_hex,
    checked_model,
    checked_path,
    checked_quality,
    checked_whole,
    cut,
    digest_letters,
    stream_named,
)
from clc.errors import InputError, StorageError
from clc.limits import MAX_SIDE_PX
from storage.digest import canonical_json, digest_json

FORMAT, VERSION = "clc-archive", 2
MAX_BYTES = 1 << 30
"""Of the file: about seven million pictures."""

COLUMNS = (
    "name",
    "id",
    "bytes",
    "width",
    "height",
    "quality",
    "source_bytes",
    "source_sha256",
    "alone_bytes",
    "references",
    "check",
    "pixels_sha256",
    "stream",
)
"""The fields of `ArchivedPicture` in a row. Digests are in base64, references are numbers of rows, the first being 0.

What stands behind `source_sha256` may be left out at the end of a row: `alone_bytes` that are the `bytes`, no
references, a `check` that is the `id`, no pixels' digest, a `stream` that is named by `stream_named`.
"""

_LEAST_CELLS = COLUMNS.index("source_sha256") + 1

Row = list[Any]
"""The cells of a picture, a JSON value each, in the order of `COLUMNS`, as many as are not left out."""


def written(manifest: Manifest) -> bytes:
    """The bytes of `archive.json`; the inverse of `read`. Raises `InputError` for more than that takes."""
    lines = [_line(row) for row in rows_of(manifest)]
    told = head(manifest, lines)
    data = b"".join(
        (
            f'{{\n"format":"{FORMAT}","version":{VERSION},\n"sha256":"{told["sha256"]}",\n"model":'.encode(),
            canonical_json(told["model"]),
            b',\n"columns":',
            canonical_json(COLUMNS),
            b',\n"pictures":[\n',
            b",\n".join(lines),
            b"\n]\n}\n",
        )
    )
    refuse_to_write(f"it has {len(data)} bytes, and may have {MAX_BYTES}" if len(data) > MAX_BYTES else "")
    return data


def read(data: bytes) -> Manifest:
    """The table whose bytes are given, of version 1 or 2. Raises `StorageError`, which says what is wrong."""
    try:
        told = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise broken(f"it is no JSON ({error})") from error
    check_format(told, (1, VERSION))
    pictures = told.get("pictures")
    if not isinstance(pictures, list):
        raise broken("it has no pictures")
    if told["version"] == 1:
        return _first_version(told, pictures)
    if told.get("columns") != list(COLUMNS):
        raise broken("its columns are not those of its version")
    return manifest_of(told, pictures)


def refuse_to_write(excess: str) -> None:
    """Raises `InputError` where a table would be more than a reader takes, with the reason; "" is none."""
    if excess:
        raise InputError(f"the archive's table grows too large: {excess}; make several archives of the pictures")


def check_format(told: object, versions: tuple[int, ...]) -> None:
    """Raises `StorageError` unless a JSON value says that it is a table of one of these versions."""
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise broken(f'it does not say "format": "{FORMAT}"')
    version = told.get("version")
    if isinstance(version, bool) or version not in versions:
        known = " and ".join(map(str, versions))
        raise StorageError(
            f"the table is of version {cut(version)}, and this release reads version {known}: install the release "
            "that wrote it"
        )


def head(manifest: Manifest, lines: Iterable[bytes]) -> dict[str, Any]:
    """What a table says beside its pictures, whose rows are given as `lines_of` gives them."""
    model = _model(manifest)
    return {"format": FORMAT, "version": VERSION, "sha256": _digest(model, lines), "model": model}


def lines_of(manifest: Manifest) -> Iterator[bytes]:
    """The rows of a table as they stand in `archive.json`, each as canonical JSON."""
    return map(_line, rows_of(manifest))


def rows_of(manifest: Manifest) -> Iterator[Row]:
    """The rows of a table, in the order of names."""
    places = {picture.name: number for number, picture in enumerate(manifest.pictures)}
    numbers = {one: places[picture.name] for one, picture in manifest.by_id.items()}
    return (_row(picture, numbers) for picture in manifest.pictures)


def manifest_of(told: Mapping[str, Any], rows: Iterable[object]) -> Manifest:
    """The table of which `head` and `rows_of` are given, whatever form it had. Raises `StorageError`."""
    model_id, folder, files = checked_model(told.get("model"))
    pictures: list[ArchivedPicture] = []
    references: dict[int, list[int]] = {}

    def lines() -> Iterator[bytes]:
        for row in rows:
            picture, numbers = _picture(row)
            if numbers:
                references[len(pictures)] = numbers
            pictures.append(picture)
            yield _line(row)

    digest = _digest(_model(Manifest(model_id, folder, (), files)), lines())
    for at, numbers in references.items():
        if max(numbers) >= len(pictures):
            raise broken(f"{pictures[at].name} refers to row {cut(max(numbers))}, and there are {len(pictures)}")
        pictures[at] = replace(pictures[at], references=tuple(pictures[number].id for number in numbers))
    manifest = Manifest(model_id, folder, tuple(pictures), files)
    if told.get("sha256") != digest:
        raise broken("its content does not match its digest")
    return manifest


def _row(picture: ArchivedPicture, numbers: Mapping[str, int]) -> Row:
    whole = int(picture.quality)
    cells = [
        picture.name,
        picture.id,
        picture.bytes,
        picture.width,
        picture.height,
        whole if whole == picture.quality else picture.quality,
        picture.source_bytes,
        digest_letters(picture.source_sha256),
        picture.alone_bytes,
        [numbers[one] for one in picture.references],
        "" if picture.check == picture.id else picture.check,
        digest_letters(picture.pixels_sha256),
        "" if picture.stream == stream_named(picture.name) else picture.stream,
    ]
    return short(cells)


def short(cells: Row) -> Row:
    """A row of all columns without the cells at its end that say nothing."""
    nothing = _nothing(cells)
    while len(cells) > _LEAST_CELLS and cells[-1] == nothing[len(cells) - 1 - _LEAST_CELLS]:
        cells.pop()
    return cells


def whole(row: Row) -> Row:
    """The inverse of `short`."""
    return [*row, *_nothing(row)[len(row) - _LEAST_CELLS :]]


def _nothing(cells: Row) -> Row:
    """What the cells that may be left out would say."""
    return [cells[COLUMNS.index("bytes")], [], "", "", ""]


def _picture(row: object) -> tuple[ArchivedPicture, list[int]]:
    """The picture of a row, without its references, and these as numbers of rows."""
    if not isinstance(row, list) or not _LEAST_CELLS <= len(row) <= len(COLUMNS):
        raise broken(f"a picture is no list of {_LEAST_CELLS} to {len(COLUMNS)} cells")
    cells = whole(row)
    name, stream, references, check, pixels = checked_path(cells[0], "a picture's name"), cells[12], *cells[9:12]
    if not isinstance(references, list):
        raise broken(f"{name}: its references are no list")
    told_id = checked_hex(cells[1], ID_DIGITS, f"{name}: its id")
    picture = ArchivedPicture(
        name=name,
        stream=checked_path(stream, f"the stream of {name}") if stream != "" else stream_named(name),
        id=told_id,
        bytes=checked_whole(cells[2], f"{name}: its bytes"),
        check=checked_hex(check, ID_DIGITS, f"{name}: its check") if check != "" else told_id,
        width=checked_whole(cells[3], f"{name}: its width", MAX_SIDE_PX),
        height=checked_whole(cells[4], f"{name}: its height", MAX_SIDE_PX),
        quality=checked_quality(cells[5], name),
        references=(),
        source_bytes=checked_whole(cells[6], f"{name}: the bytes of its source"),
        source_sha256=checked_digest(cells[7], f"{name}: the digest of its source"),
        alone_bytes=checked_whole(cells[8], f"{name}: its bytes alone"),
        pixels_sha256=checked_digest(pixels, f"{name}: the digest of its pixels") if pixels != "" else "",
    )
    return picture, [checked_whole(one, f"{name}: a reference") for one in references]


def _line(row: object) -> bytes:
    """A row as canonical JSON. The bytes of a name that is no UTF-8 stand there as they are."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def _model(manifest: Manifest) -> dict[str, Any]:
    files = {"files": dict(sorted(manifest.model_files.items()))} if manifest.model_files else {}
    return {"id": manifest.model_id, "folder": manifest.model_folder, **files}


def _digest(model: Mapping[str, Any], lines: Iterable[bytes]) -> str:
    """The SHA-256 of the canonical JSON of a table, of which no copy is made; 64 hex digits."""
    before = canonical_json({"columns": COLUMNS, "model": model})
    digest, comma = hashlib.sha256(before[:-1] + b',"pictures":['), b""
    for line in lines:
        digest.update(comma + line)
        comma = b","
    digest.update(f'],"version":{VERSION}}}'.encode())
    return digest.hexdigest()


def _first_version(told: Mapping[str, Any], pictures: list[Any]) -> Manifest:
    """A table of version 1. Its SHA-256 of a stream's file is read, and its head is kept."""
    model_id, folder, files = checked_model(told.get("model"))
    found = sorted((_first_picture(one) for one in pictures), key=lambda one: one[0].name)
    manifest = Manifest(model_id, folder, tuple(picture for picture, _ in found), files)
    told_again = [_first_told(picture, digest) for picture, digest in found]
    content = {"version": 1, "model": _model(manifest), "pictures": told_again}
    if told.get("sha256") != digest_json(content):
        raise broken("its content does not match its digest")
    return manifest


def _first_told(picture: ArchivedPicture, sha256: str) -> dict[str, Any]:
    """A picture for the digest of version 1: the bytes of names that are no UTF-8 are made writable there."""
    told = {key: value for key, value in picture.to_json().items() if key != "check"}
    names = {key: told[key].encode("utf-8", "surrogateescape").decode("latin-1") for key in ("name", "stream")}
    return {**told, **names, "sha256": sha256}


def _first_picture(told: object) -> tuple[ArchivedPicture, str]:
    """A picture of version 1, and the SHA-256 of its stream's file."""
    if not isinstance(told, dict):
        raise broken("a picture is no object")
    name = checked_path(told.get("name"), "a picture's name")
    references, pixels = told.get("references", []), told.get("pixels_sha256", "")
    if not isinstance(references, list):
        raise broken(f"{name}: its references are no list")
    sha256 = checked_hex(told.get("sha256"), SHA256_DIGITS, f"{name}: its digest")
    of_source = checked_hex(told.get("source_sha256"), SHA256_DIGITS, f"{name}: the digest of its source")
    picture = ArchivedPicture(
        name=name,
        stream=checked_path(told.get("stream"), f"the stream of {name}"),
        id=checked_hex(told.get("id"), ID_DIGITS, f"{name}: its id"),
        bytes=checked_whole(told.get("bytes"), f"{name}: its bytes"),
        check=sha256[:ID_DIGITS],
        width=checked_whole(told.get("width"), f"{name}: its width", MAX_SIDE_PX),
        height=checked_whole(told.get("height"), f"{name}: its height", MAX_SIDE_PX),
        quality=checked_quality(told.get("quality"), name),
        references=tuple(checked_hex(one, ID_DIGITS, f"{name}: a reference") for one in references),
        source_bytes=checked_whole(told.get("source_bytes"), f"{name}: the bytes of its source"),
        source_sha256=of_source,
        alone_bytes=checked_whole(told.get("alone_bytes", 0), f"{name}: its bytes alone"),
        pixels_sha256=checked_hex(pixels, SHA256_DIGITS, f"{name}: the digest of its pixels") if pixels else "",
    )
    return picture, sha256
