"""Versions 5 to 7 of the container: a picture whose payload is another codec's bitstream. `Stream` <-> bytes.

Nothing of a bundle stands in version 5, so that a small picture without loss takes no more bytes than in a file of its
format. In version 6 parts of the picture are copied from the pictures of other streams, and the payload holds what is
left. In version 7, a compound picture, a bundle's model shows some rectangles, which lie over what the payload holds.
`clc.bitstream.container` calls this for streams of these versions; numbers and varints are as there.

    =========  ==============  =================================================================================
    bytes      field           content
    =========  ==============  =================================================================================
    4          magic           89 43 4C 43
    1          version         5; 6 where parts are copied; 7 where there are insets
    1          profile         2: WebP lossless; 3: a still picture of AV1; 4: filtered rows of a PNG
    1 to 3     width           varint, px, 1 to 65,535
    1 to 3     height          varint, px, 1 to 65,535; width x height is 64 Mi pixels at most
    1          reason          bits 0 to 2: `Reason` of embedding.py; bit 6: steps; bit 7: alpha in the payload, which
                               versions 6 and 7 do not have
    0 to 2     value           what was asked for: an error in 1 byte, a quality or a PSNR x 64 in 2
    0 or 1     step's error    1 to 127, where there are steps
    0 or 1     copied          version 6: how many streams parts are copied from, 1 to 3
    8 each     streams         version 6: their ids (`clc.bitstream.container.stream_id`), each once
    ..         alignments      version 6: for each stream where its picture lies in this one, and which regions are
                               copied (`clc.bitstream.alignment`); the first that covers a pixel gives it
    0 or 8     bundle id       version 7: of the bundle whose model the insets are coded with
    ..         insets          version 7: where they lie, and what their latents are (`clc.bitstream.insets`)
    1 ..       sections        see `clc.bitstream.sections`; their number may be 0
    1 to 4     payload length  varint, bytes
    4          checksum        CRC-32 of every byte of the stream but these four
    0 or 4     pixels' CRC     profiles 2 and 4: CRC-32 of the decoded colours (H, W, 3), with what is copied and
                               without insets, and of the alpha behind them
    ..         payload         see `clc.payloads`
    ..         insets          version 7: the payloads of the insets in their order
    =========  ==============  =================================================================================

A header takes 19 bytes for a picture of up to 127x127 px without loss. `parse_embedded` checks in the order that
`clc.bitstream.container.parse` does.
"""

from __future__ import annotations

from typing import NamedTuple

from clc.bitstream.alignment import MAX_ALIGNMENTS, pack_alignment, read_alignment, skip_alignment
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
from clc.bitstream.insets import Inset, pack_insets, read_insets, skip_insets
from clc.bitstream.sections import ALPHA, Section, pack_sections, read_sections
from clc.bitstream.stream import (
    BUNDLE_ID_BYTES,
    COMPOUND_VERSION,
    COPYING_VERSION,
    NO_BUNDLE,
    STREAM_ID_BYTES,
    Stream,
)
from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, InputError, LimitError
from clc.limits import MAX_STREAM_BYTES

_REASON_BITS = 0x07
_HAS_STEPS = 0x40
_HAS_ALPHA = 0x80
_VALUE_BYTES = {Reason.LOSSLESS: 0, Reason.MAX_ERROR: 1}
_USUAL_VALUE_BYTES = 2


class EmbeddedHead(NamedTuple):
    """What stands before the payload.

    `alignments_at` and `fields_end` are the positions of the alignments, of which each of `streams` has one, and behind
    them and the insets: behind the step's error where there are neither. `insets_at` is the position of the insets,
    None where there are none, and `insets_bytes` what their payloads take, which stand behind the other.
    """

    profile: int
    width: int
    height: int
    embedding: Embedding
    streams: tuple[bytes, ...]
    alignments_at: int
    bundle_id: bytes
    insets_at: int | None
    insets_bytes: int
    fields_end: int
    sections: tuple[Section, ...]
    payload_bytes: int
    checksum_at: int


def pack_embedded(stream: Stream, embedding: Embedding) -> bytes:
    """Return the bytes of a stream of version 5 to 7. Raises `LimitError` for more than a reader accepts."""
    head = pack_embedded_fields(stream, embedding)
    head += (pack_sections(stream.sections) or b"\0") + write_varint(len(stream.payload))
    check = stream.latents_crc32.to_bytes(CRC_BYTES, "little") if stream.profile in EXACT_PROFILES else b""
    tail = b"".join((check, stream.payload, *(inset.payload for inset in stream.insets)))
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
            bytes((stream.version_of_fields, stream.profile)),
            write_varint(stream.width),
            write_varint(stream.height),
            bytes((embedding.reason | steps | (_HAS_ALPHA if embedding.has_alpha else 0),)),
            embedding.value.to_bytes(_value_bytes(embedding.reason), "little"),
            bytes((embedding.step_error,)) if steps else b"",
            bytes((len(stream.streams),)) if stream.streams else b"",
            *stream.streams,
            *(pack_alignment(alignment) for alignment in stream.alignments),
            stream.bundle_id + pack_insets(stream.insets) if stream.insets else b"",
        )
    )


