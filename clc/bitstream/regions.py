"""Regions of an alignment: for each block of the target, which part of the reference shows it, or none. <-> bytes.

`clc.bitstream.alignment` carries them, `clc.references.regions` finds them, `clc.references.warp` follows them. Where
two pictures agree in places only (a form filled in twice, a window whose panels moved), one map for the whole picture
does more harm than good: ink is predicted where there is none. So each block says whether the alignment holds there,
holds with an offset of a small palette, or not at all; such a block is not covered, as beyond the reference's edge.

    ============  ===========  ==================================================================================
    bytes         field        content
    ============  ===========  ==================================================================================
    1             shape        bits 0 to 1: log2 of the block's side over 16 px, at most 2; bits 2 to 7: offsets
    2 to 6 each   offsets      zigzag varints: x, then y; 1/4 px
    1 and up      blocks       varint: number of bytes; then the map, row by row, under a binary range coder
    ============  ===========  ==================================================================================

The contract: all regions have exactly one encoding. As a range decoder accepts many byte strings for one map,
`PackedRegions.unpack` encodes the map again and compares.

Ledger of bit widths: an offset is within +-2**18 quarters of a px (65,536 px), below 2**20 as zigzag: 3 bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.bitstream.binary_coder import BinaryCoder, BinaryDecoder, BinaryEncoder
from clc.bitstream.varints import read_varint, unzigzag, write_varint, zigzag
from clc.errors import CorruptStream, InputError, TruncatedStream

BlockMap = npt.NDArray[np.uint8]

BLOCK_SIDES_PX = (16, 32, 64)
"""Sides that blocks may have, px of the target; the last row and column are cut at its edge."""

MAX_OFFSETS = 63
"""Offsets of a palette."""

MAX_OFFSET_Q2 = 1 << 18
"""Largest magnitude of an offset's coordinate, 1/4 px: 65,536 px."""

UNCOVERED, UNMOVED = 0, 1
"""Values of the map: nothing is taken from the reference; the alignment holds as it is. Offset i is i + 2."""

_SHAPE_BITS = 2
_MAX_OFFSET_VARINT_BYTES = 3
_MAX_LENGTH_VARINT_BYTES = 4
# Contexts: is it as predicted (which neighbours are alike, is it covered); is it as the other neighbour; the value.
_PREDICTED_AT, _OTHER_AT, _VALUE_AT = 0, 16, 20
_N_CONTEXTS = _VALUE_AT + 128


@dataclass(frozen=True, eq=False)
class Regions:
    """The parts of a reference that an alignment uses.

    - `block_px`: side of the blocks, one of `BLOCK_SIDES_PX`.
    - `offsets_q2`: up to `MAX_OFFSETS` offsets (dx, dy), in quarter px of the reference, within +-2**18.
    - `blocks` uint8 (rows, columns): `UNCOVERED`, `UNMOVED`, or 2 + the index of an offset, for each block of the
      target. It is copied and read-only.

    Raises `InputError` on construction where a field breaks these rules.
    """

    block_px: int
    offsets_q2: tuple[tuple[int, int], ...]
    blocks: BlockMap

    def __post_init__(self) -> None:
        if self.block_px not in BLOCK_SIDES_PX:
            raise InputError(f"alignment: blocks have sides of {BLOCK_SIDES_PX} px, not {self.block_px}")
        offsets = tuple((int(dx), int(dy)) for dx, dy in self.offsets_q2)
        if len(offsets) > MAX_OFFSETS or not all(-MAX_OFFSET_Q2 <= d <= MAX_OFFSET_Q2 for one in offsets for d in one):
            raise InputError(f"alignment: at most {MAX_OFFSETS} offsets within +-{MAX_OFFSET_Q2}, not {offsets}")
        if self.blocks.dtype != np.uint8 or self.blocks.ndim != 2 or 0 in self.blocks.shape:
            raise InputError(f"alignment: a map is uint8 (rows, columns), not {self.blocks.dtype} {self.blocks.shape}")
        if int(self.blocks.max()) >= len(offsets) + 2:
            raise InputError(f"alignment: the map names offset {int(self.blocks.max()) - 2} of {len(offsets)}")
        blocks = np.array(self.blocks, order="C")
        blocks.setflags(write=False)
        object.__setattr__(self, "offsets_q2", offsets)
        object.__setattr__(self, "blocks", blocks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Regions) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def key(self) -> tuple[object, ...]:
        """What tells regions apart."""
        return self.block_px, self.offsets_q2, self.blocks.shape, self.blocks.tobytes()


