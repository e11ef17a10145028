"""Sections: what goes in comes back, and nothing else is taken for it."""

import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.bitstream.sections import (
    ALPHA,
    EXIF,
    XMP,
    Section,
    check_sections,
    pack_sections,
    read_sections,
    unknown_kinds,
)
from clc.errors import CorruptStream, InputError, LimitError, TruncatedStream
from clc.limits import MAX_METADATA_BYTES

THREE = (Section.of(EXIF, b"MM\0*" + bytes(200)), Section.of(XMP, b"<x/>"), Section.of(99, b"later"))


@given(st.integers(1, 127), st.binary(min_size=1, max_size=500))
def test_any_content_comes_back(kind: int, content: bytes) -> None:
    section = Section.of(kind, content)
    assert section.content() == content
    assert section.n_bytes == len(content)
    assert len(pack_sections([section])) <= 1 + 1 + 4 + 4 + len(content)
    assert read_sections(b"before" + pack_sections([section]) + b"behind", 6) == (
        (section,),
        6 + len(pack_sections([section])),
    )


def test_what_repeats_is_deflated_and_what_does_not_is_stored() -> None:
    assert Section.of(XMP, b"<x/>" * 100).is_deflated
    assert len(Section.of(XMP, b"<x/>" * 100).stored) < 30
    assert Section.of(ALPHA, bytes(range(256))).stored == bytes(range(256))


def test_every_prefix_is_cut_short() -> None:
    packed = pack_sections(THREE)
    for length in range(len(packed)):
        with pytest.raises(TruncatedStream):
            read_sections(packed[:length], 0)


def test_unknown_kinds_are_kept_and_named() -> None:
    read, _ = read_sections(pack_sections(THREE), 0)
    assert read == THREE
    assert unknown_kinds(read) == (99,)
    assert read[2].content() == b"later"


def test_no_sections_take_no_bytes() -> None:
    assert pack_sections(()) == b""


@pytest.mark.parametrize("kind", [EXIF, XMP, ALPHA])
def test_content_under_another_kind_does_not_match_its_checksum(kind: int) -> None:
    section = Section.of(kind, b"content" * 20)
    with pytest.raises(CorruptStream, match="does not match its checksum"):
        replace(section, kind=kind % 3 + 1).content()


def test_a_bomb_is_not_inflated_beyond_what_it_claims() -> None:
    bomb = zlib.compress(bytes(1 << 26), 9)
    with pytest.raises(CorruptStream, match="cut short or followed"):
        Section(EXIF, bomb, True, 1000, 0).content()


@pytest.mark.parametrize("damage", [b"", b"junk", b"x"])
def test_deflated_bytes_that_are_none_are_refused(damage: bytes) -> None:
    section = Section.of(EXIF, b"content" * 50)
    with pytest.raises(CorruptStream, match=r"inflated|cut short"):
        replace(section, stored=damage + section.stored[len(damage) : -1] + damage).content()


def test_what_no_encoder_writes_is_refused() -> None:
    first, second = Section.of(EXIF, b"a"), Section.of(XMP, b"b")
    pair = pack_sections((first, second))
    one, other = pair[1 : len(pair) // 2 + 1], pair[len(pair) // 2 + 1 :]
    refused = {
        "announces sections": b"\0",
        "do not stand in order": b"\2" + other + one,
        "kind 0": b"\1\0\1\0\0\0\0x",
        "empty section": b"\1\1\0\0\0\0\0",
        "made longer": b"\1\x81\5\5\0\0\0\0abcde",
    }
    for message, data in refused.items():
        with pytest.raises(CorruptStream, match=message):
            read_sections(data, 0)
    with pytest.raises(CorruptStream, match="do not stand in order"):
        read_sections(b"\2" + one + one, 0)


def test_caps() -> None:
    with pytest.raises(LimitError, match="16777217 bytes"):
        Section.of(EXIF, bytes(MAX_METADATA_BYTES + 1))
    with pytest.raises(LimitError, match="claims"):
        read_sections(b"\1\x81\1\x81\x80\x80\x08\0\0\0\0x", 0)
    with pytest.raises(LimitError, match="claims 16777217 bytes"):  # stored as it is, which no encoder does
        read_sections(b"\1\1\x81\x80\x80\x08\0\0\0\0x", 0)
    with pytest.raises(LimitError, match="16 sections"):
        read_sections(b"\x10", 0)
    large = Section.of(ALPHA, bytes(MAX_METADATA_BYTES + 1))
    assert not large.is_deflated
    with pytest.raises(InputError, match="1 to 127"):
        Section.of(128, b"x")
    with pytest.raises(InputError, match="not empty"):
        Section.of(XMP, b"")
    with pytest.raises(InputError, match="rising order"):
        check_sections((THREE[1], THREE[0]))
