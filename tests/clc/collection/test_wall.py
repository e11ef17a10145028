"""The wall: whatever a picture does to its decoder, it costs that picture alone, and the reason is told."""

import io
import os
import time
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from clc.collection.examination import (
    BROKEN,
    DECODER_DIED,
    METADATA_LOST,
    NO_MEMORY,
    NOT_A_PICTURE,
    TOO_SLOW,
    UNREADABLE,
    Examined,
    Refused,
    examine,
    pack,
    unpack,
)
from clc.collection.wall import Wall
from clc.errors import ClcError
from clc.pictures.images import png_bytes
from clc.pictures.near_duplicates import fingerprint, perceptual_hash


def picture(seed: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def photo(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def misbehaves(data: bytes, name: str) -> Examined | Refused:
    """What stands in for a decoder in these tests: it does to its process what the bytes say."""
    if data == b"crash":
        os.abort()
    if data == b"leave":
        os._exit(7)
    while data == b"spin":
        pass
    if data == b"sleep":
        time.sleep(60)
    return examine(data, name)


@pytest.fixture(scope="module")
def wall() -> Iterator[Wall]:
    with Wall() as made:
        yield made


@pytest.fixture(scope="module")
def weak() -> Iterator[Wall]:
    with Wall(most_s=0.5, examiner="tests.clc.collection.test_wall:misbehaves") as made:
        yield made


def test_a_picture_is_found_to_be_the_same_on_both_sides(wall: Wall) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2024:05:31 12:00:01"
    for data in (png_bytes(picture(0)), photo(), photo(exif=exif)):
        assert wall.examine(data, "a.png") == examine(data, "a.png")
    found = wall.examine(photo(exif=exif), "a.jpg")
    assert isinstance(found, Examined)
    assert (found.width, found.height) == (30, 20)
    assert found.taken == "2024:05:31 12:00:01"
    assert found.losses == (METADATA_LOST,)


def test_likeness_is_that_of_the_pixels(wall: Wall) -> None:
    found = wall.examine(png_bytes(picture(3)), "a.png")
    assert isinstance(found, Examined)
    assert found.perceptual_hash == perceptual_hash(picture(3))
    np.testing.assert_array_equal(
        np.frombuffer(found.thumbnail, np.uint8).reshape(64, 64), fingerprint("", picture(3)).thumbnail
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", UNREADABLE),
        (b"no picture", NOT_A_PICTURE),
        (png_bytes(picture(0))[:500], BROKEN),
    ],
)
def test_what_is_no_picture_has_its_reason_without_the_name(wall: Wall, data: bytes, code: str) -> None:
    found = wall.examine(data, "caf\udce9.png")
    assert isinstance(found, Refused)
    assert found.code == code
    assert "caf" not in found.reason


def test_a_decoder_that_dies_costs_its_picture_alone(weak: Wall) -> None:
    good = png_bytes(picture(0))
    assert weak.examine(b"crash", "a") == Refused(
        code=DECODER_DIED, reason="its decoder ended by SIGABRT; export or copy the picture again"
    )
    assert isinstance(weak.examine(good, "b"), Examined)
    assert "with status 7" in str(weak.examine(b"leave", "c"))
    assert isinstance(weak.examine(good, "d"), Examined)


@pytest.mark.parametrize("data", [b"spin", b"sleep"])
def test_a_decoder_that_does_not_end_is_ended_and_the_next_picture_is_read(weak: Wall, data: bytes) -> None:
    found = weak.examine(data, "a")
    assert isinstance(found, Refused)
    assert found.code == TOO_SLOW
    assert "within 0.5 s" in found.reason
    assert isinstance(weak.examine(png_bytes(picture(0)), "b"), Examined)


def test_a_picture_beyond_the_memory_says_so() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8000, 8000)).save(buffer, "PNG")
    with Wall(most_bytes=350 * 2**20) as narrow:
        found = narrow.examine(buffer.getvalue(), "a.png")
        assert isinstance(found, Refused)
        assert found.code == NO_MEMORY
        assert isinstance(narrow.examine(png_bytes(picture(0)), "b.png"), Examined)


def test_a_process_that_somebody_else_ended_costs_no_picture(wall: Wall) -> None:
    good = png_bytes(picture(0))
    assert isinstance(wall.examine(good, "a"), Examined)
    process = wall._process
    assert process is not None
    process.kill()
    process.wait()
    assert isinstance(wall.examine(good, "a"), Examined)


def test_a_machine_on_which_no_decoder_starts_is_no_fault_of_a_picture() -> None:
    with Wall(examiner="tests.nowhere:examine") as broken, pytest.raises(ClcError, match="with status 1 before it"):
        broken.examine(png_bytes(picture(0)), "a.png")


def test_outcomes_survive_a_pipe_and_others_are_refused() -> None:
    for outcome in (examine(photo(), "a"), Refused(code=BROKEN, reason="caf\u00e9")):
        assert unpack(pack(outcome)) == outcome
    with pytest.raises((ValueError, KeyError, TypeError)):
        unpack(b"{}")
