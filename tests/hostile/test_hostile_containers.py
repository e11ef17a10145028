"""Random mutations of small picture files, with all that containers hold: a picture, or an error of this project."""

import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from clc.errors import InputError
from clc.pictures import losses
from clc.pictures.containers import boxes, gif_blocks, items_of, jpeg_segments, png_chunks, riff_chunks
from clc.pictures.images import read_picture
from tests.clc.pictures.test_optional_formats import HEIC
from tests.made_pictures.metadata import XMP, exif_of_a_phone, jpeg_with
from tests.made_pictures.others import saved
from tests.made_pictures.png import png_chunk

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (6, 7, 3), dtype=np.uint8))
WALKERS = (png_chunks, riff_chunks, boxes, jpeg_segments, gif_blocks)


def whole(image_format: str) -> bytes:
    """A small file that has metadata wherever its format keeps them, and data behind its end."""
    if image_format == "PNG":
        plain = saved(PICTURE, "PNG", dpi=(300, 300), exif=exif_of_a_phone())
        texts = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP), (b"zTXt", b"gamma\0\0" + zlib.compress(b"a word"))
        chunks = b"".join(png_chunk(*chunk) for chunk in (*texts, (b"cICP", bytes(4)), (b"tEXt", b"xmp\0no packet")))
        return plain[:33] + chunks + plain[33:]
    if image_format == "GIF":
        gif = saved(PICTURE.convert("P", colors=4), "GIF")
        return gif[:-1] + b"!\xff\x0bXMP DataXMP" + XMP + bytes((1, *range(255, -1, -1), 0)) + b";"
    if image_format == "PPM":
        return b"P6 # a comment\n7 6\n255\n" + PICTURE.tobytes() + b"P6\n1 1\n255\n123"
    data = saved(PICTURE, image_format, exif=exif_of_a_phone(), xmp=XMP)
    if image_format == "JPEG":
        extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + bytes(8) + b"<x:xmpmeta/>"
        return jpeg_with(data, (0xE1, extension), (0xEB, b"JP\0\1c2pa")) + data[:60]
    return data + struct.pack(">I", 12) + b"mpvddata"


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "AVIF", "JPEG", "TIFF", "GIF", "PPM", "BMP"])
def test_random_mutations_give_a_picture_or_an_error_of_this_project(image_format: str) -> None:
    generator = random.Random(image_format)  # noqa: S311 - no secret
    original = whole(image_format)
    read_picture(original)
    n_read = 0
    for _ in range(500):
        data = bytearray(original)
        for _ in range(generator.choice((1, 1, 2, 6))):
            at = generator.randrange(generator.choice((60, len(data))))
            what = generator.randrange(4)
            if what == 0:
                data[at] = generator.choice((0, 1, 127, 255, generator.randrange(256)))
            elif what == 1:
                data[at : at + 4] = generator.choice((bytes(4), b"\xff" * 4, b"\0\0\0\1", generator.randbytes(4)))
            elif what == 2:
                data[at:at] = generator.randbytes(generator.choice((1, 4, 20)))
            else:
                del data[at : at + generator.choice((1, 4, 20))]
        try:
            n_read += read_picture(bytes(data)).image_HW3.shape[2] == 3
        except InputError:
            continue
    assert n_read


@pytest.mark.parametrize("walk", WALKERS)
def test_walkers_end_over_any_bytes_and_name_places_within_them(walk) -> None:
    generator = random.Random(5)  # noqa: S311 - no secret
    starts = [whole(image_format)[:40] for image_format in ("PNG", "WEBP", "AVIF", "JPEG", "GIF")]
    fillings = (bytes(2000), b"\xff" * 2000, b"\0\0\0\x08meta" * 200, b"\0\0\0\1meta" * 200, b"\xff\xe1\0\0" * 500)
    for start in (*starts, b""):
        for filling in (*fillings, *(generator.randbytes(2000) for _ in range(20))):
            data = start + filling
            for part in walk(data):
                assert part.start <= part.end <= len(data)


def test_the_items_of_any_bytes_are_read_without_a_fault() -> None:
    meta = next(part for part in boxes(HEIC) if part.kind == b"meta")
    assert items_of(HEIC, meta).kinds == {1: b"hvc1", 2: b"Exif", 3: b"application/rdf+xml"}
    assert items_of(HEIC, meta).picture(HEIC) == {1}
    generator = random.Random(6)  # noqa: S311 - no secret
    for _ in range(500):
        data = bytearray(HEIC)
        for _ in range(4):
            data[generator.randrange(meta.start, meta.end)] = generator.choice((0, 1, 255, generator.randrange(256)))
        items_of(bytes(data), meta).picture(bytes(data))


def test_parts_without_end_behind_a_sound_picture_are_told() -> None:
    jpeg = saved(PICTURE, "JPEG")
    assert read_picture(jpeg + b"\xff\xd8" + b"\xff\xe5\0\2" * (2**20 + 1)).losses == (losses.OTHER,)


def test_more_chunks_than_a_png_can_have_are_refused() -> None:
    png = saved(PICTURE, "PNG")
    with pytest.raises(InputError, match="far more parts"):
        read_picture(png[:33] + png_chunk(b"tIME", b"") * (2**20 + 1) + png[33:])
