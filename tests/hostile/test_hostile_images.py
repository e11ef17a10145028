"""Hostile and broken pictures: one error with the name, the reason and what to do, and no memory for a lie."""

import io
import random
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.errors import InputError, LimitError
from clc.pictures import losses
from clc.pictures.images import png_bytes, read_image, read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_claims(width: int, height: int, *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(1_000_000), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def file_of(image_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "size", [(9_000, 9_000), (16_000, 16_000), (60_000, 60_000), (65_536, 1), (2**31 - 1, 1), (2**31 - 1, 2**31 - 1)]
)
def test_a_png_bomb_is_refused_by_its_header(
    size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a pixel was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_that_claims(*size))
    with pytest.raises(LimitError, match=r"bomb\.png.*(scale|cut)"):
        read_image(bomb)


@pytest.mark.parametrize(
    ("start", "loss"),
    [
        (b"iCCPx\0\0", losses.PROFILE),
        (b"zTXtx\0\0", losses.TEXT),
        (b"iTXtx\0\1\0\0\0", losses.TEXT),
        (b"zTXtxmp\0\0", losses.TEXT),
        (b"iTXtXML:com.adobe.xmp\0\1\0\0\0", losses.TEXT),
    ],
)
def test_a_bomb_in_the_text_of_a_png_costs_the_text_alone_and_no_memory(start: bytes, loss: str) -> None:
    bomb = png_chunk(start[:4], start[4:] + zlib.compress(bytes(100 * 2**20), 9))
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = read_picture(png_that_claims(2, 2, *[bomb] * 8))
    assert read.image_HW3.shape == (2, 2, 3)
    assert loss in read.losses
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 256 * 2**10  # KiB


def test_a_tiff_with_a_giant_tile_is_refused() -> None:
    pixels = zlib.compress(bytes(1_000))
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, 16_384), (323, 16_384)]
    pixels_at = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags += [(324, pixels_at), (325, len(pixels))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    with pytest.raises(LimitError, match="16384x16384"):
        read_image(b"II*\x00" + struct.pack("<I", 8) + directory + bytes(4) + pixels)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF", "BMP", "PPM"])
def test_a_truncated_picture_names_itself_and_what_to_do(image_format: str, tmp_path: Path) -> None:
    data = file_of(image_format)
    path = tmp_path / f"half.{image_format.lower()}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"half\..*(again|give a sound)"):
        read_image(path)


def test_a_text_file_named_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("These are notes, not a picture.\n")
    with pytest.raises(InputError, match=r"notes\.png: not a readable picture .*; give a sound one of PNG, JPEG"):
        read_image(path)


def test_a_format_that_is_not_on_the_list_is_refused() -> None:
    for image_format in ("ICO", "PDF", "TGA"):
        with pytest.raises(InputError, match="another format"):
            read_image(file_of(image_format))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(InputError, match=r"empty\.png: the file is empty"):
        read_image(path)


def test_a_missing_file_a_folder_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="no regular file"):
        read_image(tmp_path)
    with pytest.raises(InputError):
        read_image(tmp_path / "nul\x00.png")


def test_a_file_over_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.bmp"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)
    with pytest.raises(LimitError, match=r"sparse\.bmp: the file has 300 MiB"):
        read_image(path)


def test_bytes_over_the_cap_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.pictures.images.MAX_PICTURE_FILE_BYTES", 1_000)
    with pytest.raises(LimitError, match="the file has"):
        read_image(png_bytes(PICTURE))


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM"])
def test_random_damage_gives_a_picture_or_one_kind_of_error(image_format: str) -> None:
    generator = random.Random(image_format)  # noqa: S311 - no secret
    original = file_of(image_format)
    for _ in range(150):
        data = bytearray(original)
        for _ in range(generator.choice((1, 2, 8))):
            data[generator.randrange(generator.choice((40, len(data))))] = generator.choice(
                (0, 255, generator.randrange(256))
            )
        try:
            image_HW3 = read_image(bytes(data))
        except InputError:
            continue
        assert image_HW3.dtype == np.uint8
        assert image_HW3.shape[2] == 3
