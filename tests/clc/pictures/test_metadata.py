"""EXIF and XMP of every format come back byte for byte, with the orientation upright; what is left out is told."""

import io
import re
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from clc.limits import MAX_METADATA_BYTES
from clc.pictures import losses
from clc.pictures.images import picture_of, png_bytes, read_picture
from clc.pictures.metadata import Metadata
from clc.pictures.metadata_reading import kept
from tests.clc.pictures.test_colour_profiles import P3_XYZ, profile
from tests.made_pictures.metadata import MAKER_NOTE, XMP, exif_of_a_phone, jpeg_with
from tests.made_pictures.others import saved
from tests.made_pictures.png import png_chunk
from tests.made_pictures.samples import turned

RAMP = np.stack(np.broadcast_arrays(np.arange(40) * 6, np.arange(32)[:, None] * 7, 90), axis=2).astype(np.uint8)
PICTURE = Image.fromarray(RAMP)
UPRIGHT_XMP = XMP.replace(b'Orientation="6"', b'Orientation="1"')
EXIF, XMP_TAG = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


def tags_of(exif: bytes) -> dict[str, Any]:
    """What Pillow reads in EXIF data: every directory's tags."""
    read = Image.Exif()
    read.load(exif)
    directories = (0x8769, 0x8825, 0xA005) if 0xA005 in read.get_ifd(0x8769) else (0x8769, 0x8825)
    inner = {hex(tag): dict(read.get_ifd(tag)) for tag in directories}
    return {"main": {tag: value for tag, value in read.items() if tag not in (0x8769, 0x8825)}, **inner}


def raw_profile(kind: str, data: bytes) -> bytes:
    """A chunk of PNG that holds metadata as ImageMagick writes them."""
    digits = "\n".join(data.hex()[at : at + 72] for at in range(0, 2 * len(data), 72))
    text = f"\n{kind}\n{len(data):8}\n{digits}\n".encode()
    return png_chunk(b"zTXt", f"Raw profile type {kind}".encode() + b"\0\0" + zlib.compress(text))


