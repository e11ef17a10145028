"""TIFF files of many layouts of samples."""

import itertools
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.made_pictures.samples import (
    HEIGHT,
    WIDTH,
    Levels,
    Made,
    Order,
    Samples,
    levels_of,
    packed,
    rgb,
    samples_of,
    turned,
)


class Tiff(NamedTuple):
    """How a TIFF file is written; `tags` are further ones with their numbers."""

    photometric: int = 1
    order: Order = "<"
    compression: int = 1
    predictor: int = 1
    has_planes: bool = False
    tile: int = 0
    rows_per_strip: int = 5
    fill_order: int = 1
    is_big: bool = False
    following: int = 0
    tags: tuple[tuple[int, int, tuple[int, ...]], ...] = ()


def tiff(samples_HWC: Samples, bits: int, how: Tiff = Tiff(), data: bytes | None = None) -> bytes:  # noqa: B008
    """A TIFF file of one page; `data` replaces what the samples come to."""
    channels = samples_HWC.shape[2]
    planes = [samples_HWC[..., at : at + 1] for at in range(channels)] if how.has_planes else [samples_HWC]
    pieces = [_compressed(piece, bits, how) for plane in planes for piece in _pieces(plane, how)]
    pieces = pieces if data is None else [data]
    size, kind = ("Q", 16) if how.is_big else ("I", 4)
    start = 16 if how.is_big else 8
    offsets = tuple(start + at for at in itertools.accumulate((len(piece) for piece in pieces), initial=0))[:-1]
    counts = tuple(len(piece) for piece in pieces)
    tags: dict[int, tuple[int, tuple[int, ...]]] = {
        256: (3, (WIDTH,)),
        257: (3, (HEIGHT,)),
        258: (3, (bits,) * channels),
    }
    tags |= {
        259: (3, (how.compression,)),
        262: (3, (how.photometric,)),
        266: (3, (how.fill_order,)),
        277: (3, (channels,)),
    }
    tags |= {284: (3, (1 + how.has_planes,)), 317: (3, (how.predictor,))}
    if how.tile:
        tags |= {322: (3, (how.tile,)), 323: (3, (how.tile,)), 324: (kind, offsets), 325: (kind, counts)}
    else:
        tags |= {273: (kind, offsets), 278: (3, (how.rows_per_strip,)), 279: (kind, counts)}
    tags |= {tag: (kind, numbers) for tag, kind, numbers in how.tags}
    data = b"".join(pieces)
    data += bytes(-len(data) % 8)
    formats = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
    entry_bytes, inline, count_bytes = (20, 8, 8) if how.is_big else (12, 4, 2)
    directory_at = start + len(data)
    values_at = directory_at + count_bytes + entry_bytes * len(tags) + inline
    table, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        value = struct.pack(f"{how.order}{len(numbers)}{formats[kind]}", *numbers)
        if len(value) > inline:
            value, far = struct.pack(how.order + size, values_at + len(values)), value
            values += far
        table += struct.pack(f"{how.order}HH{size}", tag, kind, len(numbers)) + value.ljust(inline, b"\0")
    head = (b"II" if how.order == "<" else b"MM") + struct.pack(how.order + "H", 43 if how.is_big else 42)
    head += struct.pack(how.order + "HH", 8, 0) if how.is_big else b""
    count = struct.pack(how.order + ("Q" if how.is_big else "H"), len(tags))
    following = struct.pack(how.order + size, how.following)
    return head + struct.pack(how.order + size, directory_at) + data + count + table + following + values


def _pieces(plane_HWC: Samples, how: Tiff) -> Iterator[Samples]:
    """Strips or tiles of a plane, from left to right and from top to bottom."""
    if not how.tile:
        for top in range(0, HEIGHT, how.rows_per_strip):
            yield plane_HWC[top : top + how.rows_per_strip]
        return
    missing = [(0, -side % how.tile) for side in plane_HWC.shape[:2]]
    padded = np.pad(plane_HWC, [*missing, (0, 0)])
    for top, left in itertools.product(range(0, padded.shape[0], how.tile), range(0, padded.shape[1], how.tile)):
        yield padded[top : top + how.tile, left : left + how.tile]