def parse_embedded(data: bytes) -> tuple[Stream, bytes]:
    """Return the stream of version 5 to 7 in `data`, whose magic and version were checked, and its fields' bytes.

    Raises what `clc.bitstream.container.parse` raises.
    """
    head = read_embedded_head(data)
    is_exact = head.profile in EXACT_PROFILES
    check_at = head.checksum_at + CRC_BYTES
    crc, payload_at = take(data, check_at, CRC_BYTES if is_exact else 0, "pixels' CRC")
    payload_end = payload_at + head.payload_bytes
    check_length(data, payload_at, head.payload_bytes + head.insets_bytes)
    check_checksum(data, head.checksum_at)
    if not head.payload_bytes:
        raise CorruptStream("the stream has no payload: it is damaged")
    alignments, position = [], head.alignments_at
    for _ in head.streams:
        alignment, position = read_alignment(data, position, head.height, head.width)
        alignments.append(alignment)
    insets: tuple[Inset, ...] = ()
    if head.insets_at is not None:
        insets = read_insets(data, head.insets_at, payload_end, head.width, head.height)
    stream = Stream(
        profile=head.profile,
        width=head.width,
        height=head.height,
        quality_q6=head.embedding.quality_q6 or 0,
        bundle_id=head.bundle_id,
        references=(),
        latents_crc32=int.from_bytes(crc, "little"),
        payload=data[payload_at:payload_end],
        alignments=tuple(alignments),
        sections=head.sections,
        streams=head.streams,
        embedding=head.embedding,
        insets=insets,
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
    if has_steps(packed):
        (step_error,), position = take(data, position, 1, "step")
        if step_error == 0:
            raise CorruptStream("the stream announces steps of no error: it is damaged")
    try:
        embedding = Embedding(reason, int.from_bytes(value, "little"), step_error, bool(packed & _HAS_ALPHA))
        embedding.check_profile(profile)
    except InputError as error:
        raise CorruptStream(f"the stream claims what no encoder writes ({error}): it is damaged") from error
    streams, position = _read_streams(data, position)
    if streams and embedding.has_alpha:
        raise CorruptStream("the stream copies parts of others and claims alpha beside them: it is damaged")
    alignments_at = position
    for _ in streams:
        position = skip_alignment(data, position)
    bundle_id, insets_at, insets_bytes = NO_BUNDLE, None, 0
    if data[len(MAGIC)] == COMPOUND_VERSION:
        bundle_id, insets_at = _read_bundle_id(data, position)
        insets_bytes, position = skip_insets(data, insets_at)
        if embedding.has_alpha:
            raise CorruptStream("the stream has insets and claims alpha beside them: it is damaged")
    fields_end = position
    sections, position = read_sections(data, position, may_be_none=True)
    if embedding.has_alpha and any(section.kind == ALPHA for section in sections):
        raise CorruptStream("the stream has two alpha planes: it is damaged")
    payload_bytes, position = read_varint(data, position, MAX_LENGTH_VARINT_BYTES, "payload length")
    take(data, position, CRC_BYTES, "checksum")
    return EmbeddedHead(
        profile=profile,
        width=width,
        height=height,
        embedding=embedding,
        streams=streams,
        alignments_at=alignments_at,
        bundle_id=bundle_id,
        insets_at=insets_at,
        insets_bytes=insets_bytes,
        fields_end=fields_end,
        sections=sections,
        payload_bytes=payload_bytes,
        checksum_at=position,
    )


def _read_bundle_id(data: bytes, position: int) -> tuple[bytes, int]:
    bundle_id, position = take(data, position, BUNDLE_ID_BYTES, "bundle id")
    if bundle_id == NO_BUNDLE:
        raise CorruptStream("the stream has insets and names no bundle for them: it is damaged")
    return bundle_id, position


def _read_streams(data: bytes, position: int) -> tuple[tuple[bytes, ...], int]:
    """The ids of the streams that parts are copied from, none but in version 6, and the position behind them."""
    if data[len(MAGIC)] != COPYING_VERSION:
        return (), position
    (count,), position = take(data, position, 1, "number of streams")
    if count > MAX_ALIGNMENTS:
        raise LimitError(f"the stream copies from {count} others, at most {MAX_ALIGNMENTS} are allowed")
    packed, position = take(data, position, STREAM_ID_BYTES * count, "ids of streams")
    ids = tuple(packed[at : at + STREAM_ID_BYTES] for at in range(0, len(packed), STREAM_ID_BYTES))
    if not ids or len(set(ids)) != len(ids):
        raise CorruptStream("the stream copies from no other, or twice from the same: it is damaged")
    return ids, position


def has_steps(reason: int) -> bool:
    """Whether the byte of the reason says that samples are in steps."""
    return bool(reason & _HAS_STEPS)


def promised_error(data: bytes, position: int) -> int | None:
    """The error of a sample, levels, that the reason at a position promises and its value; None for another reason."""
    (packed,), position = take(data, position, 1, "reason")
    if packed & _REASON_BITS == Reason.LOSSLESS:
        return 0
    if packed & _REASON_BITS != Reason.MAX_ERROR:
        return None
    (value,), _ = take(data, position, 1, "value that was asked for")
    return value


def _value_bytes(reason: Reason) -> int:
    return _VALUE_BYTES.get(reason, _USUAL_VALUE_BYTES)
