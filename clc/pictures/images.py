"""Pictures in and out: untrusted bytes -> RGB, alpha plane and metadata; those -> PNG.

The only room that opens untrusted pictures; the codec, the flows and key pictures read through this file. It checks
the size of the file and the dimensions in the header before it decodes a pixel, because a PNG of 10 kB may unfold to
hundreds of MiB. Whatever a decoder raises over outside bytes becomes one `InputError` with the picture's name.

A `.clc` stream holds 8-bit sRGB, an alpha plane, EXIF and XMP, so a picture is converted:

- Orientation: that of EXIF (or of XMP) is applied to colours and alpha, and both then say upright. HEIF, AVIF and
  JPEG XL say it themselves.
- Colour: an embedded ICC profile (RGB, grey or CMYK) is converted to sRGB, relative colorimetric with black point
  compensation. Where that moves no colour by more than two levels, the profile is taken for sRGB and every pixel
  stays. Without one the samples are taken for sRGB. CMYK and CIE Lab become RGB as Pillow converts them.
- Transparency: alpha of every kind (a channel, premultiplied too, or a transparent colour) is one plane, and the
  colours stay as they are, under clear pixels too; with a background they are composited over it.
- Samples: grey and palette become RGB; more than 8 bits a sample are rounded, from black to white of their depth.

`ReadPicture.losses` tells what is lost, in the sentences of `clc.pictures.losses`:

| loss | when |
|---|---|
| TRANSPARENCY | a background was asked for, and the picture is not opaque |
| FRAMES | animations, pages and sub-pictures of a TIFF, further pictures (gain maps) in a JPEG, AVIF or HEIF |
| ONE_FRAME | the same of a picture of Pillow's that shows another than the first |
| LAYERS, APPENDIX | Photoshop's layers in a TIFF; data behind the end of a picture, of every format but TIFF |
| DEPTH | more than 8 bits a sample, alpha included |
| PROFILE | a profile that is broken, too large, or made for another kind of picture |
| GAMMA | a file that says another gamma or other primaries than those of sRGB, and has no profile |
| HDR | a PNG (cICP), AVIF or HEIF (nclx) that says that its colours are PQ or HLG |
| GAMUT | a profile wider than sRGB, and colours of the picture that lie outside sRGB; a mere conversion is none |
| CMYK, LAB | the picture's colours, with a profile or without |
| CHANNELS | samples beside colours and transparency: spot colours, masks, infrared; the fourth of a BMP |
| EXIF, XMP, METADATA_SIZE | broken or too large ones |
| EXTENDED_XMP | segments of further XMP in a JPEG that do not fit the packet; those that do are joined to it |
| IPTC, COMMENT, TEXT, CREDENTIALS | metadata of other kinds |
| OTHER | chunks, segments, boxes and extensions of all other kinds, and those whose checksum is wrong |

A resolution outside EXIF becomes part of the EXIF data, unless these have one or it is 72 or 96 dpi, which say nothing.
What is not told: how the pixels were coded (JPEG's Adobe and Ducky segments, PNG's sBIT and hIST), previews of the
picture in JFIF and HEIF, and what a picture that Pillow opened had in its container alone.

For a broken TIFF, libtiff writes a line of its own to the standard error stream; Pillow offers no way to stop it.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageColor, PngImagePlugin, UnidentifiedImageError

from clc.errors import ClcError, InputError, LimitError
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_PIXELS, check_size
from clc.pictures import losses, metadata_reading
from clc.pictures.colour import to_srgb
from clc.pictures.decoding import Decoded, further_frames
from clc.pictures.formats import format_names
from clc.pictures.isolation import decode
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane, UnknownRange, check_picture
from clc.pictures.rasters import raster_of

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
_NO_MEMORY = "there is not enough memory to decode the picture; free some, or scale it first"
_XMP_KEYWORD = "XML:com.adobe.xmp"
_STREAM_MAGIC = b"\x89CLC"  # as in clc.bitstream.container, a room beside this one


class ReadPicture(NamedTuple):
    """A picture, uint8 (H, W, 3) in sRGB; its file's size; what of it was lost; alpha (H, W), None where opaque."""

    image_HW3: Picture
    file_bytes: int
    losses: tuple[str, ...]
    alpha_HW: Plane | None = None
    metadata: Metadata = NO_METADATA
    is_moved: bool = False
    """Whether a colour profile moved samples: no loss for the eye, but they are not those of the file."""


