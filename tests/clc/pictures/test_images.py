"""Pictures of every accepted kind become the same RGB, and RGB survives as PNG."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from clc.errors import InputError, LimitError
from clc.limits import MAX_PIXELS, MAX_SIDE_PX, check_size
from clc.pictures.images import picture_bytes, png_bytes, read_image

# A smooth picture without symmetry: lossy formats keep it, and no rotation maps it to itself.
RAMP = np.stack(
    [
        np.broadcast_to(np.linspace(20, 230, 24)[None, :], (16, 24)),
        np.broadcast_to(np.linspace(10, 240, 16)[:, None], (16, 24)),
        np.full((16, 24), 90),
    ],
    axis=2,
).astype(np.uint8)

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
IDAT_HEAD = b"\x00\x00\x00\x08IDAT"


def file_of(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))))
def test_a_picture_survives_as_png(image_HW3: npt.NDArray[np.uint8]) -> None:
    decoded = read_image(png_bytes(image_HW3))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, image_HW3)


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_keep_every_pixel(image_format: str, options: dict[str, Any]) -> None:
    assert np.array_equal(read_image(file_of(Image.fromarray(RAMP), image_format, **options)), RAMP)


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_keep_the_picture(image_format: str) -> None:
    decoded = read_image(file_of(Image.fromarray(RAMP), image_format, quality=95))
    assert np.abs(decoded.astype(int) - RAMP).mean() < 4


def test_a_path_and_its_bytes_give_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "ramp.png"
    path.write_bytes(png_bytes(RAMP))
    assert np.array_equal(read_image(path), RAMP)


def test_the_result_can_be_written_to() -> None:
    read_image(png_bytes(RAMP))[0, 0] = 0


def test_grey_palette_and_bilevel_become_rgb() -> None:
    grey = RAMP[:, :, 0]
    assert np.array_equal(read_image(file_of(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, axis=2))
    few_colours = np.zeros((4, 4, 3), dtype=np.uint8)
    few_colours[1:3] = (200, 10, 30)
    paletted = Image.fromarray(few_colours).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(read_image(file_of(paletted, "PNG")), few_colours)
    bilevel = Image.fromarray(grey > 100)
    assert np.unique(read_image(file_of(bilevel, "PNG"))).tolist() == [0, 255]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_rounded_not_clipped(image_format: str) -> None:
    samples = np.array([[0, 128, 129, 257, 32_768, 65_406, 65_407, 65_535]], dtype=np.uint16)
    decoded = read_image(file_of(Image.fromarray(samples), image_format))
    assert decoded[0, :, 0].tolist() == [0, 0, 1, 1, 128, 254, 255, 255]
    assert np.array_equal(decoded[..., 0], decoded[..., 2])


def test_samples_over_16_bits_and_float_samples_are_refused() -> None:
    with pytest.raises(InputError, match="16 bits"):
        read_image(file_of(Image.fromarray(np.array([[70_000]], dtype=np.int32)), "TIFF"))
    with pytest.raises(InputError, match="floating-point"):
        read_image(file_of(Image.fromarray(np.array([[0.5]], dtype=np.float32)), "TIFF"))


def test_cmyk_becomes_rgb() -> None:
    decoded = read_image(file_of(Image.fromarray(RAMP).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(decoded.astype(int) - RAMP).mean() < 4


def test_transparency_is_composited_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 128]]], dtype=np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255], [127, 177, 255]]]
    assert read_image(file_of(Image.fromarray(rgba), "PNG")).tolist() == expected
    grey_alpha = Image.fromarray(np.array([[[7, 255], [7, 0]]], dtype=np.uint8))
    assert read_image(file_of(grey_alpha, "PNG"))[0, :, 1].tolist() == [7, 255]


def test_a_transparent_colour_of_a_palette_or_rgb_picture_becomes_white() -> None:
    paletted = Image.new("P", (2, 1), 0)
    paletted.putpalette([1, 2, 3, 4, 5, 6])
    paletted.putpixel((1, 0), 1)
    assert read_image(file_of(paletted, "PNG", transparency=b"\xff\x00")).tolist() == [[[1, 2, 3], [255, 255, 255]]]
    keyed = file_of(Image.fromarray(RAMP), "PNG", transparency=tuple(RAMP[3, 4].tolist()))
    assert read_image(keyed)[3, 4].tolist() == [255, 255, 255]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(image_format: str, orientation: int) -> None:
    # The inverse of each orientation, in numpy's words, made the stored picture.
    stored = {
        1: RAMP,
        2: RAMP[:, ::-1],
        3: RAMP[::-1, ::-1],
        4: RAMP[::-1],
        5: RAMP.swapaxes(0, 1),
        6: np.rot90(RAMP, 1),
        7: RAMP[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(RAMP, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    decoded = read_image(file_of(picture, image_format, exif=exif, quality=95))
    assert decoded.shape == RAMP.shape
    assert np.abs(decoded.astype(int) - RAMP).mean() < 4


def test_broken_exif_data_do_not_cost_the_picture() -> None:
    data = file_of(Image.fromarray(RAMP), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff", quality=95)
    assert read_image(data).shape == RAMP.shape


def test_the_first_frame_of_several_counts() -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    for image_format in ("TIFF", "PNG"):
        data = file_of(frames[0], image_format, save_all=True, append_images=frames[1:])
        assert np.unique(read_image(data).reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


def test_warnings_of_pillow_do_not_leak_and_others_still_count() -> None:
    header = struct.pack(">IIBBBBB", 9_500, 9_500, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.warns(Image.DecompressionBombWarning), Image.open(io.BytesIO(PNG_MAGIC + chunk + IDAT_HEAD)):
            pass
        with pytest.raises(LimitError):
            read_image(PNG_MAGIC + chunk + IDAT_HEAD)
        with pytest.raises(UserWarning, match="ours"):
            warnings.warn("ours", UserWarning, stacklevel=1)


@pytest.mark.parametrize("image", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3))])
def test_png_bytes_refuses_what_is_no_rgb(image: npt.NDArray[Any]) -> None:
    with pytest.raises(InputError, match="uint8"):
        png_bytes(image)


def test_png_bytes_takes_views() -> None:
    assert np.array_equal(read_image(png_bytes(RAMP[::-2, ::3])), RAMP[::-2, ::3])


@pytest.mark.parametrize("size", [(1, 1), (MAX_SIDE_PX, 1), (1, MAX_SIDE_PX), (8192, 8192), (MAX_SIDE_PX, 1024)])
def test_sizes_up_to_the_caps_are_allowed(size: tuple[int, int]) -> None:
    check_size(*size)


@pytest.mark.parametrize("size", [(MAX_SIDE_PX + 1, 1), (1, MAX_SIDE_PX + 1), (8192, MAX_PIXELS // 8192 + 1)])
def test_sizes_over_the_caps_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(LimitError, match=f"{size[0]}x{size[1]}"):
        check_size(*size)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_empty_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at least 1 px"):
        check_size(*size)


def test_a_file_that_grows_while_it_is_read_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"0123456789")
    told = list(path.stat())
    told[6] = 3  # its size
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result(told))
    assert picture_bytes(path) == b"0123456789"
