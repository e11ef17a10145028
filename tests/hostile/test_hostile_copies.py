"""Damaged streams that copy parts of others, their checksums put right: they end in our errors or in a picture."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from clc.bitstream.alignment import identity
from clc.bitstream.container import pack, parse
from clc.bitstream.embedded import read_embedded_head
from clc.bitstream.embedding import AV1_PROFILE, Embedding, Reason
from clc.bitstream.regions import Regions
from clc.codec.embedded import Copies, EmbeddedCodec, embedded_pixels, sealed
from clc.errors import BitstreamError, CorruptStream, DecodeMismatch, InputError, LimitError, MissingReference
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload, exact_payload
from tests.conftest import Picture
from tests.hostile.mutations import sealed_at

MUTATIONS = 150
REFERENCE = (np.random.default_rng(6).integers(0, 40, (70, 90, 3)) + np.arange(90)[:, None] * 2).astype(np.uint8)
IDS = (bytes(range(8)), bytes(range(8, 16)))


class Pictures:
    """The picture of the first id, and of the second the same turned about."""

    def __init__(self, first_HW3: Picture = REFERENCE) -> None:
        self._first_HW3 = first_HW3

    def read(self, reference: int | bytes, /) -> Picture:
        if reference not in IDS:
            raise MissingReference(f"no stream {reference!r} is at hand")
        return self._first_HW3 if reference == IDS[0] else np.ascontiguousarray(self._first_HW3[::-1])


def streams() -> dict[str, bytes]:
    picture = REFERENCE[:50, :60].copy()
    picture[20:30, 10:40] = 255
    blocks = np.ones((4, 4), np.uint8)
    blocks[1, :3] = 0
    blocks[3, 3] = 2
    one = dataclasses.replace(identity(50, 60), regions=Regions(16, ((-8, 4),), blocks))
    two = dataclasses.replace(identity(50, 60), regions=Regions(16, (), (blocks == 0).astype(np.uint8)))
    copies = Copies(IDS[:1], (one,), Pictures())
    both = Copies(IDS, (one, two), Pictures())
    cheaper, avif = Embedding(Reason.CHEAPER, 3200), avif_payload(Image.fromarray(picture), 70, 9)
    return {
        "exact": sealed(picture, None, exact_payload(picture), cheaper, (), copies)[0],
        "avif": sealed(picture, None, Payload(AV1_PROFILE, avif), cheaper, (), both)[0],
    }


STREAMS = streams()


@pytest.mark.parametrize("name", STREAMS)
def test_copies_are_laid_over_what_the_payload_holds(name: str) -> None:
    stream = parse(STREAMS[name])
    decoded = embedded_pixels(stream, Pictures()).image_HW3
    assert (decoded[:16] == REFERENCE[:16, :60]).all()
    assert (decoded[48:, 48:] == REFERENCE[49:51, 46:58]).all()  # moved by -2 and 1 px
    turned = REFERENCE[::-1][16:32, :48]
    assert (decoded[16:32, :48] == turned).all() == (name == "avif")
    assert pack(stream) == STREAMS[name]
    assert stream.version == STREAMS[name][4] == 6


@pytest.mark.parametrize("name", STREAMS)
def test_without_its_archive_such_a_stream_says_what_it_needs(name: str) -> None:
    with pytest.raises(MissingReference, match=r"refers to stream 0001020304050607 of its archive: .*clc unpack"):
        EmbeddedCodec().decode(STREAMS[name])


def test_another_picture_in_the_place_of_the_one_copied_from_is_refused() -> None:
    with pytest.raises(DecodeMismatch, match="the encoder's had"):
        embedded_pixels(parse(STREAMS["exact"]), Pictures(REFERENCE ^ 1))


@pytest.mark.parametrize("name", STREAMS)
def test_any_byte_of_the_header_may_be_another(name: str) -> None:
    data, generator, outcomes = STREAMS[name], np.random.default_rng(12), set()
    at = read_embedded_head(data).checksum_at
    for _ in range(MUTATIONS):
        damaged = bytearray(data)
        damaged[int(generator.integers(4, at))] ^= 1 << int(generator.integers(0, 8))
        mutant = sealed_at(bytes(damaged), at)
        try:
            stream = parse(mutant)
            picture = embedded_pixels(stream, Pictures()).image_HW3
        except (BitstreamError, LimitError) as error:
            outcomes.add(type(error).__name__)
            continue
        assert picture.shape == (stream.height, stream.width, 3)
    assert {"CorruptStream", "MissingReference"} <= outcomes


@pytest.mark.parametrize("name", STREAMS)
def test_every_prefix_is_refused(name: str) -> None:
    for end in range(len(STREAMS[name])):
        with pytest.raises(BitstreamError):
            parse(STREAMS[name][:end])


def _with(name: str, at: int, value: bytes) -> bytes:
    """A stream with other bytes behind its number of streams, and a checksum that is right."""
    data = bytearray(STREAMS[name])
    begins = bytes(data).index(IDS[0]) - 1 + at
    data[begins : begins + len(value)] = value
    checksum_at = read_embedded_head(STREAMS[name]).checksum_at
    data[:] = sealed_at(bytes(data), checksum_at)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "at", "value", "error", "message"),
    [
        ("exact", 0, b"\0", CorruptStream, "copies from no other"),
        ("exact", 0, b"\4", LimitError, "copies from 4 others, at most 3 are allowed"),
        ("avif", 9, IDS[0], CorruptStream, "twice from the same"),
    ],
)
def test_numbers_of_streams_that_no_encoder_writes_are_refused(
    name: str, at: int, value: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse(_with(name, at, value))


def test_alpha_stands_in_a_section_beside_copies() -> None:
    stream = parse(STREAMS["exact"])
    assert stream.embedding is not None
    with pytest.raises(InputError, match="has no alpha"):
        dataclasses.replace(stream, embedding=dataclasses.replace(stream.embedding, has_alpha=True))
    data = bytearray(STREAMS["exact"])
    reason_at = bytes(data).index(IDS[0]) - 4
    data[reason_at] |= 0x80
    with pytest.raises(CorruptStream, match="claims alpha beside them"):
        parse(bytes(data))
