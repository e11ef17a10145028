"""A picture's file to its samples, profile and metadata; each format's own ways.

Called by `clc.pictures.isolation` for `clc.pictures.images`, which converts what comes out of it, and turns what is
raised here into one error: nothing here catches what a decoder raises over the picture itself.
"""

from __future__ import annotations

from itertools import islice
from typing import IO, NamedTuple

from PIL import Image, ImageFile

from clc.errors import InputError
from clc.limits import MAX_PICTURE_FILE_BYTES, check_size
from clc.pictures import losses, metadata_reading, rasters, tiff
from clc.pictures.container_reading import Beside, read_beside
from clc.pictures.containers import GIF_IMAGE, PNG_START, gif_blocks
from clc.pictures.exif import ICC_PROFILE, ORIENTATION, SUB_PICTURES, Directory, Structure, bare, with_resolution
from clc.pictures.formats import open_picture
from clc.pictures.png import NO_PROFILE, read_png

_UPRIGHT_FORMATS = ("HEIF", "JXL")  # their decoders turn the pixels themselves
_HEIF_PICTURES = ("depth_images", "aux")  # depth, gain maps of high dynamic range
_AVIF_EXIF = 4  # place of EXIF in what Pillow's decoder of AVIF says
_AV1_HIGH_DEPTH = 0x40  # a bit of AV1's configuration


class Decoded(NamedTuple):
    """A picture as it lies in its file: samples of 8 bits, ICC profile, metadata, orientation (1 to 8), losses."""

    raster: rasters.Raster
    icc_profile: bytes | None
    found: metadata_reading.Found
    orientation: int
    losses: tuple[str, ...] = ()


def decode(data: bytes, name: str) -> Decoded:
    """Decode a picture's file. Raises whatever a decoder does, and `LimitError`, by `name`, over the caps."""
    if data.startswith(PNG_START):
        return _decode_png(data, name)
    structure = Structure.of(data)
    return _decode(data, name) if structure is None else _decode_tiff(structure, name)


def _decode(data: bytes, name: str) -> Decoded:
    with open_picture(data) as image:
        _check_size(image, name)
        image.load()
        raster = rasters.raster_of(image)
        if image.format == "GIF" and raster.image is image:
            raster = raster._replace(image=image.copy())  # a GIF goes on to its second frame to know whether it has one
        found, orientation = metadata_reading.find(image), 1
        icc_profile = image.info.get("icc_profile")
        has = {"has_profile": bool(icc_profile), "has_exif": bool(found.exif), "has_xmp": bool(found.xmp)}
        beside = read_beside(image.format, data, **has)
        if image.format == "AVIF":
            found, orientation = _as_avif_says(image, found)
        found = _with_beside(found, beside)
        if image.format not in (*_UPRIGHT_FORMATS, "AVIF"):
            orientation = found.orientation
        lost = (*_more_pictures(image), *beside.losses, *_precision(image, data))
        return Decoded(raster, icc_profile or beside.icc_profile, found, orientation, lost)


def _decode_png(data: bytes, name: str) -> Decoded:
    file = read_png(data)
    with open_picture(file.pixels) as image:
        _check_size(image, name)
        image.load()
        raster = rasters.raster_of_png(image, file.pixels, open_picture)
    return Decoded(raster, file.icc_profile, file.found, file.found.orientation, file.losses)


def _with_beside(found: metadata_reading.Found, beside: Beside) -> metadata_reading.Found:
    exif = found.exif if beside.resolution is None else with_resolution(found.exif, beside.resolution)
    return found._replace(exif=exif, xmp=found.xmp or beside.xmp)


def _decode_tiff(structure: Structure, name: str) -> Decoded:
    directory = structure.directory(structure.first)
    layout = _layout(structure, directory, name)
    found = metadata_reading.find_in_tiff(structure, directory)
    orientation = tiff.orientation_of(structure, directory) or found.orientation
    if layout.is_subsampled:
        raster = rasters.Raster(tiff.read_subsampled(structure, layout), None, ())
    elif layout.is_read_by_pillow and not (structure.is_big and structure.order == ">" and layout.is_read_here):
        raster = _by_pillow(structure, directory, layout, name)
        orientation = 1  # Pillow turns the pixels of a TIFF itself
    else:
        samples = tiff.read_samples(structure, directory, layout)
        alpha_HW = None if samples.alpha_HW is None else rasters.opaque_is_none(samples.alpha_HW)
        raster = rasters.Raster(samples.image, alpha_HW, (losses.DEPTH,) if layout.is_deep else ())
    pages = (losses.FRAMES,) if directory.following or SUB_PICTURES in directory.entries else ()
    profile = _tiff_profile(structure, directory)
    channels = (losses.CHANNELS,) if layout.has_more_channels else ()
    stated = () if profile else tiff.stated_colours(structure, directory)
    return Decoded(raster, profile, found, orientation, (*pages, *channels, *stated))


