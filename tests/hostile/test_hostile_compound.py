"""Damaged compound streams, their checksums put right: they end in our errors or in a picture of the size they say."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from clc.bitstream.container import pack, parse, parse_head
from clc.bitstream.embedded import read_embedded_head
from clc.bitstream.fields import CRC_BYTES, checksum_of
from clc.bitstream.insets import Inset
from clc.bitstream.stream import NO_BUNDLE
from clc.bitstream.varints import write_varint
from clc.codec import Codec
from clc.codec.embedded import EmbeddedCodec
from clc.codec.ways.exact import encode_exact
from clc.errors import (
    BitstreamError,
    ClcError,
    CorruptStream,
    DecodeMismatch,
    DictionaryMismatch,
    LimitError,
    TruncatedStream,
)
from tests.compound_pages import compound_stream, insets_of, page_with
from tests.conftest import Picture
from tests.hostile.mutations import sealed_at

MUTATIONS = 60
PLACES = [(20, 30, 64, 66), (100, 40, 70, 64)]
Row = tuple[int, int, int, int, int, int, int]
"""Left, top, width, height, quality, CRC and payload length of an inset, whatever they are."""


@pytest.fixture(scope="module")
def insets(shipped: Codec, photo: Picture) -> tuple[Inset, ...]:
    return insets_of(shipped, page_with(photo, PLACES, 120, 180), PLACES)


@pytest.fixture(scope="module")
def stream(shipped: Codec, photo: Picture, insets: tuple[Inset, ...]) -> bytes:
    return compound_stream(shipped, page_with(photo, PLACES, 120, 180), insets)


def with_table(data: bytes, rows: Sequence[Row], payloads: bytes, number: int | None = None) -> bytes:
    """The stream with another table of insets and other payloads of these, and a checksum that is right."""
    head, stream = read_embedded_head(data), parse(data)
    assert head.insets_at is not None
    table = bytes((len(rows) if number is None else number,))
    for *place, quality, crc32, n_bytes in rows:
        table += b"".join(map(write_varint, place)) + quality.to_bytes(2, "little") + crc32.to_bytes(4, "little")
        table += write_varint(n_bytes)
    start = data[: head.insets_at] + table + data[head.fields_end : head.checksum_at]
    at = head.checksum_at + CRC_BYTES
    tail = data[at : at + CRC_BYTES] + stream.payload + payloads
    return start + checksum_of(start, tail).to_bytes(CRC_BYTES, "little") + tail


def row(inset: Inset, **changes: int) -> Row:
    made = dataclasses.replace(inset)
    values = {name: getattr(made, name) for name in ("left", "top", "width", "height", "quality_q6", "latents_crc32")}
    values["n_bytes"] = len(inset.payload)
    return tuple((values | changes).values())  # type: ignore[return-value]  # seven numbers


def rows_and_payloads(insets: Sequence[Inset]) -> tuple[list[Row], bytes]:
    return [row(inset) for inset in insets], b"".join(inset.payload for inset in insets)


def test_the_table_of_these_tests_is_that_of_streams(stream: bytes, insets: tuple[Inset, ...]) -> None:
    assert with_table(stream, *rows_and_payloads(insets)) == stream
    assert pack(parse(stream)) == stream


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left": 117}, "does not lie inside"),
        ({"top": 60_000}, "does not lie inside"),
        ({"width": 181}, "does not lie inside"),
        ({"width": 0}, "16 px a side at least, not 0x66"),
        ({"height": 0}, "16 px a side at least, not 64x0"),
        ({"height": 15}, "16 px a side at least"),
        ({"left": 50}, "overlap"),
        ({"width": 100}, "overlap"),
        ({"quality_q6": 6401}, "quality x 64"),
    ],
)
def test_rectangles_that_no_encoder_writes_are_refused(
    stream: bytes, insets: tuple[Inset, ...], changes: dict[str, int], message: str
) -> None:
    rows, payloads = rows_and_payloads(insets)
    with pytest.raises(CorruptStream, match=message):
        parse(with_table(stream, [row(insets[0], **changes), *rows[1:]], payloads))


def test_the_same_rectangle_twice_and_none_and_too_many_are_refused(stream: bytes, insets: tuple[Inset, ...]) -> None:
    rows, payloads = rows_and_payloads(insets[:1])
    with pytest.raises(CorruptStream, match="overlap"):
        parse(with_table(stream, rows * 2, payloads * 2))
    with pytest.raises(CorruptStream, match="has 0 insets"):
        parse(with_table(stream, [], b""))
    with pytest.raises(CorruptStream, match="has 9 insets"):
        parse(with_table(stream, rows * 9, payloads * 9))
    with pytest.raises(CorruptStream, match="has 255 insets"):
        parse_head(with_table(stream, rows, payloads, number=255))


@pytest.mark.parametrize(
    ("length", "error", "message"),
    [
        (0, CorruptStream, "behind the payload"),
        (-1, CorruptStream, "1 bytes too many"),
        (1, TruncatedStream, "1 of the stream's"),
        (1 << 27, TruncatedStream, "are missing"),
    ],
)
def test_payloads_of_another_length_are_refused(
    stream: bytes, insets: tuple[Inset, ...], length: int, error: type[Exception], message: str
) -> None:
    rows, payloads = rows_and_payloads(insets)
    last = 0 if length == 0 else len(insets[1].payload) + length
    with pytest.raises(error, match=message):
        parse(with_table(stream, [rows[0], row(insets[1], n_bytes=last)], payloads))


def test_an_inset_without_a_payload_is_refused(stream: bytes, insets: tuple[Inset, ...]) -> None:
    rows, _ = rows_and_payloads(insets)
    with pytest.raises(CorruptStream, match="an inset has a payload"):
        parse(with_table(stream, [rows[0], row(insets[1], n_bytes=0)], insets[0].payload))


def test_latents_of_another_rectangle_never_become_a_picture(
    shipped: Codec, stream: bytes, insets: tuple[Inset, ...]
) -> None:
    rows, payloads = rows_and_payloads(insets)
    swapped = payloads[len(insets[0].payload) :] + insets[0].payload
    lengths = [len(insets[1].payload), len(insets[0].payload)]
    mixed = [row(inset, n_bytes=n_bytes) for inset, n_bytes in zip(insets, lengths, strict=True)]
    larger = [rows[0], row(insets[1], width=80)]
    finer = [rows[0], row(insets[1], quality_q6=3201)]
    for table, content in ((mixed, swapped), (larger, payloads), (finer, payloads)):
        with pytest.raises((CorruptStream, DecodeMismatch)):
            shipped.decode(with_table(stream, table, content))


def test_streams_do_not_nest(shipped: Codec, stream: bytes, insets: tuple[Inset, ...]) -> None:
    rows, _ = rows_and_payloads(insets)
    nested = with_table(stream, [rows[0], row(insets[1], n_bytes=len(stream))], insets[0].payload + stream)
    with pytest.raises((CorruptStream, TruncatedStream, DecodeMismatch)):  # its bytes are read as latents
        shipped.decode(nested)


def test_a_rectangle_of_too_few_bytes_is_refused_before_anything_is_decoded(
    shipped: Codec, stream: bytes, insets: tuple[Inset, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clc.codec.codec.embedded_pixels", None)
    monkeypatch.setattr("clc.codec.codec.with_embedded", None)
    rows, _ = rows_and_payloads(insets)
    short = with_table(stream, [rows[0], row(insets[1], n_bytes=1)], insets[0].payload + b"x")
    for decode in (shipped.decode, shipped.decode_picture):
        with pytest.raises(CorruptStream, match="payload"):
            decode(short)


def test_it_needs_the_bundle_that_it_names(shipped: Codec, stream: bytes) -> None:
    with pytest.raises(DictionaryMismatch, match="needs a bundle"):
        EmbeddedCodec().decode(stream)
    foreign = pack(dataclasses.replace(parse(stream), bundle_id=bytes(range(8))))
    for decode in (shipped.decode, shipped.decode_picture):
        with pytest.raises(DictionaryMismatch, match="0001020304050607"):
            decode(foreign)
    at = stream.index(shipped.bundle.id_bytes)
    with pytest.raises(CorruptStream, match="names no bundle"):
        parse(stream[:at] + NO_BUNDLE + stream[at + 8 :])


def test_alpha_in_the_payload_is_refused_beside_insets(stream: bytes, shipped: Codec) -> None:
    damaged = bytearray(stream)
    damaged[stream.index(shipped.bundle.id_bytes) - 3] |= 0x80
    with pytest.raises(CorruptStream, match="claims alpha beside them"):
        parse(bytes(damaged))


def test_another_codecs_stream_is_no_compound(stream: bytes) -> None:
    data = bytearray(encode_exact(np.zeros((40, 40, 3), np.uint8)))
    data[4] = 7
    with pytest.raises((BitstreamError, LimitError)):
        parse(bytes(data))
    older = bytearray(stream)
    older[4] = 5
    with pytest.raises((BitstreamError, LimitError)):
        parse(bytes(older))


def test_any_byte_of_the_header_may_be_another(stream: bytes, shipped: Codec) -> None:
    generator, outcomes = np.random.default_rng(12), set()
    at = read_embedded_head(stream).checksum_at
    for _ in range(MUTATIONS):
        damaged = bytearray(stream)
        damaged[int(generator.integers(4, at))] ^= 1 << int(generator.integers(0, 8))
        mutant = sealed_at(bytes(damaged), at)
        try:
            parsed = parse(mutant)
            picture = shipped.decode(mutant)
        except ClcError as error:
            outcomes.add(type(error).__name__)
            continue
        assert picture.shape == (parsed.height, parsed.width, 3)
    assert {"CorruptStream", "DictionaryMismatch", "DecodeMismatch"} <= outcomes


def test_every_prefix_is_refused(stream: bytes) -> None:
    for end in range(len(stream)):
        with pytest.raises(BitstreamError):
            parse(stream[:end])
