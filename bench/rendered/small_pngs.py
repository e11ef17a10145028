"""A hundred small PNG files of every colour type, depth, interlacing and transparency, written from the specification.

`make` gives their names and bytes; `bench/range.py` measures on them, and tests read them. A name says what is in a
file: colour type and depth, "i" where it is interlaced, "t" where it has a transparent colour, and its size.
"""

from __future__ import annotations

import struct
import zlib
from itertools import product

import numpy as np
import numpy.typing as npt

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
KINDS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
SIZES = ((32, 32), (40, 33), (1, 7))
TRANSPARENT = ((GREY, 1), (GREY, 2), (GREY, 4), (GREY, 8), (GREY, 16), (RGB, 8), (RGB, 16))
TRANSPARENT_PALETTES = ((PALETTE, 2), (PALETTE, 4), (PALETTE, 8))

_START = b"\x89PNG\r\n\x1a\n"
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Adam7: first row and column, and the steps from there."""


def make() -> dict[str, bytes]:
    """Return the files by their names."""
    kinds = [(colour, depth) for colour, depths in KINDS.items() for depth in depths]
    found = {}
    for (colour, depth), is_interlaced, size in product(kinds, (False, True), SIZES):
        name = f"{colour}-{depth:02}{'i' if is_interlaced else ''}-{size[1]}x{size[0]}.png"
        found[name] = png(_samples(colour, depth, size), colour, depth, is_interlaced=is_interlaced)
    for colour, depth in TRANSPARENT + TRANSPARENT_PALETTES:
        samples = _samples(colour, depth, SIZES[0])
        found[f"{colour}-{depth:02}t-32x32.png"] = png(samples, colour, depth, is_transparent=True)
    return found


def png(
    samples_HWC: npt.NDArray[np.int64],
    colour: int,
    depth: int,
    *,
    is_interlaced: bool = False,
    is_transparent: bool = False,
) -> bytes:
    """Return a PNG of samples (H, W, C) in 0..2**depth - 1; a palette is made up, and so is a transparent colour."""
    height, width = samples_HWC.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(is_interlaced))
    chunks = [_chunk(b"IHDR", header)]
    if colour == PALETTE:
        chunks.append(_chunk(b"PLTE", bytes(at * 37 % 256 for at in range(3 << depth))))
    if is_transparent and colour == PALETTE:
        chunks.append(_chunk(b"tRNS", bytes(range(0, 250, 250 >> min(depth, 4)))[: 1 << depth]))
    elif is_transparent:
        chunks.append(_chunk(b"tRNS", struct.pack(f">{CHANNELS[colour]}H", *samples_HWC[0, 0].tolist())))
    steps = _PASSES if is_interlaced else ((0, 0, 1, 1),)
    rows = b"".join(_rows(samples_HWC[top::down, left::right], depth) for top, left, down, right in steps)
    return b"".join((_START, *chunks, _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b"")))


def _samples(colour: int, depth: int, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Ramps across, down and along, on a grid of squares: (H, W, C)."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    top = 2**depth - 1
    ramps = (rows * top // 39, columns * top // 39, (rows + columns) * top // 78, (rows // 4 + columns // 4) % 2 * top)
    chosen = {GREY: (2,), PALETTE: (2,), GREY_ALPHA: (2, 3), RGB: ramps[:3], RGBA: ramps}[colour]
    planes = [ramps[one] if isinstance(one, int) else one for one in chosen]
    return np.stack(planes, axis=-1)


def _rows(samples_HWC: npt.NDArray[np.int64], depth: int) -> bytes:
    """Unfiltered rows, each behind the number of its filter, 0; nothing where a pass has no samples."""
    if samples_HWC.size == 0:
        return b""
    height = samples_HWC.shape[0]
    flat_HS = samples_HWC.reshape(height, -1)
    bits_HSB = flat_HS[..., None] >> np.arange(depth - 1, -1, -1) & 1
    packed = np.packbits(bits_HSB.reshape(height, -1).astype(np.uint8), axis=1)
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
