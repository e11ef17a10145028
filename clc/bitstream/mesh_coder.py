"""Meshes of offsets <-> bytes: an adaptive binary range coder over predicted offsets, all integers.

`clc.bitstream.alignment` is the only caller. Neighbouring offsets resemble each other and most differences are zero: a
context model learns both within the first few hundred nodes and spends less than a bit on a difference of zero, which a
Rice code cannot. One walk over the nodes (`_walk`) serves both directions.

The contract: every mesh has exactly one spelling. A range decoder by itself accepts many byte strings for the same
numbers, so `read_mesh` writes the mesh again and compares.

Ledger of bit widths: probabilities 16 bits, kept within 2**-7 of 0 and 1; interval 32 bits, at least 2**24.
"""

import numpy as np
import numpy.typing as npt

from clc.errors import CorruptStream

Mesh = npt.NDArray[np.int8]

_ONE = 1 << 16
_LEAST_PROBABILITY = _ONE >> 7
_RATES = [_ONE // (n + 2) for n in range(40)]  # of adaptation: nearly a mean at first, 1/41 in the long run
_LEAST_RANGE = 1 << 24
_WORD = 1 << 32
_UNARY_STEPS = 12
_ESCAPE_BITS = 8  # a difference of two offsets lies within +-255

_STILL = [0, 0]
_ACTIVITIES = (1, 3, 7)  # thresholds of the neighbours' differences, quarter px
_N_ZERO = 4 * 4
_SIGN_AT = _N_ZERO
_UNARY_AT = _SIGN_AT + 2 * 3
_N_CONTEXTS = _UNARY_AT + 4 * _UNARY_STEPS


def pack_mesh(mesh: Mesh) -> bytes:
    """Return the bytes of a mesh, int8 (rows, columns, 2)."""
    coder = _Encoder()
    _walk(coder, mesh.astype(np.int64).tolist(), is_known=True)
    return coder.finish()


def read_mesh(data: bytes, rows: int, columns: int) -> Mesh:
    """Return the mesh int8 (rows, columns, 2) that `data` holds; `CorruptStream` where no encoder wrote it."""
    values = [[[0, 0] for _ in range(columns)] for _ in range(rows)]
    _walk(_Decoder(data), values, is_known=False)
    mesh = np.array(values, dtype=np.int8)
    if pack_mesh(mesh) != data:
        raise CorruptStream("the mesh is not written as an encoder writes it: the stream is damaged")
    return mesh


class _Coder:
    """Adaptive probabilities, one for each context; `code` is the direction's own."""

    def __init__(self) -> None:
        self.probabilities = [_ONE >> 1] * _N_CONTEXTS
        self.counts = [0] * _N_CONTEXTS
        self.range = _WORD - 1

    def code(self, context: int, bit: int) -> int:
        """Codes a bit that the encoder gives and the decoder returns."""
        raise NotImplementedError

    def adapt(self, context: int, bit: int) -> None:
        count = self.counts[context]
        probability = self.probabilities[context]
        probability += ((0 if bit else _ONE) - probability) * _RATES[count] >> 16
        self.probabilities[context] = min(max(probability, _LEAST_PROBABILITY), _ONE - _LEAST_PROBABILITY)
        if count + 1 < len(_RATES):
            self.counts[context] = count + 1


class _Encoder(_Coder):
    def __init__(self) -> None:
        super().__init__()
        self.low = 0
        self.out = bytearray()

    def code(self, context: int, bit: int) -> int:
        bound = (self.range >> 16) * self.probabilities[context]
        if bit:
            self.low += bound
            self.range -= bound
        else:
            self.range = bound
        self.adapt(context, bit)
        while self.range < _LEAST_RANGE:
            self._shift()
            self.range <<= 8
        return bit

    def _shift(self) -> None:
        """Move the highest byte of `low` out, after its carry."""
        if self.low >= _WORD:
            at = len(self.out) - 1
            while self.out[at] == 255:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1
            self.low -= _WORD
        self.out.append(self.low >> 24)
        self.low = self.low << 8 & _WORD - 1

    def finish(self) -> bytes:
        """The shortest string whose continuation with zeros lies within the interval."""
        for n_zeros in range(31, -1, -1):
            rounded = -(-self.low >> n_zeros) << n_zeros
            if rounded < self.low + self.range:
                self.low = rounded
                break
        for _ in range(4):
            self._shift()
        return bytes(self.out).rstrip(b"\x00")


class _Decoder(_Coder):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        self.position = 4
        self.offset = int.from_bytes(data[:4].ljust(4, b"\x00"), "big")

    def code(self, context: int, bit: int) -> int:
        bound = (self.range >> 16) * self.probabilities[context]
        bit = int(self.offset >= bound)
        if bit:
            self.offset -= bound
            self.range -= bound
        else:
            self.range = bound
        self.adapt(context, bit)
        while self.range < _LEAST_RANGE:
            follows = self.data[self.position] if self.position < len(self.data) else 0
            self.offset = self.offset << 8 | follows
            self.range <<= 8
            self.position += 1
        return bit


def predict(mesh: list[list[list[int]]], row: int, column: int) -> tuple[int, int]:
    """The offset (dx, dy) that the nodes before (`row`, `column`) let expect; those behind it are not read."""
    west = mesh[row][column - 1] if column else _STILL
    if row == 0:
        return west[0], west[1]
    north, north_west = mesh[row - 1][column], mesh[row - 1][column - 1] if column else _STILL
    return _median(west[0], north[0], north_west[0]), _median(west[1], north[1], north_west[1])


def _walk(coder: _Coder, mesh: list[list[list[int]]], *, is_known: bool) -> None:
    """Code each node's dx and dy, row by row, as the difference from its prediction; fills `mesh` when decoding."""
    for row, nodes in enumerate(mesh):
        for column, node in enumerate(nodes):
            expected = predict(mesh, row, column)
            level = 0
            for axis in (0, 1):
                wanted = node[axis] - expected[axis] if is_known else 0
                difference = _code_number(coder, _busy(mesh, row, column, axis), axis * (1 + level), wanted)
                node[axis] = expected[axis] + difference
                if not -128 <= node[axis] <= 127:
                    raise CorruptStream("the mesh holds an offset that does not exist: the stream is damaged")
                level = min(abs(difference), 2)


def _busy(mesh: list[list[list[int]]], row: int, column: int, axis: int) -> int:
    """How much the neighbours before a node differ, 0 to 3."""
    if row == 0:
        return 1
    above = mesh[row - 1]
    north = above[column][axis]
    west, north_west = (mesh[row][column - 1][axis], above[column - 1][axis]) if column else (0, 0)
    north_east = above[column + 1][axis] if column + 1 < len(above) else north
    activity = abs(west - north_west) + abs(north - north_west) + abs(north - north_east)
    return sum(activity >= threshold for threshold in _ACTIVITIES)


def _median(west: int, north: int, north_west: int) -> int:
    """JPEG-LS's prediction: the median of west, north and their plane."""
    low, high = (west, north) if west < north else (north, west)
    return low if north_west >= high else high if north_west <= low else west + north - north_west


def _code_number(coder: _Coder, busy: int, group: int, number: int) -> int:
    """Code an integer within +-255: is it zero, its sign, then its size in unary with an escape."""
    if not coder.code(4 * busy + group, int(number != 0)):
        return 0
    is_negative = coder.code(_SIGN_AT + (group > 0), int(number < 0))
    wanted = abs(number)
    size = 1
    while size <= _UNARY_STEPS and coder.code(_UNARY_AT + _UNARY_STEPS * busy + size - 1, int(wanted > size)):
        size += 1
    if size > _UNARY_STEPS:
        extra = 0
        for i in range(_ESCAPE_BITS):
            extra |= coder.code(_SIGN_AT + 2, wanted - size >> i & 1) << i
        size += extra
    return -size if is_negative else size
