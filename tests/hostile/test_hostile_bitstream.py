"""Malformed streams: one test for each way to be malformed, and each raises the error that says why."""

import dataclasses
import random
import tracemalloc
import zlib

import pytest

from clc.bitstream.container import pack, parse
from clc.bitstream.stream import PROFILE, Stream
from clc.errors import BitstreamError, CorruptStream, LimitError, TruncatedStream, UnknownVersion

STREAM = Stream(
    profile=PROFILE,
    width=300,
    height=20,
    quality_q6=3200,
    bundle_id=b"bundleid",
    references=(5, 600, 4000),
    latents_crc32=7,
    payload=b"0123456789",
)
PACKED = pack(STREAM)

# Positions in PACKED: magic 0, version 4, profile 5, width 6 (2 bytes), height 8, quality 9, bundle id 11,
# references 19 (5 bytes), alignment 24, payload length 25, checksum 26, latents' CRC 30, payload 34.
WIDTH, HEIGHT, QUALITY, REFERENCES, ALIGNMENT, LENGTH, CHECKSUM, PAYLOAD = 6, 8, 9, 19, 24, 25, 26, 34


def altered(position: int, old: bytes, new: bytes) -> bytes:
    """PACKED with `old` at `position` replaced by `new` and the checksum made right again."""
    assert PACKED[position : position + len(old)] == old
    data = PACKED[:position] + new + PACKED[position + len(old) :]
    at = CHECKSUM + len(new) - len(old)
    return data[:at] + zlib.crc32(data[at + 4 :], zlib.crc32(data[:at])).to_bytes(4, "little") + data[at + 4 :]


def test_the_unaltered_stream_parses() -> None:
    assert parse(altered(CHECKSUM, b"", b"")) == STREAM


@pytest.mark.parametrize("length", range(len(PACKED)))
def test_every_prefix_is_truncated(length: int) -> None:
    with pytest.raises(TruncatedStream):
        parse(PACKED[:length])


@pytest.mark.parametrize("extra", [b"\x00", b"x" * 100, PACKED])
def test_bytes_behind_the_payload_are_refused(extra: bytes) -> None:
    with pytest.raises(CorruptStream, match=f"{len(extra)} bytes too many"):
        parse(PACKED + extra)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\x00\x00\x00\x00WEBP", "WebP"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_a_file_of_another_kind_is_told_apart(head: bytes, name: str) -> None:
    with pytest.raises(UnknownVersion, match=f"this is a {name}"):
        parse(head + bytes(100))


def test_a_file_of_an_unknown_kind_is_no_stream() -> None:
    with pytest.raises(UnknownVersion, match="starts with 48 65 6c 6c"):
        parse(b"Hello, this is a text")


@pytest.mark.parametrize("version", [0, 5, 255])
def test_another_version_is_unknown(version: int) -> None:
    with pytest.raises(UnknownVersion, match=f"version {version}"):
        parse(altered(4, b"\x01", bytes((version,))))


def test_another_profile_is_unknown() -> None:
    with pytest.raises(UnknownVersion, match="profile 9"):
        parse(altered(5, b"\x00", b"\x09"))


@pytest.mark.parametrize(("position", "old"), [(WIDTH, b"\xac\x02"), (HEIGHT, b"\x14")])
def test_a_side_of_zero_is_refused(position: int, old: bytes) -> None:
    with pytest.raises(CorruptStream, match="px"):
        parse(altered(position, old, b"\x00"))


def test_a_side_over_the_cap_is_refused() -> None:
    with pytest.raises(LimitError, match="65536x20"):
        parse(altered(WIDTH, b"\xac\x02", b"\x80\x80\x04"))


def test_an_area_over_the_cap_is_refused_before_the_checksum() -> None:
    data = bytearray(altered(WIDTH, b"\xac\x02\x14", b"\xff\xff\x03\xff\xff\x03"))
    data[-1] ^= 1
    with pytest.raises(LimitError, match="Mi pixels"):
        parse(bytes(data))


