"""The container's laws: any stream round-trips, has one spelling, and its header stays small."""

import dataclasses
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.alignment import Alignment, identity, mesh_shape
from clc.bitstream.container import (
    pack,
    pack_fields,
    parse,
    parse_head,
    parse_with_fields,
    stream_id,
    with_sections,
)
from clc.bitstream.embedding import EMBEDDED_PROFILES, EXACT_PROFILES, Embedding, Reason
from clc.bitstream.sections import ALPHA, EXIF, XMP, Section, pack_sections
from clc.bitstream.stream import NO_BUNDLE, OVERFITTED_PROFILE, PROFILE, Stream
from clc.errors import BitstreamError, ClcError, CorruptStream, InputError, LimitError, TruncatedStream, UnknownVersion
from clc.limits import MAX_PIXELS
from clc.quality import MAX_QUALITY_Q6

EXAMPLE = Stream(
    profile=PROFILE,
    width=768,
    height=512,
    quality_q6=3200,
    bundle_id=bytes.fromhex("0123456789abcdef"),
    references=(1, 4095, 77),
    latents_crc32=0xDEADBEEF,
    payload=b"the payload",
)

ALIGNED = dataclasses.replace(
    EXAMPLE,
    alignments=(
        Alignment((-34, -26, 14942, 610, -39, 12284, 14750, 12669), (70, 60, 64), (-3, 0, 9)),
        dataclasses.replace(identity(512, 768), mesh=np.ones((*mesh_shape(512, 768), 2), dtype=np.int8)),
    ),
)


def align(stream: Stream, seed: int) -> Stream:
    """The stream with as many alignments as it may have, half of them with a mesh where the picture is small."""
    generator = np.random.default_rng(seed)
    alignments = []
    for i in range(int(generator.integers(0, min(3, len(stream.references)) + 1))):
        plain = identity(stream.height, stream.width)
        corners = tuple(int(c) for c in np.array(plain.corners_q4) + generator.integers(-3, 4, 8))
        shape = (*mesh_shape(stream.height, stream.width), 2)
        is_small = i % 2 == 0 and shape[0] * shape[1] < 200
        mesh = generator.integers(-2, 3, shape).astype(np.int8) if is_small else None
        alignments.append(Alignment(corners, mesh=mesh))
    return dataclasses.replace(stream, alignments=tuple(alignments))


sizes = st.tuples(st.integers(1, 65_535), st.integers(1, 65_535)).filter(lambda size: size[0] * size[1] <= MAX_PIXELS)
plain_streams = st.builds(
    lambda size, **fields: Stream(profile=PROFILE, width=size[0], height=size[1], **fields),
    sizes,
    quality_q6=st.integers(0, MAX_QUALITY_Q6),
    bundle_id=st.binary(min_size=8, max_size=8),
    references=st.lists(st.integers(0, 4095), max_size=5).map(tuple),
    latents_crc32=st.integers(0, 2**32 - 1),
    payload=st.binary(max_size=300),
)
sections = st.dictionaries(st.integers(1, 127), st.binary(min_size=1, max_size=90), max_size=4).map(
    lambda contents: tuple(Section.of(kind, contents[kind]) for kind in sorted(contents))
)
aligned_streams = st.builds(align, plain_streams, st.integers(0, 999))
referring_streams = st.builds(
    lambda stream, first: dataclasses.replace(
        stream, streams=tuple(bytes((first, at)) * 4 for at in range(len(stream.alignments)))
    ),
    aligned_streams,
    st.integers(0, 255),
)
streams = st.builds(
    lambda stream, of: dataclasses.replace(stream, sections=of), aligned_streams | referring_streams, sections
)


def embedded_stream(profile: int, embedding: Embedding, size: tuple[int, int], payload: bytes, crc32: int) -> Stream:
    exact = profile in EXACT_PROFILES
    if not exact:
        embedding = Embedding(Reason.CHEAPER, embedding.quality_q6 or 0)
    quality_q6 = embedding.quality_q6 or 0
    return Stream(profile, *size, quality_q6, NO_BUNDLE, (), crc32 if exact else 0, payload, (), (), (), embedding)


