"""Malformed alignments in streams of version 2: each raises the error that says why, and none costs much."""

import random
import time
import tracemalloc
import zlib

import numpy as np
import pytest

from clc.bitstream.alignment import Alignment, mesh_shape
from clc.bitstream.container import pack, parse
from clc.bitstream.stream import PROFILE, Stream
from clc.bitstream.varints import write_varint
from clc.errors import BitstreamError, ClcError, CorruptStream, LimitError, TruncatedStream
from clc.limits import MAX_PIXELS

MESH = np.array([[[2, 0], [2, 1], [1, 1]], [[2, 0], [-3, 0], [9, 0]]], dtype=np.int8)
STREAM = Stream(
    profile=PROFILE,
    width=60,
    height=20,
    quality_q6=3200,
    bundle_id=b"bundleid",
    references=(5, 600, 4000),
    latents_crc32=7,
    payload=b"0123456789",
    alignments=(Alignment((1, -2, 963, 4, -5, 326, 967, 327), (65, 64, 63), (1, 0, -1), MESH),),
)
PACKED = pack(STREAM)


def zigzag(*numbers: int) -> bytes:
    return b"".join(write_varint(2 * n if n >= 0 else -2 * n - 1) for n in numbers)


STORED_CORNERS = zigzag(1, -2, 962, 6, -6, 328, 10, -5)
"""p0, p1 - p0, p2 - p0, p3 - (p1 + p2 - p0)."""

# Positions in PACKED: magic 0, version 4, profile 5, width 6, height 7, quality 8, bundle id 10, references 18 (5
# bytes), number of alignments 23, corners 24; then flags, brightness (6 bytes), the mesh's length, the mesh.
VERSION, COUNT, CORNERS = 4, 23, 24
FLAGS = CORNERS + len(STORED_CORNERS)
BRIGHTNESS, LENGTH, MESH_AT = FLAGS + 1, FLAGS + 7, FLAGS + 8
MESH_BYTES = PACKED[LENGTH]
PAYLOAD_LENGTH = MESH_AT + MESH_BYTES


def altered(position: int, old: bytes, new: bytes, data: bytes = PACKED) -> bytes:
    """`data` with `old` at `position` replaced by `new` and the checksum made right again."""
    assert data[position : position + len(old)] == old
    checksum = len(data) - len(STREAM.payload) - 8 + len(new) - len(old)
    data = data[:position] + new + data[position + len(old) :]
    right = zlib.crc32(data[checksum + 4 :], zlib.crc32(data[:checksum]))
    return data[:checksum] + right.to_bytes(4, "little") + data[checksum + 4 :]


def test_the_unaltered_stream_parses() -> None:
    assert parse(altered(CORNERS, STORED_CORNERS, STORED_CORNERS)) == STREAM
    assert PACKED[PAYLOAD_LENGTH] == len(STREAM.payload)


@pytest.mark.parametrize("length", range(len(PACKED)))
def test_every_prefix_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedStream):
        parse(PACKED[:length])


def test_version_2_without_alignments_is_refused() -> None:
    with pytest.raises(CorruptStream, match="version 2 does not have"):
        parse(altered(COUNT, PACKED[COUNT:PAYLOAD_LENGTH], b"\x00"))


def test_version_1_with_alignments_is_refused() -> None:
    with pytest.raises(ClcError):
        parse(altered(VERSION, b"\x02", b"\x01"))


@pytest.mark.parametrize("count", [4, 255])
def test_more_alignments_than_the_cap_are_refused(count: int) -> None:
    with pytest.raises(LimitError, match=f"{count} aligned"):
        parse(altered(COUNT, b"\x01", bytes((count,))))


def test_more_alignments_than_references_are_refused() -> None:
    no_references = altered(8, (3 << 13 | 3200).to_bytes(2, "little"), (3200).to_bytes(2, "little"))
    with pytest.raises(CorruptStream, match="1 alignments for 0 references"):
        parse(altered(18, PACKED[18:COUNT], b"", no_references))


def test_a_second_alignment_that_is_not_there_is_refused() -> None:
    with pytest.raises(BitstreamError):
        parse(altered(COUNT, b"\x01", b"\x02"))


