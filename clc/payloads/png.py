"""The rows of a PNG, filtered and deflated, without chunks: for pictures that WebP has no size for, or makes larger.

=======  =======  ==============================================================================
bytes    field    content
=======  =======  ==============================================================================
1        kind     bits 0 and 1: depth 1, 2, 4 or 8 bits; bits 2 to 4: PNG's colour type
1        colours  of the palette, less 1; only in colour type 3
3 each   palette  red, green, blue
..       rows     the zlib stream of the PNG without its first two bytes, which say nothing
=======  =======  ==============================================================================
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from clc.errors import CorruptStream, InputError
from clc.pictures.containers import PNG_START, png_chunks

_ZLIB_START = b"\x78\xda"
_DEPTHS = (1, 2, 4, 8)
_PALETTE = 3
_KINDS = {0: (1, 8), 2: (8,), _PALETTE: (1, 2, 4, 8), 4: (8,), 6: (8,)}
"""Colour types and their depths, as they are written here."""

_MOST_COLOURS = 256


def png_payload(image: Image.Image) -> bytes:
    """Return a picture of mode RGB or RGBA as a payload: with a palette, as grey or in full, as is smallest."""
    buffer = io.BytesIO()
    _reduced(image).save(buffer, "PNG", optimize=True)
    file = buffer.getvalue()
    chunks: dict[bytes, bytes] = {}
    for part in png_chunks(file):
        chunks[part.kind] = chunks.get(part.kind, b"") + file[part.start : part.end]
    depth, colour = chunks[b"IHDR"][8:10]
    palette = chunks.get(b"PLTE", b"") if colour == _PALETTE else b""
    kind = bytes((_DEPTHS.index(depth) | colour << 2,))
    head = kind + bytes((len(palette) // 3 - 1,)) + palette if colour == _PALETTE else kind
    return head + chunks[b"IDAT"][len(_ZLIB_START) :]


def png_file(payload: bytes, width: int, height: int, *, has_alpha: bool) -> bytes:
    """Return the file of a payload, for a decoder. Raises `CorruptStream` for what `png_payload` does not write."""
    depth, colour = _DEPTHS[payload[0] & 3], payload[0] >> 2
    if depth not in _KINDS.get(colour, ()) or has_alpha != (colour in (4, 6)):
        raise CorruptStream("the payload is of a kind that no encoder writes: the stream is damaged")
    at, palette = 1, b""
    if colour == _PALETTE:
        n_bytes = 3 * (payload[1] + 1) if len(payload) > 1 else 0
        at, palette = 2 + n_bytes, payload[2 : 2 + n_bytes]
        if not n_bytes or len(palette) != n_bytes or n_bytes > 3 << depth:
            raise CorruptStream("the payload's palette is not whole: the stream is damaged")
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), _chunk(b"PLTE", palette) if palette else b""]
    return b"".join((PNG_START, *chunks, _chunk(b"IDAT", _ZLIB_START + payload[at:]), _chunk(b"IEND", b"")))


def _reduced(image: Image.Image) -> Image.Image:
    """The same picture in the mode that takes the fewest bits a pixel."""
    samples = np.asarray(image)
    is_grey = bool((samples[..., 0] == samples[..., 1]).all() and (samples[..., 0] == samples[..., 2]).all())
    if image.mode == "RGBA":
        return Image.merge("LA", (image.getchannel(0), image.getchannel(3))) if is_grey else image
    if image.mode != "RGB":
        raise InputError(f"a picture of mode {image.mode} is no payload: convert it to RGB or RGBA")
    colours = image.getcolors(_MOST_COLOURS)
    if colours is None:
        return image.getchannel(0) if is_grey else image
    listed = sorted(tuple(colour) for _, colour in colours)  # type: ignore[arg-type]  # three levels each, in mode RGB
    if is_grey and {colour[0] for colour in listed} <= {0, 255}:
        return image.getchannel(0).convert("1", dither=Image.Dither.NONE)
    if is_grey and len(listed) > _MOST_COLOURS // 16:
        return image.getchannel(0)
    table = np.array(listed, np.uint8).reshape(-1, 3).astype(np.uint32)
    codes = samples.astype(np.uint32) @ np.array((1 << 16, 1 << 8, 1), np.uint32)
    indexes = np.searchsorted(table @ np.array((1 << 16, 1 << 8, 1), np.uint32), codes).astype(np.uint8)
    with_palette = Image.fromarray(indexes, "P")
    with_palette.putpalette(table.astype(np.uint8).tobytes())
    return with_palette


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
