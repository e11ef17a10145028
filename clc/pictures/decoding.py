"""A picture's file to its samples, profile and metadata; each format's own ways.

Called by `clc.pictures.isolation` for `clc.pictures.images`, which converts what comes out of it, and turns what is
raised here into one error: nothing here catches what a decoder raises over the picture itself.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from clc.errors import InputError
from clc.limits import check_size
from clc.pictures import losses, metadata_reading, rasters, tiff
from clc.pictures.exif import ICC_PROFILE, ORIENTATION, Directory, Structure, bare
from clc.pictures.formats import open_picture

_UPRIGHT_FORMATS = ("HEIF", "JXL")  # their decoders turn the pixels themselves
_HEIF_PICTURES = ("depth_images", "aux")  # depth, gain maps of high dynamic range
_NO_PROFILE = b"\0"  # what no colour management takes for one
_AVIF_EXIF = 4  # place of EXIF in what Pillow's decoder of AVIF says
_START_OF_JPEG, _END_OF_IMAGE = b"\xff\xd8\xff", 0xD9
_JPEG_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_MARKERS_ALONE = (0x01, 0xD8)  # without a length behind them
_SRGB_GAMMA = (0.42, 0.49)  # 1 / 2.2 = 0.4545, which writers round in many ways
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SAME_PRIMARY = 0.01
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
    structure = Structure.of(data)
    return _decode(data, name) if structure is None else _decode_tiff(structure, name)


def _decode(data: bytes, name: str) -> Decoded:
    with open_picture(data) as image:
        _check_size(image, name)
        image.load()
        is_png = image.format == "PNG"
        raster = rasters.raster_of_png(image, data, open_picture) if is_png else rasters.raster_of(image)
        if image.format == "GIF" and raster.image is image:
            raster = raster._replace(image=image.copy())  # a GIF goes on to its second frame to know whether it has one
        found, orientation = metadata_reading.find(image), 1
        if image.format == "AVIF":
            found, orientation = _as_avif_says(image, found)
        elif image.format not in _UPRIGHT_FORMATS:
            orientation = found.orientation
        icc_profile = image.info.get("icc_profile")
        return Decoded(
            raster, icc_profile, found, orientation, (*_more_pictures(image, data), *_precision(image, data))
        )


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
    pages = (losses.FRAMES,) if directory.following else ()
    return Decoded(raster, _tiff_profile(structure, directory), found, orientation, pages)


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
        return _NO_PROFILE


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


def _more_pictures(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Tells of pictures, and of other data, that a file holds beside the one that is read."""
    told = []
    try:
        has_more = getattr(image, "is_animated", False) or any(image.info.get(kind) for kind in _HEIF_PICTURES)
    except Exception:  # a further frame is broken, so there is one
        has_more = True
    if image.format == "PPM":
        has_more = rasters.has_more_netpbm(data, image.size)
    if image.format in ("JPEG", "MPO"):
        rest = data[_end_of_jpeg(data) :]
        has_more = has_more or ("mp" in image.info and _START_OF_JPEG in rest)
        if rest.strip(b"\0\xff\n\r ") and (not has_more or b"ftyp" in rest):
            told.append(losses.APPENDIX)
    return (losses.FRAMES, *told) if has_more else tuple(told)


def _end_of_jpeg(data: bytes) -> int:
    """Return where the first picture of a JPEG file ends, in bytes."""
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        at = marker.end()
        if data[at - 1] == _END_OF_IMAGE:
            return at
        if data[at - 1] not in _MARKERS_ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return len(data)


def _precision(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Tells of samples that were rounded while a library decoded them, and of colours that it did not convert."""
    bits = image.info.get("bit_depth" if image.format == "HEIF" else "bits_per_sample", 8)
    if image.format == "AVIF":
        configuration = data.find(b"av1C") + 4
        bits = 10 if configuration > 3 and data[configuration + 2] & _AV1_HIGH_DEPTH else 8
    is_deep = (isinstance(bits, int) and bits > 8) or (image.format == "PPM" and rasters.is_deep_netpbm(data))
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
    is_stated = image.format == "PNG" and not image.info.get("icc_profile") and "srgb" not in image.info
    is_other = (gamma is not None and not _SRGB_GAMMA[0] <= gamma <= _SRGB_GAMMA[1]) or (
        primaries is not None and np.abs(np.subtract(primaries, _SRGB_PRIMARIES)).max() > _SAME_PRIMARY
    )
    told = {losses.DEPTH: is_deep, losses.GAMMA: is_stated and is_other}
    return tuple(loss for loss, is_so in told.items() if is_so)