@pytest.mark.parametrize(
    "numbers",
    [
        ((1 << 20) + 1, 0, 960, 0, 0, 320, 0, 0),
        (0, -(1 << 20) - 1, 960, 0, 0, 320, 0, 0),
        ((1 << 20) - 5, 0, 960, 0, 0, 320, 0, 0),  # the second corner is too far
        (0, 0, 960, 0, 0, 320, 1 << 20, 0),  # the fourth
        (-(1 << 27), 0, 960, 0, 0, 320, 0, 0),
        (0, 0, 0, 0, 0, 0, 0, 0),
        (0, 0, 960, 0, 1920, 0, 0, 0),  # on one line
        (0, 0, -960, 0, 0, 320, 0, 0),  # mirrored
        (0, 0, 960, 0, 0, 320, -600, -200),  # not convex
        (0, 0, 960, 0, 960, 320, -1920, 0),  # crossed
    ],
)
def test_corners_that_span_no_quadrilateral_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(CorruptStream, match="alignment"):
        parse(altered(CORNERS, STORED_CORNERS, zigzag(*numbers)))


@pytest.mark.parametrize("spelling", [b"\x82\x00", b"\x82\x80\x00"])
def test_a_corner_that_is_not_minimal_is_refused(spelling: bytes) -> None:
    with pytest.raises(CorruptStream, match="corners"):
        parse(altered(CORNERS, b"\x02", spelling))


def test_a_corner_of_five_bytes_is_refused() -> None:
    with pytest.raises(CorruptStream, match="longer than 4 bytes"):
        parse(altered(CORNERS, b"\x02", b"\x82\x80\x80\x80\x01"))


@pytest.mark.parametrize("flag", [0x08, 0x10, 0x20, 0x40, 0x80])
def test_an_unknown_flag_is_refused(flag: int) -> None:
    with pytest.raises(CorruptStream, match="flags"):
        parse(altered(FLAGS, b"\x03", bytes((3 | flag,))))


def test_regions_that_are_announced_and_not_there_are_refused() -> None:
    with pytest.raises(BitstreamError):
        parse(altered(FLAGS, b"\x03", b"\x07"))


def test_a_neutral_brightness_is_not_spelled_out() -> None:
    with pytest.raises(CorruptStream, match="neutral"):
        parse(altered(BRIGHTNESS, PACKED[BRIGHTNESS:LENGTH], b"\x40\x40\x40\x00\x00\x00"))


@pytest.mark.parametrize("colour", range(3))
def test_a_gain_of_zero_is_refused(colour: int) -> None:
    with pytest.raises(CorruptStream, match="gains"):
        parse(altered(BRIGHTNESS + colour, PACKED[BRIGHTNESS + colour :][:1], b"\x00"))


def test_a_mesh_that_is_too_long_is_refused() -> None:
    longer = bytes((MESH_BYTES + 1,)) + PACKED[MESH_AT:PAYLOAD_LENGTH]
    for extra in (b"\x00", b"\x01", b"\xff"):
        with pytest.raises(CorruptStream, match="mesh"):
            parse(altered(LENGTH, PACKED[LENGTH:PAYLOAD_LENGTH], longer + extra))


@pytest.mark.parametrize("length", [b"\x80\x00", b"\xff\xff\xff\xff\x01"])
def test_a_malformed_length_of_a_mesh_is_refused(length: bytes) -> None:
    with pytest.raises(CorruptStream, match="mesh's length"):
        parse(altered(LENGTH, PACKED[LENGTH:MESH_AT], length))


def test_a_huge_length_of_a_mesh_is_truncated_before_allocating() -> None:
    claims = altered(LENGTH, PACKED[LENGTH:MESH_AT], b"\xff\xff\x7f")
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedStream, match="mesh"):
            parse(claims)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_a_huge_picture_with_a_wrong_checksum_costs_no_mesh() -> None:
    """The mesh of a picture at the cap takes seconds to decode: only a right checksum leads there."""
    data = bytearray(altered(6, b"\x3c\x14", write_varint(MAX_PIXELS // 2048) + write_varint(2048)))
    data[-1] ^= 1
    start_s = time.process_time()
    with pytest.raises(CorruptStream):
        parse(bytes(data))
    assert time.process_time() - start_s < 0.1


def test_two_thousand_random_mutations_are_refused_or_have_one_spelling() -> None:
    generator = random.Random(3)  # noqa: S311 - no secret
    for _ in range(2_000):
        position = generator.randrange(VERSION, PAYLOAD_LENGTH)
        size = generator.choice((0, 1, 1, 1, 2))
        new = generator.randbytes(generator.choice((0, 1, 1, 1, 3)))
        data = altered(position, PACKED[position : position + size], new)
        try:
            parsed = parse(data)
        except (BitstreamError, LimitError):
            continue
        assert pack(parsed) == data


def test_the_meshes_shape_is_that_of_the_picture() -> None:
    assert MESH.shape[:2] == mesh_shape(STREAM.height, STREAM.width)
