"""Pictures in and out: untrusted bytes -> RGB, RGB -> PNG.

The only module that opens untrusted pictures. `read_image` refuses by size of file and by the dimensions in the
header before it decodes a pixel, because a PNG of 10 kB may unfold to hundreds of MiB, and it turns whatever a decoder
raises over broken bytes into one `InputError` with the name of the picture.

What becomes of a picture: the first frame counts; the orientation of its EXIF data is applied; grey, palette and CMYK
turn into RGB; 16 bits a sample are rounded to 8; transparency is composited over white. Colour profiles are ignored.

Over a broken TIFF, libtiff writes a line of its own to the standard error stream; Pillow offers no way to stop it.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from clc.errors import InputError, LimitError
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_PIXELS, check_size

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "PPM")

_DECODER_ERRORS = (
    OSError,
    RuntimeError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers are known to raise over broken bytes."""

_EXIF_ORIENTATION = 0x0112
_TIFF_TILE_WIDTH = 322
_TIFF_TILE_LENGTH = 323
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")

UInt8Array = npt.NDArray[np.uint8]


def read_image(source: Path | bytes) -> UInt8Array:
    """Return the picture in a file or in bytes as RGB, uint8 (H, W, 3).

    Raises `InputError` where it is missing, broken, or of another format than `FORMATS`, and `LimitError` where the
    file or the picture is over the caps of `clc.limits`.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read_file(source)
    if len(data) > MAX_PICTURE_FILE_BYTES:
        raise LimitError(f"{name}: {_too_many_bytes(len(data))}")
    if not data:
        raise InputError(f"{name}: the file is empty; give a picture ({_format_names()})")
    # The filter names Pillow only, so that two threads which restore it out of order lose none but Pillow's warnings.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return _decode(data, name)


def png_bytes(image_HW3: UInt8Array) -> bytes:
    """Return the PNG file of an RGB picture, uint8 (H, W, 3); `InputError` for another shape or type."""
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3:
        raise InputError(f"a picture is uint8 (H, W, 3), not {image_HW3.dtype} {image_HW3.shape}")
    check_size(image_HW3.shape[1], image_HW3.shape[0])
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HW3)).save(buffer, "PNG")
    return buffer.getvalue()


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            what = "is no regular file" if path.exists() else "does not exist"
            raise InputError(f"{path}: {what}; give the path of a picture ({_format_names()})")
        size = path.stat().st_size
        if size > MAX_PICTURE_FILE_BYTES:
            raise LimitError(f"{path}: {_too_many_bytes(size)}")
        with path.open("rb") as file:
            return file.read(MAX_PICTURE_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot be read ({_reason(error)}); check its name and its permissions") from error


def _decode(data: bytes, name: str) -> UInt8Array:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, name)
            image.load()
            return np.array(_upright(_to_rgb(image), _orientation(image)))
    except UnidentifiedImageError as error:
        what = "not a readable picture (of another format, or damaged at its start)"
        raise InputError(f"{name}: {what}; give a sound one of {_format_names()}") from error
    except Image.DecompressionBombError as error:
        allowed = f"{MAX_PIXELS // 2**20} Mi pixels that are allowed"
        raise LimitError(f"{name}: its header claims far more than the {allowed}; scale or cut it first") from error
    except _DECODER_ERRORS as error:
        raise InputError(f"{name}: the picture is broken ({_reason(error)}); export or copy it again") from error


def _check_header(image: Image.Image, name: str) -> None:
    """Refuse what is too large to decode; so far only the header has been read."""
    try:
        check_size(*image.size)
        if isinstance(image, TiffImagePlugin.TiffImageFile) and _TIFF_TILE_WIDTH in image.tag_v2:
            # A decoder allocates a whole tile, however small the picture.
            check_size(int(image.tag_v2[_TIFF_TILE_WIDTH]), int(image.tag_v2[_TIFF_TILE_LENGTH]))
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation of a loaded picture, 1 (upright) where it has none or its EXIF data are broken."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except _DECODER_ERRORS:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        return _from_16_bits(np.asarray(image))
    if image.mode == "F":
        raise ValueError("floating-point samples have no known range: export it with 8 or 16 bits a sample")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        opaque = Image.new("RGB", rgba.size, (255, 255, 255))
        opaque.paste(rgba, mask=rgba.getchannel("A"))
        return opaque
    return image.convert("RGB")


def _from_16_bits(samples_HW: npt.NDArray[Any]) -> Image.Image:
    if samples_HW.min() < 0 or samples_HW.max() > 65_535:
        raise ValueError("its samples do not fit into 16 bits: export it with 8 or 16 bits a sample")
    rounded = (samples_HW.astype(np.uint32) * 255 + 32_767) // 65_535
    return Image.fromarray(rounded.astype(np.uint8)).convert("RGB")


def _too_many_bytes(size: int) -> str:
    return (
        f"the file has {size / 2**20:.0f} MiB, at most {MAX_PICTURE_FILE_BYTES // 2**20} MiB are allowed; "
        "scale or compress it first"
    )


def _format_names() -> str:
    return ", ".join(FORMATS)


def _reason(error: Exception) -> str:
    """The first line of what a library says, or the name of its error."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
