"""What is learnt of one picture when it enters a collection: its pixels' digest, its likeness, what reading it loses.

`clc.collection.wall` calls `examine` in a process of its own; `pack` and `unpack` carry the outcome across. A picture
that cannot be used has a reason: a word that can be counted, and a sentence.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, SupportsBytes

from PIL import UnidentifiedImageError

from clc.console import text_of
from clc.errors import InputError, LimitError
from clc.pictures.exif import EXIF_DIRECTORY, Structure
from clc.pictures.images import read_upright
from clc.pictures.near_duplicates import hash_of, thumbnail_of
from clc.pictures.picture import UnknownRange

NOT_A_PICTURE = "not_a_picture"
BROKEN = "broken_picture"
OVER_LIMIT = "over_limit"
UNKNOWN_RANGE = "unknown_range"
NO_MEMORY = "no_memory"
UNREADABLE = "unreadable"
CHANGED = "changed"
DECODER_DIED = "decoder_died"
TOO_SLOW = "too_slow"

PASSING = frozenset((NO_MEMORY, UNREADABLE, CHANGED, DECODER_DIED, TOO_SLOW))
"""Reasons that say as much of the machine as of the picture."""

METADATA_LOST = "EXIF and XMP data were left out, for the pipeline works on pixels"
_TAKEN = 0x9003  # EXIF's DateTimeOriginal


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A picture that can be used: the pipeline works on its 8-bit sRGB pixels, upright, what is transparent over white.

    `content` is the SHA-256 of their shape and values, `perceptual_hash` 16 hex digits, `thumbnail` the 64x64 grey
    levels of `clc.pictures.near_duplicates` row by row, or what gives these bytes; `width` and `height` are in pixels.
    `taken` is when the camera says that it took the picture ("2024:05:31 12:00:01", its own clock), empty where it does
    not.
    """

    content: str
    perceptual_hash: str
    thumbnail: SupportsBytes
    width: int
    height: int
    losses: tuple[str, ...] = ()
    taken: str = ""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A picture that cannot be used: the reason as a word, and as a sentence."""

    code: str
    reason: str


def examine(data: bytes, name: str) -> Examined | Refused:
    """Decode a picture's file and return what it is; whatever a decoder raises becomes a reason. `name` is left out."""
    try:
        read = read_upright(data, name, background="white")
        digest = hashlib.sha256(repr((read.image.height, read.image.width, 3)).encode())  # the shape of its array
        digest.update(read.image.tobytes())
        thumbnail = thumbnail_of(read.image)
    except Exception as error:  # a decoder may raise anything over a file from outside
        return Refused(code=code_of(error), reason=text_of(error, name))
    return Examined(
        content=digest.hexdigest(),
        perceptual_hash=hash_of(thumbnail),
        thumbnail=thumbnail.tobytes(),
        width=read.image.width,
        height=read.image.height,
        losses=(*read.losses, METADATA_LOST) if read.metadata else read.losses,
        taken=taken_of(read.metadata.exif),
    )


def code_of(error: BaseException) -> str:
    """Return the word for what a decoder raised over a picture."""
    cause = error.__cause__
    if isinstance(error, MemoryError) or isinstance(cause, MemoryError):
        return NO_MEMORY
    if isinstance(error, LimitError):
        return OVER_LIMIT
    if isinstance(cause, UnidentifiedImageError):
        return NOT_A_PICTURE
    if isinstance(cause, UnknownRange):
        return UNKNOWN_RANGE
    if isinstance(error, InputError) and (cause is None or (isinstance(cause, OSError) and cause.errno is not None)):
        return UNREADABLE
    return BROKEN


def taken_of(exif: bytes) -> str:
    """Return when EXIF data say that a picture was taken, as they say it; empty where they do not or are broken."""
    structure = Structure.of(exif)
    if structure is None:
        return ""
    try:
        inner = structure.directory(structure.first).entries.get(EXIF_DIRECTORY)
        entry = None if inner is None else structure.directory(structure.integers(inner)[0]).entries.get(_TAKEN)
        return "" if entry is None else structure.value(entry)[:19].decode("ascii").strip("\0 ")
    except (ValueError, IndexError):
        return ""


def pack(outcome: Examined | Refused) -> bytes:
    """Return an outcome as JSON, for a pipe or a database."""
    fields: dict[str, Any] = dict(vars(outcome))
    if isinstance(outcome, Examined):
        fields["thumbnail"] = base64.b64encode(bytes(outcome.thumbnail)).decode()
    return json.dumps(fields).encode()


def unpack(packed: bytes | str) -> Examined | Refused:
    """Return what `pack` made. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    fields = json.loads(packed)
    if "code" in fields:
        return Refused(**fields)
    thumbnail = base64.b64decode(fields.pop("thumbnail"), validate=True)
    return Examined(**{**fields, "losses": tuple(fields["losses"])}, thumbnail=thumbnail)
