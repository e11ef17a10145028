"""PNG files of every colour type, depth, interlacing and transparency."""

import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.made_pictures.samples import Levels, Made, Samples, levels_of, packed, rgb, samples_of


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples_HWC: Samples, depth: int, colour: int, *extra: bytes, is_interlaced: bool = False) -> bytes:
    """A PNG file whose rows use the five filters in turn; `extra` are chunks before the pixels."""
    height, width = samples_HWC.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, is_interlaced)
    adam7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = adam7 if is_interlaced else ((0, 0, 1, 1),)
    parts = [samples_HWC[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(
        _filtered(packed(part, depth, ">"), max(1, depth * part.shape[2] // 8)) for part in parts if part.size
    )
    chunks = (png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _filtered(rows_HB: Levels, step: int) -> bytes:
    made = b""
    for at, row in enumerate(rows_HB.astype(int)):
        above = rows_HB[at - 1].astype(int) if at else np.zeros_like(row)
        left, corner = (np.concatenate((np.zeros(step, int), one))[: len(row)] for one in (row, above))
        guess = left + above - corner
        distances = [abs(guess - one) for one in (left, above, corner)]
        nearest = np.where((distances[0] <= distances[1]) & (distances[0] <= distances[2]), left, above)
        paeth = np.where((distances[2] < distances[0]) & (distances[2] < distances[1]), corner, nearest)
        predictions = (np.zeros_like(row), left, above, (left + above) // 2, paeth)
        made += bytes([at % 5]) + ((row - predictions[at % 5]) % 256).astype(np.uint8).tobytes()
    return made


def png_pictures() -> Iterator[Made]:
    kinds = [(0, depth) for depth in (1, 2, 4, 8, 16)] + [(2, 8), (2, 16), (4, 8), (4, 16), (6, 8), (6, 16)]
    for (colour, depth), is_interlaced in itertools.product(kinds, (False, True)):
        samples = samples_of({0: 1, 2: 3, 4: 2, 6: 4}[colour], depth)
        name = f"PNG colour type {colour}, {depth} bits{', interlaced' if is_interlaced else ''}"
        levels = levels_of(samples, depth)
        colours, alpha = (levels[..., :-1], levels[..., -1]) if colour & 4 else (levels, None)
        yield Made(name, png(samples, depth, colour, is_interlaced=is_interlaced), rgb(colours), alpha)
        if not colour & 4:
            key = samples[2, 3]
            clear = np.where((samples == key).all(axis=2), 0, 255).astype(np.uint8)
            chunk = png_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
            data = png(samples, depth, colour, chunk, is_interlaced=is_interlaced)
            yield Made(f"{name}, a transparent colour", data, rgb(colours), clear)
    for depth, is_interlaced in itertools.product((1, 2, 4, 8), (False, True)):
        samples = samples_of(1, depth)
        palette = np.random.default_rng(depth).integers(0, 256, (2**depth, 3)).astype(np.uint8)
        chunks = [png_chunk(b"PLTE", palette.tobytes())]
        name = f"PNG palette, {depth} bits{', interlaced' if is_interlaced else ''}"
        yield Made(name, png(samples, depth, 3, *chunks, is_interlaced=is_interlaced), palette[samples[..., 0]])
        alphas = np.full(2**depth, 255, np.uint8)
        alphas[: 2 ** (depth - 1)] = np.arange(2 ** (depth - 1)) * 2
        chunks.append(png_chunk(b"tRNS", alphas[: 2 ** (depth - 1)].tobytes()))
        data = png(samples, depth, 3, *chunks, is_interlaced=is_interlaced)
        yield Made(f"{name}, transparent", data, palette[samples[..., 0]], alphas[samples[..., 0]])
