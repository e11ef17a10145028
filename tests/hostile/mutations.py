"""Streams that no encoder wrote: seeded mutations of valid ones, field by field.

`tests.hostile.fuzz` decodes them. A stream is taken apart into its fields as they stand in the bytes, so that each can
be replaced by anything, also by what `clc.bitstream.container.pack` refuses to write. `mutant` is a pure function of
seed, index and streams: a failure is told by two numbers.
"""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from clc.bitstream.alignment import MAX_CORNER_Q4, Alignment, pack_alignment, read_alignment
from clc.bitstream.container import parse
from clc.bitstream.fields import CRC_BYTES, checksum_of
from clc.bitstream.regions import MAX_OFFSET_Q2
from clc.bitstream.sections import Section, pack_sections
from clc.bitstream.stream import REFERRING_VERSION, STREAM_ID_BYTES
from clc.bitstream.varints import read_varint, write_varint
from clc.errors import InputError

Fields = dict[str, bytes]
"""The fields of a stream by name, in the order of its bytes."""

REPAIRS = ("none", "checksum", "both")
"""What is put right after a mutation: nothing, the stream's checksum, or (by the runner) the latents' CRC too."""

_SIZES = (0, 1, 2, 63, 64, 65, 127, 128, 192, 512, 1000, 2048, 4096, 8191, 8192, 16384, 32768, 65535, 65536, 1 << 20)
_LENGTHS = (0, 1, 7, 127, 128, 1 << 14, 1 << 20, (1 << 28) - 1, 1 << 28, 1 << 35)


def sealed_at(data: bytes, at: int) -> bytes:
    """A stream of version 5 or later whose checksum, which stands at `at`, is that of its bytes as they are."""
    checksum = checksum_of(data[:at], data[at + CRC_BYTES :])
    return data[:at] + checksum.to_bytes(CRC_BYTES, "little") + data[at + CRC_BYTES :]


class Mutant(NamedTuple):
    """`data` with the checksum as `repair` asks; the latents' CRC is the runner's to put right."""

    kind: str
    repair: str
    data: bytes


