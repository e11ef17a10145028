"""The formats that are read, and who reads them: Pillow, or a library that an extra of this project brings.

`open_picture` is the only place that opens an untrusted picture, but for the alpha plane of a stream, which
`clc.pictures.alpha` opens. HEIF needs the extra `heif` (pi-heif, which decodes
only and has no part under the GPL), JPEG XL the extra `jxl` (pylibjxl). Both are imported when a picture of theirs is
opened, in a process of its own (`clc.pictures.isolation`), and neither is registered with Pillow.
"""

from __future__ import annotations

import io
from importlib import import_module
from importlib.util import find_spec

from PIL import Image

from clc.errors import InputError
from storage.extras import installing

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM")
"""Formats that are always read, by Pillow's names."""

EXTRAS = {"HEIF": "heif", "JPEG XL": "jxl"}
"""Formats that need an extra of this project, and its name."""

WEBP_SIDE_PX = 16_383
"""The longest side that WebP has a number for."""

_OPENERS = {
    "HEIF": ("pi_heif.as_plugin", "HeifImageFile"),
    "JPEG XL": ("pylibjxl.pillow_plugin", "JxlImageFile"),
}
"""Formats of extras, and which class of which module reads one as Pillow's do."""

_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"heif", b"mif1", b"msf1")
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_MOST_BRANDS_BYTES = 512


def open_picture(data: bytes) -> Image.Image:
    """Open a picture without decoding a pixel of it. Raises what the opener does; see `check_installed`."""
    needed = extra_format(data)
    if needed is None:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    module, opener = _OPENERS[needed]
    image: Image.Image = getattr(import_module(module), opener)(io.BytesIO(data))
    return image


def check_installed(needed: str, name: str) -> None:
    """Raise `InputError`, by the picture's `name`, where the extra for a format is not installed."""
    if find_spec(_OPENERS[needed][0].partition(".")[0]) is None:
        extra = EXTRAS[needed]
        raise InputError(f"{name}: {needed} pictures need the extra {extra}: {installing(extra)}")


def format_names() -> str:
    """Return the formats as messages list them."""
    return ", ".join((*FORMATS, *EXTRAS))


def extra_format(data: bytes) -> str | None:
    """Return which format of `EXTRAS` a file is of, by its first bytes; None for all others."""
    if data.startswith(_JXL_STARTS):
        return "JPEG XL"
    if data[4:8] != b"ftyp":
        return None
    size = min(int.from_bytes(data[:4], "big"), _MOST_BRANDS_BYTES)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    return "HEIF" if brands & _HEIF_BRANDS and not brands & _AVIF_BRANDS else None
