"""AVIF without its boxes, which are the same for all pictures that are written here: they are put back for a decoder.

The payload is what `clc.payloads.av1` describes: 4:4:4, 8 bits, full range, and the primaries, transfer and matrix of
sRGB as AVIF writers have them (1, 13, 6). Boxes take 271 bytes of a file by libavif, as much as a thumbnail's pixels.

AV1 gives the same luma and chroma everywhere; how libavif makes colours of them differs from release to release. So the
boxes that are put back say that the planes are green, blue and red themselves, and `rgb_of` makes the colours: every
machine has the same.
"""

from __future__ import annotations

import io
import os
import struct

import numpy as np
from PIL import Image, features

from clc.errors import InputError
from clc.payloads.av1 import TEMPORAL_DELIMITER, Sequence, checked_sequence, units
from clc.pictures.picture import Picture

NAME = "AVIF"
FASTEST = 10
"""The speed of libavif's encoder that takes least time."""

_ENCODER = "aom"
_CHANNELS, _DEPTH = 3, 8
_CODES = (1, 13, 0)  # primaries, transfer, matrix of ITU-T H.273; 0: the planes are green, blue and red themselves
_FULL_RANGE = 0x80

_DIFFERENCES = np.arange(256, dtype=np.int32) - 128
_RED = ((1402 * _DIFFERENCES + 500) // 1000).astype(np.int16)
_BLUE = ((1772 * _DIFFERENCES + 500) // 1000).astype(np.int16)
_GREEN_SHARE = 587_000
_GREEN = ((_GREEN_SHARE // 2 - 299 * 1402 * _DIFFERENCES[:, None] - 114 * 1772 * _DIFFERENCES) // _GREEN_SHARE).astype(
    np.int16
)
"""BT.601: what differences of chroma, from -128 on, add to luma; to green those of red (rows) and of blue."""

_ESSENTIAL = 0x80


def is_available() -> bool:
    """Whether this installation of Pillow reads AVIF."""
    return bool(features.check("avif"))


def can_write() -> bool:
    """Whether this installation of Pillow writes AVIF, by the encoder that is wanted: another may not have 4:4:4."""
    try:
        from PIL import _avif
    except ImportError:
        return False
    return is_available() and bool(_avif.encoder_codec_available(_ENCODER))


def avif_payload(image: Image.Image, quality: int, speed: int) -> bytes:
    """Return a picture of mode RGB as a payload, at libavif's quality (0 to 100) and speed (0, slow, to 10).

    The encoder spends bits for the least squared error, as the codec does; by itself libavif asks it for SSIM, and at
    the same bytes has some tenths of a decibel less. What it makes of chroma: `clc.payloads.avif_chroma`.

    Raises `InputError` where Pillow's encoder fails, or writes what is no payload.
    """
    buffer = io.BytesIO()
    plain = Image.frombytes(image.mode, image.size, image.tobytes())  # without what `info` may hold
    try:
        plain.save(
            buffer,
            "AVIF",
            quality=quality,
            speed=speed,
            codec=_ENCODER,
            advanced={"tune": "psnr"},
            subsampling="4:4:4",
            range="full",
            autotiling=False,
            max_threads=_threads(),
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"Pillow cannot write AVIF here ({error})") from error
    file = buffer.getvalue()
    picture = file[_box_content(file, b"mdat") :]
    kept = [unit.whole for unit in units(picture) if unit.kind != TEMPORAL_DELIMITER]
    payload = b"".join(kept)
    checked_sequence(payload, *image.size)
    return payload


def avif_file(payload: bytes, width: int, height: int) -> bytes:
    """Return the file of a payload, for a decoder, which gives the planes that `rgb_of` takes.

    Raises `CorruptStream` for a payload that is no picture of so many px, 4:4:4 and 8 bits.
    """
    sequence = checked_sequence(payload, width, height)
    start = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miafMA1A")
    places = len(start) + len(_meta(sequence, 0, len(payload))) + 8
    return start + _meta(sequence, places, len(payload)) + _box(b"mdat", payload)


def rgb_of(planes_HW3: Picture) -> Picture:
    """Return the colours, uint8 (H, W, 3), of what a decoder gives of `avif_file`: Cr, Y and Cb, in full range.

    They are those of BT.601, rounded in whole numbers.
    """
    red, luma, blue = (planes_HW3[..., place] for place in range(3))
    rgb_HW3: Picture = np.empty_like(planes_HW3)
    for place, added in enumerate((_RED[red], _GREEN.ravel()[red.astype(np.uint16) << 8 | blue], _BLUE[blue])):
        added += luma
        rgb_HW3[..., place] = added.clip(0, 255, out=added)
    return rgb_HW3


def _meta(sequence: Sequence, at: int, length: int) -> bytes:
    """What a reader has to know of the one item, whose bytes stand at a position of the file."""
    size = struct.pack(">II", sequence.width, sequence.height)
    configuration = bytes((0x81, sequence.profile << 5 | sequence.level, 0, 0))
    colours = b"nclx" + struct.pack(">HHHB", *_CODES, _FULL_RANGE)
    properties = (
        _full_box(b"ispe", size),
        _full_box(b"pixi", bytes((_CHANNELS, *(_DEPTH,) * _CHANNELS))),
        _box(b"av1C", configuration),
        _box(b"colr", colours),
    )
    used = struct.pack(">IHB4B", 1, 1, 4, 1, 2, _ESSENTIAL | 3, 4)
    return _full_box(
        b"meta",
        _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
        _full_box(b"pitm", struct.pack(">H", 1)),
        _full_box(b"iloc", struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, at, length)),
        _full_box(b"iinf", struct.pack(">H", 1), _full_box(b"infe", struct.pack(">HH", 1, 0), b"av01\0", version=2)),
        _box(b"iprp", _box(b"ipco", *properties), _full_box(b"ipma", used)),
    )


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _full_box(kind: bytes, *content: bytes, version: int = 0) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)), *content)


def _box_content(file: bytes, kind: bytes) -> int:
    """The position of the content of a box on the highest level, which is the last one of the file."""
    at = 0
    while at + 8 <= len(file):
        size = int.from_bytes(file[at : at + 4], "big")
        if file[at + 4 : at + 8] == kind and at + size == len(file):
            return at + 8
        if size < 8:
            break
        at += size
    raise InputError("Pillow wrote an AVIF file without its picture at the end")


def _threads() -> int:
    """As many as torch would take: what `OMP_NUM_THREADS` says, else all cores that this process may use."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isascii() and said.isdigit() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
