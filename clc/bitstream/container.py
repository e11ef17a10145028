"""The container of a coded picture, versions 1 to 7: `Stream` <-> bytes. `clc.codec` packs and parses streams here.

All numbers are little-endian; varints are minimal (`clc.bitstream.varints`). Versions 1 to 4 stand below; versions
5 to 7, whose payload is the bitstream of another codec, in `clc.bitstream.embedded`.

    =========  ==============  =================================================================================
    bytes      field           content
    =========  ==============  =================================================================================
    4          magic           89 43 4C 43
    1          version         1; 2 where references are aligned; 3 where the stream has sections; 4 where it refers to
                               other streams
    1          profile         0: latents of the bundle's model; 1: a function overfitted to the picture, in versions 1
                               and 3 alone, without references
    1 to 3     width           varint, px, 1 to 65,535
    1 to 3     height          varint, px, 1 to 65,535; width x height is 64 Mi pixels at most
    2          quality and M   bits 0 to 12: quality x 64, 0 to 6,400; bits 13 to 15: M, number of references, 0 to 5
    8          bundle id       head of the sha256 of the manifest of the bundle that decodes the stream; in
                               profile 1 the id of the autoencoder (`clc.overfitted.autoencoder`)
    0 to 8     references      M dictionary indexes of 12 bits, the first in the lowest bits; unused high bits are 0
    1          alignment       number of aligned references: 0 in version 1, 1 to 3 (and at most M) in version 2, 0 to 3
                               in version 3; in version 4 the number of streams that are referred to, 1 to 3
    8 each     streams         version 4 alone: their ids (`stream_id`), each once
    ..         alignments      see `clc.bitstream.alignment`; in version 4 of the streams, and all references give
                               tokens; before it of the first references in order, the others give tokens
    ..         sections        versions 3 and 4: metadata and alpha, see `clc.bitstream.sections`; in version 4 their
                               number may be 0
    1 to 4     payload length  varint, bytes
    4          checksum        CRC-32 of every byte of the stream but these four
    4          latents' CRC    CRC-32 of `empty_stream` of the fields and of the decoded latents; the codec checks it
    ..         payload         see `clc.bitstream.range_coder`; in profile 1 `clc.overfitted.coding`
    =========  ==============  =================================================================================

The header takes 37 bytes for a usual picture with three references, at most 40 with up to four, 42 with five, plus the
alignments, streams and sections. A stream that refers to others is of version 4; one with sections of version 3; one
without them of version 2 if it has alignments, else of version 1. A stream holds nothing else: no unknown bits, no
bytes behind the payload. Hence `pack(parse(data)) == data` for any data that `parse` accepts.

The latents' CRC is taken of the fields as they stand in a stream without sections (`pack_fields`), so that sections can
be added and removed without the pixels being coded again: `with_sections`.

`parse` needs no bundle. It checks in this order: magic, version, sizes against `clc.limits`, exact length, checksum,
then the values of the fields, the meshes of the alignments last. It allocates nothing in proportion to a number that
the stream claims, except a mesh in a stream whose checksum is right.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from clc.bitstream.alignment import MAX_ALIGNMENTS, Alignment, pack_alignment, read_alignment, skip_alignment
from clc.bitstream.embedded import pack_embedded, pack_embedded_fields, parse_embedded, read_embedded_head
from clc.bitstream.fields import (
    CRC_BYTES,
    MAX_LENGTH_VARINT_BYTES,
    check_checksum,
    check_length,
    check_magic_and_version,
    checksum_of,
    read_size,
    take,
)
from clc.bitstream.fields import MAGIC as MAGIC
from clc.bitstream.sections import ALPHA, Section, pack_sections, read_sections
from clc.bitstream.stream import (
    ALIGNED_VERSION,
    BUNDLE_ID_BYTES,
    EMBEDDED_VERSION,
    OVERFITTED_PROFILE,
    REFERRING_VERSION,
    SECTIONED_VERSION,
    STREAM_ID_BYTES,
    VERSION,
)
from clc.bitstream.stream import Stream as Stream
from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, LimitError
from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_REFERENCES, MAX_STREAM_BYTES
from clc.quality import MAX_QUALITY_Q6, from_q6

_QUALITY_BITS = 13
_REFERENCE_BITS = 12


class ParsedStream(NamedTuple):
    """A stream, and the bytes of its `fields`: all before sections and payload length, as `pack_fields` gives them."""

    stream: Stream
    fields: bytes


class Head(NamedTuple):
    """What stands before the payload, of use to whoever opens a stream and does not decode it yet; see `Stream`."""

    width: int
    height: int
    quality_q6: int
    bundle_id: bytes
    sections: tuple[Section, ...]
    has_alpha: bool = False
    """Whether the picture has transparency, in a section or in its payload."""
    has_quality: bool = True
    """Whether a quality was asked for; else something that only `Stream.embedding` says, and `quality_q6` is 0."""
    needs_bundle: bool = True
    """Whether a bundle, or an autoencoder, decodes the stream; else `bundle_id` is `NO_BUNDLE`."""


def pack(stream: Stream) -> bytes:
    """Return the bytes of `stream`; the inverse of `parse`. Raises `LimitError` for more than a reader accepts."""
    if stream.embedding is not None:
        return pack_embedded(stream, stream.embedding)
    head = _with_version(pack_fields(stream), stream.version)
    head += _pack_sections(stream) + write_varint(len(stream.payload))
    tail = stream.latents_crc32.to_bytes(CRC_BYTES, "little") + stream.payload
    if len(head) + CRC_BYTES + len(tail) > MAX_STREAM_BYTES:
        size = len(head) + CRC_BYTES + len(tail)
        raise LimitError(f"the stream would have {size} bytes, at most {MAX_STREAM_BYTES} are allowed")
    return head + checksum_of(head, tail).to_bytes(CRC_BYTES, "little") + tail


def pack_fields(stream: Stream) -> bytes:
    """Return the fields that are known before anything is coded, as they stand in a stream without sections."""
    if stream.embedding is not None:
        return pack_embedded_fields(stream, stream.embedding)
    quality_and_count = stream.quality_q6 | len(stream.references) << _QUALITY_BITS
    return b"".join(
        (
            MAGIC,
            bytes((stream.version_of_fields, stream.profile)),
            write_varint(stream.width),
            write_varint(stream.height),
            quality_and_count.to_bytes(2, "little"),
            stream.bundle_id,
            _pack_references(stream.references),
            bytes((len(stream.alignments),)),
            *stream.streams,
            *(pack_alignment(alignment) for alignment in stream.alignments),
        )
    )


def _pack_sections(stream: Stream) -> bytes:
    """The sections; version 4 says that there are none by their number, the versions before it by their own."""
    none = b"\0" if stream.version == REFERRING_VERSION else b""
    return pack_sections(stream.sections) or none


def stream_id(data: bytes) -> bytes:
    """The id, 8 bytes, by which other streams refer to this one: the SHA-256's head of the stream without sections.

    Metadata may be added and removed and the id stays; it changes with anything that changes pixels. Raises what
    `parse` raises.
    """
    return hashlib.sha256(with_sections(data, ())).digest()[:STREAM_ID_BYTES]


def empty_stream(fields: bytes) -> bytes:
    """Return the stream with these fields, no payload and a latents' CRC of 0: what that CRC-32 is taken of first."""
    head, tail = fields + write_varint(0), bytes(CRC_BYTES)
    return head + checksum_of(head, tail).to_bytes(CRC_BYTES, "little") + tail