def _compressed(piece_HWC: Samples, bits: int, how: Tiff) -> bytes:
    if how.predictor == 2:
        before = np.pad(piece_HWC, ((0, 0), (1, 0), (0, 0)))[:, :-1]
        piece_HWC = (piece_HWC - before) & np.uint32(2**bits - 1)
    rows = packed(piece_HWC, bits, how.order)
    data = rows.tobytes()
    if how.compression == 8:
        data = zlib.compress(data)
    if how.compression == 32773:  # runs of literal bytes alone
        runs = (row[at : at + 128] for row in rows for at in range(0, rows.shape[1], 128))
        data = b"".join(bytes([len(run) - 1]) + run.tobytes() for run in runs)
    if how.fill_order == 2:  # that of the file's bytes, compressed or not
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8)), bitorder="little").tobytes()
    return data


def tiff_pictures() -> Iterator[Made]:
    yield from _grey_tiffs()
    yield from _colour_tiffs()
    yield from _alpha_tiffs()
    yield from _palette_tiffs()
    yield from _other_tiffs()


def _made(name: str, samples: Samples, bits: int, how: Tiff, alpha_HW: Levels | None = None) -> Made:
    levels = levels_of(samples, bits)
    colours = levels[..., : {0: 1, 1: 1, 2: 3}[how.photometric]]
    byte_order = "little" if how.order == "<" else "big"
    name = f"TIFF {name}, {bits} bits, {byte_order}-endian"
    return Made(name, tiff(samples, bits, how), rgb(255 - colours if how.photometric == 0 else colours), alpha_HW)


def _grey_tiffs() -> Iterator[Made]:
    orders: tuple[Order, Order] = ("<", ">")
    for photometric, bits, order in itertools.product((0, 1), (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32), orders):
        name = "min-is-black" if photometric else "min-is-white"
        yield _made(name, samples_of(1, bits), bits, Tiff(photometric, order))
    for bits, order, tile in itertools.product((8, 12, 16, 32), orders, (0, 16)):
        name = "grey tiles" if tile else "grey strips"
        yield _made(f"{name}, deflated", samples_of(1, bits), bits, Tiff(1, order, 8, tile=tile))
        yield _made(f"{name}, PackBits", samples_of(1, bits), bits, Tiff(1, order, 32773, tile=tile))
        if bits != 12:
            yield _made(f"{name}, predicted", samples_of(1, bits), bits, Tiff(1, order, 8, 2, tile=tile))
    for bits, compression in itertools.product((1, 4, 8, 10, 12, 16), (1, 8)):
        how = Tiff(1, compression=compression, fill_order=2)
        yield _made(f"grey of the other fill order, compression {compression}", samples_of(1, bits), bits, how)
    for bits, order in itertools.product((8, 12, 16), orders):
        yield _made("BigTIFF, grey", samples_of(1, bits), bits, Tiff(1, order, is_big=True))
        yield _made("BigTIFF, grey, deflated", samples_of(1, bits), bits, Tiff(1, order, 8, is_big=True))