embeddings = st.one_of(
    st.builds(Embedding, st.just(Reason.LOSSLESS), has_alpha=st.booleans()),
    st.integers(1, 127).flatmap(
        lambda error: st.builds(
            Embedding, st.just(Reason.MAX_ERROR), st.just(error), st.integers(0, error), st.booleans()
        )
    ),
    st.builds(Embedding, st.sampled_from((Reason.CHEAPER, Reason.FALLS_SHORT)), st.integers(0, MAX_QUALITY_Q6)),
    st.builds(Embedding, st.just(Reason.TARGET_PSNR), st.integers(0, MAX_QUALITY_Q6), st.integers(0, 127)),
)
embedded_streams = st.builds(
    embedded_stream,
    st.sampled_from(EMBEDDED_PROFILES),
    embeddings,
    sizes,
    st.binary(min_size=1, max_size=300),
    st.integers(0, 2**32 - 1),
)

EMBEDDED = embedded_stream(2, Embedding(Reason.MAX_ERROR, 4, 3, has_alpha=True), (300, 20), b"the payload", 0xDEADBEEF)

SECTIONED = dataclasses.replace(
    ALIGNED, sections=(Section.of(EXIF, b"II*\0" * 30), Section.of(XMP, b"<x/>"), Section.of(ALPHA, bytes(range(9))))
)


@settings(deadline=None, max_examples=150)
@given(streams | embedded_streams)
def test_any_stream_round_trips(stream: Stream) -> None:
    assert parse(pack(stream)) == stream


@settings(deadline=None, max_examples=50)
@given(streams)
def test_the_header_takes_at_most_40_bytes_with_up_to_four_references(stream: Stream) -> None:
    few = dataclasses.replace(stream, references=stream.references[:4], alignments=(), sections=(), streams=())
    assert len(pack(few)) - len(few.payload) <= 40


def test_the_largest_sizes_of_every_field_take_42_bytes() -> None:
    largest = dataclasses.replace(EXAMPLE, width=65_535, height=1_024, references=(0,) * 5, payload=bytes(1 << 21))
    assert len(pack(largest)) - len(largest.payload) == 42
    assert parse(pack(largest)) == largest


@settings(deadline=None, max_examples=100)
@given(streams | embedded_streams, st.data())
def test_whatever_parses_packs_to_the_same_bytes(stream: Stream, data: st.DataObject) -> None:
    packed = bytearray(pack(stream))
    position = data.draw(st.integers(0, len(packed) - 1))
    packed[position] = data.draw(st.integers(0, 255))
    try:
        parsed = parse(bytes(packed))
    except (BitstreamError, LimitError):
        return
    assert pack(parsed) == bytes(packed)


def assert_no_flip_is_parsed(packed: bytes) -> None:
    """Flip every single bit of a stream: each time parsing ends in an error of the project."""
    for bit in range(8 * len(packed)):
        damaged = bytearray(packed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ClcError):
            parse(bytes(damaged))


@pytest.mark.parametrize("stream", [EXAMPLE, ALIGNED, SECTIONED, EMBEDDED])
def test_no_flipped_bit_goes_unseen(stream: Stream) -> None:
    assert_no_flip_is_parsed(pack(stream))


@settings(deadline=None, max_examples=50)
@given(aligned_streams)
def test_the_version_is_2_exactly_where_references_are_aligned(stream: Stream) -> None:
    packed = pack(stream)
    assert packed[4] == stream.version == (2 if stream.alignments else 1)
    without = pack(dataclasses.replace(stream, alignments=()))
    assert (packed == without) == (not stream.alignments)