def _layout(structure: Structure, directory: Directory, name: str) -> tiff.Layout:
    try:
        return tiff.layout_of(structure, directory)
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error


def _by_pillow(structure: Structure, directory: Directory, layout: tiff.Layout, name: str) -> rasters.Raster:
    with open_picture(structure.data) as image:
        _check_size(image, name)
        image.load()
        palette = tiff.palette_of(structure, directory, layout.bits) if image.mode == "P" else None
        if palette is not None:
            image.putpalette(palette.tobytes())
        return rasters.raster_of(image)


def _tiff_profile(structure: Structure, directory: Directory) -> bytes | None:
    entry = directory.entries.get(ICC_PROFILE)
    if entry is None:
        return None
    try:
        return structure.value(entry)
    except ValueError:
        return NO_PROFILE


def _check_size(image: Image.Image, name: str) -> None:
    """Raise `LimitError` for a picture that is too large to decode, from its header alone."""
    try:
        check_size(*image.size)
    except InputError as error:
        raise type(error)(f"{name}: {error}") from error


def _as_avif_says(image: Image.Image, found: metadata_reading.Found) -> tuple[metadata_reading.Found, int]:
    """EXIF as it is in the file, and the orientation of the container, which is the one that counts.

    Pillow writes that into the EXIF data, and writes them anew for it.
    """
    orientation = int(image.getexif().get(ORIENTATION, 1)) if image.info.get("exif") else 1
    decoder = getattr(image, "_decoder", None)
    said = decoder.get_info() if decoder is not None else ()
    if len(said) > _AVIF_EXIF and isinstance(said[_AVIF_EXIF], bytes | None):
        found = found._replace(exif=bare(said[_AVIF_EXIF] or b""))
    return found, orientation


def further_frames(image: Image.Image) -> tuple[str, ...]:
    """Tell of frames or pages that a picture which Pillow opened has beside the one that it shows.

    The picture stays as it is: Pillow's GIFs, asked whether they are animated, forget what was drawn on them.
    """
    if not isinstance(image, ImageFile.ImageFile):
        return ()
    if image.format == "GIF":
        has_more = image.tell() > 0 or _has_further_pictures(getattr(image, "_fp", None))
    else:
        has_more = bool(getattr(image, "is_animated", False))
    return () if not has_more else (losses.ONE_FRAME if image.tell() else losses.FRAMES,)


def _has_further_pictures(gif: IO[bytes] | None) -> bool:
    """Whether there is a second picture in a file that is open; False where it is closed, for nobody knows then."""
    try:
        if gif is None:
            return False
        at = gif.tell()
        gif.seek(0)
        data = gif.read(MAX_PICTURE_FILE_BYTES)
        gif.seek(at)
    except (OSError, ValueError):
        return False
    pictures = (part for part in gif_blocks(data) if part.kind == GIF_IMAGE)
    return data.startswith(b"GIF8") and len(list(islice(pictures, 2))) == 2


def _more_pictures(image: Image.Image) -> tuple[str, ...]:
    """Tells of pictures that a file holds beside the one that is read, as far as its decoder knows them."""
    try:
        has_more = getattr(image, "is_animated", False) or any(image.info.get(kind) for kind in _HEIF_PICTURES)
    except MemoryError:
        raise
    except Exception:  # a further frame is broken, so there is one
        has_more = True
    return (losses.FRAMES,) if has_more else ()


def _precision(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Tells of samples that were rounded while a library decoded them."""
    bits = image.info.get("bit_depth" if image.format == "HEIF" else "bits_per_sample", 8)
    if image.format == "AVIF":
        configuration = data.find(b"av1C") + 4
        bits = 10 if configuration > 3 and data[configuration + 2] & _AV1_HIGH_DEPTH else 8
    is_deep = (isinstance(bits, int) and bits > 8) or (image.format == "PPM" and rasters.is_deep_netpbm(data))
    return (losses.DEPTH,) if is_deep else ()