def map_shape(height: int, width: int, block_px: int) -> tuple[int, int]:
    """(rows, columns) of the blocks that cover a target of `height` x `width` px."""
    return -(-height // block_px), -(-width // block_px)


def pack_regions(regions: Regions) -> bytes:
    """Return the bytes of `regions`, in the layout of the module's table; `read_regions` is the inverse."""
    shape = BLOCK_SIDES_PX.index(regions.block_px) | len(regions.offsets_q2) << _SHAPE_BITS
    offsets = b"".join(write_varint(zigzag(number)) for offset in regions.offsets_q2 for number in offset)
    coder = BinaryEncoder(_N_CONTEXTS)
    _walk(coder, regions.blocks.tolist(), len(regions.offsets_q2) + 2, is_known=True)
    packed = coder.finish()
    return bytes((shape,)) + offsets + write_varint(len(packed)) + packed


class PackedRegions(NamedTuple):
    """Regions as they stand in the bytes; `packed` is the map, coded."""

    block_px: int
    offsets_q2: tuple[tuple[int, int], ...]
    packed: bytes

    def unpack(self, height: int, width: int) -> Regions:
        """The regions of a target of `height` x `width` px. Raises `CorruptStream` where no encoder writes such bytes.

        Time and memory grow with the number of blocks of the picture, and with no number in the stream.
        """
        rows, columns = map_shape(height, width, self.block_px)
        values = [[UNCOVERED] * columns for _ in range(rows)]
        n_values = len(self.offsets_q2) + 2
        _walk(BinaryDecoder(self.packed, _N_CONTEXTS), values, n_values, is_known=False)
        again = BinaryEncoder(_N_CONTEXTS)
        _walk(again, values, n_values, is_known=True)
        if again.finish() != self.packed:
            raise CorruptStream("the map of regions is not written as an encoder writes it: the stream is damaged")
        try:
            return Regions(self.block_px, self.offsets_q2, np.array(values, dtype=np.uint8))
        except InputError as error:
            raise CorruptStream(f"the stream is damaged: {error}") from error


def read_regions(data: bytes, position: int) -> tuple[PackedRegions, int]:
    """Return the regions at `data[position:]`, their map still coded, and the position behind them.

    Takes constant time. Raises `TruncatedStream` where the data end inside them, `CorruptStream` for a size of blocks
    that does not exist and for numbers that no encoder writes.
    """
    if position >= len(data):
        raise TruncatedStream("the stream ends inside the alignment's regions: get the whole file again")
    shape, position = data[position], position + 1
    size = shape & (1 << _SHAPE_BITS) - 1
    if size >= len(BLOCK_SIDES_PX):
        raise CorruptStream(f"the alignment's regions have blocks of a size that does not exist, {size}")
    numbers = []
    for _ in range(2 * (shape >> _SHAPE_BITS)):
        number, position = read_varint(data, position, _MAX_OFFSET_VARINT_BYTES, "regions' offsets")
        numbers.append(unzigzag(number))
    length, position = read_varint(data, position, _MAX_LENGTH_VARINT_BYTES, "regions' length")
    if position + length > len(data):
        raise TruncatedStream("the stream ends inside the alignment's regions: get the whole file again")
    offsets = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    return PackedRegions(BLOCK_SIDES_PX[size], offsets, data[position : position + length]), position + length


def _walk(coder: BinaryCoder, values: list[list[int]], n_values: int, *, is_known: bool) -> None:
    """Code the map row by row; `values` holds it when encoding (`is_known`) and takes it when decoding."""
    for row, line in enumerate(values):
        above = values[row - 1] if row else None
        for column in range(len(line)):
            wanted = line[column] if is_known else 0
            line[column] = _code_value(coder, _neighbours(line, above, column), n_values, wanted)


def _neighbours(line: list[int], above: list[int] | None, column: int) -> tuple[int, int, int, int]:
    """The blocks west, north, north-west and north-east of one; its nearest known ones stand for those that lack."""
    west = line[column - 1] if column else above[0] if above else UNMOVED
    if above is None:
        return west, west, west, west
    north = above[column]
    return west, north, above[column - 1] if column else north, above[column + 1] if column + 1 < len(line) else north


def _code_value(coder: BinaryCoder, around: tuple[int, int, int, int], n_values: int, wanted: int) -> int:
    """Code a block: is it the neighbour that continues the others, or else the other one, or else which of all."""
    west, north, north_west, north_east = around
    predicted, other = (north, west) if west == north_west else (west, north)
    alike = (west == north_west) | (north == north_west) << 1 | (north == north_east) << 2
    if not coder.code(_PREDICTED_AT + (alike << 1 | (predicted == UNCOVERED)), int(wanted != predicted)):
        return predicted
    if n_values == 2:
        return UNMOVED - predicted
    is_other_possible = other != predicted
    if is_other_possible and not coder.code(_OTHER_AT + (north == north_east), int(wanted != other)):
        return other
    value = 0
    for bit in _bits(wanted, n_values):
        node = (1 << bit[0]) | value
        value = value << 1 | coder.code(_VALUE_AT + node, bit[1])
    if value >= n_values:
        raise CorruptStream("the map of regions names an offset that does not exist: the stream is damaged")
    return value


def _bits(number: int, n_values: int) -> Iterator[tuple[int, int]]:
    """The bits of a number below `n_values`, highest first, each with its place counted from there."""
    n_bits = (n_values - 1).bit_length()
    return ((at, number >> n_bits - 1 - at & 1) for at in range(n_bits))
