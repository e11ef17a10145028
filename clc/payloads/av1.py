"""The two units (OBU) of a still picture of AV1, which are a payload, checked before a decoder sees them.

A payload is a sequence header and one frame, each with its size. The sequence header says how large the frame is, and a
decoder takes memory for that; so it has to say the size of the stream, 4:4:4 and 8 bits, and no second one may follow.
Section numbers are those of the AV1 specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from clc.errors import CorruptStream

SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME = 1, 2, 6
"""Types of units, 6.2.2."""

_PROFILE_444 = 1
_HAS_EXTENSION, _HAS_SIZE, _OTHERS = 0x04, 0x02, 0x81
_MOST_LENGTH_BYTES = 4


class Unit(NamedTuple):
    """One OBU: its type, its content, and all of its bytes."""

    kind: int
    content: bytes
    whole: bytes


class Sequence(NamedTuple):
    """What a sequence header says of a still picture: its profile and level, and its size in px."""

    profile: int
    level: int
    width: int
    height: int


def units(data: bytes) -> Iterator[Unit]:
    """Yield the units of a bitstream; `CorruptStream` where one has no size, an extension, or no end."""
    at = 0
    while at < len(data):
        start, head = at, data[at]
        if head & (_HAS_EXTENSION | _OTHERS) or not head & _HAS_SIZE:
            raise _damaged("has a unit of a kind that no encoder writes")
        length, at = _length(data, at + 1)
        if at + length > len(data):
            raise _damaged("ends inside a unit")
        yield Unit(head >> 3, data[at : at + length], data[start : at + length])
        at += length


def checked_sequence(payload: bytes, width: int, height: int) -> Sequence:
    """Return the sequence header of a payload for a picture of so many px; `CorruptStream` for any other payload."""
    kinds: list[int] = []
    contents: list[bytes] = []
    for unit in units(payload):
        kinds.append(unit.kind)
        contents.append(unit.content)
        if len(kinds) > 2:
            break
    if kinds != [SEQUENCE_HEADER, FRAME]:
        raise _damaged("is not a sequence header and one frame")
    sequence = _read_sequence(contents[0])
    if (sequence.width, sequence.height) != (width, height):
        found = f"{sequence.width}x{sequence.height}"
        raise CorruptStream(f"the payload is a picture of {found} px, the stream says {width}x{height}: it is damaged")
    return sequence


def _read_sequence(content: bytes) -> Sequence:
    """Section 5.5, as far as a still picture with a reduced header has it."""
    bits = _Bits(content)
    profile, is_still, is_reduced, level = bits.read(3), bits.read(1), bits.read(1), bits.read(5)
    if profile != _PROFILE_444 or not (is_still and is_reduced):
        raise _damaged("is no still picture in 4:4:4")
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    bits.read(6)  # sizes of blocks, and which tools and filters are on
    if bits.read(1):
        raise _damaged("has more than 8 bits a sample")
    return Sequence(profile, level, width, height)


class _Bits:
    """Bits of a unit, the highest of each byte first."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data[:32], "big"), 8 * min(len(data), 32)

    def read(self, count: int) -> int:
        """The next `count` bits as a number."""
        self._left -= count
        if self._left < 0:
            raise _damaged("has a sequence header that is cut short")
        return self._number >> self._left & (1 << count) - 1


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the position behind it: section 4.10.5."""
    value = 0
    for place in range(_MOST_LENGTH_BYTES):
        if at >= len(data):
            break
        value |= (data[at] & 0x7F) << 7 * place
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise _damaged("has a unit whose length is not whole")


def _damaged(what: str) -> CorruptStream:
    return CorruptStream(f"the payload {what}: the stream is damaged, get the file again")
