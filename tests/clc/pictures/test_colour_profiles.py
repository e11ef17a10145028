"""Colours mean the same after reading: profiles are applied, sRGB stays to the bit, broken profiles cost nothing."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms

import clc
from clc.errors import InputError
from clc.pictures import losses
from clc.pictures.images import read_image, read_picture, rgb_of
from clc.pictures.losses import DEPTH, FRAMES, GAMUT, PROFILE, TRANSPARENCY

# Columns: the primaries in XYZ under D50, as profiles of these spaces carry them.
SRGB_XYZ = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
P3_XYZ = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
GAMMA = 563 / 256

MUTED = np.random.default_rng(8).integers(90, 170, (12, 16, 3)).astype(np.uint8)  # inside the gamut of sRGB


def profile(primaries: npt.NDArray[np.float64] | None, curve: bytes = b"") -> bytes:
    """A minimal ICC profile: a matrix of primaries and a power curve, or a grey curve where there are none."""
    curve = curve or b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256)) + bytes(2)
    tags = {b"kTRC": curve}
    if primaries is not None:
        tags = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True):
            tags[name] = b"XYZ " + bytes(4) + b"".join(xyz_number(value) for value in column)
    white = b"".join(xyz_number(value) for value in (0.9642, 1.0, 0.8249))
    tags[b"wtpt"] = b"XYZ " + bytes(4) + white
    position, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", position + len(body), len(data))
        body += data
    head = struct.pack(">I4sI", position + len(body), bytes(4), 0x02100000)
    head += b"mntr" + (b"GRAY" if primaries is None else b"RGB ") + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + white).ljust(128, b"\0") + table + body


def xyz_number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def file_of(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def srgb_of(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    encoded: npt.NDArray[np.float64] = 255 * np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 0) ** (1 / 2.4) - 0.055
    )
    return encoded


@pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_a_wide_gamut_picture_becomes_srgb(image_format: str, options: dict[str, Any]) -> None:
    read = read_picture(file_of(Image.fromarray(MUTED), image_format, icc_profile=profile(P3_XYZ), **options))
    linear = (MUTED / 255.0) ** GAMMA @ P3_XYZ.T @ np.linalg.inv(SRGB_XYZ).T
    assert np.abs(read.image_HW3 - srgb_of(linear)).max() < 2
    assert np.abs(read.image_HW3.astype(int) - MUTED).max() > 5
    assert read.losses == ()


def test_colours_outside_srgb_are_clipped_and_told() -> None:
    vivid = np.zeros((4, 4, 3), np.uint8)
    vivid[..., 1] = 255
    read = read_picture(file_of(Image.fromarray(vivid), icc_profile=profile(P3_XYZ)))
    assert read.losses == (GAMUT,)
    assert read_picture(file_of(Image.fromarray(vivid), icc_profile=srgb_profile())).losses == ()


def test_a_profile_that_moves_samples_is_told_where_none_was_to_be_lost() -> None:
    file = file_of(Image.fromarray(MUTED), icc_profile=profile(P3_XYZ))
    assert read_picture(file).is_moved
    with pytest.warns(clc.LossWarning, match=losses.MOVED):
        data = clc.encode(file, lossless=True)
    assert (clc.decode(data) == read_picture(file).image_HW3).all()
    same = file_of(Image.fromarray(MUTED), icc_profile=srgb_profile())
    assert not read_picture(same).is_moved
    assert (clc.decode(clc.encode(same, lossless=True)) == MUTED).all()


def test_pixels_that_are_srgb_stay_as_they_are() -> None:
    every_level = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    read = read_picture(file_of(Image.fromarray(every_level), icc_profile=srgb_profile()))
    assert np.array_equal(read.image_HW3, every_level)
    assert read.losses == ()


def test_srgb_of_another_make_leaves_the_pixels_though_its_numbers_are_rounded() -> None:
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    other = profile(
        SRGB_XYZ * 1.012, b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(map(xyz_number, numbers))
    )
    every_level = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    image = Image.fromarray(every_level)
    converted = ImageCms.profileToProfile(image, io.BytesIO(other), io.BytesIO(srgb_profile()))
    assert not np.array_equal(np.asarray(converted), every_level)
    read = read_picture(file_of(image, icc_profile=other))
    assert np.array_equal(read.image_HW3, every_level)
    assert read.losses == ()


def test_a_grey_profile_is_applied_with_8_and_with_16_bits() -> None:
    grey = np.arange(256, dtype=np.uint8)[None]
    expected = srgb_of((grey / 255.0) ** GAMMA)
    for samples in (grey, grey.astype(np.uint16) * 257):
        read = read_picture(file_of(Image.fromarray(samples), icc_profile=profile(None)))
        assert np.abs(read.image_HW3[..., 1] - expected).max() < 2
        assert np.abs(read.image_HW3[..., 1] - grey.astype(int)).max() > 3
        assert read.losses == ((DEPTH,) if samples.dtype == np.uint16 else ())


def test_an_rgb_profile_on_a_grey_picture_is_applied() -> None:
    read = read_picture(file_of(Image.new("L", (3, 2), 100), "JPEG", quality=100, icc_profile=profile(SRGB_XYZ)))
    assert np.abs(read.image_HW3 - srgb_of(np.array((100 / 255) ** GAMMA))).max() < 2


@pytest.mark.parametrize(
    "broken",
    [b"no profile", srgb_profile()[:200], bytes(600), srgb_profile()[:128] + b"\xff" * 460, profile(None)],
    ids=["text", "cut", "zeros", "overwritten", "grey, on colours"],
)
def test_a_broken_or_foreign_profile_is_ignored_and_named(broken: bytes) -> None:
    read = read_picture(file_of(Image.fromarray(MUTED), icc_profile=broken))
    assert np.array_equal(read.image_HW3, MUTED)
    assert read.losses == (PROFILE,)


def test_random_damage_to_a_profile_gives_a_picture() -> None:
    generator = np.random.default_rng(3)
    for _ in range(150):
        data = bytearray(profile(P3_XYZ))
        for _ in range(3):
            data[generator.integers(len(data))] = generator.integers(256)
        assert read_image(file_of(Image.fromarray(MUTED), icc_profile=bytes(data))).shape == MUTED.shape


def test_a_huge_profile_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.pictures.colour.MAX_PROFILE_BYTES", 100)
    read = read_picture(file_of(Image.fromarray(MUTED), icc_profile=profile(P3_XYZ)))
    assert np.array_equal(read.image_HW3, MUTED)
    assert read.losses == (PROFILE,)


def test_profile_and_transparency_go_together() -> None:
    opaque = read_image(file_of(Image.fromarray(MUTED), icc_profile=profile(P3_XYZ)))
    alpha = np.full((*MUTED.shape[:2], 1), 255, np.uint8)
    alpha[:, 8:] = 0
    data = file_of(Image.fromarray(np.concatenate([MUTED, alpha], 2)), icc_profile=profile(P3_XYZ))
    kept = read_picture(data)
    assert kept.alpha_HW is not None
    assert np.array_equal(kept.alpha_HW, alpha[..., 0])
    assert np.array_equal(kept.image_HW3, opaque)
    assert kept.losses == ()
    over_white = read_picture(data, background="white")
    assert np.array_equal(over_white.image_HW3[:, :8], opaque[:, :8])
    assert over_white.image_HW3[:, 8:].min() == 255
    assert over_white.alpha_HW is None
    assert over_white.losses == (TRANSPARENCY,)
    grey_alpha = Image.merge("LA", [Image.new("L", (2, 2), 100), Image.new("L", (2, 2), 255)])
    assert read_picture(file_of(grey_alpha, icc_profile=profile(None))).losses == ()


def test_an_alpha_channel_that_hides_nothing_is_no_loss() -> None:
    read = read_picture(file_of(Image.fromarray(MUTED).convert("RGBA")))
    assert np.array_equal(read.image_HW3, MUTED)
    assert read.losses == ()


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "GIF", "WEBP", "AVIF", "MPO"])
def test_frames_and_pages_that_are_dropped_are_named(image_format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    several = file_of(frames[0], image_format, save_all=True, append_images=frames[1:])
    assert read_picture(several).losses == (FRAMES,)
    assert np.abs(read_image(several)[3, 3].astype(int) - (255, 0, 0)).max() < 6
    one = file_of(frames[0], "JPEG" if image_format == "MPO" else image_format)
    assert read_picture(one).losses == ()


def test_a_picture_in_memory_is_read_as_its_file_is_but_not_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(Image.fromarray(MUTED), "PNG", icc_profile=profile(P3_XYZ), exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        in_memory = rgb_of(image)
    assert np.array_equal(np.rot90(in_memory, -1), read_image(data))
    assert np.array_equal(rgb_of(Image.new("1", (2, 2), 1)), np.full((2, 2, 3), 255))
    with pytest.raises(InputError, match=r"mode F cannot be coded.*convert it"):
        rgb_of(Image.new("F", (2, 2)))
