"""Pictures in and out: untrusted bytes -> RGB, RGB -> PNG.

The only module that opens untrusted pictures; the codec, the flows and key pictures read through it. It checks the
size of the file and the dimensions in the header before it decodes a pixel, because a PNG of 10 kB may unfold to
hundreds of MiB. It turns whatever a decoder raises over broken bytes into one `InputError` with the picture's name.

A `.clc` stream holds 8-bit sRGB and nothing else, so a picture is converted:

- Orientation: that of the EXIF data is applied to the pixels. The rest of EXIF and XMP is dropped.
- Colour: an embedded ICC profile (RGB, grey or CMYK) is converted to sRGB, relative colorimetric with black point
  compensation. Where that moves no colour by more than `_SAME_COLOUR` levels, the profile is taken for sRGB and every
  pixel stays. A profile that is broken, or made for another kind of picture, is ignored. Without one the samples are
  taken for sRGB; gAMA, cHRM and cICP chunks are ignored.
- Transparency is composited over white.
- Samples: grey, palette and CMYK become RGB; 16 bits a sample are rounded to 8.
- Frames: the first of several is read.

`ReadPicture.losses` names transparency, further frames and an ignored profile, so that callers can report them.

For a broken TIFF, libtiff writes a line of its own to the standard error stream; Pillow offers no way to stop it.
"""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

from clc.errors import InputError, LimitError
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_PIXELS, check_size
from clc.pictures.picture import check_picture

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "PPM")
"""Formats that are read, by Pillow's names."""

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

_PROFILE_ERRORS = (ImageCms.PyCMSError, ImportError, *_DECODER_ERRORS)
_MAX_PROFILE_BYTES = 8 * 2**20
_SAME_COLOUR = 2  # levels of 0..255
_PROFILE_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # from ICC's colour space to Pillow's mode
_ANIMATED_FORMATS = ("PNG", "WEBP", "AVIF")

TRANSPARENCY = "transparency was composited over white, because a .clc stream keeps none"
FRAMES = "only the first frame was coded"
PROFILE = "the colour profile cannot be used and was ignored, so its colours may be off"

_EXIF_ORIENTATION = 0x0112
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323  # tags
# What turns a picture upright, by its EXIF orientation; 1 is upright.
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


class ReadPicture(NamedTuple):
    """A picture, uint8 (H, W, 3) in sRGB, its file's size, and its losses: `TRANSPARENCY`, `FRAMES`, `PROFILE`."""

    image_HW3: UInt8Array
    file_bytes: int
    losses: tuple[str, ...]


def read_image(source: Path | bytes) -> UInt8Array:
    """Return a picture of a file or of bytes, uint8 (H, W, 3) in sRGB; see `read_picture`."""
    return read_picture(source).image_HW3