@settings(deadline=None, max_examples=50)
@given(aligned_streams, sections)
def test_sections_come_and_go_and_leave_all_else(stream: Stream, of: tuple[Section, ...]) -> None:
    plain = pack(stream)
    carrying = with_sections(plain, of)
    assert carrying[4] == (3 if of else plain[4])
    assert parse(carrying).sections == of
    assert with_sections(carrying, ()) == plain
    # The latents' CRC is taken of these, so the payload decodes with any sections.
    assert parse_with_fields(carrying).fields == parse_with_fields(plain).fields == pack_fields(stream)


@given(referring_streams, sections)
def test_the_version_is_4_exactly_where_streams_are_referred_to(stream: Stream, of: tuple[Section, ...]) -> None:
    packed = pack(dataclasses.replace(stream, sections=of))
    assert (packed[4] == 4) == bool(stream.streams)
    assert stream_id(packed) == stream_id(pack(stream))
    assert parse_with_fields(packed).fields == pack_fields(stream)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams": (b"12345678",) * 2}, "refers to another stream once"),
        ({"streams": (b"1234567", b"12345678")}, "has 8 bytes"),
        ({"streams": (b"12345678",)}, "2 alignments for 1 streams"),
    ],
)
def test_references_to_streams_out_of_range_cannot_be_made(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(ALIGNED, **changes)  # type: ignore[arg-type]


def test_damaged_references_to_streams_are_refused() -> None:
    stream = dataclasses.replace(ALIGNED, streams=(b"abcdefgh", b"ABCDEFGH"))
    data = pack(stream)
    fields = pack_fields(stream)
    at = fields.index(b"\x02abcdefgh")
    for changed, error, message in [
        (data[:at] + b"\x00" + data[at + 1 :], CorruptStream, "refers to and has none"),
        (data[:at] + b"\x04" + data[at + 1 :], LimitError, "4 aligned references"),
        (data[: at + 5], TruncatedStream, "ids of streams"),
    ]:
        with pytest.raises(error, match=message):
            parse(changed)
    twice = data[: at + 9] + b"abcdefgh" + data[at + 17 :]
    with pytest.raises(CorruptStream, match="same stream twice"):
        parse(with_checksum(twice))


def with_checksum(data: bytes) -> bytes:
    """The bytes of a stream of version 4 without sections and a payload below 128 bytes, their checksum made right."""
    stream = dataclasses.replace(ALIGNED, streams=(b"abcdefgh", b"ABCDEFGH"))
    at = len(pack_fields(stream)) + 2
    crc = zlib.crc32(data[at + 4 :], zlib.crc32(data[:at]))
    return data[:at] + crc.to_bytes(4, "little") + data[at + 4 :]


def test_a_stream_of_version_3_has_a_section() -> None:
    bare = bytearray(pack(dataclasses.replace(EXAMPLE, sections=(Section.of(XMP, b"x"),))))
    at = len(pack_fields(EXAMPLE))
    bare[at : at + len(pack_sections((Section.of(XMP, b"x"),)))] = b"\0"
    with pytest.raises(CorruptStream, match="announces sections"):
        parse(bytes(bare))


@pytest.mark.parametrize("of", [(), (Section.of(XMP, b"x"),)])
def test_an_overfitted_stream_refers_to_nothing(of: tuple[Section, ...]) -> None:
    stream = dataclasses.replace(EXAMPLE, profile=OVERFITTED_PROFILE, references=(), sections=of)
    assert parse(pack(stream)) == stream
    assert pack(stream)[4] == (3 if of else 1)
    claiming = bytearray(pack(dataclasses.replace(EXAMPLE, sections=of)))
    claiming[5] = OVERFITTED_PROFILE
    at = len(claiming) - len(EXAMPLE.payload) - 8
    claiming[at : at + 4] = zlib.crc32(claiming[at + 4 :], zlib.crc32(claiming[:at])).to_bytes(4, "little")
    with pytest.raises(CorruptStream, match="claims references all the same"):
        parse(bytes(claiming))


def test_two_plain_alignments_take_at_most_40_bytes() -> None:
    plain = tuple(Alignment(alignment.corners_q4) for alignment in ALIGNED.alignments)
    assert len(pack(dataclasses.replace(ALIGNED, alignments=plain))) - len(pack(EXAMPLE)) <= 40


def test_an_empty_payload_and_no_references_are_allowed() -> None:
    bare = dataclasses.replace(EXAMPLE, references=(), payload=b"")
    assert parse(pack(bare)) == bare


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"profile": 1}, InputError),
        ({"profile": 2, "references": ()}, InputError),
        ({"width": 0}, InputError),
        ({"height": -1}, InputError),
        ({"width": 65_536}, LimitError),
        ({"width": 65_535, "height": 65_535}, LimitError),
        ({"quality_q6": -1}, InputError),
        ({"quality_q6": MAX_QUALITY_Q6 + 1}, InputError),
        ({"bundle_id": bytes(7)}, InputError),
        ({"references": (0,) * 6}, LimitError),
        ({"references": (4096,)}, InputError),
        ({"references": (-1,)}, InputError),
        ({"latents_crc32": 2**32}, InputError),
        ({"latents_crc32": -1}, InputError),
        ({"alignments": (identity(512, 768),) * 4, "references": (1, 2, 3, 4)}, LimitError),
        ({"alignments": (identity(512, 768),) * 2, "references": (1,)}, InputError),
        ({"alignments": ALIGNED.alignments, "width": 1000}, InputError),
        ({"sections": (Section.of(XMP, b"x"), Section.of(EXIF, b"x"))}, InputError),
        ({"sections": (Section.of(XMP, b"x"),) * 2}, InputError),
        ({"sections": tuple(Section.of(kind, b"x") for kind in range(1, 17))}, LimitError),
    ],
)
def test_a_stream_out_of_range_cannot_be_made(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        dataclasses.replace(EXAMPLE, **changes)


def test_a_payload_that_no_reader_accepts_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clc.bitstream.container.MAX_STREAM_BYTES", 40)
    with pytest.raises(LimitError, match="at most 40"):
        pack(EXAMPLE)


@settings(deadline=None, max_examples=50)
@given(embedded_streams)
def test_a_header_without_a_bundle_takes_less_than_webp_leaves_out(stream: Stream) -> None:
    """WebP spends 25 bytes on what the payload leaves out, so no picture is larger here than in a file of its own."""
    is_plain = stream.embedding is not None and stream.embedding.reason is Reason.LOSSLESS
    head = len(pack(stream)) - len(stream.payload)
    assert head <= (25 if is_plain else 28)
    if is_plain and max(stream.width, stream.height) < 128 and len(stream.payload) < 128:
        assert head == 19


@settings(deadline=None, max_examples=50)
@given(embedded_streams, sections)
def test_sections_come_and_go_beside_another_codecs_payload(stream: Stream, of: tuple[Section, ...]) -> None:
    of = tuple(section for section in of if section.kind != ALPHA)
    plain = pack(stream)
    carrying = with_sections(plain, of)
    assert plain[4] == carrying[4] == 5
    assert with_sections(carrying, ()) == plain
    assert stream_id(carrying) == stream_id(plain)
    head = parse_head(carrying)
    assert (head.width, head.height, head.needs_bundle) == (stream.width, stream.height, False)


def test_a_picture_has_one_alpha_plane() -> None:
    with pytest.raises(InputError, match="one alpha plane"):
        dataclasses.replace(EMBEDDED, sections=(Section.of(ALPHA, b"plane"),))


@pytest.mark.parametrize("at", range(2, 8))
def test_a_profile_of_another_version_is_unknown(at: int) -> None:
    packed = bytearray(pack(EXAMPLE))
    packed[5] = at
    with pytest.raises(UnknownVersion, match="versions 1 to 7, profiles 0 to 4"):
        parse(bytes(packed))
    packed = bytearray(pack(EMBEDDED))
    packed[5] = (0, 1, 5, 9, 77, 255)[at - 2]
    with pytest.raises(UnknownVersion):
        parse(bytes(packed))
