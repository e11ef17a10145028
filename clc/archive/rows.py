"""From a coded picture to its stream and its row in the table, for packing and for adding; and names it may have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from clc.archive.coding import Coded
from clc.archive.manifest import ArchivedPicture, check_of, is_inside
from clc.bitstream.container import parse, with_sections
from clc.codec.beside import sections_of
from clc.errors import InputError
from clc.pictures.images import ReadPicture
from clc.pictures.metadata import NO_METADATA
from clc.quality import from_q6


class Source(NamedTuple):
    """A file that becomes a picture of an archive: its name and its stream's path there, and the file's SHA-256."""

    name: str
    stream: str
    sha256: str


def finished(
    source: Source, picture: ReadPicture, coded: Coded, alone_bytes: int, *, strip: bool
) -> tuple[bytes, ArchivedPicture]:
    """The stream of a picture with its transparency and metadata, and its row; `strip` leaves EXIF and XMP out.

    `alone_bytes` is what its stream takes alone, without these.
    """
    metadata = NO_METADATA if strip else picture.metadata
    height, width = picture.image_HW3.shape[:2]
    data = with_sections(coded.data, sections_of(picture.alpha_HW, metadata, (height, width)))
    row = ArchivedPicture(
        name=source.name,
        stream=source.stream,
        id=coded.id.hex(),
        bytes=len(data),
        check=check_of(data),
        width=width,
        height=height,
        quality=from_q6(coded.quality_q6),
        references=tuple(one.hex() for one in parse(data).streams),
        source_bytes=picture.file_bytes,
        source_sha256=source.sha256,
        alone_bytes=len(data) - len(coded.data) + alone_bytes,
        pixels_sha256=coded.pixels_sha256,
    )
    return data, row


def check_paths(paths: Iterable[str], model_folder: str) -> None:
    """Raises `InputError` for the first path below an archive that the table cannot name, or its model would hide."""
    for path in paths:
        if not is_inside(path):
            raise InputError(f"{path}: an archive cannot hold this name; rename it without \\ and :")
        if model_folder and path.startswith(f"{model_folder}/"):
            raise InputError(
                f"{path}: would lie in the folder of the archive's model; rename the folder {model_folder}"
            )