def with_sections(data: bytes, sections: Sequence[Section]) -> bytes:
    """Return the stream `data` with these sections in place of its own; none removes them. The payload stays.

    Raises what `parse` and `pack` raise.
    """
    stream = parse(data)
    return data if tuple(sections) == stream.sections else pack(replace(stream, sections=tuple(sections)))


def parse(data: bytes) -> Stream:
    """Return the stream that `data` holds; the inverse of `pack`.

    Raises `UnknownVersion` where this is no stream of version 1 to 7, `TruncatedStream` where bytes are missing,
    `LimitError` over a cap, and `CorruptStream` where anything else is wrong.
    """
    return parse_with_fields(data).stream


def parse_with_fields(data: bytes) -> ParsedStream:
    """As `parse`, and return the bytes of the fields with the stream."""
    check_magic_and_version(data)
    if len(data) > MAX_STREAM_BYTES:
        raise LimitError(f"the stream has {len(data)} bytes, at most {MAX_STREAM_BYTES} are allowed")
    if data[len(MAGIC)] >= EMBEDDED_VERSION:
        return ParsedStream(*parse_embedded(data))
    header = _read_header(data)
    payload_at = header.checksum_at + 2 * CRC_BYTES
    check_length(data, payload_at, header.payload_bytes)
    check_checksum(data, header.checksum_at)
    _check_meaning(header)
    stream = Stream(
        profile=header.profile,
        width=header.width,
        height=header.height,
        quality_q6=header.quality_q6,
        bundle_id=header.bundle_id,
        references=_parse_references(header.packed_references, header.n_references),
        latents_crc32=header.latents_crc32,
        payload=data[payload_at:],
        alignments=_parse_alignments(data, header),
        sections=header.sections,
        streams=_parse_streams(header.packed_streams),
    )
    fields = _with_version(data[: header.fields_end], stream.version_of_fields)
    return ParsedStream(stream, fields)


