"""HEIF and JPEG XL, where their extras are installed: pixels, transparency, metadata, orientation and losses."""

import base64
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clc.errors import InputError, LimitError
from clc.pictures import isolation, losses
from clc.pictures.images import read_picture
from tests.clc.pictures.test_colour_profiles import P3_XYZ, profile
from tests.made_pictures.metadata import XMP, exif_of_a_phone
from tests.made_pictures.others import saved
from tests.made_pictures.png import png
from tests.made_pictures.samples import samples_of
from tests.made_pictures.tiff import tiff

ROOT = Path(__file__).parents[3]
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


def texts(**given: str) -> PngImagePlugin.PngInfo:
    made = PngImagePlugin.PngInfo()
    for key, text in given.items():
        made.add_text(key, text)
    return made


@pytest.fixture
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture is decoded by a process of its own, as those of the extras are."""
    monkeypatch.setattr(isolation, "extra_format", lambda data: "HEIF")
    monkeypatch.setattr(isolation, "check_installed", lambda needed, name: None)


@pytest.mark.usefixtures("_apart")
def test_a_picture_that_is_decoded_apart_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    clear = np.dstack((RAMP, RAMP[..., 0]))
    exif, icc = exif_of_a_phone(8), profile(P3_XYZ)
    data = saved(Image.fromarray(clear), "PNG", exif=exif, icc_profile=icc, pnginfo=texts(Title="A hill"))
    apart = read_picture(data, "photo")
    monkeypatch.undo()
    here = read_picture(data, "photo")
    assert apart.losses == here.losses == (losses.GAMUT, losses.TEXT)
    assert apart.metadata == here.metadata
    assert apart.metadata.exif
    assert np.array_equal(apart.image_HW3, here.image_HW3)
    assert apart.alpha_HW is not None
    assert here.alpha_HW is not None
    assert np.array_equal(apart.alpha_HW, here.alpha_HW)


@pytest.mark.usefixtures("_apart")
def test_what_fails_apart_is_the_same_error_as_here() -> None:
    with pytest.raises(InputError, match=r"photo: the picture is broken \(.*palette"):
        read_picture(png(samples_of(1, 8), 8, 3), "photo")
    vast = tiff(samples_of(1, 8), 8).replace(
        struct.pack("<HHIHH", 257, 3, 1, 18, 0), struct.pack("<HHII", 257, 4, 1, 2**30)
    )
    with pytest.raises(LimitError, match="photo: the picture is 21x"):
        read_picture(vast, "photo")


@pytest.mark.usefixtures("_apart")
def test_a_process_that_dies_costs_its_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_PROGRAM", "import os; os.abort()")
    with pytest.raises(InputError, match=r"photo: the picture is broken .*ended with status -6"):
        read_picture(png(samples_of(1, 8), 8, 0), "photo")


@pytest.mark.usefixtures("_apart")
def test_a_picture_that_is_decoded_apart_may_have_a_name_of_any_bytes() -> None:
    name = "caf\udce9.heic"
    assert np.array_equal(read_picture(saved(Image.fromarray(RAMP), "PNG"), name).image_HW3, RAMP)
    with pytest.raises(InputError) as caught:
        read_picture(png(samples_of(1, 8), 8, 3), name)
    assert str(caught.value).startswith(f"{name}: the picture is broken")


@pytest.mark.usefixtures("_apart")
def test_nothing_is_imported_from_a_folder_that_this_process_does_not_import_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)")
    monkeypatch.setattr(sys, "path", [str(ROOT), *(path for path in sys.path if path)])
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(read_picture(saved(Image.fromarray(RAMP), "PNG"), "photo").image_HW3, RAMP)


@pytest.mark.usefixtures("_apart")
def test_a_process_that_does_not_end_costs_its_picture_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(isolation, "_MOST_S", 0.5)
    with pytest.raises(InputError, match=r"photo: the picture is broken .*did not end within 0.5 s"):
        read_picture(png(samples_of(1, 8), 8, 0), "photo")


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
