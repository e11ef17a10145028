"""An open picture as colours and transparency of 8 bits: what each mode of Pillow's, and each format, comes to.

Called by `clc.pictures.images`. Where Pillow gives other samples than the file has (PNG of 16 bits, a transparent
grey of fewer than 8 bits), they are taken from the file here. Colours are not converted: that is `clc.pictures.colour`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from clc.pictures import losses
from clc.pictures.colour import eight_bits
from clc.pictures.containers import is_blank
from clc.pictures.picture import Plane, UnknownRange

_BAND_BYTES = 2**22
_BLANKS = np.isin(np.arange(256), tuple(b" \t\n\v\f\r\0"))
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_MAXIMUM = 65_535
_PNG_DEPTH, _PNG_COLOUR = 24, 25  # places in a PNG file, in bytes
_PNG_HEADER_AT, _PNG_HEADER_CHECK_AT = 12, 29
_GREY_ALPHA, _RGBA = 4, 6  # colour types of PNG
_NETPBM_HEADER_BYTES = 2**16  # the pattern takes a hundred bytes of memory for each blank
_NETPBM_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_NETPBM_HEADER = re.compile(
    b"P(?:([14])" + _NETPBM_GAP + rb"(\d{1,9})" + _NETPBM_GAP + rb"(\d{1,9})"
    b"|([2356])" + 2 * (_NETPBM_GAP + rb"(\d{1,9})") + _NETPBM_GAP + rb"(\d{1,6}))"
)
_NETPBM_NEXT = re.compile(rb"\s*P(?:[1-6]\s|7\n)")


class Raster(NamedTuple):
    """Colours of 8 bits, in any mode without transparency; alpha, uint8 (H, W), None where opaque; what was lost."""

    image: Image.Image
    alpha_HW: Plane | None
    losses: tuple[str, ...]


def raster_of(image: Image.Image) -> Raster:
    """Return a picture of Pillow's as it is in memory. Raises `ValueError` for samples without a known range."""
    if image.mode == "F":
        raise UnknownRange("floating-point samples have no known black and white; export it with 8 or 16 bits a sample")
    if image.mode in SIXTEEN_BIT_MODES:
        samples_HW = np.asarray(image)
        if samples_HW.min() < 0 or samples_HW.max() > _MAXIMUM:
            raise ValueError("its samples do not fit into 16 bits: export it with 8 or 16 bits a sample")
        return _deep(samples_HW[..., None], _key(image))
    if isinstance(image.info.get("transparency"), str):  # a text of that name in a PNG, which hides nothing
        image = image.copy()
        del image.info["transparency"]
    if image.mode == "La":
        image = image.convert("LA")
    if not image.has_transparency_data:
        return Raster(image, None, ())
    rgba = image.convert("RGBA")
    colours = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
    return Raster(colours, opaque_is_none(np.array(rgba.getchannel("A"))), ())