def _colour_tiffs() -> Iterator[Made]:
    orders: tuple[Order, Order] = ("<", ">")
    for bits, order, has_planes in itertools.product((2, 4, 8, 10, 12, 16, 32), orders, (False, True)):
        name = "RGB in planes" if has_planes else "RGB"
        yield _made(name, samples_of(3, bits), bits, Tiff(2, order, has_planes=has_planes))
    for bits, order, has_planes, tile in itertools.product((8, 16), orders, (False, True), (0, 16)):
        name = f"RGB {'in planes' if has_planes else 'side by side'}, {'tiles' if tile else 'strips'}, predicted"
        yield _made(name, samples_of(3, bits), bits, Tiff(2, order, 8, 2, has_planes, tile))
    for bits, has_planes in itertools.product((8, 16), (False, True)):
        samples = samples_of(4, bits)
        ink = levels_of(samples, bits).astype(float)
        colours = np.rint((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255).astype(np.uint8)
        data = tiff(samples, bits, Tiff(5, has_planes=has_planes))
        yield Made(f"TIFF CMYK, {bits} bits{', planes' if has_planes else ''}", data, colours)


def _alpha_tiffs() -> Iterator[Made]:
    for bits, has_planes, channels in itertools.product((8, 12, 16), (False, True), (1, 3)):
        photometric = 1 if channels == 1 else 2
        name = f"{'grey' if channels == 1 else 'RGB'} and alpha{' in planes' if has_planes else ''}"
        samples = samples_of(channels + 1, bits)
        alpha = levels_of(samples[..., -1], bits)
        for kind, what in ((2, "straight"), (0, "untold")):
            how = Tiff(photometric, ">", has_planes=has_planes, tags=((338, 3, (kind,)),))
            yield _made(f"{name}, {what}", samples, bits, how, alpha if kind == 2 else None)
        how = how._replace(tags=((338, 3, (1,)),))
        whole = samples[..., -1:].astype(float)
        premultiplied = np.floor(samples[..., :-1] * (whole / (2**bits - 1))).astype(np.uint32)
        straight = np.divide(premultiplied * 255.0, whole, out=np.zeros(premultiplied.shape), where=whole > 0)
        data = tiff(np.concatenate([premultiplied, samples[..., -1:]], axis=2), bits, how)
        yield Made(f"TIFF {name}, premultiplied, {bits} bits", data, rgb(np.rint(straight).astype(np.uint8)), alpha)


def _palette_tiffs() -> Iterator[Made]:
    orders: tuple[Order, Order] = ("<", ">")
    for bits, order, scale in itertools.product((1, 2, 4, 8), orders, (257, 1)):
        samples = samples_of(1, bits)
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
        tags = ((320, 3, tuple((palette * scale).T.ravel().tolist())),)
        name = f"TIFF palette of {16 if scale > 1 else 8} bits, {bits} bits, {order}"
        data = tiff(samples, bits, Tiff(3, order, tags=tags))
        yield Made(name, data, palette[samples[..., 0]].astype(np.uint8))
    for bits, channels in ((6, 1), (12, 1), (16, 1), (8, 2)):
        samples = samples_of(channels, bits)
        palette = np.random.default_rng(bits).integers(0, 256, (2**bits, 3))
        tags = ((320, 3, tuple((palette * 257).T.ravel().tolist())), (338, 3, (2,)))
        data = tiff(samples, bits, Tiff(3, ">", 8, 2 if bits == 16 else 1, tags=tags[:channels]))
        alpha = samples[..., 1].astype(np.uint8) if channels == 2 else None
        name = f"TIFF palette, {bits} bits, deflated{', alpha' if channels == 2 else ''}"
        yield Made(name, data, palette[samples[..., 0]].astype(np.uint8), alpha)


def _other_tiffs() -> Iterator[Made]:
    for bits in (8, 16):
        samples = samples_of(3, bits)
        rounded = levels_of(samples, bits)
        if bits == 16:
            rounded[..., 1:] = levels_of(samples[..., 1:] ^ 0x8000, 16) ^ 128
        lab = Image.frombytes("LAB", (WIDTH, HEIGHT), rounded.tobytes(), "raw", "LAB")
        yield Made(f"TIFF CIE Lab, {bits} bits", tiff(samples, bits, Tiff(8)), np.asarray(lab.convert("RGB")))
    ycc = samples_of(3, 8)
    colours = np.asarray(Image.frombytes("YCbCr", (WIDTH, HEIGHT), ycc.astype(np.uint8).tobytes()).convert("RGB"))
    yield Made("TIFF YCbCr, 4:4:4", tiff(ycc, 8, Tiff(6, tags=((530, 3, (1, 1)),))), colours)
    for across, down in ((2, 2), (2, 1)):
        yield _subsampled(across, down)
    for bits, orientation in itertools.product((8, 16), range(1, 9)):
        samples = samples_of(1, bits)
        upright = turned(rgb(levels_of(samples, bits)), orientation)
        data = tiff(samples, bits, Tiff(1, tags=((274, 3, (orientation,)),)))
        yield Made(f"TIFF orientation {orientation}, {bits} bits", data, upright)


def _subsampled(across: int, down: int) -> Made:
    """YCbCr without compression, whose colours are one value for several pixels: so many of Y, then Cb, then Cr."""
    ycc = samples_of(3, 8).astype(np.uint8)
    tall, wide = (-(-side // step) for side, step in ((HEIGHT, down), (WIDTH, across)))
    colours = ycc[:tall, :wide, 1:]
    luma = np.pad(ycc[..., 0], ((0, -HEIGHT % down), (0, -WIDTH % across)), mode="edge")
    units = luma.reshape(tall, down, wide, across).transpose(0, 2, 1, 3).reshape(tall, wide, down * across)
    data = np.concatenate([units, colours], axis=2).tobytes()
    spread = colours.repeat(down, axis=0).repeat(across, axis=1)[:HEIGHT, :WIDTH]
    whole = np.concatenate([ycc[..., :1], spread], axis=2)
    upright = Image.frombytes("YCbCr", (WIDTH, HEIGHT), whole.tobytes()).convert("RGB")
    how = Tiff(6, rows_per_strip=HEIGHT, tags=((530, 3, (across, down)),))
    return Made(f"TIFF YCbCr, {across}x{down}", tiff(samples_of(3, 8), 8, how, data), np.asarray(upright))