class Upright(NamedTuple):
    """A picture as `ReadPicture` has it, whose samples are still in Pillow's memory: RGB, and L for alpha.

    For who asks the whole of it something, and needs no array: a copy of the samples takes a tenth of decoding's time.
    """

    image: Image.Image
    alpha: Image.Image | None
    losses: tuple[str, ...]
    metadata: Metadata
    is_moved: bool


def read_image(source: Path | bytes) -> Picture:
    """Return a picture of a file or of bytes over white, uint8 (H, W, 3) in sRGB; see `read_picture`."""
    return read_picture(source, background="white").image_HW3


def read_picture(source: Path | bytes, name: str = "", *, background: str | None = None) -> ReadPicture:
    """Return a picture of a file or of bytes with alpha and metadata, and what of it was lost; `name` is for messages.

    `background` is a colour that Pillow's `ImageColor` knows: the picture is composited over it, and has no alpha then.

    Raises `InputError` where the picture is missing, broken, of a format that is not read or not installed, or where
    the background is no colour, and `LimitError` where the file or the picture is over the caps of `clc.limits`.
    """
    name = name or ("the picture" if isinstance(source, bytes) else str(source))
    colour = None if background is None else _colour_of(background)
    data = source if isinstance(source, bytes) else picture_bytes(source)
    with _one_error(data, name):
        return _taken_out(_upright_of(decode(data, name), colour), len(data))


def read_upright(data: bytes, name: str, *, background: str | None = None) -> Upright:
    """Return the picture of a file's bytes as `read_picture` does, and raise what it does, without an array of it."""
    colour = None if background is None else _colour_of(background)
    with _one_error(data, name):
        return _upright_of(decode(data, name), colour)


@contextlib.contextmanager
def _one_error(data: bytes, name: str) -> Iterator[None]:
    """Turn what is raised over the bytes of a picture's file into one `InputError`, or `LimitError`, with its name."""
    if len(data) > MAX_PICTURE_FILE_BYTES:
        raise LimitError(f"{name}: {_too_many_bytes(len(data))}")
    if not data:
        raise InputError(f"{name}: the file is empty; give a picture ({format_names()})")
    # The filter names Pillow only, so that two threads which restore it out of order lose none but Pillow's warnings.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield
        except ClcError:
            raise
        except UnidentifiedImageError as error:
            if data.startswith(_STREAM_MAGIC):
                raise InputError(f"{name}: is a .clc stream, no picture; decode it, or name a picture") from error
            what = "not a readable picture (of another format, or damaged at its start)"
            raise InputError(f"{name}: {what}; give a sound one of {format_names()}") from error
        except UnknownRange as error:
            raise InputError(f"{name}: {error}") from error
        except Image.DecompressionBombError as error:
            allowed = f"{MAX_PIXELS // 2**20} Mi pixels that are allowed"
            raise LimitError(f"{name}: its header claims far more than the {allowed}; scale or cut it first") from error
        except MemoryError as error:
            raise LimitError(f"{name}: {_NO_MEMORY}") from error
        except Exception as error:
            # The one boundary: what decoders raise over outside bytes cannot be listed (AttributeError, AssertionError,
            # RecursionError, errors of their own), and one picture must not end the work on all others.
            raise InputError(f"{name}: the picture is broken ({_reason(error)}); export or copy it again") from error


def picture_of(image: Image.Image, *, background: str | None = None) -> ReadPicture:
    """Return a picture of Pillow's as `read_picture` does its file; its file's size is 0.

    The orientation that its EXIF data or XMP tell is applied, as they then say upright: a picture that was turned with
    `ImageOps.exif_transpose` tells none. Raises `InputError` for samples that cannot be converted to RGB.
    """
    colour = None if background is None else _colour_of(background)
    try:
        found = metadata_reading.find(image)
        lost = further_frames(image)
        decoded = Decoded(raster_of(image), _profile_of(image), found, found.orientation, lost)
        return _taken_out(_upright_of(decoded, colour), 0)
    except MemoryError:  # says nothing of the picture
        raise
    except Exception as error:  # as in `read_picture`: a picture that is still open is decoded now
        raise _not_to_be_coded(image, error) from error


def rgb_of(image: Image.Image) -> Picture:
    """Return a picture of Pillow's over white as sRGB, uint8 (H, W, 3); its profile is treated as in `read_picture`.

    The EXIF orientation is not applied: that is for whoever opened the picture. Raises `InputError` for samples that
    cannot be converted to RGB.
    """
    try:
        decoded = Decoded(raster_of(image), _profile_of(image), metadata_reading.Found(), 1)
        return np.array(_upright_of(decoded, (255, 255, 255)).image)
    except MemoryError:
        raise
    except Exception as error:  # as in `picture_of`
        raise _not_to_be_coded(image, error) from error