@pytest.mark.parametrize("spelling", [b"\x94\x00", b"\x94\x80\x00"])
def test_a_size_that_is_not_minimal_is_refused(spelling: bytes) -> None:
    with pytest.raises(CorruptStream, match="height"):
        parse(altered(HEIGHT, b"\x14", spelling))


def test_a_size_of_four_bytes_is_refused() -> None:
    with pytest.raises(CorruptStream, match="longer than 3 bytes"):
        parse(altered(HEIGHT, b"\x14", b"\xff\xff\xff\x01"))


def test_a_quality_over_100_is_refused() -> None:
    with pytest.raises(CorruptStream, match="quality"):
        parse(altered(QUALITY, (3 << 13 | 3200).to_bytes(2, "little"), (3 << 13 | 6401).to_bytes(2, "little")))


@pytest.mark.parametrize("count", [6, 7])
def test_more_references_than_the_cap_are_refused(count: int) -> None:
    with pytest.raises(LimitError, match=f"{count} references"):
        parse(altered(QUALITY, (3 << 13 | 3200).to_bytes(2, "little"), (count << 13 | 3200).to_bytes(2, "little")))


@pytest.mark.parametrize("bit", range(4))
def test_bits_behind_the_references_are_refused(bit: int) -> None:
    last = PACKED[REFERENCES + 4]
    with pytest.raises(CorruptStream, match="unused bits"):
        parse(altered(REFERENCES + 4, bytes((last,)), bytes((last | 0x10 << bit,))))


@pytest.mark.parametrize("alignment", [1, 128, 255])
def test_any_alignment_is_refused(alignment: int) -> None:
    with pytest.raises(CorruptStream, match="alignment"):
        parse(altered(ALIGNMENT, b"\x00", bytes((alignment,))))


def test_a_payload_length_that_is_too_long_is_truncated() -> None:
    with pytest.raises(TruncatedStream, match="missing"):
        parse(altered(LENGTH, b"\x0a", b"\x0b"))


def test_a_payload_length_that_is_too_short_leaves_bytes_behind() -> None:
    with pytest.raises(CorruptStream, match="too many"):
        parse(altered(LENGTH, b"\x0a", b"\x09"))


def test_a_payload_length_that_is_not_minimal_is_refused() -> None:
    with pytest.raises(CorruptStream, match="payload length"):
        parse(altered(LENGTH, b"\x0a", b"\x8a\x00"))


def test_a_payload_length_of_five_bytes_is_refused() -> None:
    with pytest.raises(CorruptStream, match="longer than 4 bytes"):
        parse(altered(LENGTH, b"\x0a", b"\xff\xff\xff\xff\x01"))


@pytest.mark.parametrize("position", [11, CHECKSUM, CHECKSUM + 4, PAYLOAD, len(PACKED) - 1])
def test_damage_behind_the_sizes_fails_the_checksum(position: int) -> None:
    data = bytearray(PACKED)
    data[position] ^= 0x40
    with pytest.raises(CorruptStream, match="checksum"):
        parse(bytes(data))


def test_a_stream_over_the_cap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.bitstream.container.MAX_STREAM_BYTES", len(PACKED) - 1)
    with pytest.raises(LimitError, match=f"{len(PACKED)} bytes"):
        parse(PACKED)


def test_huge_claims_raise_before_allocating() -> None:
    claims = altered(WIDTH, b"\xac\x02", b"\xff\xff\x03")[:LENGTH] + b"\xff\xff\xff\x7f" + bytes(20)
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedStream):
            parse(claims)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_a_thousand_random_mutations_are_refused_or_harmless() -> None:
    generator = random.Random(1)  # noqa: S311 - no secret
    for _ in range(1_000):
        stream = dataclasses.replace(STREAM, payload=generator.randbytes(generator.randrange(60)))
        data = bytearray(pack(stream))
        for _ in range(generator.choice((1, 1, 2, 5))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        if generator.random() < 0.3:
            cut = generator.randrange(len(data))
            data = data[:cut] + generator.randbytes(generator.randrange(4)) + data[cut + generator.randrange(4) :]
        try:
            parsed = parse(bytes(data))
        except (BitstreamError, LimitError):
            continue
        assert parsed == stream