def png_with(*chunks: bytes) -> bytes:
    plain = saved(PICTURE, "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_photo_of_a_phone_keeps_every_tag(order: Literal["<", ">"]) -> None:
    exif = exif_of_a_phone(6, order)
    photo = saved(PICTURE, "JPEG", quality=95, exif=EXIF + exif, xmp=XMP, icc_profile=profile(P3_XYZ))
    read = read_picture(photo)
    assert read.image_HW3.shape == (40, 32, 3)
    assert read.metadata.exif == exif_of_a_phone(1, order)[:-72] + exif[-72:]  # the thumbnail keeps its own orientation
    assert sum(a != b for a, b in zip(read.metadata.exif, exif, strict=True)) == 1
    assert read.metadata.xmp == UPRIGHT_XMP
    before, after = tags_of(exif), tags_of(read.metadata.exif)
    assert (before["main"].pop(0x0112), after["main"].pop(0x0112)) == (6, 1)
    assert after == before
    assert before["0x8769"][0x927C] == MAKER_NOTE
    assert before["0xa005"] == {1: "R98"}
    assert before["0x8825"][2] == (47, 22, 12.34)

    again = read_picture(png_bytes(read.image_HW3, read.alpha_HW, read.metadata))
    assert again.metadata == read.metadata
    assert again.losses == ()
    assert np.array_equal(again.image_HW3, read.image_HW3)
    with Image.open(io.BytesIO(png_bytes(read.image_HW3, None, read.metadata))) as png:
        assert png.getexif().get_ifd(0x8825)[1] == "N"
        assert png.info["xmp"] == UPRIGHT_XMP
        assert png.info["srgb"] == 1


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_every_format_gives_its_exif_and_xmp(image_format: str) -> None:
    exif = exif_of_a_phone(8)
    read = read_picture(saved(PICTURE, image_format, exif=exif if image_format != "JPEG" else EXIF + exif, xmp=XMP))
    if image_format == "PNG":
        assert read.metadata.xmp == b""  # Pillow writes no XMP into PNG
        read = read_picture(png_bytes(RAMP, None, Metadata(exif, XMP)))
    assert tags_of(read.metadata.exif)["0x8769"][0x927C] == MAKER_NOTE
    assert tags_of(read.metadata.exif)["0x8825"] == tags_of(exif)["0x8825"]
    if image_format != "AVIF":  # for which Pillow writes EXIF anew
        assert len(read.metadata.exif) == len(exif)
    assert read.metadata.xmp == UPRIGHT_XMP
    assert read.losses == ()
    assert np.abs(read.image_HW3.astype(int) - turned(RAMP, 8)).mean() < 4


@pytest.mark.parametrize(
    "chunks",
    [
        (png_chunk(b"eXIf", exif_of_a_phone(3)), png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
        (raw_profile("exif", EXIF + exif_of_a_phone(3)), raw_profile("xmp", XMP)),
        (raw_profile("APP1", EXIF + exif_of_a_phone(3)), raw_profile("xmp", XMP)),
        (png_chunk(b"eXIf", exif_of_a_phone(3)), raw_profile("APP1", XMP_TAG + XMP)),
    ],
    ids=["eXIf and iTXt", "raw profiles", "APP1 of EXIF", "APP1 of XMP"],
)
def test_png_has_many_places_for_exif_and_xmp(chunks: tuple[bytes, ...]) -> None:
    read = read_picture(png_with(*chunks))
    assert len(read.metadata.exif) == len(exif_of_a_phone())
    assert tags_of(read.metadata.exif)["main"][0x0112] == 1
    assert read.metadata.xmp == UPRIGHT_XMP
    assert np.array_equal(read.image_HW3, RAMP[::-1, ::-1])
    assert read.losses == ()


def test_the_tags_of_a_tiff_are_its_exif_but_for_those_of_its_pixels() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[0x010F], tags[0x0131], tags[0x0112], tags[33550] = "Maker", "Scanner 1.0", 6, (1.5, 2.5, 0.0)
    tags.tagtype[33550] = 12
    tags[0x8769] = {0x9003: "2024:05:06 07:08:09"}
    tags[0x8825] = {1: "N", 2: (47.0, 22.0, 12.34)}
    tags[700] = XMP
    read = read_picture(saved(PICTURE, "TIFF", tiffinfo=tags, icc_profile=profile(P3_XYZ)))
    found = tags_of(read.metadata.exif)
    assert found["main"] == {0x010F: "Maker", 0x0131: "Scanner 1.0", 33550: (1.5, 2.5, 0.0)}
    assert found["0x8769"] == {0x9003: "2024:05:06 07:08:09"}
    assert found["0x8825"][2] == (47, 22, 12.34)
    assert read.metadata.xmp == UPRIGHT_XMP
    assert read.image_HW3.shape == (40, 32, 3)
    assert np.array_equal(read.metadata.exif, read_picture(png_bytes(RAMP, None, read.metadata)).metadata.exif)
    assert read_picture(saved(PICTURE, "TIFF")).metadata == Metadata()


def test_transparency_is_turned_with_the_colours() -> None:
    alpha = Image.fromarray(RAMP[..., 0])
    rgba = PICTURE.copy()
    rgba.putalpha(alpha)
    for image_format, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        read = read_picture(saved(rgba, image_format, exif=exif_of_a_phone(5), **options))
        assert read.alpha_HW is not None
        assert np.array_equal(read.alpha_HW, turned(RAMP[..., 0], 5))
        assert np.array_equal(read.image_HW3, turned(RAMP, 5))
        again = read_picture(png_bytes(*read[:1], read.alpha_HW, read.metadata))
        assert again.alpha_HW is not None
        assert np.array_equal(again.alpha_HW, read.alpha_HW)


@pytest.mark.parametrize(
    "packet", [XMP, XMP.replace(b'="6" tiff', b"='6' tiff"), b"<tiff:Orientation>6</tiff:Orientation>"]
)
def test_the_orientation_may_stand_in_xmp_alone(packet: bytes) -> None:
    read = read_picture(saved(PICTURE, "WEBP", lossless=True, xmp=packet))
    assert np.array_equal(read.image_HW3, turned(RAMP, 6))
    assert read.metadata.xmp == re.sub(rb"(Orientation\W+)6", rb"\g<1>1", packet)


@pytest.mark.parametrize(
    "broken",
    [b"MM\0*\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"no header", b"MM\0*", b"II+\0" + bytes(20)],
    ids=["no directory", "too many tags", "text", "cut", "BigTIFF"],
)
def test_broken_exif_is_left_out_and_told(broken: bytes) -> None:
    read = read_picture(saved(PICTURE, "WEBP", lossless=True, exif=broken))
    assert np.array_equal(read.image_HW3, RAMP)
    assert read.metadata == Metadata()
    assert read.losses == (losses.EXIF,)


def test_random_damage_to_exif_gives_a_picture_and_exif_that_can_be_read_again() -> None:
    generator = np.random.default_rng(5)
    for _ in range(300):
        exif = bytearray(exif_of_a_phone())
        for _ in range(generator.integers(1, 5)):
            exif[generator.integers(len(exif))] = generator.integers(256)
        read = kept(bytes(exif), b"").metadata
        assert kept(read.exif, b"") == (read, ())


def test_xmp_in_another_encoding_becomes_utf_8_and_what_is_no_text_is_told() -> None:
    assert kept(b"", XMP.decode().encode("utf-16")) == (Metadata(b"", UPRIGHT_XMP), ())
    grows = ("絵" * (MAX_METADATA_BYTES // 3 + 1)).encode("utf-16")  # two bytes a letter, and three in UTF-8
    assert kept(b"", grows) == (Metadata(), (losses.METADATA_SIZE,))
    assert kept(b"", XMP + b"\0").metadata.xmp == UPRIGHT_XMP
    assert kept(b"", b"<x:xmpmeta>\xff\xfe\xfd") == (Metadata(), (losses.XMP,))


def test_metadata_over_the_cap_are_left_out_and_told() -> None:
    assert kept(b"", b" " * (MAX_METADATA_BYTES + 1)) == (Metadata(), (losses.METADATA_SIZE,))
    exif = exif_of_a_phone(1)
    assert kept(exif, b" " * (MAX_METADATA_BYTES + 1)) == (Metadata(exif), (losses.METADATA_SIZE,))


IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + (12).to_bytes(4, "big") + b"\x1c\x02\x78\0\7caption"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<x:xmpmeta/>"


@pytest.mark.parametrize(
    ("segment", "loss"),
    [
        ((0xED, IPTC), losses.IPTC),
        ((0xFE, b"a comment"), losses.COMMENT),
        ((0xE1, EXTENSION), losses.EXTENDED_XMP),
        ((0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0\0\0\x18jumdc2pa"), losses.CREDENTIALS),
    ],
)
def test_other_metadata_of_jpeg_are_told(segment: tuple[int, bytes], loss: str) -> None:
    assert read_picture(jpeg_with(saved(PICTURE, "JPEG"), segment)).losses == (loss,)


def test_other_metadata_of_png_gif_and_tiff_are_told() -> None:
    assert read_picture(png_with(png_chunk(b"tEXt", b"Title\0A hill"))).losses == (losses.TEXT,)
    assert read_picture(png_with(raw_profile("iptc", b"caption"))).losses == (losses.IPTC, losses.TEXT)
    assert read_picture(png_with(png_chunk(b"caBX", b"jumb"))).losses == (losses.CREDENTIALS,)
    assert read_picture(saved(PICTURE.convert("P"), "GIF", comment=b"a comment")).losses == (losses.COMMENT,)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[33723], tags[37724] = b"\x1c\x02\x78\0\7caption", b"layers"
    assert set(read_picture(saved(PICTURE, "TIFF", tiffinfo=tags)).losses) == {losses.IPTC, losses.LAYERS}


def test_a_text_behind_the_pixels_of_a_png_is_told() -> None:
    plain = saved(PICTURE, "PNG")
    late = plain[:-12] + png_chunk(b"tEXt", b"Title\0A hill") + plain[-12:]
    assert read_picture(late).losses == (losses.TEXT,)


def test_what_follows_a_jpeg_is_told() -> None:
    jpeg = saved(PICTURE, "JPEG", progressive=True)
    assert read_picture(jpeg + b"\0\0\0\x18ftypmp42" + bytes(99)).losses == (losses.APPENDIX,)
    assert read_picture(jpeg + bytes(9)).losses == ()


def test_a_picture_in_memory_keeps_its_metadata_and_is_turned() -> None:
    photo = saved(PICTURE, "JPEG", quality=95, exif=EXIF + exif_of_a_phone(6), xmp=XMP)
    with Image.open(io.BytesIO(photo)) as image:
        in_memory = picture_of(image)
    from_file = read_picture(photo)
    assert in_memory.metadata == from_file.metadata
    assert in_memory.file_bytes == 0
    assert np.array_equal(in_memory.image_HW3, from_file.image_HW3)
    clear = Image.fromarray(RAMP).convert("RGBA")
    clear.putalpha(Image.fromarray(RAMP[..., 0]))
    kept_alpha = picture_of(clear)
    assert kept_alpha.alpha_HW is not None
    assert np.array_equal(kept_alpha.alpha_HW, RAMP[..., 0])
    assert picture_of(clear, background="black").losses == (losses.TRANSPARENCY,)
