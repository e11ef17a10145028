"""WebP lossless without what its file says that a stream says already: size and, in front, RIFF and VP8L.

    file: "RIFF" length "WEBP" | "VP8L" length | 2F, width - 1 and height - 1 in 14 bits, alpha in 1, 0 in 3 | data

The payload is `data`. 25 bytes are left out and put back.
"""

from __future__ import annotations

import io
import math
import struct

from PIL import Image, features

from clc.errors import InputError

NAME = "WebP"

_CHUNK_AT, _DATA_AT = 12, 25
_SIGNATURE = 0x2F
_SIZE_BITS = 14
_USUAL, _THOROUGH = 80, 100
"""How hard the encoder tries, of 100."""

_HASTY, _HASTY_METHOD, _FAR_MORE = 20, 1, 1.5
"""A tenth of the usual time; of the screens, scans and boards that were tried it takes 1.26 times as much at most."""

_SMALL_PIXELS, _MOST_SIMPLE_PIXELS = 2**12, 2**20
"""Up to so many pixels it tries everything: of any picture, and of one that takes a bit a pixel at most, as screens do.

That takes a second there, and saves up to 4 %."""


def is_available() -> bool:
    """Whether this installation of Pillow has WebP."""
    return bool(features.check("webp"))


def webp_payload(image: Image.Image, *, is_thorough: bool = False, worth_bytes: float = math.inf) -> bytes:
    """Return a picture of mode RGB or RGBA as a payload; colours under clear pixels stay.

    `is_thorough` takes tens of seconds for a picture of 0.4 megapixels, and saves some tenths of a percent. Nothing
    more is tried where an encode takes more than `worth_bytes`, or a hasty one far more.
    """
    pixels = image.width * image.height
    if math.isfinite(worth_bytes) and pixels > _SMALL_PIXELS:
        hasty = _payload_of(_encoded(image, _HASTY, _HASTY_METHOD))
        if len(hasty) > _FAR_MORE * worth_bytes:
            return hasty
    payload = _payload_of(_encoded(image, _USUAL))
    is_simple = pixels <= _MOST_SIMPLE_PIXELS and 8 * len(payload) <= pixels
    if len(payload) <= worth_bytes and (pixels <= _SMALL_PIXELS or is_simple or is_thorough):
        payload = min(payload, _payload_of(_encoded(image, _THOROUGH)), key=len)
    return payload


def webp_file(payload: bytes, width: int, height: int, *, has_alpha: bool) -> bytes:
    """Return the file of a payload, for a decoder. Raises `InputError` for a side over 16,384 px."""
    most = 1 << _SIZE_BITS
    if max(width, height) > most:
        raise InputError(f"WebP has no number for {width}x{height} px")
    bits = width - 1 | (height - 1) << _SIZE_BITS | has_alpha << 2 * _SIZE_BITS
    chunk = struct.pack("<BI", _SIGNATURE, bits) + payload
    padding = b"\0" * (len(chunk) % 2)
    body = b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk + padding
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _encoded(image: Image.Image, quality: int, method: int = 6) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=quality, method=method, exact=True)
    return buffer.getvalue()


def _payload_of(file: bytes) -> bytes:
    kind, length = file[_CHUNK_AT : _CHUNK_AT + 4], int.from_bytes(file[_CHUNK_AT + 4 : _CHUNK_AT + 8], "little")
    if kind != b"VP8L":
        raise InputError(f"WebP wrote a chunk of kind {kind!r} in place of VP8L")
    return file[_DATA_AT : _CHUNK_AT + 8 + length]
