"""What a file loses is told for that file; what cannot be read is named for what it is, by one kind of error."""

import io
import resource
import struct
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clc.errors import InputError, LimitError
from clc.pictures import losses
from clc.pictures.images import picture_of, png_bytes, read_image, read_picture
from clc.pictures.picture import PICTURE_SUFFIXES
from clc.pictures.rasters import is_deep_netpbm
from tests.made_pictures import every_picture
from tests.made_pictures.others import saved
from tests.made_pictures.png import png, png_chunk
from tests.made_pictures.samples import samples_of
from tests.made_pictures.tiff import Tiff, tiff

PICTURE = Image.fromarray(samples_of(3, 8).astype(np.uint8))


def test_every_picture_of_more_than_8_bits_says_so_and_no_other() -> None:
    for made in every_picture():
        words = made.name.replace(",", "").split()
        bits = (
            int(words[words.index("bits") - 1])
            if "bits" in words and "palette" not in words and "BMP" not in words
            else 8
        )
        is_deep = bits > 8 or "0..1023" in made.name or "0..65535" in made.name
        assert (losses.DEPTH in read_picture(made.data).losses) == is_deep, made.name


def test_cmyk_and_lab_are_told() -> None:
    assert read_picture(saved(PICTURE.convert("CMYK"), "JPEG")).losses == (losses.CMYK,)
    assert read_picture(tiff(samples_of(4, 16), 16, Tiff(5))).losses == (losses.DEPTH, losses.CMYK)
    assert read_picture(tiff(samples_of(3, 8), 8, Tiff(8))).losses == (losses.LAB,)


def primaries(*numbers: int) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", *numbers))


@pytest.mark.parametrize(
    ("chunk", "told"),
    [
        (png_chunk(b"gAMA", struct.pack(">I", 100_000)), (losses.GAMMA,)),
        (png_chunk(b"gAMA", struct.pack(">I", 45_455)), ()),
        (
            png_chunk(b"cHRM", struct.pack(">8I", *(31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))),
            (losses.GAMMA,),
        ),
        (png_chunk(b"cHRM", struct.pack(">8I", *(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))), ()),
        (png_chunk(b"gAMA", struct.pack(">I", 100_000)) + png_chunk(b"sRGB", b"\0"), ()),
    ],
)
def test_another_gamma_or_other_primaries_are_told(chunk: bytes, told: tuple[str, ...]) -> None:
    assert read_picture(png(samples_of(3, 8), 8, 2, chunk)).losses == told


def test_a_page_that_follows_is_told_for_every_layout_of_tiff() -> None:
    for bits in (8, 12):
        assert losses.FRAMES in read_picture(tiff(samples_of(1, bits), bits, Tiff(following=8))).losses


def test_a_picture_that_follows_in_a_file_of_netpbm_is_told() -> None:
    for kind, channels, maximum in ((b"P5", 1, 255), (b"P6", 3, 255), (b"P6", 3, 1023)):
        one = kind + f" 2 2 {maximum}\n".encode() + bytes(4 * channels * (1 if maximum < 256 else 2))
        assert losses.FRAMES not in read_picture(one).losses
        assert losses.FRAMES not in read_picture(one + b"\n").losses
        assert losses.FRAMES in read_picture(one + one).losses


@pytest.mark.parametrize(
    ("number", "what"), [(2, "signed integers"), (3, "floating-point"), (5, "complex"), (6, "complex")]
)
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_without_a_known_black_and_white_are_refused_by_what_they_are(
    number: int, what: str, bits: int, channels: int
) -> None:
    how = Tiff(1 if channels == 1 else 2, tags=((339, 3, (number,) * channels),))
    with pytest.raises(InputError, match=rf"odd\.tif.*{what}.*unsigned"):
        read_picture(tiff(samples_of(channels, bits), bits, how), "odd.tif")


