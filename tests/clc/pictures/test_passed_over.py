"""What a file states or holds where its decoder passes over it is told: of TIFF, BMP, JPEG and WebP."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from clc.pictures import losses
from clc.pictures.images import picture_of, read_picture
from tests.clc.pictures.test_colour_profiles import P3_XYZ, profile
from tests.clc.pictures.test_metadata import PICTURE, RAMP
from tests.made_pictures.metadata import XMP, exif_of_a_phone, jpeg_with
from tests.made_pictures.others import bmp, saved
from tests.made_pictures.samples import HEIGHT, samples_of
from tests.made_pictures.tiff import Tiff, tiff


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([(1, 1)], ()),
        ([(2, 2), (1, 2)], ()),
        ([(1, 2)], (losses.PROFILE,)),
        ([(2, 2)], (losses.PROFILE,)),
        ([(1, 1), (1, 1)], (losses.PROFILE,)),
    ],
)
def test_a_profile_of_a_jpeg_whose_parts_do_not_fit_is_told(parts: list[tuple[int, int]], told: tuple[str]) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    step = -(-len(icc) // parts[0][1])
    segments = [(0xE2, b"ICC_PROFILE\0" + bytes(part) + icc[(part[0] - 1) * step : part[0] * step]) for part in parts]
    assert read_picture(jpeg_with(saved(PICTURE, "JPEG"), *segments)).losses == told


@pytest.mark.parametrize(
    ("kind", "content", "told"),
    [
        (0xE1, b"Exif\0\0" + exif_of_a_phone(), (losses.OTHER,)),
        (0xE2, b"ICC_PROFILE\0\1\1", (losses.OTHER,)),
        (0xFE, b"a comment", (losses.COMMENT,)),
        (0xFE, b"", ()),
    ],
)
def test_segments_behind_the_pixels_of_a_jpeg_are_told(kind: int, content: bytes, told: tuple[str]) -> None:
    jpeg = saved(PICTURE, "JPEG")
    segment = bytes((0xFF, kind)) + struct.pack(">H", 2 + len(content)) + content
    read = read_picture(jpeg[:-2] + segment + jpeg[-2:])
    assert (read.losses, bool(read.metadata)) == (told, False)


def test_photoshops_resources_are_told_in_a_tiff_as_in_a_jpeg() -> None:
    def resource(kind: int) -> bytes:
        return b"8BIM" + struct.pack(">HHI", kind, 0, 2) + b"xy"

    resolution, iptc, path = 0x03ED, 0x0404, 2000
    for kinds, told in (
        ((resolution,), ()),
        ((iptc,), (losses.IPTC,)),
        ((resolution, path), (losses.OTHER,)),
    ):
        block = b"".join(map(resource, kinds))
        assert read_picture(jpeg_with(saved(PICTURE, "JPEG"), (0xED, b"Photoshop 3.0\0" + block))).losses[-1:] == told
        made = tiff(samples_of(3, 8), 8, Tiff(2, tags=((34377, 7, tuple(block)),)))
        assert read_picture(made).losses == told, kinds


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("photometric", "channels", "extra", "told"),
    [
        (1, 2, (2,), ()),
        (2, 4, (1,), ()),
        (2, 4, (), ()),
        (1, 2, (), (losses.CHANNELS,)),
        (1, 2, (0,), (losses.CHANNELS,)),
        (2, 4, (0,), (losses.CHANNELS,)),
        (2, 5, (2, 0), (losses.CHANNELS,)),
        (2, 5, (2, 2), (losses.CHANNELS,)),
        (5, 5, (0,), (losses.CHANNELS, losses.CMYK)),
    ],
)
def test_channels_beside_colours_and_transparency_are_told(
    photometric: int, channels: int, extra: tuple[int, ...], told: tuple[str, ...], bits: int
) -> None:
    how = Tiff(photometric, tags=((338, 3, extra),) if extra else ())
    found = read_picture(tiff(samples_of(channels, bits), bits, how)).losses
    assert tuple(loss for loss in found if loss != losses.DEPTH) == told


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({318: (0.3127, 0.329), 319: (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)}, ()),
        ({318: (0.3457, 0.3585)}, (losses.GAMMA,)),
        ({319: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)}, (losses.GAMMA,)),
        ({301: tuple(round(65_535 * (level / 255) ** 2.2) for level in range(256)) * 3}, ()),
        ({301: tuple(257 * level for level in range(256)) * 3}, (losses.GAMMA,)),
        ({301: tuple(257 * level for level in range(256))}, (losses.GAMMA,)),
    ],
)
def test_colours_that_the_tags_of_a_tiff_state_are_told(
    tags: dict[int, tuple[float, ...]], told: tuple[str, ...]
) -> None:
    data = saved(PICTURE, "TIFF", tiffinfo=tags)
    assert read_picture(data).losses == told
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_picture(saved(PICTURE, "TIFF", tiffinfo=tags, icc_profile=icc)).losses == ()


@pytest.mark.parametrize("kind", [2, 3])
def test_broken_colours_in_the_tags_of_a_tiff_are_told_and_cost_nothing(kind: int) -> None:
    how = Tiff(2, tags=((301, 3, (1, 2, 3, 4)), (318, 3, (1,) * kind), (319, 3, (0,))))
    read = read_picture(tiff(samples_of(3, 8), 8, how))
    assert (read.losses, read.image_HW3.shape) == ((losses.GAMMA,), (18, 21, 3))


@pytest.mark.parametrize(
    ("primaries", "gamma", "told"),
    [
        ((0,) * 9, 0, ()),
        ((0.4124, 0.2126, 0.0193, 0.3576, 0.7152, 0.1192, 0.1805, 0.0722, 0.9505), 2.2, ()),
        ((0.4124, 0.2126, 0.0193, 0.3576, 0.7152, 0.1192, 0.1805, 0.0722, 0.9505), 1.0, (losses.GAMMA,)),
        ((0.4866, 0.2290, 0.0, 0.2657, 0.6917, 0.0451, 0.1982, 0.0793, 1.0439), 2.2, (losses.GAMMA,)),
    ],
)
def test_calibrated_colours_of_a_bmp_are_told(
    primaries: tuple[float, ...], gamma: float, told: tuple[str, ...]
) -> None:
    plain = saved(PICTURE, "BMP")
    stated = [round(number * 2**30) for number in primaries] + [round(gamma * 2**16)] * 3
    head = struct.pack("<I", 108) + plain[18:54] + bytes(20) + struct.pack("<12I", *stated)
    start = struct.pack("<IHHI", len(plain) + 68, 0, 0, 14 + len(head))
    assert len(head) == 108
    assert read_picture(b"BM" + start + head + plain[54:]).losses == told


@pytest.mark.parametrize(("levels", "told"), [((0,), ()), ((255,), ()), ((0, 255), (losses.CHANNELS,))])
def test_a_fourth_channel_of_a_bmp_is_told_where_it_says_something(
    levels: tuple[int, ...], told: tuple[str, ...]
) -> None:
    colours = samples_of(3, 8).astype(np.uint8)
    fourth = np.resize(np.array(levels, np.uint8), colours.shape[:2])
    rows = np.dstack((colours[..., ::-1], fourth)).reshape(HEIGHT, -1)
    read = read_picture(bmp(rows, 32))
    assert (read.losses, read.alpha_HW) == (told, None)
    assert np.array_equal(read.image_HW3, colours)


def test_what_pillow_knows_of_a_tiff_is_told_of_its_picture() -> None:
    made = tiff(samples_of(3, 8), 8, Tiff(2, tags=((33723, 7, (28, 2, 5, 0, 1, 65)), (37724, 7, (1, 2, 3, 4, 5)))))
    with Image.open(io.BytesIO(made)) as image:
        assert picture_of(image).losses == (losses.LAYERS, losses.IPTC)


def test_chunks_that_a_webp_decoder_does_not_give_are_told() -> None:
    webp = saved(PICTURE, "WEBP", lossless=True, exif=exif_of_a_phone(1), xmp=XMP, icc_profile=profile(P3_XYZ))
    said = webp.index(b"VP8X") + 8
    silent = read_picture(webp[:said] + b"\0" + webp[said + 1 :])
    assert (silent.losses, bool(silent.metadata)) == ((losses.PROFILE, losses.OTHER), False)
    for plain, more in ((webp, exif_of_a_phone(1)), (saved(PICTURE, "WEBP", lossless=True), exif_of_a_phone(1))):
        body = plain[12:] + b"EXIF" + struct.pack("<I", len(more)) + more + bytes(len(more) % 2)
        assert losses.OTHER in read_picture(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body).losses
    assert losses.OTHER not in read_picture(webp).losses
    clear = saved(Image.merge("RGBA", (*PICTURE.split(), PICTURE.getchannel("R"))), "WEBP", quality=50)
    said = clear.index(b"VP8X") + 8
    assert (b"ALPH" in clear, read_picture(clear).losses) == (True, ())
    assert read_picture(clear[:said] + b"\0" + clear[said + 1 :]).losses == (losses.OTHER,)


def test_boxes_of_a_jpeg_xl_that_its_decoder_does_not_give_are_told() -> None:
    pylibjxl = pytest.importorskip("pylibjxl")

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    def packed(content: bytes) -> bytes:
        """As Brotli has bytes that it does not compress."""
        return (len(content) - 1 << 4 | 1 << 20).to_bytes(3, "little") + content + b"\3"

    picture = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"jxlc", pylibjxl.encode(RAMP))
    exif, credentials = bytes(4) + exif_of_a_phone(1), bytes(4) + b"jumb c2pa"
    for boxes, told in (
        (box(b"Exif", exif) + box(b"xml ", XMP), ()),
        (box(b"brob", b"Exif" + packed(exif)) + box(b"brob", b"xml " + packed(XMP)), ()),
        (box(b"Exif", exif) * 2, (losses.OTHER,)),
        (box(b"xml ", XMP) + box(b"brob", b"xml " + packed(XMP)), (losses.OTHER,)),
        (box(b"Exif", b"\0"), (losses.EXIF,)),
        (box(b"brob", b"Exif" + packed(b"abc")), (losses.EXIF,)),
        (box(b"xml ", b""), (losses.XMP,)),
        (box(b"brob", b"jumb" + packed(credentials)), (losses.CREDENTIALS,)),
        (box(b"brob", b"abcd" + packed(b"data")), (losses.OTHER,)),
    ):
        assert read_picture(picture + boxes).losses == told, boxes[:16]


def test_an_orientation_that_no_reader_takes_for_one_is_left_as_it_is() -> None:
    two = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 2, 6, 0, 0)
    read = read_picture(saved(PICTURE, "PNG", exif=two))
    assert np.array_equal(read.image_HW3, RAMP)
    assert read.metadata.exif == two


@pytest.mark.parametrize("kind", [4, 13, 16, 18])
def test_exif_data_of_a_big_tiff_are_kept_by_whichever_kind_of_pointer(kind: int) -> None:
    samples = samples_of(3, 8)
    at = len(tiff(samples, 8, Tiff(2, is_big=True, tags=((34665, kind, (0,)),))))
    made = tiff(samples, 8, Tiff(2, is_big=True, tags=((34665, kind, (at,)),)))
    made += struct.pack("<QHHQ8sQ", 1, 0x9003, 2, 5, b"2026\0", 0)
    read = read_picture(made)
    tags = Image.Exif()
    tags.load(read.metadata.exif)
    assert (tags.get_ifd(34665), read.losses) == ({0x9003: "2026"}, ())


@pytest.mark.parametrize(("kind", "number"), [(16, 2**40), (13, 8)])
def test_tags_that_exif_data_cannot_hold_are_told(kind: int, number: int) -> None:
    made = tiff(samples_of(3, 8), 8, Tiff(2, is_big=True, tags=((65000, kind, (number,)),)))
    assert read_picture(made).losses == (losses.OTHER,)
