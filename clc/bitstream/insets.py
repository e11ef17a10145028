"""Rectangles of a compound picture: what of a stream of version 7 is coded by a bundle's model. `Inset` <-> bytes.

The payload of another codec shows the whole picture; insets are laid over it. Called by `clc.bitstream.embedded`, in
whose table this stands:

    =========  ==============  =================================================================================
    bytes      field           content
    =========  ==============  =================================================================================
    1          number          of insets, 1 to 8
    for each inset:
    1 to 3     left            varint, px from the picture's left edge
    1 to 3     top             varint, px from its upper edge
    1 to 3     width           varint, px, 16 at least
    1 to 3     height          varint, px, 16 at least
    2          quality         that of the latents x 64, 0 to 6,400
    4          latents' CRC    as in a stream of version 1 of this size and quality that refers to nothing
    1 to 4     payload length  varint, bytes, 1 at least
    =========  ==============  =================================================================================

Insets lie inside the picture and cover no pixel twice. So all of them together are no larger than the picture, whose
size was checked against `clc.limits` before, and a decoder takes no more memory and time than for a stream that says
the same size and is coded by the model as a whole. An inset holds latents and nothing else, hence no further inset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, InputError, LimitError, TruncatedStream
from clc.quality import MAX_QUALITY_Q6

MAX_INSETS = 8
MIN_INSET_PX = 16
"""The shortest side: a latent stands for so many px."""

_MAX_SIZE_VARINT_BYTES = 3
_MAX_LENGTH_VARINT_BYTES = 4
_QUALITY_BYTES = 2
_CRC_BYTES = 4


@dataclass(frozen=True)
class Inset:
    """One rectangle: `left`, `top`, `width` and `height` in px, and the latents that show it.

    `quality_q6` is their quality x 64, `latents_crc32` and `payload` are as those of a stream of version 1. Raises
    `InputError` on construction where a value is out of range.
    """

    left: int
    top: int
    width: int
    height: int
    quality_q6: int
    latents_crc32: int
    payload: bytes

    def __post_init__(self) -> None:
        if min(self.left, self.top) < 0:
            raise InputError(f"an inset lies inside its picture, not at {self.left},{self.top}")
        if min(self.width, self.height) < MIN_INSET_PX:
            raise InputError(f"an inset has {MIN_INSET_PX} px a side at least, not {self.width}x{self.height}")
        if not 0 <= self.quality_q6 <= MAX_QUALITY_Q6:
            raise InputError(f"the quality x 64 of an inset lies within 0..{MAX_QUALITY_Q6}, not {self.quality_q6}")
        if not 0 <= self.latents_crc32 < 1 << 8 * _CRC_BYTES:
            raise InputError(f"a CRC-32 has 32 bits: {self.latents_crc32}")
        if not self.payload:
            raise InputError("an inset has a payload")

    @property
    def rows(self) -> slice:
        """Its rows in the picture."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Its columns in the picture."""
        return slice(self.left, self.left + self.width)


def check_insets(insets: Sequence[Inset], width: int, height: int) -> None:
    """Raise `InputError` unless insets lie apart and inside a picture of some size in px, `LimitError` for too many."""
    if len(insets) > MAX_INSETS:
        raise LimitError(f"{len(insets)} insets, at most {MAX_INSETS} are allowed")
    for inset in insets:
        if inset.left + inset.width > width or inset.top + inset.height > height:
            raise InputError(
                f"an inset of {inset.width}x{inset.height} px at {inset.left},{inset.top} does not lie inside a "
                f"picture of {width}x{height} px"
            )
    for one, other in combinations(insets, 2):
        if _meet(one.rows, other.rows) and _meet(one.columns, other.columns):
            raise InputError(f"the insets at {one.left},{one.top} and {other.left},{other.top} overlap")


def pack_insets(insets: Sequence[Inset]) -> bytes:
    """Return the table of insets; their payloads stand elsewhere."""
    return bytes((len(insets),)) + b"".join(map(_packed, insets))


def skip_insets(data: bytes, position: int) -> tuple[int, int]:
    """Return how many bytes the payloads of the insets at a position take in all, and the position behind their table.

    Raises what `read_insets` raises, but for what only the payloads and the picture's size can tell.
    """
    (number,), position = _take(data, position, 1)
    if not 1 <= number <= MAX_INSETS:
        raise CorruptStream(f"the stream has {number} insets, 1 to {MAX_INSETS} are allowed: it is damaged")
    total_bytes = 0
    for _ in range(number):
        _, n_bytes, position = _read(data, position)
        total_bytes += n_bytes
    return total_bytes, position


def read_insets(data: bytes, position: int, payloads_at: int, width: int, height: int) -> tuple[Inset, ...]:
    """Return the insets whose table stands at a position, and whose payloads stand one behind the other at another.

    `width` and `height` are the picture's, px. Raises `TruncatedStream` where bytes are missing, and `CorruptStream`
    for what no encoder writes: too many or none, empty ones, those that overlap or leave the picture.
    """
    (number,), position = _take(data, position, 1)
    found = []
    try:
        for _ in range(number):
            numbers, n_bytes, position = _read(data, position)
            payload, payloads_at = _take(data, payloads_at, n_bytes)
            found.append(Inset(*numbers, payload))
        check_insets(found, width, height)
    except InputError as error:
        raise CorruptStream(f"the stream claims what no encoder writes ({error}): it is damaged") from error
    return tuple(found)


def _packed(inset: Inset) -> bytes:
    place = (inset.left, inset.top, inset.width, inset.height)
    return b"".join(
        (
            *map(write_varint, place),
            inset.quality_q6.to_bytes(_QUALITY_BYTES, "little"),
            inset.latents_crc32.to_bytes(_CRC_BYTES, "little"),
            write_varint(len(inset.payload)),
        )
    )


def _read(data: bytes, position: int) -> tuple[tuple[int, int, int, int, int, int], int, int]:
    """The numbers of `Inset` before its payload, the payload's bytes, and the position behind them."""
    left, position = read_varint(data, position, _MAX_SIZE_VARINT_BYTES, "left edge of an inset")
    top, position = read_varint(data, position, _MAX_SIZE_VARINT_BYTES, "upper edge of an inset")
    width, position = read_varint(data, position, _MAX_SIZE_VARINT_BYTES, "width of an inset")
    height, position = read_varint(data, position, _MAX_SIZE_VARINT_BYTES, "height of an inset")
    quality, position = _take(data, position, _QUALITY_BYTES)
    crc32, position = _take(data, position, _CRC_BYTES)
    n_bytes, position = read_varint(data, position, _MAX_LENGTH_VARINT_BYTES, "payload length of an inset")
    numbers = (left, top, width, height, int.from_bytes(quality, "little"), int.from_bytes(crc32, "little"))
    return numbers, n_bytes, position


def _take(data: bytes, position: int, n_bytes: int) -> tuple[bytes, int]:
    if position + n_bytes > len(data):
        raise TruncatedStream(f"the stream ends inside its insets, after {len(data)} bytes: get the whole file again")
    return data[position : position + n_bytes], position + n_bytes


def _meet(one: slice, other: slice) -> bool:
    return bool(one.start < other.stop and other.start < one.stop)