def split(data: bytes) -> Fields:
    """Take a valid stream of any version apart."""
    stream = parse(data)
    sizes = {"magic": 4, "version": 1, "profile": 1}
    sizes |= {"width": len(write_varint(stream.width)), "height": len(write_varint(stream.height)), "quality": 2}
    sizes |= {"bundle_id": 8, "references": (12 * len(stream.references) + 7) // 8}
    no_sections = 1 if stream.streams else 0  # version 4 says that there are none
    behind = {"sections": len(pack_sections(stream.sections)) or no_sections}
    behind |= {"length": len(write_varint(len(stream.payload))), "checksum": 4, "latents_crc": 4}
    behind["payload"] = len(stream.payload)
    # What alignments take is not to be known here: it is what all others leave.
    sizes["alignment"] = len(data) - sum(sizes.values()) - sum(behind.values())
    fields, position = {}, 0
    for name, size in (sizes | behind).items():
        fields[name] = data[position : position + size]
        position += size
    return fields


def join(fields: Mapping[str, bytes], *, is_repaired: bool) -> bytes:
    """Put the fields together, with the checksum as it stands or made right."""
    names = list(fields)
    cut = names.index("checksum")
    head = b"".join(fields[name] for name in names[:cut])
    tail = b"".join(fields[name] for name in names[cut + 1 :])
    right = zlib.crc32(tail, zlib.crc32(head)).to_bytes(4, "little")
    return head + (right if is_repaired else fields["checksum"]) + tail


def mutant(seed: int, index: int, streams: Sequence[bytes]) -> Mutant:
    """Mutant number `index`: the kinds take turns, and with each round the repairs."""
    rng = random.Random(f"{seed}/{index}")  # noqa: S311 - no secret
    kind = list(KINDS)[index % len(KINDS)]
    repair = REPAIRS[index // len(KINDS) % len(REPAIRS)]
    fields = split(rng.choice(streams))
    KINDS[kind](rng, fields, split(rng.choice(streams)))
    return Mutant(kind, repair, join(fields, is_repaired=repair != "none"))


def prefixes(streams: Sequence[bytes]) -> list[Mutant]:
    """Every proper prefix of every stream."""
    return [Mutant("prefix", "none", data[:length]) for data in streams for length in range(len(data))]


def claiming(width: int, height: int, stream: bytes, total_bytes: int = 40) -> bytes:
    """`total_bytes` with a right checksum that claim a picture of any size, in the bundle of `stream`."""
    fields = split(stream)
    fields |= {"width": write_varint(width), "height": write_varint(height), "payload": b"", "length": b"\x00"}
    _without_references(fields)
    payload = stream[-max(0, total_bytes - len(join(fields, is_repaired=True))) :]
    return join(fields | _payload(payload), is_repaired=True)


def _place(rng: random.Random, fields: Fields) -> tuple[str, int]:
    """A field and a position in it: half of the places lie in the header, which is a small part of the bytes."""
    if rng.random() < 0.5:
        return "payload", rng.randrange(max(1, len(fields["payload"])))
    name = rng.choice([name for name in fields if name != "payload" and fields[name]])
    return name, rng.randrange(len(fields[name]))


def _replaced(data: bytes, position: int, n_bytes: int, new: bytes) -> bytes:
    return data[:position] + new + data[position + n_bytes :]


def _payload(payload: bytes) -> Fields:
    return {"payload": payload, "length": write_varint(len(payload))}


def _without_references(fields: Fields) -> None:
    """Version 1 without references and sections, which has the shortest header."""
    quality = int.from_bytes(fields["quality"], "little") & 0x1FFF
    fields |= {"version": b"\x01", "quality": quality.to_bytes(2, "little"), "references": b"", "alignment": b"\x00"}
    fields["sections"] = b""


def _flip_bits(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    for _ in range(rng.choice((1, 1, 1, 2, 8, 40))):
        name, position = _place(rng, fields)
        value = fields[name][position : position + 1] or b"\x00"
        fields[name] = _replaced(fields[name], position, 1, bytes([value[0] ^ 1 << rng.randrange(8)]))


def _set_bytes(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    for _ in range(rng.choice((1, 1, 2, 6))):
        name, position = _place(rng, fields)
        value = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        fields[name] = _replaced(fields[name], position, 1, bytes([value]))


def _insert(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    name, position = _place(rng, fields)
    fields[name] = _replaced(fields[name], position, 0, rng.randbytes(rng.choice((1, 2, 4, 8, 64))))


def _delete(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    name, position = _place(rng, fields)
    fields[name] = _replaced(fields[name], position, rng.choice((1, 2, 4, 8, 64)), b"")


def _splice_fields(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Some fields from another stream, the length of the payload among them where the payload is."""
    for name in rng.sample(list(fields), rng.choice((1, 2, 4))):
        fields[name] = other[name]
        if name == "payload":
            fields["length"] = other["length"]


def _splice_payloads(rng: random.Random, fields: Fields, other: Fields) -> None:
    front, back = fields["payload"], other["payload"]
    cut = rng.randrange(len(front) + 1)
    fields |= _payload(front[:cut] + back[rng.choice((min(cut, len(back)), rng.randrange(len(back) + 1))) :])


def _length(rng: random.Random, fields: Fields, other: Fields) -> None:
    true_bytes = len(fields["payload"])
    claimed = rng.choice((*_LENGTHS, max(0, true_bytes - 1), true_bytes + 1, len(other["payload"])))
    fields["length"] = rng.choice((write_varint(claimed), _too_long(true_bytes), b"\xff" * rng.choice((1, 4, 9))))


def _size(rng: random.Random, fields: Fields, other: Fields) -> None:
    for name in rng.choice((("width",), ("height",), ("width", "height"))):
        near = int.from_bytes(fields[name][:1], "little") & 0x7F
        claimed = rng.choice((*_SIZES, near, near + 64, rng.randrange(1, 3000), len(other["payload"])))
        fields[name] = write_varint(claimed) if rng.random() < 0.9 else _too_long(claimed)


def _quality(rng: random.Random, fields: Fields, other: Fields) -> None:
    packed = int.from_bytes(fields["quality"], "little")
    other_quality = int.from_bytes(other["quality"], "little") & 0x1FFF
    quality = rng.choice((0, 1, 6400, 6401, 8191, packed & 0x1FFF ^ 1, other_quality, rng.randrange(6401)))
    fields["quality"] = (packed & 0xE000 | quality).to_bytes(2, "little")


def _references(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Other indexes, another number of them, another order, bits behind them."""
    quality = int.from_bytes(fields["quality"], "little") & 0x1FFF
    count = rng.randrange(8)
    indexes = [rng.choice((0, 1, 511, 512, 4095, rng.randrange(512))) for _ in range(count)]
    packed = sum(index << 12 * i for i, index in enumerate(indexes)) | (rng.randrange(2) << 12 * count)
    stray = packed.bit_length() > 8 * ((12 * count + 7) // 8)
    mine = packed.to_bytes((12 * count + 7) // 8 + stray, "little")
    fields["references"] = rng.choice((mine, mine, fields["references"][::-1], other["references"]))
    fields["quality"] = (count << 13 | quality).to_bytes(2, "little")


def _bundle_id(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    fields["bundle_id"] = rng.choice((bytes(8), rng.randbytes(8), fields["bundle_id"][::-1]))


def _version(rng: random.Random, fields: Fields, other: Fields) -> None:
    del other
    name = rng.choice(("magic", "version", "version", "profile"))
    fields[name] = (
        rng.randbytes(4) if name == "magic" else bytes([rng.choice((0, 1, 2, 3, 4, 255, rng.randrange(256)))])
    )


def _alignment(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Under each version: the count alone, random bytes behind it, another stream's, and small changes."""
    data = fields["alignment"]
    position = rng.randrange(len(data))
    made = (
        bytes([rng.randrange(256)]) + data[1:],
        bytes([rng.randrange(1, 4)]) + rng.randbytes(rng.choice((0, 8, 30, 80))),
        _replaced(data, position, 1, bytes([data[position] ^ 1 << rng.randrange(8)])),
        _replaced(data, position, rng.randrange(3), rng.randbytes(rng.randrange(3))),
        data[:position],
        other["alignment"],
    )
    fields["alignment"] = rng.choice(made)
    fields["version"] = rng.choice((fields["version"], b"\x02", b"\x04"))


def _sections(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Under version 3 or 4: random bytes, another stream's, small changes, and well-formed ones of strange content."""
    data = fields["sections"] or other["sections"] or b"\x01"
    position = rng.randrange(len(data))
    kinds = sorted(rng.sample(range(1, 128), rng.randrange(4)))
    sections = [Section.of(kind, rng.randbytes(rng.choice((1, 9, 400)))) for kind in kinds]
    bomb = Section.of(1, bytes(1 << 20))
    made = (
        bytes([rng.randrange(256)]) + data[1:],
        bytes([rng.randrange(1, 16)]) + rng.randbytes(rng.choice((0, 8, 30, 300))),
        _replaced(data, position, 1, bytes([data[position] ^ 1 << rng.randrange(8)])),
        _replaced(data, position, rng.randrange(3), rng.randbytes(rng.randrange(3))),
        data[:position],
        other["sections"],
        pack_sections(sections),
        pack_sections([replace(bomb, n_bytes=rng.choice((1, 1 << 20, (1 << 20) + 1, (1 << 28) - 1)))]),
        b"",
    )
    fields["sections"] = rng.choice(made)
    fields["version"] = rng.choice((fields["version"], b"\x03", b"\x03", b"\x04"))


def _moved(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Other corners, nodes or colours in well-formed alignments, so that only warping them or the CRC can notice."""
    donor = fields if fields["alignment"][0] else other
    count, position = donor["alignment"][0], 1
    if not count:
        return
    width, _ = read_varint(donor["width"], 0, 3, "width")
    height, _ = read_varint(donor["height"], 0, 3, "height")
    packed = bytes([count])
    if donor["version"][0] == REFERRING_VERSION:
        packed, position = donor["alignment"][: 1 + STREAM_ID_BYTES * count], 1 + STREAM_ID_BYTES * count
    for _ in range(count):
        alignment, position = read_alignment(donor["alignment"], position, height, width)
        packed += pack_alignment(_elsewhere(rng, alignment))
    fields |= {name: donor[name] for name in ("version", "width", "height", "quality", "references")}
    fields["alignment"] = packed


def _streams(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Other ids of streams: another order, one twice, one that nobody has, those of another stream; or none of them."""
    donor = fields if fields["version"][0] == REFERRING_VERSION else other
    if donor["version"][0] != REFERRING_VERSION:
        fields["version"] = bytes([REFERRING_VERSION])
        return
    count = donor["alignment"][0]
    end = 1 + STREAM_ID_BYTES * count
    ids = [donor["alignment"][at : at + STREAM_ID_BYTES] for at in range(1, end, STREAM_ID_BYTES)]
    known = [*ids, other["alignment"][1 : 1 + STREAM_ID_BYTES].ljust(STREAM_ID_BYTES, b"\0")]
    made = (
        ids[::-1],
        [rng.choice(known) for _ in ids],
        [rng.choice((*known, rng.randbytes(STREAM_ID_BYTES), bytes(STREAM_ID_BYTES))) for _ in ids],
        ids[:-1],
        [*ids, rng.choice(known)],
        [],
    )
    fields |= {name: donor[name] for name in ("version", "width", "height", "quality", "references", "sections")}
    fields["alignment"] = bytes([count]) + b"".join(rng.choice(made)) + donor["alignment"][end:]


def _elsewhere(rng: random.Random, alignment: Alignment) -> Alignment:
    """One corner or all of them moved or drawn anew, as far as that leaves a quadrilateral; or another mesh."""
    reach = rng.choice((1, 16, 1000, MAX_CORNER_Q4))
    moved = [corner + rng.randint(-reach, reach) for corner in alignment.corners_q4]
    if rng.random() < 0.3:
        side = rng.choice((1, 40, 2000, MAX_CORNER_Q4))
        moved = [rng.randint(-MAX_CORNER_Q4, 0), rng.randint(-MAX_CORNER_Q4, 0)] * 4
        moved = [corner + side * step for corner, step in zip(moved, (0, 0, 1, 0, 0, 1, 1, 1), strict=True)]
    changes: dict[str, Any] = {"corners_q4": tuple(max(-MAX_CORNER_Q4, min(MAX_CORNER_Q4, c)) for c in moved)}
    if alignment.mesh is not None and rng.random() < 0.5:
        low, high = rng.choice(((-128, -128), (127, 127), (-128, 127), (0, 0)))
        changes["mesh"] = np.random.default_rng(rng.randrange(99)).integers(
            low, high, alignment.mesh.shape, np.int8, endpoint=True
        )
    if alignment.regions is not None and rng.random() < 0.7:
        n_offsets, far = rng.choice((0, 1, len(alignment.regions.offsets_q2))), rng.choice((4, 400, MAX_OFFSET_Q2))
        offsets = tuple((rng.randint(-far, far), rng.randint(-far, far)) for _ in range(n_offsets))
        values = np.random.default_rng(rng.randrange(99)).integers(0, n_offsets + 2, alignment.regions.blocks.shape)
        changes["regions"] = replace(alignment.regions, offsets_q2=offsets, blocks=values.astype(np.uint8))
    if rng.random() < 0.3:
        changes |= {"gain_q6": (255, 1, 64), "offset": (127, -128, 0)}
    try:
        return replace(alignment, **changes)
    except InputError:
        return alignment


def _payload_bits(rng: random.Random, fields: Fields, other: Fields) -> None:
    """What only the range coder and the latents' CRC can notice."""
    del other
    payload = bytearray(fields["payload"])
    for _ in range(rng.choice((1, 1, 2, 16))):
        payload[rng.randrange(rng.choice((min(16, len(payload)), len(payload))))] ^= 1 << rng.randrange(8)
    fields |= _payload(bytes(payload))


def _payload_shape(rng: random.Random, fields: Fields, other: Fields) -> None:
    """Another length: cut, filled up, without its words, with a foreign side list, and noise of any length."""
    payload = fields["payload"]
    made = (
        payload[: rng.randrange(len(payload) + 1)],
        payload[: 4 * rng.randrange(len(payload) // 4 + 1)],
        payload[4 * rng.randrange(len(payload) // 4 + 1) :],
        payload + rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4))) * rng.choice((1, 2, 50)),
        payload + other["payload"],
        _with_side_list(rng, payload),
        b"",
        rng.choice((b"\x00", b"\x7f", b"\xff")) * rng.choice((8, 9, 13, 400)),
        b"\x00" + rng.randbytes(rng.choice((8, 12, 80, 800))),
    )
    fields |= _payload(rng.choice(made))


def _with_side_list(rng: random.Random, payload: bytes) -> bytes:
    side = rng.choice((bytes(200), b"\xff\xff\x7f" * 20, b"\x80\x00", rng.randbytes(rng.randrange(1, 30))))
    claimed = rng.choice((len(side), len(side), 1 << 32, (1 << 35) - 1))
    return write_varint(claimed) + side + payload[1:]


def _latents_crc(rng: random.Random, fields: Fields, other: Fields) -> None:
    fields["latents_crc"] = rng.choice((bytes(4), b"\xff" * 4, rng.randbytes(4), other["latents_crc"]))


def _too_long(value: int) -> bytes:
    """A varint with one byte more than it needs."""
    minimal = bytearray(write_varint(value))
    minimal[-1] |= 0x80
    return bytes(minimal) + b"\x00"


KINDS: Mapping[str, Callable[[random.Random, Fields, Fields], None]] = {
    "bits": _flip_bits,
    "bytes": _set_bytes,
    "insertion": _insert,
    "deletion": _delete,
    "fields spliced": _splice_fields,
    "payloads spliced": _splice_payloads,
    "length": _length,
    "size": _size,
    "quality": _quality,
    "references": _references,
    "bundle id": _bundle_id,
    "version": _version,
    "alignment": _alignment,
    "alignment moved": _moved,
    "streams": _streams,
    "sections": _sections,
    "payload bits": _payload_bits,
    "payload shape": _payload_shape,
    "latents' CRC": _latents_crc,
}
