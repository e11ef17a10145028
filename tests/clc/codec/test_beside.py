"""Alpha, EXIF and XMP go through a stream and change nothing of its colours."""

from dataclasses import replace

import numpy as np
import pytest

from clc.bitstream.container import pack, parse, with_sections
from clc.bitstream.sections import ALPHA, XMP, Section
from clc.codec import Codec
from clc.errors import CorruptStream, InputError, LimitError
from clc.limits import MAX_METADATA_BYTES
from clc.pictures import losses
from clc.pictures.alpha import alpha_bytes
from clc.pictures.metadata import Metadata

PICTURE = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)
ALPHA_HW = np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))
METADATA = Metadata(exif=b"II*\0\x08\0\0\0\0\0", xmp="<x:xmpmeta>Zürich</x:xmpmeta>".encode())


@pytest.fixture(scope="module")
def plain() -> bytes:
    return Codec.shipped().encode(PICTURE, 40, "none")


def test_all_comes_back_and_the_colours_are_those_without(plain: bytes) -> None:
    codec = Codec.shipped()
    data = codec.encode(PICTURE, 40, "none", alpha_HW=ALPHA_HW, metadata=METADATA)
    decoded = codec.decode_picture(data)
    assert np.array_equal(decoded.image_HW3, codec.decode(plain))
    assert np.array_equal(codec.decode(data), decoded.image_HW3)
    assert decoded.alpha_HW is not None
    assert np.array_equal(decoded.alpha_HW, ALPHA_HW)
    assert decoded.metadata == METADATA
    assert decoded.left_out == ()
    assert with_sections(data, ()) == plain
    assert set(codec.info(data).sections) == {"EXIF", "XMP", "alpha"}
    assert codec.info(plain).sections == {}


def test_an_opaque_plane_and_no_metadata_leave_the_stream_as_it_was(plain: bytes) -> None:
    opaque = np.full((40, 56), 255, np.uint8)
    assert Codec.shipped().encode(PICTURE, 40, "none", alpha_HW=opaque, metadata=Metadata()) == plain


def test_a_section_of_a_later_release_is_told(plain: bytes) -> None:
    decoded = Codec.shipped().decode_picture(with_sections(plain, (Section.of(77, b"depth"),)))
    assert decoded.left_out == ("a section of kind 77, which this release does not know, was left out",)


@pytest.mark.parametrize("section", [Section.of(ALPHA, alpha_bytes(ALPHA_HW.T)), Section.of(ALPHA, b"no picture")])
def test_a_plane_that_does_not_fit_gives_no_picture(plain: bytes, section: Section) -> None:
    with pytest.raises(CorruptStream, match="alpha"):
        Codec.shipped().decode_picture(with_sections(plain, (section,)))


def test_a_section_that_is_not_what_its_checksum_says_gives_no_picture(plain: bytes) -> None:
    stream = parse(with_sections(plain, (Section.of(1, b"II*\0"),)))
    damaged = pack(replace(stream, sections=(replace(stream.sections[0], crc32=1),)))
    with pytest.raises(CorruptStream, match="section EXIF"):
        Codec.shipped().decode_picture(damaged)


@pytest.mark.parametrize(
    "alpha_HW", [ALPHA_HW.T, ALPHA_HW[..., None], ALPHA_HW.astype(np.float32)], ids=["turned", "3 axes", "float"]
)
def test_another_plane_is_refused(alpha_HW: np.ndarray) -> None:
    with pytest.raises(InputError, match="alpha plane"):
        Codec.shipped().encode(PICTURE, 40, "none", alpha_HW=alpha_HW)


def test_xmp_that_is_no_text_is_refused_and_left_out_of_a_stream_that_holds_it(plain: bytes) -> None:
    with pytest.raises(InputError, match="UTF-8"):
        Codec.shipped().encode(PICTURE, 40, "none", metadata=Metadata(xmp=b"\xff"))
    decoded = Codec.shipped().decode_picture(with_sections(plain, (Section.of(XMP, b"<x>\xff</x>"),)))
    assert decoded.metadata == Metadata()
    assert decoded.left_out == (losses.XMP,)


def test_metadata_over_the_cap_are_refused() -> None:
    with pytest.raises(LimitError, match="EXIF"):
        Codec.shipped().encode(PICTURE, 40, "none", metadata=Metadata(exif=bytes(MAX_METADATA_BYTES + 1)))