def parse_head(data: bytes) -> Head:
    """Return what the first bytes of a stream say; the checksum, which covers the rest too, is not checked.

    Raises `TruncatedStream` where more bytes are needed, and otherwise what `parse` raises.
    """
    check_magic_and_version(data)
    if data[len(MAGIC)] >= EMBEDDED_VERSION:
        head = read_embedded_head(data)
        has_alpha, quality_q6 = head.embedding.has_alpha or _has_alpha(head.sections), head.embedding.quality_q6
        size, has_insets = (head.width, head.height), head.insets_at is not None
        has_quality = quality_q6 is not None
        return Head(*size, quality_q6 or 0, head.bundle_id, head.sections, has_alpha, has_quality, has_insets)
    header = _read_header(data)
    size, has_alpha = (header.width, header.height), _has_alpha(header.sections)
    return Head(*size, header.quality_q6, header.bundle_id, header.sections, has_alpha)


def _has_alpha(sections: Sequence[Section]) -> bool:
    return any(section.kind == ALPHA for section in sections)


class _Header(NamedTuple):
    """The fields before the payload as they stand in the bytes.

    `fields_end` is the position behind the alignments, `checksum_at` that of the checksum.
    """

    version: int
    profile: int
    width: int
    height: int
    quality_q6: int
    n_references: int
    bundle_id: bytes
    packed_references: bytes
    n_alignments: int
    packed_streams: bytes
    alignments_at: int
    fields_end: int
    sections: tuple[Section, ...]
    payload_bytes: int
    checksum_at: int
    latents_crc32: int


def _read_header(data: bytes) -> _Header:
    """Read the fields and check those that claim a size; checksum and other fields are checked later."""
    width, height, position = read_size(data)
    packed, position = take(data, position, 2, "quality")
    quality_and_count = int.from_bytes(packed, "little")
    n_references = quality_and_count >> _QUALITY_BITS
    if n_references > MAX_REFERENCES:
        raise LimitError(f"the stream names {n_references} references, at most {MAX_REFERENCES} are allowed")
    bundle_id, position = take(data, position, BUNDLE_ID_BYTES, "bundle id")
    packed_references, position = take(data, position, _references_bytes(n_references), "references")
    (n_alignments,), position = take(data, position, 1, "alignment")
    version, packed_streams = data[len(MAGIC)], b""
    _check_number_of_alignments(version, n_alignments)
    if version == REFERRING_VERSION:
        packed_streams, position = take(data, position, STREAM_ID_BYTES * n_alignments, "ids of streams")
    alignments_at = position
    fields_end = position = _skip_alignments(data, alignments_at, n_alignments)
    sections: tuple[Section, ...] = ()
    if version in (SECTIONED_VERSION, REFERRING_VERSION):
        sections, position = read_sections(data, position, may_be_none=version == REFERRING_VERSION)
    payload_bytes, position = read_varint(data, position, MAX_LENGTH_VARINT_BYTES, "payload length")
    take(data, position, CRC_BYTES, "checksum")
    latents_crc, _ = take(data, position + CRC_BYTES, CRC_BYTES, "latents' CRC")
    return _Header(
        version=version,
        profile=data[len(MAGIC) + 1],
        width=width,
        height=height,
        quality_q6=quality_and_count & (1 << _QUALITY_BITS) - 1,
        n_references=n_references,
        bundle_id=bundle_id,
        packed_references=packed_references,
        n_alignments=n_alignments,
        packed_streams=packed_streams,
        alignments_at=alignments_at,
        fields_end=fields_end,
        sections=sections,
        payload_bytes=payload_bytes,
        checksum_at=position,
        latents_crc32=int.from_bytes(latents_crc, "little"),
    )