def png_bytes(image_HW3: Picture, alpha_HW: Plane | None = None, metadata: Metadata = NO_METADATA) -> bytes:
    """Return a picture as a PNG file: RGB, uint8 (H, W, 3), or RGBA with an alpha plane (H, W); EXIF and XMP in chunks.

    The file says that its colours are sRGB. Raises `InputError` for another shape or dtype, `LimitError` over the caps
    of `clc.limits`.
    """
    check_picture(image_HW3)
    check_size(image_HW3.shape[1], image_HW3.shape[0])
    samples = np.ascontiguousarray(image_HW3)
    if alpha_HW is not None:
        if alpha_HW.dtype != np.uint8 or alpha_HW.shape != image_HW3.shape[:2]:
            raise InputError(
                f"an alpha plane is uint8 {image_HW3.shape[:2]} like its picture, not {alpha_HW.dtype} {alpha_HW.shape}"
            )
        samples = np.dstack((samples, alpha_HW))
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\1")  # relative colorimetric, as profiles are converted
    if metadata.xmp:
        chunks.add_itxt(_XMP_KEYWORD, metadata.xmp.decode())
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG", pnginfo=chunks, exif=metadata.exif)
    return buffer.getvalue()


def _upright_of(decoded: Decoded, background: tuple[int, int, int] | None) -> Upright:
    converted = to_srgb(decoded.raster.image, decoded.icc_profile)
    rgb, alpha = converted.image, decoded.raster.alpha_HW
    lost = [*decoded.losses, *decoded.raster.losses, *converted.losses]
    if background is not None and alpha is not None:
        opaque = Image.new("RGB", rgb.size, background)
        opaque.paste(rgb, mask=Image.fromarray(alpha))
        rgb, alpha = opaque, None
        lost.append(losses.TRANSPARENCY)
    found = decoded.found
    metadata, not_kept = metadata_reading.kept(found.exif, found.xmp)
    told = tuple(dict.fromkeys((*lost, *found.losses, *not_kept)))
    upright_alpha = None if alpha is None else _upright(Image.fromarray(alpha), decoded.orientation)
    return Upright(_upright(rgb, decoded.orientation), upright_alpha, told, metadata, converted.is_moved)


def _taken_out(read: Upright, file_bytes: int) -> ReadPicture:
    """Return a picture as arrays of its own."""
    alpha_HW = None if read.alpha is None else np.array(read.alpha)
    return ReadPicture(np.array(read.image), file_bytes, read.losses, alpha_HW, read.metadata, read.is_moved)


def _profile_of(image: Image.Image) -> bytes | None:
    """The profile of a picture of Pillow's; a text of that name, which a PNG may have, is none."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else None


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(orientation)
    return image if transposition is None else image.transpose(transposition)


def _colour_of(background: str) -> tuple[int, int, int]:
    try:
        red, green, blue = ImageColor.getrgb(background)[:3]
    except ValueError as error:
        raise InputError(f"the background {background!r} is no colour: name one, such as white or #808080") from error
    return red, green, blue


def picture_bytes(path: Path) -> bytes:
    """Return the bytes of a picture's file; `InputError` where it cannot be read, `LimitError` over the cap."""
    try:
        if not path.is_file():
            what = "is no regular file" if path.exists() else "does not exist"
            raise InputError(f"{path}: {what}; give the path of a picture ({format_names()})")
        size = path.stat().st_size
        if size > MAX_PICTURE_FILE_BYTES:
            raise LimitError(f"{path}: {_too_many_bytes(size)}")
        with path.open("rb") as file:
            data = file.read(size + 1)
            if len(data) > size:  # it grew meanwhile
                data += file.read(MAX_PICTURE_FILE_BYTES + 1 - len(data))
            return data
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"{path}: cannot be read ({_reason(error)}); check its name and its permissions") from error


def _not_to_be_coded(image: Image.Image, error: Exception) -> InputError:
    return InputError(f"a picture of mode {image.mode} cannot be coded ({_reason(error)}); convert it to RGB")


def _too_many_bytes(size: int) -> str:
    return (
        f"the file has {size / 2**20:.0f} MiB, at most {MAX_PICTURE_FILE_BYTES // 2**20} MiB are allowed; "
        "scale or compress it first"
    )


def _reason(error: Exception) -> str:
    """Return the first line of an error's message, at most 200 characters, or the name of its class."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
