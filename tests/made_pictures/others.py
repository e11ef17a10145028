"""BMP, Netpbm and GIF files, and what Pillow's encoders write."""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.made_pictures.samples import (
    HEIGHT,
    WIDTH,
    Levels,
    Made,
    Samples,
    levels_of,
    packed,
    rgb,
    samples_of,
)


def bmp(rows_HB: Levels, bits: int, palette: Levels | None = None) -> bytes:
    """A BMP file, bottom row first."""
    padded = np.pad(rows_HB, ((0, 0), (0, -rows_HB.shape[1] % 4)))[::-1].tobytes()
    colours = b"" if palette is None else np.pad(palette[:, ::-1], ((0, 0), (0, 1))).tobytes()
    start = 54 + len(colours)
    n_colours = 0 if palette is None else len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, 0, len(padded), 2835, 2835, n_colours, 0)
    return b"BM" + struct.pack("<IHHI", start + len(padded), 0, 0, start) + info + colours + padded


def bmp_pictures() -> Iterator[Made]:
    for bits in (1, 4, 8):
        samples = samples_of(1, bits)
        palette = np.random.default_rng(bits + 50).integers(0, 256, (2**bits, 3)).astype(np.uint8)
        yield Made(f"BMP, {bits} bits", bmp(packed(samples, bits, ">"), bits, palette), palette[samples[..., 0]])
    five = samples_of(3, 5)
    words = five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]
    yield Made("BMP, 16 bits", bmp(packed(words[..., None], 16, "<"), 16), levels_of(five, 5))
    levels = samples_of(3, 8).astype(np.uint8)
    yield Made("BMP, 24 bits", bmp(levels[..., ::-1].reshape(HEIGHT, -1), 24), levels)
    padded = np.pad(levels[..., ::-1], ((0, 0), (0, 0), (0, 1)))
    yield Made("BMP, 32 bits", bmp(padded.reshape(HEIGHT, -1), 32), levels)


def netpbm_pictures() -> Iterator[Made]:
    bits = samples_of(1, 1)
    bilevel = rgb((255 - 255 * bits).astype(np.uint8))
    head = f"\n# a comment\n{WIDTH} {HEIGHT}\n".encode()
    yield Made("PBM, text", b"P1" + head + " ".join(map(str, bits.ravel())).encode(), bilevel)
    yield Made("PBM", b"P4" + head + packed(bits, 1, ">").tobytes(), bilevel)
    for channels, maximum in itertools.product((1, 3), (1, 100, 255, 1023, 65535)):
        samples = np.random.default_rng(maximum).integers(0, maximum + 1, (HEIGHT, WIDTH, channels))
        colours = rgb(np.rint(samples * 255 / maximum).astype(np.uint8))
        text, raw = (b"P2", b"P5") if channels == 1 else (b"P3", b"P6")
        limit = f"{maximum}\n".encode()
        numbers = " ".join(map(str, samples.ravel())).encode()
        body = packed(samples, 8 if maximum < 256 else 16, ">").tobytes()
        name = f"{'PGM' if channels == 1 else 'PPM'}, of 0..{maximum}"
        yield Made(f"{name}, text", text + head + limit + numbers, colours)
        yield Made(name, raw + head + limit + body, colours)


def gif(indices_HW: Samples, palette: Levels, transparent: int | None, n_frames: int = 1) -> bytes:
    """A GIF file of 256 colours; its codes are literal, and the table is cleared before they would grow."""
    screen = struct.pack("<HHBBB", WIDTH, HEIGHT, 0xF7, 0, 0)
    control = b"" if transparent is None else b"\x21\xf9\x04" + struct.pack("<BHBB", 1, 10, transparent, 0)
    codes = [code for run in np.array_split(indices_HW.ravel(), 8) for code in (256, *run.tolist())] + [257]
    number = sum(code << 9 * at for at, code in enumerate(codes))
    stream = number.to_bytes((9 * len(codes) + 7) // 8, "little")
    blocks = b"".join(
        bytes([len(part)]) + part for part in (stream[at : at + 255] for at in range(0, len(stream), 255))
    )
    frame = control + b"," + struct.pack("<HHHHB", 0, 0, WIDTH, HEIGHT, 0) + b"\x08" + blocks + b"\0"
    return b"GIF89a" + screen + palette.tobytes() + frame * n_frames + b";"


def gif_pictures() -> Iterator[Made]:
    samples = samples_of(1, 8)
    palette = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8)
    colours = palette[samples[..., 0]]
    clear = np.where(samples[..., 0] == samples[2, 3, 0], 0, 255).astype(np.uint8)
    yield Made("GIF", gif(samples, palette, None), colours)
    yield Made("GIF, transparent", gif(samples, palette, int(samples[2, 3, 0])), colours, clear)
    yield Made("GIF of two frames", gif(samples, palette, None, 2), colours)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def pictures_of_codecs() -> Iterator[Made]:
    smooth = Image.fromarray(samples_of(3, 8).astype(np.uint8)).resize((40, 30), Image.Resampling.BICUBIC)
    for mode, options in itertools.product(
        ("L", "RGB", "CMYK"), ({}, {"progressive": True}, {"restart_marker_blocks": 1}, {"quality": 100})
    ):
        yield Made(f"JPEG {mode} {options}", saved(smooth.convert(mode), "JPEG", **options), None)
    for subsampling in ("4:4:4", "4:2:2"):
        yield Made(f"JPEG {subsampling}", saved(smooth, "JPEG", subsampling=subsampling), None)
    alpha = smooth.getchannel("R")
    clear = smooth.copy()
    clear.putalpha(alpha)
    for image, what in ((smooth, ""), (clear, ", alpha")):
        yield Made(f"WebP{what}", saved(image, "WEBP"), None)
        yield Made(
            f"WebP lossless{what}",
            saved(image, "WEBP", lossless=True, exact=True),
            np.asarray(smooth),
            np.asarray(alpha) if what else None,
        )
        yield Made(f"AVIF{what}", saved(image, "AVIF", quality=90), None)
        yield Made(
            f"TIFF LZW{what}",
            saved(image, "TIFF", compression="tiff_lzw"),
            np.asarray(smooth),
            np.asarray(alpha) if what else None,
        )
    for compression in ("group3", "group4"):
        yield Made(f"TIFF {compression}", saved(smooth.convert("1"), "TIFF", compression=compression), None)
    yield Made("TIFF JPEG", saved(smooth, "TIFF", compression="jpeg"), None)
