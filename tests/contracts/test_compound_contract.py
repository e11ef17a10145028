"""The laws of compound streams, version 7: they round-trip, have one spelling, and say which bundle they need."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.alignment import identity
from clc.bitstream.container import pack, pack_fields, parse, parse_head, parse_with_fields, stream_id, with_sections
from clc.bitstream.insets import Inset
from clc.bitstream.sections import Section
from clc.bitstream.stream import NO_BUNDLE, Stream
from clc.errors import BitstreamError, InputError, LimitError
from clc.quality import MAX_QUALITY_Q6
from tests.contracts.test_bitstream_contract import (
    EMBEDDED,
    EXAMPLE,
    assert_no_flip_is_parsed,
    embedded_streams,
    sections,
)


def compound_stream(stream: Stream, insets: list[Inset]) -> Stream:
    """A stream of another codec's payload with insets side by side in it."""
    assert stream.embedding is not None
    placed, left = [], 0
    for inset in insets:
        placed.append(dataclasses.replace(inset, left=left + inset.left))
        left = placed[-1].left + inset.width
    return dataclasses.replace(
        stream,
        width=max(left, min(stream.width, 9_000)),
        height=max(min(stream.height, 900), *(inset.top + inset.height for inset in insets)),
        bundle_id=b"a bundle",
        embedding=dataclasses.replace(stream.embedding, has_alpha=False),
        insets=tuple(placed),
    )


compound_streams = st.builds(
    compound_stream,
    embedded_streams,
    st.lists(
        st.builds(
            Inset,
            st.integers(0, 300),
            st.integers(0, 5_000),
            st.integers(16, 900),
            st.integers(16, 2_000),
            st.integers(0, MAX_QUALITY_Q6),
            st.integers(0, 2**32 - 1),
            st.binary(min_size=1, max_size=200),
        ),
        min_size=1,
        max_size=8,
    ),
)

INSET = Inset(40, 2, 200, 17, 3200, 0xDEADBEEF, b"latents")
COMPOUND = compound_stream(EMBEDDED, [INSET, dataclasses.replace(INSET, left=3, payload=b"others")])


@settings(deadline=None, max_examples=100)
@given(compound_streams)
def test_any_compound_round_trips(stream: Stream) -> None:
    assert parse(pack(stream)) == stream


@settings(deadline=None, max_examples=100)
@given(compound_streams, st.data())
def test_whatever_parses_as_a_compound_packs_to_the_same_bytes(stream: Stream, data: st.DataObject) -> None:
    packed = bytearray(pack(stream))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse(bytes(packed))
    except (BitstreamError, LimitError):
        return
    assert pack(parsed) == bytes(packed)


def test_no_flipped_bit_of_a_compound_goes_unseen() -> None:
    assert_no_flip_is_parsed(pack(COMPOUND))


@settings(deadline=None, max_examples=50)
@given(compound_streams, sections)
def test_the_version_is_7_exactly_where_there_are_insets(stream: Stream, of: tuple[Section, ...]) -> None:
    plain = pack(stream)
    assert plain[4] == stream.version == 7
    carrying = with_sections(plain, of)
    assert with_sections(carrying, ()) == plain
    assert stream_id(carrying) == stream_id(plain)
    assert parse_with_fields(carrying).fields == pack_fields(stream)
    head = parse_head(carrying)
    assert (head.width, head.height, head.bundle_id, head.needs_bundle) == (
        stream.width,
        stream.height,
        b"a bundle",
        True,
    )
    overhead = len(plain) - len(stream.payload) - sum(len(inset.payload) for inset in stream.insets)
    assert overhead <= 28 + 9 + 20 * len(stream.insets)
    assert pack(dataclasses.replace(stream, insets=(), bundle_id=NO_BUNDLE))[4] == 5


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bundle_id": NO_BUNDLE}, InputError, "needs a bundle where there are insets"),
        ({"insets": ()}, InputError, "needs a bundle where there are insets"),
        ({"insets": (INSET,) * 9}, LimitError, "9 insets"),
        ({"insets": (INSET, dataclasses.replace(INSET, top=3))}, InputError, "overlap"),
        ({"insets": (dataclasses.replace(INSET, left=400),)}, InputError, "does not lie inside"),
        ({"embedding": EMBEDDED.embedding}, InputError, "alpha stands in a section"),
        ({"streams": (b"12345678",), "alignments": (identity(20, 443),)}, InputError, "nothing is copied"),
    ],
)
def test_a_compound_out_of_range_cannot_be_made(
    changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(COMPOUND, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left": -1}, "inside its picture"),
        ({"height": 15}, "16 px a side"),
        ({"quality_q6": 6401}, "quality x 64"),
        ({"latents_crc32": 2**32}, "32 bits"),
        ({"payload": b""}, "has a payload"),
    ],
)
def test_an_inset_out_of_range_cannot_be_made(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(INSET, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="insets lie over"):
        dataclasses.replace(EXAMPLE, insets=(INSET,))