def test_blanks_without_end_in_a_netpbm_header_take_no_memory() -> None:
    data = b"P5" + b" " * 2**20 + b"1 1 65535\n\0\0"
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not is_deep_netpbm(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 32 * 2**10  # KiB
    assert is_deep_netpbm(b"P5 # a comment\n1 1\n65535\n\0\0")


def test_a_floating_point_netpbm_is_refused_by_what_it_is() -> None:
    with pytest.raises(InputError, match="floating-point"):
        read_image(b"Pf\n2 2\n-1.0\n" + struct.pack("<4f", 0, 0.5, 1, 2))


def test_a_palette_without_its_colours_is_a_broken_picture() -> None:
    for interlaced in (False, True):
        with pytest.raises(InputError, match="no palette"):
            read_image(png(samples_of(1, 8), 8, 3, is_interlaced=interlaced))


@pytest.mark.parametrize(
    ("start", "extra"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heif"),
        (b"\xff\x0a", "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    ],
)
def test_a_format_that_is_not_installed_is_one_sentence_that_names_its_extra(
    start: bytes, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pi_heif", "pylibjxl"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        InputError, match=rf'photo: .* need the extra {extra}: `pip install "\.\[{extra}\]"` in the folder'
    ):
        read_picture(start + bytes(50), "photo")


def test_an_avif_of_the_general_brand_is_not_taken_for_heif() -> None:
    data = saved(PICTURE, "AVIF")
    brands = data.replace(b"ftypavif", b"ftypmif1", 1)
    assert b"avif" in brands[:64]
    assert read_image(brands).shape == (18, 21, 3)


def test_pictures_of_optional_formats_are_found_in_folders() -> None:
    assert {".heic", ".heif", ".hif", ".jxl", ".gif", ".jfif", ".jpe", ".pgm", ".pbm", ".pnm"} <= PICTURE_SUFFIXES


@pytest.mark.parametrize(
    "error",
    [
        RecursionError(),
        MemoryError(),
        AssertionError(),
        AttributeError("x"),
        RuntimeError("y"),
        EOFError(),
        StopIteration(),
    ],
)
@pytest.mark.parametrize("at", ["PIL.ImageFile.ImageFile.load", "PIL.PngImagePlugin.PngImageFile._open"])
def test_whatever_a_decoder_raises_is_one_error_with_the_name(
    error: Exception, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(at, fail)
    with pytest.raises(InputError, match=r"^odd\.png: "):
        read_picture(png(samples_of(1, 8), 8, 0), "odd.png")


def test_an_interruption_passes_the_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(png(samples_of(1, 8), 8, 0))


@pytest.mark.parametrize("seed", range(2))
def test_random_damage_to_pictures_of_every_kind_gives_a_picture_or_one_kind_of_error(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for made in every_picture():
        data = bytearray(made.data)
        for _ in range(generator.choice((1, 2, 8))):
            data[generator.integers(generator.choice((60, len(data))))] = generator.integers(256)
        cut = data if generator.integers(4) else data[: generator.integers(1, len(data))]
        try:
            read = read_picture(bytes(cut))
        except InputError:
            continue
        assert read.image_HW3.shape[2] == 3
        assert read.alpha_HW is None or read.alpha_HW.shape == read.image_HW3.shape[:2]


def test_a_tiff_whose_tiles_fill_the_memory_is_refused_by_its_header() -> None:
    data = tiff(samples_of(1, 12), 12, Tiff(tile=16))
    for tag, length, value in ((256, 21, 1), (257, 18, 65_535), (322, 16, 65_520)):
        data = data.replace(struct.pack("<HHIHH", tag, 3, 1, length, 0), struct.pack("<HHII", tag, 4, 1, value))
    with pytest.raises(LimitError, match=r"odd.*512 MiB"):
        read_picture(data, "odd")


def test_a_tiff_whose_one_tile_fills_the_memory_is_refused_by_its_header() -> None:
    data = tiff(samples_of(3, 32), 32, Tiff(2, tile=16))
    for tag, value in ((322, 65_520), (323, 1024)):
        data = data.replace(struct.pack("<HHIHH", tag, 3, 1, 16, 0), struct.pack("<HHII", tag, 4, 1, value))
    with pytest.raises(LimitError, match=r"odd.*512 MiB"):
        read_picture(data, "odd")


def test_a_directory_of_more_entries_than_there_are_tags_is_broken() -> None:
    count = 2**16 + 1
    data = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, count) + bytes(20 * count + 8)
    with pytest.raises(InputError, match="more entries than there are tags"):
        read_picture(data)


def test_a_tiff_that_claims_to_be_vast_is_refused_by_its_header() -> None:
    vast = bytearray(tiff(samples_of(1, 12), 12))
    at = vast.index(struct.pack("<HHII", 256, 3, 1, 21))
    vast[at : at + 12] = struct.pack("<HHII", 256, 4, 1, 2**31)
    with pytest.raises(LimitError, match="vast"):
        read_picture(bytes(vast), "vast")


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0), ("#808080", 128)])
def test_a_background_takes_the_place_of_transparency(background: str, level: int) -> None:
    clear = png_bytes(np.zeros((2, 3, 3), np.uint8) + 9, np.zeros((2, 3), np.uint8))
    read = read_picture(clear, background=background)
    assert np.unique(read.image_HW3).tolist() == [level]
    assert read.alpha_HW is None
    assert read.losses == (losses.TRANSPARENCY,)
    assert read_picture(png_bytes(read.image_HW3), background=background).losses == ()


def test_a_background_that_is_no_colour_is_refused() -> None:
    with pytest.raises(InputError, match="'no colour' is no colour"):
        read_picture(png_bytes(np.zeros((2, 3, 3), np.uint8)), background="no colour")


@pytest.mark.parametrize(
    "alpha", [np.zeros((3, 2), np.uint8), np.zeros((2, 3), np.float32), np.zeros((2, 3, 1), np.uint8)]
)
def test_png_bytes_refuses_an_alpha_plane_of_another_kind(alpha: Any) -> None:
    with pytest.raises(InputError, match="alpha plane"):
        png_bytes(np.zeros((2, 3, 3), np.uint8), alpha)


def test_a_picture_of_pillow_that_cannot_be_decoded_is_one_error() -> None:
    with Image.open(io.BytesIO(saved(PICTURE, "PNG")[:300])) as image, pytest.raises(InputError, match="mode RGB"):
        picture_of(image)