def raster_of_png(image: Image.Image, data: bytes, reopen: Callable[[bytes], Image.Image]) -> Raster:
    """Return a loaded PNG picture whose file is `data`; `reopen` opens such a file anew."""
    if image.mode == "P" and image.palette is None:
        raise ValueError("it has a palette's indices, but no palette")
    if data[_PNG_HEADER_AT : _PNG_HEADER_AT + 4] != b"IHDR":
        return raster_of(image)
    depth, colour = data[_PNG_DEPTH], data[_PNG_COLOUR]
    if depth == 16 and image.mode not in SIXTEEN_BIT_MODES:
        samples_HWC = (
            _grey_alpha_samples(data, reopen) if colour == _GREY_ALPHA else _colour_samples(image, data, reopen)
        )
        return _deep(samples_HWC, _key(image))
    if image.mode == "L" and depth < 8 and isinstance(image.info.get("transparency"), int):
        # Pillow spreads the levels over 0..255 and leaves the transparent one as the file counts it.
        key = image.info["transparency"] * (255 // (2**depth - 1))
        grey_HW = np.asarray(image)
        alpha_HW = np.where(grey_HW == key, 0, 255).astype(np.uint8)
        return Raster(image, opaque_is_none(alpha_HW), ())
    return raster_of(image)


def is_deep_netpbm(data: bytes) -> bool:
    """Whether a file of Netpbm's has more than 8 bits a sample."""
    found = _NETPBM_HEADER.match(data, 0, _NETPBM_HEADER_BYTES)
    return found is not None and int(found[7] or 1) > 255


def losses_behind_netpbm(data: bytes) -> tuple[str, ...]:
    """Tell of comments in the head of a file of Netpbm's, and of what follows its first picture."""
    found = _NETPBM_HEADER.match(data, 0, _NETPBM_HEADER_BYTES)
    if found is None:
        return ()
    told = (losses.COMMENT,) if b"#" in found[0] else ()
    kind, width, height = (int(number) for number in (found.groups()[:3] if found[1] else found.groups()[3:6]))
    at, maximum = found.end() + 1, int(found[7] or 1)
    samples = width * height * (3 if kind in (3, 6) else 1)
    if kind <= 3:  # as text, in which comments may stand anywhere
        if data.find(b"#", at) >= 0:
            return (losses.COMMENT,)
        return (*told, losses.APPENDIX) if _n_words(data, at, is_bits=kind == 1) > samples else told
    n_bytes = (width + 7) // 8 * height if kind == 4 else samples * (2 if maximum > 255 else 1)
    if is_blank(data, at + n_bytes):
        return told
    return (*told, losses.FRAMES if _NETPBM_NEXT.match(data, at + n_bytes) else losses.APPENDIX)


def _n_words(data: bytes, at: int, *, is_bits: bool) -> int:
    """Count the numbers of a file of text from `at` on, or the bits, which need no blanks between them."""
    n_words, was_blank = 0, True
    for band in range(at, len(data), _BAND_BYTES):
        is_blank_B = _BLANKS[np.frombuffer(data, np.uint8, min(_BAND_BYTES, len(data) - band), band)]
        follows_B = np.concatenate(([was_blank], is_blank_B[:-1]))
        n_words += int(np.count_nonzero(~is_blank_B if is_bits else ~is_blank_B & follows_B))
        was_blank = bool(is_blank_B[-1])
    return n_words


def opaque_is_none(alpha_HW: Plane) -> Plane | None:
    """Return a plane, or None where it hides nothing."""
    return None if alpha_HW.min() == 255 else alpha_HW


def _key(image: Image.Image) -> tuple[int, ...] | None:
    """The one transparent colour of a picture of 16 bits a sample, as its file counts; None without one."""
    key = image.info.get("transparency")
    if isinstance(key, int):
        return (key,)
    return key if isinstance(key, tuple) else None


def _deep(samples_HWC: npt.NDArray[Any], key: tuple[int, ...] | None) -> Raster:
    """Return samples of 16 bits (H, W, 1 to 4), rounded to 8; `key` is a transparent colour."""
    levels_HWC = eight_bits(samples_HWC, _MAXIMUM)
    channels = levels_HWC.shape[2]
    alpha_HW = None
    if channels in (2, 4):
        alpha_HW = opaque_is_none(np.ascontiguousarray(levels_HWC[..., -1]))
        levels_HWC = levels_HWC[..., :-1]
    elif key is not None and len(key) == channels:
        alpha_HW = opaque_is_none(np.where((samples_HWC == np.array(key)).all(axis=2), 0, 255).astype(np.uint8))
    levels = levels_HWC[..., 0] if channels < 3 else levels_HWC
    return Raster(Image.fromarray(np.ascontiguousarray(levels)), alpha_HW, (losses.DEPTH,))


def _colour_samples(image: Image.Image, data: bytes, reopen: Callable[[bytes], Image.Image]) -> npt.NDArray[np.uint16]:
    """RGB or RGBA of 16 bits: Pillow gave the high bytes; read as little-endian, the file gives the low ones."""
    with reopen(data) as low:
        if not isinstance(low, ImageFile.ImageFile) or not low.tile:
            raise ValueError("it has no pixels")
        low.tile = [tile._replace(args=f"{low.mode};16L") for tile in low.tile]
        low.load()
        samples_HWC: npt.NDArray[np.uint16] = np.asarray(image).astype(np.uint16)
        samples_HWC *= 256
        samples_HWC += np.asarray(low)
        return samples_HWC


def _grey_alpha_samples(data: bytes, reopen: Callable[[bytes], Image.Image]) -> npt.NDArray[np.uint16]:
    """Grey and alpha of 16 bits: the same bytes, read as RGBA of 8 bits, which are as long and filtered alike."""
    header = bytearray(data)
    header[_PNG_DEPTH], header[_PNG_COLOUR] = 8, _RGBA
    struct.pack_into(">I", header, _PNG_HEADER_CHECK_AT, zlib.crc32(header[_PNG_HEADER_AT:_PNG_HEADER_CHECK_AT]))
    with reopen(bytes(header)) as image:
        bytes_HWB = np.asarray(image.convert("RGBA")).astype(np.uint16)
        return bytes_HWB[..., ::2] * np.uint16(256) + bytes_HWB[..., 1::2]
