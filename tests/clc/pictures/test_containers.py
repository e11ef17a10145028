"""What the containers of pictures hold beside their pixels is kept or told, and names of texts are never facts."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clc.codec.sources import picture_from
from clc.errors import InputError, LimitError
from clc.pictures import losses
from clc.pictures.exif import Structure
from clc.pictures.images import picture_of, read_picture
from clc.pictures.xmp import in_utf_8, is_packet
from tests.clc.pictures.test_colour_profiles import P3_XYZ, profile
from tests.clc.pictures.test_metadata import PICTURE, RAMP, UPRIGHT_XMP, png_with
from tests.made_pictures.metadata import XMP, exif_of_a_phone, jpeg_with
from tests.made_pictures.others import saved
from tests.made_pictures.png import png_chunk
from tests.made_pictures.samples import turned

FACTS = (
    *("gamma", "chromaticity", "transparency", "bbox", "interlace", "dpi", "aspect", "srgb", "icc_profile", "exif"),
    *("xmp", "default_image", "duration", "loop", "disposal", "blend", "comment", "photoshop", "mp"),
)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_texts_named_like_facts_are_texts(kind: bytes) -> None:
    for name in FACTS:
        start = name.encode() + {b"tEXt": b"\0", b"zTXt": b"\0\0", b"iTXt": b"\0\0\0\0\0"}[kind]
        text = zlib.compress(b"a word") if kind == b"zTXt" else b"a word"
        read = read_picture(png_with(png_chunk(kind, start + text)))
        assert np.array_equal(read.image_HW3, RAMP), name
        assert (read.alpha_HW, read.losses) == (None, (losses.TEXT,)), name
        assert not read.metadata, name


def test_texts_of_a_picture_that_pillow_opened_are_no_facts() -> None:
    made = PngImagePlugin.PngInfo()
    for name in ("gamma", "transparency", "icc_profile", "exif", "xmp", "photoshop", "comment"):
        made.add_text(name, "a word")
    with Image.open(io.BytesIO(saved(PICTURE, "PNG", pnginfo=made))) as image:
        read = picture_of(image)
    assert np.array_equal(read.image_HW3, RAMP)
    assert (read.alpha_HW, read.losses, bool(read.metadata)) == (None, (losses.TEXT,), False)


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"XML:com.adobe.xmp\0" + XMP),
        png_chunk(b"tEXt", b"xmp\0" + XMP),
        png_chunk(b"zTXt", b"XML:com.adobe.xmp\0\0" + zlib.compress(XMP)),
        png_chunk(b"iTXt", b"xmp\0\1\0\0\0" + zlib.compress(XMP)),
    ],
)
def test_xmp_in_any_text_of_a_png_is_kept(chunk: bytes) -> None:
    read = read_picture(png_with(chunk))
    assert (read.metadata.xmp, read.losses) == (UPRIGHT_XMP, ())
    assert np.array_equal(read.image_HW3, turned(RAMP, 6))


def test_only_a_packet_is_a_packet() -> None:
    assert is_packet(XMP)
    assert is_packet(XMP.decode().encode("utf-16"))
    for other in (b"", b"a word", b"<svg/>", b"\xff\xfe\xff", b"x <x:xmpmeta/>"):
        assert not is_packet(other), other


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_an_orientation_in_xmp_of_any_encoding_counts(encoding: str) -> None:
    read = read_picture(saved(PICTURE, "WEBP", lossless=True, xmp=XMP.decode().encode(encoding)))
    assert np.array_equal(read.image_HW3, turned(RAMP, 6))
    assert (read.metadata.xmp, read.losses) == (UPRIGHT_XMP, ())
    declared = '<?xml version="1.0" encoding="UTF-16"?><x/>'.encode(encoding)
    assert in_utf_8(declared) == b'<?xml version="1.0"?><x/>'


def test_a_large_profile_of_a_png_is_used() -> None:
    padded = bytearray(profile(P3_XYZ) + bytes(2**21))
    padded[:4] = struct.pack(">I", len(padded))
    small = read_picture(saved(PICTURE, "PNG", icc_profile=profile(P3_XYZ)))
    large = read_picture(png_with(png_chunk(b"iCCP", b"P3\0\0" + zlib.compress(bytes(padded)))))
    assert np.array_equal(large.image_HW3, small.image_HW3)
    assert large.losses == small.losses


def test_a_chunk_with_a_wrong_checksum_is_told() -> None:
    damaged = bytearray(png_chunk(b"eXIf", exif_of_a_phone()))
    damaged[20] ^= 1
    read = read_picture(png_with(bytes(damaged)))
    assert (bool(read.metadata), read.losses) == (False, (losses.OTHER,))


@pytest.mark.parametrize(("transfer", "told"), [(16, (losses.HDR,)), (18, (losses.HDR,)), (13, ())])
def test_colours_of_high_dynamic_range_are_told(transfer: int, told: tuple[str, ...]) -> None:
    assert read_picture(png_with(png_chunk(b"cICP", bytes((1, transfer, 0, 1))))).losses == told
    avif = bytearray(saved(PICTURE, "AVIF"))
    at = avif.index(b"nclx")
    avif[at + 4 : at + 8] = struct.pack(">HH", 1, transfer)
    assert read_picture(bytes(avif)).losses == told


def test_other_primaries_are_told_as_such() -> None:
    assert read_picture(png_with(png_chunk(b"cICP", bytes((9, 13, 0, 1))))).losses == (losses.GAMMA,)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF", "PPM"])
def test_data_behind_a_picture_are_told(image_format: str) -> None:
    image = PICTURE.convert("P") if image_format == "GIF" else PICTURE
    data = saved(image, image_format)
    assert read_picture(data).losses == ()
    assert read_picture(data + bytes(9)).losses == ()
    for further in (b"PK\3\4 a file", b"\0\0\0\x18mpvdabcd" + bytes(12), b"P"):
        told = read_picture(data + further).losses
        assert len(told) == 1, further
        assert told[0] in (losses.APPENDIX, losses.OTHER), further
    if image_format not in ("AVIF",):
        assert told == (losses.APPENDIX,)


@pytest.mark.parametrize(
    "plain", [b"P1\n2 1\n1 0\n", b"P1\n2 1\n10\n", b"P2\n2 1\n255\n1 2\n", b"P3\n1 1\n255\n1 2 3\n"]
)
def test_data_behind_a_netpbm_of_text_are_told(plain: bytes) -> None:
    assert read_picture(plain).losses == ()
    assert read_picture(plain + b"1").losses == (losses.APPENDIX,)
    assert read_picture(plain[:2] + b" # mine\n" + plain[2:]).losses == (losses.COMMENT,)


def test_boxes_and_credentials_are_told() -> None:
    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    avif = saved(PICTURE, "AVIF")
    c2pa = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    assert read_picture(avif + box(b"uuid", c2pa + bytes(20))).losses == (losses.CREDENTIALS,)
    assert read_picture(avif + box(b"uuid", bytes(20))).losses == (losses.OTHER,)
    assert read_picture(avif + box(b"mpvd", b"a video")).losses == (losses.APPENDIX,)
    assert read_picture(avif + box(b"free", b"a gap")).losses == ()
    webp = saved(PICTURE, "WEBP", lossless=True, xmp=b"<x:xmpmeta/>")
    for kind, loss in ((b"C2PA", losses.CREDENTIALS), (b"ABCD", losses.OTHER)):
        more = webp[12:] + kind + struct.pack("<I", 4) + b"data"
        whole = b"RIFF" + struct.pack("<I", 4 + len(more)) + b"WEBP" + more
        assert read_picture(whole).losses == (loss,)
    for chunks in (
        png_chunk(b"tIME", bytes(7)),
        png_chunk(b"ABCD", b"which no decoder knows"),
        png_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)) + png_chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1)),
    ):
        assert read_picture(png_with(chunks)).losses == (losses.OTHER,)


def test_other_segments_and_gain_maps_of_a_jpeg_are_told() -> None:
    jpeg = saved(PICTURE, "JPEG")
    assert read_picture(jpeg_with(jpeg, (0xE4, b"of a camera"))).losses == (losses.OTHER,)
    assert read_picture(jpeg_with(jpeg, (0xE1, b"Exif\0\xff" + exif_of_a_phone()))).losses == (losses.OTHER,)
    assert read_picture(jpeg_with(jpeg, (0xFE, b""), (0xFE, b"one"), (0xFE, b""))).losses == (losses.COMMENT,)
    assert read_picture(jpeg_with(jpeg, (0xE2, b"urn:iso:std:iso:ts:21496:-1\0data"))).losses == (losses.FRAMES,)
    assert read_picture(jpeg + jpeg).losses == (losses.FRAMES,)
    assert read_picture(jpeg + jpeg + b"PK\3\4").losses == (losses.FRAMES, losses.APPENDIX)


def test_pictures_within_a_tiff_are_told() -> None:
    tags = Image.Exif()
    tags[330] = 8
    assert losses.FRAMES in read_picture(saved(PICTURE, "TIFF", exif=tags)).losses


def extended(inner: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """XMP whose extension is in segments; the packet with the note, the packet that both make, the segments."""
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        + inner
        + b"</rdf:RDF></x:xmpmeta>"
    )
    digest = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper().encode()
    head = b"http://ns.adobe.com/xmp/extension/\0" + digest + struct.pack(">I", len(packet))
    segments = [head + struct.pack(">I", at) + packet[at : at + 100] for at in range(0, len(packet), 100)]
    note = b' xmpNote:HasExtendedXMP="' + digest + b'"'
    return (
        XMP.replace(b' tiff:Make="', note + b' tiff:Make="'),
        XMP.replace(b"</rdf:RDF>", inner + b"</rdf:RDF>"),
        segments,
    )


def test_the_extended_part_of_xmp_is_joined_where_it_is_the_one_that_is_named() -> None:
    inner = (
        b'<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="' + b"y" * 300 + b'"/>'
    )
    packet, whole, segments = extended(inner)
    parts = [(0xE1, segment) for segment in reversed(segments)]
    read = read_picture(jpeg_with(saved(PICTURE, "JPEG", xmp=packet), *parts))
    assert read.losses == ()
    assert read.metadata.xmp == whole.replace(b'Orientation="6"', b'Orientation="1"')
    for wrong in (parts[1:], [*parts[:-1], (0xE1, segments[0][:-1] + b"z")], [*parts, (0xE1, segments[0])]):
        read = read_picture(jpeg_with(saved(PICTURE, "JPEG", xmp=packet), *wrong))
        assert read.losses == (losses.EXTENDED_XMP,)
        assert b"HasExtendedXMP" in read.metadata.xmp


def test_xmp_in_a_gif_is_kept() -> None:
    gif = saved(PICTURE.convert("P"), "GIF")
    head = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    magic = bytes((1, *range(255, -1, -1), 0))
    for block in (
        XMP + magic,
        b"".join(bytes((len(XMP[a : a + 60]),)) + XMP[a : a + 60] for a in range(0, len(XMP), 60)) + b"\0",
    ):
        read = read_picture(gif[:head] + b"!\xff\x0bXMP DataXMP" + block + gif[head:])
        assert (read.metadata.xmp, read.losses) == (UPRIGHT_XMP, ())
    assert read_picture(gif[:head] + b"!\xff\x0bOTHERAPP1.0\1x\0" + gif[head:]).losses == (losses.OTHER,)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP"])
def test_a_resolution_is_kept_in_exif_unless_it_is_a_default(image_format: str) -> None:
    for dpi in (72, 96):
        assert not read_picture(saved(PICTURE, image_format, dpi=(dpi, dpi))).metadata
    exif = read_picture(saved(PICTURE, image_format, dpi=(300, 300))).metadata.exif
    tags = Image.Exif()
    tags.load(exif)
    assert (tags[0x011A], tags[0x011B], tags[0x0128]) == (300, 300, 2)


def test_a_resolution_joins_exif_that_have_none_and_leaves_those_that_have() -> None:
    own = exif_of_a_phone(1)  # 72 dpi
    assert read_picture(saved(PICTURE, "PNG", exif=own, dpi=(300, 300))).metadata.exif == own
    with_name = Image.Exif()
    with_name[0x010F] = "Maker of cameras"
    read = read_picture(saved(PICTURE, "PNG", exif=with_name, dpi=(118, 236)))
    tags = Image.Exif()
    tags.load(read.metadata.exif)
    assert tags[0x010F] == "Maker of cameras"
    assert [tags[tag] for tag in (0x011A, 0x011B, 0x0128)] == [118, 236, 2]
    assert Structure.of(read.metadata.exif) is not None


def test_too_little_memory_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with_profile = saved(PICTURE, "PNG", icc_profile=profile(P3_XYZ))
    monkeypatch.setattr("PIL.ImageCms.ImageCmsProfile", fail)
    with pytest.raises(LimitError, match=r"^photo: there is not enough memory"):
        read_picture(with_profile, "photo")


def test_arrays_of_any_class_are_taken_or_refused() -> None:
    grey = RAMP[..., 0]
    assert np.array_equal(picture_from(grey.view(np.matrix)).image_HW3, np.dstack([grey] * 3))
    for array in (np.ma.masked_array(grey), grey.astype(float).view(np.matrix), np.rec.array([(1, 2)], dtype="u1,u1")):
        with pytest.raises(InputError):
            picture_from(array)
