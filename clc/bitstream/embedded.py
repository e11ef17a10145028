"""Version 5 of the container: a picture whose payload is the bitstream of another codec. `Stream` <-> bytes.

Nothing of a bundle stands in it, so that a small picture without loss takes no more bytes than in a file of its format.
`clc.bitstream.container` calls this for streams of version 5; numbers and varints are as there.

    =========  ==============  =================================================================================
    bytes      field           content
    =========  ==============  =================================================================================
    4          magic           89 43 4C 43
    1          version         5
    1          profile         2: WebP lossless; 3: a still picture of AV1; 4: filtered rows of a PNG
    1 to 3     width           varint, px, 1 to 65,535
    1 to 3     height          varint, px, 1 to 65,535; width x height is 64 Mi pixels at most
    1          reason          bits 0 to 2: `Reason` of embedding.py; bit 6: steps; bit 7: alpha in the payload
    0 to 2     value           what was asked for: an error in 1 byte, a quality or a PSNR x 64 in 2
    0 or 1     step's error    1 to 127, where there are steps
    1 ..       sections        see `clc.bitstream.sections`; their number may be 0
    1 to 4     payload length  varint, bytes
    4          checksum        CRC-32 of every byte of the stream but these four
    0 or 4     pixels' CRC     profiles 2 and 4: CRC-32 of the decoded colours (H, W, 3), and of the alpha behind them
    ..         payload         see `clc.payloads`
    =========  ==============  =================================================================================

A header takes 19 bytes for a picture of up to 127x127 px without loss. `parse_embedded` checks in the order that
`clc.bitstream.container.parse` does.
"""

from __future__ import annotations

from typing import NamedTuple

from clc.bitstream.embedding import EXACT_PROFILES, Embedding, Reason
from clc.bitstream.fields import (
    CRC_BYTES,
    MAGIC,
    MAX_LENGTH_VARINT_BYTES,
    check_checksum,
    check_length,
    checksum_of,
    read_size,
    take,
)
from clc.bitstream.sections import ALPHA, Section, pack_sections, read_sections
from clc.bitstream.stream import EMBEDDED_VERSION, NO_BUNDLE, Stream
from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, InputError, LimitError
from clc.limits import MAX_STREAM_BYTES

_REASON_BITS = 0x07
_HAS_STEPS = 0x40
_HAS_ALPHA = 0x80
_VALUE_BYTES = {Reason.LOSSLESS: 0, Reason.MAX_ERROR: 1}
_USUAL_VALUE_BYTES = 2


class EmbeddedHead(NamedTuple):
    """What stands before the payload; `fields_end` is the position behind the step's error."""

    profile: int
    width: int
    height: int
    embedding: Embedding
    fields_end: int
    sections: tuple[Section, ...]
    payload_bytes: int
    checksum_at: int


def pack_embedded(stream: Stream, embedding: Embedding) -> bytes:
    """Return the bytes of a stream of version 5. Raises `LimitError` for more than a reader accepts."""
    head = pack_embedded_fields(stream, embedding)
    head += (pack_sections(stream.sections) or b"\0") + write_varint(len(stream.payload))
    check = stream.latents_crc32.to_bytes(CRC_BYTES, "little") if stream.profile in EXACT_PROFILES else b""
    tail = check + stream.payload
    size = len(head) + CRC_BYTES + len(tail)
    if size > MAX_STREAM_BYTES:
        raise LimitError(f"the stream would have {size} bytes, at most {MAX_STREAM_BYTES} are allowed")
    return head + checksum_of(head, tail).to_bytes(CRC_BYTES, "little") + tail


def pack_embedded_fields(stream: Stream, embedding: Embedding) -> bytes:
    """Return the fields before the sections."""
    steps = _HAS_STEPS if embedding.step_error else 0
    return b"".join(
        (
            MAGIC,
            bytes((EMBEDDED_VERSION, stream.profile)),
            write_varint(stream.width),
            write_varint(stream.height),
            bytes((embedding.reason | steps | (_HAS_ALPHA if embedding.has_alpha else 0),)),
            embedding.value.to_bytes(_value_bytes(embedding.reason), "little"),
            bytes((embedding.step_error,)) if steps else b"",
        )
    )


def parse_embedded(data: bytes) -> tuple[Stream, bytes]:
    """Return the stream of version 5 that `data` holds, whose magic and version were checked, and its fields' bytes.

    Raises what `clc.bitstream.container.parse` raises.
    """
    head = read_embedded_head(data)
    is_exact = head.profile in EXACT_PROFILES
    check_at = head.checksum_at + CRC_BYTES
    crc, payload_at = take(data, check_at, CRC_BYTES if is_exact else 0, "pixels' CRC")
    check_length(data, payload_at, head.payload_bytes)
    check_checksum(data, head.checksum_at)
    if not head.payload_bytes:
        raise CorruptStream("the stream has no payload: it is damaged")
    stream = Stream(
        profile=head.profile,
        width=head.width,
        height=head.height,
        quality_q6=head.embedding.quality_q6 or 0,
        bundle_id=NO_BUNDLE,
        references=(),
        latents_crc32=int.from_bytes(crc, "little"),
        payload=data[payload_at:],
        sections=head.sections,
        embedding=head.embedding,
    )
    return stream, data[: head.fields_end]


def read_embedded_head(data: bytes) -> EmbeddedHead:
    """Return the fields before the payload, their values checked; the checksum is not."""
    profile = data[len(MAGIC) + 1]
    width, height, position = read_size(data)
    (packed,), position = take(data, position, 1, "reason")
    number = packed & _REASON_BITS
    if number >= len(Reason) or packed & ~(_REASON_BITS | _HAS_STEPS | _HAS_ALPHA):
        raise CorruptStream(f"the stream gives a reason that does not exist ({packed}): it is damaged")
    reason = Reason(number)
    value, position = take(data, position, _value_bytes(reason), "value that was asked for")
    step_error = 0
    if packed & _HAS_STEPS:
        (step_error,), position = take(data, position, 1, "step")
        if step_error == 0:
            raise CorruptStream("the stream announces steps of no error: it is damaged")
    try:
        embedding = Embedding(reason, int.from_bytes(value, "little"), step_error, bool(packed & _HAS_ALPHA))
        embedding.check_profile(profile)
    except InputError as error:
        raise CorruptStream(f"the stream claims what no encoder writes ({error}): it is damaged") from error
    fields_end = position
    sections, position = read_sections(data, position, may_be_none=True)
    if embedding.has_alpha and any(section.kind == ALPHA for section in sections):
        raise CorruptStream("the stream has two alpha planes: it is damaged")
    payload_bytes, position = read_varint(data, position, MAX_LENGTH_VARINT_BYTES, "payload length")
    take(data, position, CRC_BYTES, "checksum")
    return EmbeddedHead(profile, width, height, embedding, fields_end, sections, payload_bytes, position)


def _value_bytes(reason: Reason) -> int:
    return _VALUE_BYTES.get(reason, _USUAL_VALUE_BYTES)