def _check_meaning(header: _Header) -> None:
    """Refuse values that a correct checksum protects but that no encoder of this version writes."""
    if header.quality_q6 > MAX_QUALITY_Q6:
        raise CorruptStream(f"the stream claims a quality of {from_q6(header.quality_q6)}: from 0 to 100 exist")
    without_sections = ALIGNED_VERSION if header.n_alignments else VERSION
    if header.version not in (without_sections, SECTIONED_VERSION, REFERRING_VERSION):
        raise CorruptStream(
            f"the stream asks for alignment {header.n_alignments}, which version {header.version} does not have"
        )
    if header.profile == OVERFITTED_PROFILE and (header.n_references or header.n_alignments):
        raise CorruptStream("the stream is overfitted to its picture and claims references all the same: it is damaged")
    ids = _parse_streams(header.packed_streams)
    if len(set(ids)) != len(ids):
        raise CorruptStream("the stream refers to the same stream twice: it is damaged")
    if not ids and header.n_alignments > header.n_references:
        raise CorruptStream(f"the stream has {header.n_alignments} alignments for {header.n_references} references")
    unused_bits = 8 * len(header.packed_references) - _REFERENCE_BITS * header.n_references
    if unused_bits and header.packed_references[-1] >> 8 - unused_bits:
        raise CorruptStream("the unused bits behind the references are not zero")


def _with_version(fields: bytes, version: int) -> bytes:
    return fields[: len(MAGIC)] + bytes((version,)) + fields[len(MAGIC) + 1 :]


def _references_bytes(n_references: int) -> int:
    return (_REFERENCE_BITS * n_references + 7) // 8


def _pack_references(references: tuple[int, ...]) -> bytes:
    packed = sum(index << _REFERENCE_BITS * i for i, index in enumerate(references))
    return packed.to_bytes(_references_bytes(len(references)), "little")


def _parse_references(packed: bytes, n_references: int) -> tuple[int, ...]:
    bits = int.from_bytes(packed, "little")
    return tuple(bits >> _REFERENCE_BITS * i & MAX_DICTIONARY_ENTRIES - 1 for i in range(n_references))


def _parse_streams(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[at : at + STREAM_ID_BYTES] for at in range(0, len(packed), STREAM_ID_BYTES))


def _check_number_of_alignments(version: int, n_alignments: int) -> None:
    if version != VERSION and n_alignments > MAX_ALIGNMENTS:
        raise LimitError(f"the stream has {n_alignments} aligned references, at most {MAX_ALIGNMENTS} are allowed")
    if version == REFERRING_VERSION and n_alignments == 0:
        raise CorruptStream("the stream announces streams that it refers to and has none: it is damaged")


def _skip_alignments(data: bytes, position: int, n_alignments: int) -> int:
    """Return the position behind the alignments; version 1 has none, and `_check_meaning` refuses another number."""
    if data[len(MAGIC)] == VERSION:
        return position
    for _ in range(n_alignments):
        position = skip_alignment(data, position)
    return position


def _parse_alignments(data: bytes, header: _Header) -> tuple[Alignment, ...]:
    alignments, position = [], header.alignments_at
    for _ in range(header.n_alignments):
        alignment, position = read_alignment(data, position, header.height, header.width)
        alignments.append(alignment)
    return tuple(alignments)
