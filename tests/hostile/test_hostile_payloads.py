"""Damaged payloads of other codecs, with the container's checksums put right, end in our errors or in a picture."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from clc.bitstream.container import pack, parse
from clc.bitstream.embedding import AV1_PROFILE, PNG_PROFILE, Embedding, Reason
from clc.bitstream.stream import Stream
from clc.codec.embedded import EmbeddedCodec, sealed
from clc.codec.ways.exact import encode_exact
from clc.errors import BitstreamError, CorruptStream, LimitError, TruncatedStream
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload
from clc.payloads.png import png_payload

MUTATIONS = 120
PICTURE = (np.random.default_rng(5).integers(0, 40, (40, 33, 3)) + np.arange(33)[:, None] * 5).astype(np.uint8)


def streams() -> dict[str, bytes]:
    image = Image.fromarray(PICTURE)
    cheaper = Embedding(Reason.CHEAPER, 3200)
    return {
        "webp": encode_exact(PICTURE, alpha_HW=PICTURE[..., 0]),
        "steps": encode_exact(PICTURE, 5),
        "png": sealed(PICTURE, None, Payload(PNG_PROFILE, png_payload(image)), cheaper, ())[0],
        "avif": sealed(PICTURE, None, Payload(AV1_PROFILE, avif_payload(image, 70, 9)), cheaper, ())[0],
    }


STREAMS = streams()


def mutated(payload: bytes, generator: np.random.Generator) -> bytes:
    """The payload with some of its bytes changed, cut off, repeated or added."""
    damaged, kind = bytearray(payload), generator.integers(0, 4)
    at = int(generator.integers(0, len(payload)))
    if kind == 0:
        for place in generator.integers(0, len(payload), int(generator.integers(1, 5))):
            damaged[place] ^= 1 << int(generator.integers(0, 8))
    elif kind == 1:
        del damaged[max(1, at) :]
    elif kind == 2:
        damaged[at:at] = generator.bytes(int(generator.integers(1, 20)))
    else:
        damaged += damaged[at:]
    return bytes(damaged)


@pytest.mark.parametrize("name", STREAMS)
def test_a_damaged_payload_ends_in_an_error_or_in_a_picture_of_the_size(name: str) -> None:
    stream, generator = parse(STREAMS[name]), np.random.default_rng(11)
    outcomes = set()
    for _ in range(MUTATIONS):
        data = pack(dataclasses.replace(stream, payload=mutated(stream.payload, generator)))
        try:
            picture = EmbeddedCodec().decode_picture(data)
        except (BitstreamError, LimitError) as error:
            outcomes.add(type(error).__name__)
            continue
        assert picture.image_HW3.shape == PICTURE.shape
        if name != "avif":  # whose pixels have no checksum of their own
            assert (picture.image_HW3 == EmbeddedCodec().decode(STREAMS[name])).all()
    assert "CorruptStream" in outcomes


@pytest.mark.parametrize("name", STREAMS)
def test_every_prefix_is_truncated(name: str) -> None:
    for end in range(len(STREAMS[name])):
        with pytest.raises(TruncatedStream):
            EmbeddedCodec().decode(STREAMS[name][:end])


@pytest.mark.parametrize("name", STREAMS)
def test_another_size_is_refused(name: str) -> None:
    stream = parse(STREAMS[name])
    for size in ({"width": 34}, {"height": 41}, {"width": 1, "height": 1}, {"width": 8000, "height": 8000}):
        with pytest.raises((BitstreamError, LimitError)):
            EmbeddedCodec().decode(pack(dataclasses.replace(stream, **size)))


CLAIM = """
import resource, sys
from clc.bitstream.container import pack, parse
from clc.codec.embedded import EmbeddedCodec
from clc.errors import CorruptStream
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for line in sys.stdin.read().split():
    try:
        EmbeddedCodec().decode(bytes.fromhex(line))
    except CorruptStream:
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used)
"""


def _claiming(stream: Stream) -> bytes:
    return pack(dataclasses.replace(stream, width=8192, height=8192))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is counted in KiB there")
def test_an_av1_payload_of_another_size_takes_no_memory() -> None:
    data = _claiming(parse(STREAMS["avif"]))
    found = subprocess.run([sys.executable, "-c", CLAIM], input=data.hex(), text=True, capture_output=True, check=True)
    assert int(found.stdout) < 60 * 1024


def test_a_sequence_header_that_claims_more_than_the_stream_is_refused() -> None:
    payload = bytearray(parse(STREAMS["avif"]).payload)
    payload[4] ^= 0x0F  # bits of the width in the sequence header
    with pytest.raises(CorruptStream):
        EmbeddedCodec().decode(pack(dataclasses.replace(parse(STREAMS["avif"]), payload=bytes(payload))))
