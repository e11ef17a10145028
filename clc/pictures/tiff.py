"""Samples of TIFF pictures that Pillow refuses or reads as something else.

Pillow knows the common layouts. Here are the others: 10, 12, 14, 16, 24 and 32 bits a sample, min-is-white at every
depth, premultiplied and further channels, RGB of fewer than 8 bits, planes apart, either byte order and fill order.
libtiff unpacks them all: it is shown the picture as rows of bytes, and the bytes are taken apart into samples here.

Layouts that are compressed by a picture codec (JPEG, CCITT, WebP) stay with Pillow. Samples without a known black and
white are refused by what they are: signed, floating-point and complex numbers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from clc.errors import LimitError
from clc.limits import MAX_PIXELS, check_size
from clc.pictures import losses
from clc.pictures.colour import SRGB_PRIMARIES, eight_bits, stated_losses
from clc.pictures.exif import ORIENTATION, Directory, Structure
from clc.pictures.picture import UnknownRange

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 322, 323, 324, 325, 338, 339
_COLOUR_MAP = 320
_TRANSFER, _WHITE, _PRIMARIES = 301, 318, 319
_SAME_LEVEL = 0.05  # of a curve of tones, from 0 to 1

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLOURS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _LAB: 3}
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_BYTEWISE = frozenset((1, 5, 8, 32773, 32946, 34925, 50000))
"""Compressions that keep bytes: none, LZW, Deflate of two numbers, PackBits, LZMA, Zstandard."""

_PREMULTIPLIED, _STRAIGHT = 1, 2
_NUMBERS = {2: "signed integers", 3: "floating-point samples", 5: "complex samples", 6: "complex samples"}
_MOST_SAMPLES = 16
_MOST_BYTES = 8 * MAX_PIXELS  # RGB and alpha of 16 bits
_BAND_BYTES = 2**22


@dataclass(frozen=True)
class Samples:
    """What a layout comes to: colours of 8 bits (mode L, RGB, CMYK or LAB), and the alpha plane."""

    image: Image.Image
    alpha_HW: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Layout:
    """How the samples of a picture lie in its file; sides in px."""

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    extra: tuple[int, ...]
    compression: int
    has_planes: bool
    predictor: int
    fill_order: int
    tile: tuple[int, int] | None  # width, height

    @property
    def alpha(self) -> tuple[int, int] | None:
        """Which sample is the alpha value, and what kind of one; None without."""
        colours = _COLOURS[self.photometric]
        for at, kind in enumerate(self.extra):
            if kind in (_PREMULTIPLIED, _STRAIGHT) and colours + at < self.samples:
                return colours + at, kind
        is_untold = not self.extra and self.photometric == _RGB and self.samples == colours + 1
        return (colours, _STRAIGHT) if is_untold else None

    @property
    def has_more_channels(self) -> bool:
        """Whether there are samples beside colours and transparency, such as a spot colour."""
        if self.photometric not in _COLOURS:
            return bool(self.extra)
        return self.samples > _COLOURS[self.photometric] + (self.alpha is not None)

    @property
    def is_deep(self) -> bool:
        """Whether levels are rounded to 8 bits; the indices of a palette are no levels."""
        return self.bits > 8 and (self.photometric != _PALETTE or self.alpha is not None)

    @property
    def piece_bytes(self) -> int:
        """Bytes of a row of a strip or a tile, of one plane."""
        width = self.width if self.tile is None else self.tile[0]
        return (width * (1 if self.has_planes else self.samples) * self.bits + 7) // 8

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the picture, of one plane; tiles are whole."""
        return self.piece_bytes * (1 if self.tile is None else -(-self.width // self.tile[0]))

    @property
    def is_subsampled(self) -> bool:
        """Whether this is a picture for `read_subsampled`."""
        return self.photometric == _YCBCR and self.compression == 1 and self.bits == 8 and self.samples == 3

    @property
    def is_read_here(self) -> bool:
        """Whether `read_samples` can read it."""
        return self.compression in _BYTEWISE and self.photometric in _COLOURS

    @property
    def is_read_by_pillow(self) -> bool:
        """Whether it is Pillow's to read: it knows the layout and reads it right, or nobody does."""
        if not self.is_read_here:
            return True
        if self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _PALETTE) and self.samples == 1:
            return self.bits in (1, 2, 4, 8)
        is_plain = self.samples == _COLOURS[self.photometric] and self.photometric in (_RGB, _CMYK)
        return is_plain and self.bits == 8 and self.fill_order == 1


def layout_of(structure: Structure, directory: Directory) -> Layout:
    """Return how the samples lie; `ValueError` where they are no unsigned integers, `LimitError` over the caps."""

    def numbers(tag: int, *default: int) -> tuple[int, ...]:
        return _numbers(structure, directory, tag) or default

    def first(tag: int, default: int) -> int:
        return numbers(tag, default)[0]

    width, height = first(_WIDTH, 0), first(_LENGTH, 0)
    check_size(width, height)
    tile = None
    if _TILE_WIDTH in directory.entries:
        tile = (first(_TILE_WIDTH, 0), first(_TILE_LENGTH, 0))
        check_size(*tile)  # a decoder allocates a whole tile, however small the picture
    photometric = first(_PHOTOMETRIC, _WHITE_IS_ZERO)
    for number in numbers(_SAMPLE_FORMAT, 1):
        if number in _NUMBERS and photometric != _LAB:
            what = _NUMBERS[number]
            raise UnknownRange(f"{what} have no known black and white; export it with 8 or 16 bits a sample, unsigned")
    samples = first(_SAMPLES, 1)
    bits = set(numbers(_BITS, 1)[:samples])
    if not 1 <= samples <= _MOST_SAMPLES or len(bits) > 1 or not 1 <= min(bits) <= 32:
        raise ValueError(
            f"{samples} samples a pixel, of {sorted(bits)} bits, are not read: export it with 8 or 16 bits"
        )
    layout = Layout(
        width,
        height,
        bits.pop(),
        samples,
        photometric,
        numbers(_EXTRA_SAMPLES),
        first(_COMPRESSION, 1),
        first(_PLANAR, 1) == 2 and samples > 1,
        first(_PREDICTOR, 1),
        first(_FILL_ORDER, 1),
        tile,
    )
    rows = height if tile is None else max(height, tile[1])  # libtiff unpacks a tile whole
    if layout.row_bytes * rows * (samples if layout.has_planes else 1) > _MOST_BYTES:
        raise LimitError(f"its samples fill more than {_MOST_BYTES // 2**20} MiB: scale or cut it first")
    return layout


def orientation_of(structure: Structure, directory: Directory) -> int:
    """Return the orientation that the tags say, 1 (upright) to 8; 0 where they say none."""
    found = _numbers(structure, directory, ORIENTATION)
    return found[0] if found and 1 <= found[0] <= 8 else 0


def palette_of(structure: Structure, directory: Directory, bits: int) -> npt.NDArray[np.uint8] | None:
    """Return a palette, uint8 (2**bits, 3), None without a whole one. Some writers leave its levels at 0..255."""
    levels = np.array(_numbers(structure, directory, _COLOUR_MAP), np.uint32)
    if len(levels) != 3 << bits:
        return None
    return np.ascontiguousarray(eight_bits(levels, 255 if levels.max() < 256 else 65_535).reshape(3, -1).T)


def stated_colours(structure: Structure, directory: Directory) -> tuple[str, ...]:
    """Tell of a white, of primaries and of a curve of tones in the tags other than those of sRGB; none is applied."""
    primaries, entries = list(SRGB_PRIMARIES), directory.entries
    try:
        for tag, at, count in ((_WHITE, 0, 2), (_PRIMARIES, 2, 6)):
            if tag in entries:
                primaries[at : at + count] = structure.rationals(entries[tag])[:count]
        curve = np.array(_numbers(structure, directory, _TRANSFER))
        told = stated_losses(None, primaries)
    except ValueError:  # of broken tags, or of another number of them
        return (losses.GAMMA,)
    if len(curve) > 1:
        channels = 3 if len(curve) % 3 == 0 else 1
        levels = curve.reshape(channels, -1) / 65_535
        is_same = np.abs(levels - np.linspace(0, 1, levels.shape[1]) ** 2.2).max() < _SAME_LEVEL
        told += () if is_same else (losses.GAMMA,)
    return told


def read_samples(structure: Structure, directory: Directory, layout: Layout) -> Samples:
    """Return the samples of a layout that Pillow does not read, as 8 bits; `ValueError` where they cannot be had."""
    colours = _COLOURS[layout.photometric]
    if layout.samples < colours:
        raise ValueError(f"{layout.samples} samples a pixel make no colour")
    palette = palette_of(structure, directory, layout.bits) if layout.photometric == _PALETTE else None
    if layout.photometric == _PALETTE and palette is None:
        raise ValueError("it has a palette's indices, but no palette for them")
    n_colours = colours if palette is None else 3
    planes = range(layout.samples) if layout.has_planes else range(1)
    rows = [_rows_of_bytes(structure, directory, layout, plane) for plane in planes]
    colours_HWC = np.empty((layout.height, layout.width, n_colours), np.uint8)
    alpha_HW = np.empty((layout.height, layout.width), np.uint8) if layout.alpha else None
    band = max(1, _BAND_BYTES // (layout.row_bytes * len(rows)))
    for top in range(0, layout.height, band):
        parts = [_unpacked(plane_rows[top : top + band], structure.order, layout) for plane_rows in rows]
        samples_HWC = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
        levels_HWC = _levels(samples_HWC, layout)
        coloured_HWC = levels_HWC[..., :colours] if palette is None else palette[samples_HWC[..., 0]]
        colours_HWC[top : top + band] = coloured_HWC
        if alpha_HW is not None and layout.alpha:
            alpha_HW[top : top + band] = levels_HWC[..., layout.alpha[0]]
    return Samples(_picture(colours_HWC, layout), alpha_HW)


def _numbers(structure: Structure, directory: Directory, tag: int) -> tuple[int, ...]:
    """Return the integers of a tag, none where it does not stand there."""
    entry = directory.entries.get(tag)
    return () if entry is None else structure.integers(entry)


def _rows_of_bytes(structure: Structure, directory: Directory, layout: Layout, plane: int) -> npt.NDArray[np.uint8]:
    """Return the unpacked bytes of one plane, or of all samples side by side, uint8 (H, bytes a row)."""
    n_planes = layout.samples if layout.has_planes else 1

    def part(tag: int) -> tuple[int, ...]:
        values = _numbers(structure, directory, tag)
        each = len(values) // n_planes
        return values[plane * each : (plane + 1) * each]

    tags: dict[int, tuple[int, ...]] = {_LENGTH: (layout.height,), _BITS: (8,), _SAMPLES: (1,)}
    tags |= {_COMPRESSION: (layout.compression,), _PHOTOMETRIC: (_BLACK_IS_ZERO,), _FILL_ORDER: (layout.fill_order,)}
    if layout.tile is None:
        tags |= {_ROWS_PER_STRIP: (min(_numbers(structure, directory, _ROWS_PER_STRIP) or (layout.height,)),)}
        places = {_STRIP_OFFSETS: part(_STRIP_OFFSETS), _STRIP_COUNTS: part(_STRIP_COUNTS)}
    else:
        tags |= {_TILE_WIDTH: (layout.piece_bytes,), _TILE_LENGTH: (layout.tile[1],)}
        places = {_TILE_OFFSETS: part(_TILE_OFFSETS), _TILE_COUNTS: part(_TILE_COUNTS)}
    tags |= {_WIDTH: (layout.row_bytes,), **{tag: values for tag, values in places.items() if values}}
    file, directory_at = _file_of_bytes(structure, tags)
    return np.asarray(_by_libtiff("L", "L", (layout.row_bytes, layout.height), file, directory_at))


def read_subsampled(structure: Structure, layout: Layout) -> Image.Image:
    """Return an uncompressed YCbCr picture as RGB; Pillow takes it for one whose colours are not subsampled."""
    size = (layout.width, layout.height)
    return _by_libtiff("RGB", "RGBX", size, structure.data, structure.first)


def _by_libtiff(mode: str, raw_mode: str, size: tuple[int, int], file: bytes, directory_at: int) -> Image.Image:
    """Decode the directory at a place of a TIFF file by Pillow's libtiff, whatever its size: the caps are ours."""
    try:
        return Image.frombytes(mode, size, file, "libtiff", raw_mode, 0, directory_at)
    except TypeError:  # Pillow before 13 wants the name of a compression, and does not use it
        return Image.frombytes(mode, size, file, "libtiff", raw_mode, "raw", 0, directory_at)


def _file_of_bytes(structure: Structure, tags: dict[int, tuple[int, ...]]) -> tuple[bytes, int]:
    """Return a TIFF file with the data of `structure` and a new directory at its end, and where that begins."""
    order, data = structure.order, structure.data
    size = "Q" if structure.is_big else "I"
    inline, kind = (8, 16) if structure.is_big else (4, 4)
    values = bytearray(-len(data) % 8)
    table = []
    for tag, numbers in sorted(tags.items()):
        value = struct.pack(f"{order}{len(numbers)}{size}", *numbers)
        if len(value) > inline:
            value, position = struct.pack(order + size, len(data) + len(values)), value
            values += position
        table.append(struct.pack(f"{order}HH{size}", tag, kind, len(numbers)) + value.ljust(inline, b"\0"))
    directory_at = len(data) + len(values)
    count = struct.pack(order + ("Q" if structure.is_big else "H"), len(table))
    return b"".join((data, values, count, *table, bytes(inline))), directory_at


def _unpacked(rows_HB: npt.NDArray[np.uint8], order: str, layout: Layout) -> npt.NDArray[np.uint32]:
    """Return rows of bytes as samples, uint32 (H, W, samples side by side)."""
    channels = 1 if layout.has_planes else layout.samples
    tile_width = layout.width if layout.tile is None else layout.tile[0]
    across = -(-layout.width // tile_width)
    tiles_HTB = rows_HB.reshape(len(rows_HB), across, -1)
    n_samples = tile_width * channels
    if layout.bits % 8:
        bits_HTB = np.unpackbits(tiles_HTB, axis=2)[..., : n_samples * layout.bits]
        bits_HTSB = bits_HTB.reshape(len(rows_HB), across, n_samples, layout.bits)
        samples_HTS = np.zeros(bits_HTSB.shape[:3], np.uint32)
        for bit in range(layout.bits):
            samples_HTS = samples_HTS * 2 + bits_HTSB[..., bit]
    else:
        bytes_HTSB = tiles_HTB.reshape(len(rows_HB), across, n_samples, layout.bits // 8)
        samples_HTS = np.zeros(bytes_HTSB.shape[:3], np.uint32)
        for byte in range(layout.bits // 8):
            at = byte if order == ">" else layout.bits // 8 - 1 - byte
            samples_HTS = samples_HTS * 256 + bytes_HTSB[..., at]
    samples_HTWC = samples_HTS.reshape(len(rows_HB), across, tile_width, channels)
    if layout.predictor == 2:
        # Each sample was stored as its difference from its left neighbour, modulo its range, tile by tile.
        samples_HTWC = np.cumsum(samples_HTWC, axis=2, dtype=np.uint32) & np.uint32(2**layout.bits - 1)
    elif layout.predictor != 1:
        raise ValueError(f"the predictor {layout.predictor} is not read: export it without one")
    return samples_HTWC.reshape(len(rows_HB), across * tile_width, channels)[:, : layout.width]


def _levels(samples_HWC: npt.NDArray[np.uint32], layout: Layout) -> npt.NDArray[np.uint8]:
    """Return samples as levels of 0..255, black to white, not premultiplied; L, a and b of Lab as Pillow keeps them."""
    maximum = 2**layout.bits - 1
    if layout.photometric == _LAB:
        offset_HWC = samples_HWC.copy()
        offset_HWC[..., 1:3] ^= np.uint32(1 << (layout.bits - 1))  # a and b are signed
        return eight_bits(offset_HWC, maximum)
    levels_HWC = eight_bits(samples_HWC, maximum)
    if layout.alpha and layout.alpha[1] == _PREMULTIPLIED:
        at = layout.alpha[0]
        alpha_HW1 = samples_HWC[..., at : at + 1].astype(np.float64)
        per_alpha_HW1 = np.divide(255.0, alpha_HW1, out=np.zeros_like(alpha_HW1), where=alpha_HW1 > 0)
        straight_HWC = np.minimum(np.rint(samples_HWC * per_alpha_HW1), 255).astype(np.uint8)
        levels_HWC = np.where(np.arange(samples_HWC.shape[2]) == at, levels_HWC, straight_HWC)
    if layout.photometric == _WHITE_IS_ZERO:
        levels_HWC[..., 0] = 255 - levels_HWC[..., 0]
    return levels_HWC


def _picture(levels_HWC: npt.NDArray[np.uint8], layout: Layout) -> Image.Image:
    size = (layout.width, layout.height)
    data = np.ascontiguousarray(levels_HWC)
    if layout.photometric == _LAB:
        data = data ^ np.array([0, 128, 128], np.uint8)  # Pillow takes a and b signed, as TIFF has them
        return Image.frombytes("LAB", size, data.tobytes(), "raw", "LAB")
    return Image.frombytes(_MODES[levels_HWC.shape[2]], size, data.tobytes())