def read_picture(source: Path | bytes, name: str = "") -> ReadPicture:
    """Return a picture of a file or of bytes in sRGB, and what of it was lost; `name` is for messages.

    Raises `InputError` where it is missing, broken, or of another format than `FORMATS`, and `LimitError` where the
    file or the picture is over the caps of `clc.limits`.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    data = source if isinstance(source, bytes) else _read_file(source)
    if len(data) > MAX_PICTURE_FILE_BYTES:
        raise LimitError(f"{name}: {_too_many_bytes(len(data))}")
    if not data:
        raise InputError(f"{name}: the file is empty; give a picture ({_format_names()})")
    # The filter names Pillow only, so that two threads which restore it out of order lose none but Pillow's warnings.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return _decode(data, name)


def rgb_of(image: Image.Image) -> UInt8Array:
    """Return a picture of Pillow's as sRGB, uint8 (H, W, 3); profile and transparency are treated as in `read_picture`.

    The EXIF orientation is not applied: that is for whoever opened the picture. Raises `InputError` for samples that
    cannot be converted to RGB.
    """
    try:
        return np.array(_to_rgb(image)[0])
    except _DECODER_ERRORS as error:
        raise InputError(
            f"a picture of mode {image.mode} cannot be coded ({_reason(error)}); convert it to RGB"
        ) from error


def png_bytes(image_HW3: UInt8Array) -> bytes:
    """Return an RGB picture, uint8 (H, W, 3), as a PNG file.

    Raises `InputError` for another shape or dtype, `LimitError` over the caps of `clc.limits`.
    """
    check_picture(image_HW3)
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


def _decode(data: bytes, name: str) -> ReadPicture:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, name)
            image.load()
            is_animated = image.format in _ANIMATED_FORMATS and getattr(image, "is_animated", False)
            rgb, losses = _to_rgb(image)
            upright_HW3 = np.array(_upright(rgb, _orientation(image)))
            return ReadPicture(upright_HW3, len(data), (*losses, FRAMES) if is_animated else losses)
    except UnidentifiedImageError as error:
        what = "not a readable picture (of another format, or damaged at its start)"
        raise InputError(f"{name}: {what}; give a sound one of {_format_names()}") from error
    except Image.DecompressionBombError as error:
        allowed = f"{MAX_PIXELS // 2**20} Mi pixels that are allowed"
        raise LimitError(f"{name}: its header claims far more than the {allowed}; scale or cut it first") from error
    except _DECODER_ERRORS as error:
        raise InputError(f"{name}: the picture is broken ({_reason(error)}); export or copy it again") from error


def _check_header(image: Image.Image, name: str) -> None:
    """Raise `LimitError` for a picture that is too large to decode, from its header alone."""
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


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return the picture in sRGB over white, and what was lost: `TRANSPARENCY`, `PROFILE`."""
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_MODES:
        image = _from_16_bits(np.asarray(image))
    if image.mode == "F":
        raise ValueError("floating-point samples have no known range: export it with 8 or 16 bits a sample")
    alpha = None
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        image = image.convert("RGBA").convert("L" if image.mode == "LA" else "RGB")
    converted = _to_srgb(image, profile) if profile else None
    losses = (PROFILE,) if profile and converted is None else ()
    rgb = image.convert("RGB") if converted is None else converted
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb, losses
    opaque = Image.new("RGB", rgb.size, (255, 255, 255))
    opaque.paste(rgb, mask=alpha)
    return opaque, (TRANSPARENCY, *losses)


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Return the picture converted from its profile `icc` to sRGB; None where the profile cannot be used."""
    if len(icc) > _MAX_PROFILE_BYTES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        mode = _PROFILE_MODES[profile.profile.xcolor_space]
        if (image.mode == "CMYK") != (mode == "CMYK") or (mode == "L" and image.mode not in ("1", "L")):
            return None
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        samples = image.convert(mode)
        if mode != "CMYK" and _leaves_colours(transform, mode):
            return samples.convert("RGB")
        return transform.apply(samples)
    except _PROFILE_ERRORS:
        return None


def _leaves_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform to sRGB moves none of 17 x 17 x 17 colours (or 256 greys) by more than `_SAME_COLOUR`."""
    levels = np.linspace(0, 255, 17).round().astype(np.uint8)
    colours_HW3 = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(17, -1, 3)
    probe = Image.fromarray(colours_HW3 if mode == "RGB" else np.arange(256, dtype=np.uint8)[None])
    moved = np.asarray(transform.apply(probe), np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    return bool(np.abs(moved).max() <= _SAME_COLOUR)


def _from_16_bits(samples_HW: npt.NDArray[Any]) -> Image.Image:
    """Return grey samples of 0..65535 as a picture of 8 bits, rounded."""
    if samples_HW.min() < 0 or samples_HW.max() > 65_535:
        raise ValueError("its samples do not fit into 16 bits: export it with 8 or 16 bits a sample")
    rounded = (samples_HW.astype(np.uint32) * 255 + 32_767) // 65_535
    return Image.fromarray(rounded.astype(np.uint8))


def _too_many_bytes(size: int) -> str:
    return (
        f"the file has {size / 2**20:.0f} MiB, at most {MAX_PICTURE_FILE_BYTES // 2**20} MiB are allowed; "
        "scale or compress it first"
    )


def _format_names() -> str:
    return ", ".join(FORMATS)


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, at most 200 characters, or the name of its class."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
