"""HEIF and JPEG XL, where their extras are installed: pixels, transparency, metadata, orientation and losses."""

import base64

import numpy as np
import pytest

from clc.errors import InputError
from clc.pictures.images import read_picture
from tests.made_pictures.metadata import XMP, exif_of_a_phone

RAMP = np.stack(np.broadcast_arrays(np.arange(32) * 8, np.arange(24)[:, None] * 10, 90), axis=2).astype(np.uint8)

HEIC = base64.b64decode(
    """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAhFtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA
    AEZpbG9jAAAAAERAAAMAAQAAAAACNQABAAAAAAAAAI8AAgAAAAACxAABAAAAAAAAADYAAwAAAAAC+gABAAAAAAAAACEAAABiaWlu
    ZgAAAAAAAwAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAACppbmZlAgAAAQADAABtaW1lAGFwcGxp
    Y2F0aW9uL3JkZit4bWwAAAAAAA5waXRtAAAAAAABAAABBmlwcnAAAADlaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAA
    DwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAAD
    AIRiAAEABkQBwXPBiQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAIAAAAAEAAAAYAAAA
    Af///+AAAAAC////2AAAAAIAAAAQcGl4aQAAAAADCAgIAAAACWlyb3QDAAAAGWlwbWEAAAAAAAAAAQABBoECAwWEhgAAAChpcmVm
    AAAAAAAAAA5jZHNjAAIAAQABAAAADmNkc2MAAwABAAEAAADubWRhdAAAAIsoAa8JyG1wSj3yCJuggV7BfnAQVNUZeWWBwkcy+lgD
    WjaDXxVsngP5CLyyHVVvVR36xnIPF3IiZ/jlXBX/QOqd2SUQuMeHOslg4Fx3zoEEy1KmHuAzuFkDgBzXZzTQhOldkxSFM38MrVG9
    d86f/oD94CvhdO05saFmmNuo0Y+tLd6AwWLKywT9bVfAAAAABkV4aWYAAE1NACoAAAAIAAIBDwACAAAABgAAACYBEgADAAAAAQAG
    AAAAAAAATWFrZXIAPHg6eG1wbWV0YSB0aWZmOk9yaWVudGF0aW9uPSI2Ii8+
    """
)
"""`RAMP` in HEVC, turned by 90 degrees (orientation 6, in the container and in EXIF), the maker "Maker", and XMP."""


def test_a_heic_picture_is_read_upright_with_its_metadata() -> None:
    pytest.importorskip("pi_heif")
    read = read_picture(HEIC)
    assert np.abs(read.image_HW3.astype(int) - np.rot90(RAMP, -1)).mean() < 4
    assert b"Maker\0" in read.metadata.exif
    assert b"xmpmeta" in read.metadata.xmp
    assert read.losses == ()
    assert read.alpha_HW is None


def test_a_jpeg_xl_picture_is_read_with_its_metadata() -> None:
    pylibjxl = pytest.importorskip("pylibjxl")
    read = read_picture(pylibjxl.encode(RAMP, lossless=True, distance=0.0, exif=exif_of_a_phone(1), xmp=XMP))
    assert np.array_equal(read.image_HW3, RAMP)
    assert read.metadata.exif == exif_of_a_phone(1)
    assert read.metadata.xmp == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    assert read.losses == ()


def test_the_transparency_of_jpeg_xl_is_kept() -> None:
    pylibjxl = pytest.importorskip("pylibjxl")
    rgba = np.dstack((RAMP, RAMP[..., 0]))
    read = read_picture(pylibjxl.encode(rgba, lossless=True, distance=0.0))
    assert np.array_equal(read.image_HW3, RAMP)
    assert read.alpha_HW is not None
    assert np.array_equal(read.alpha_HW, RAMP[..., 0])


def test_a_decoder_that_crashes_costs_its_picture_alone() -> None:
    pytest.importorskip("pi_heif")
    crashing = bytearray(HEIC)
    crashing[217] = 211
    with pytest.raises(InputError, match="photo: the picture is broken"):
        read_picture(bytes(crashing), "photo")


@pytest.mark.parametrize("module", ["pi_heif", "pylibjxl"])
def test_damage_gives_a_picture_or_one_kind_of_error(module: str) -> None:
    library = pytest.importorskip(module)
    whole = HEIC if module == "pi_heif" else library.encode(RAMP, exif=exif_of_a_phone())
    generator = np.random.default_rng(1)
    for _ in range(4):
        data = bytearray(whole)
        data[generator.integers(len(data))] = generator.integers(256)
        try:
            read = read_picture(bytes(data[: generator.integers(20, len(data)) if generator.integers(2) else None]))
        except InputError:
            continue
        assert read.image_HW3.shape[2] == 3
