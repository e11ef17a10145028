"""Meshes of offsets <-> bytes: predicted offsets under an adaptive binary range coder, all integers.

`clc.bitstream.alignment` codes meshes here; `clc.references.mesh_fit` predicts offsets as this coder does. Neighbouring
offsets resemble each other, and most differences from the prediction are 0: a context model learns that within a few
hundred nodes and spends less than a bit on a difference of 0, which a Rice code cannot. One walk over the nodes
(`_walk`) serves both directions.

The contract: every mesh has exactly one encoding. A range decoder by itself accepts many byte strings for the same
numbers, so `read_mesh` encodes the mesh again and compares.

Ledger of bit widths: probabilities 16 bits, kept within 2**-7 of 0 and 1; interval 32 bits, at least 2**24.
"""

import numpy as np
import numpy.typing as npt

from clc.errors import CorruptStream

Mesh = npt.NDArray[np.int8]

_ONE = 1 << 16  # a probability of 1
_LEAST_PROBABILITY = _ONE >> 7
_RATES = [_ONE // (n + 2) for n in range(40)]  # of adaptation: nearly a mean at first, 1/41 in the long run
_LEAST_RANGE = 1 << 24  # a shorter interval is scaled up by a byte
_WORD = 1 << 32
_UNARY_STEPS = 12  # sizes up to here are coded in unary, larger ones with an escape
_ESCAPE_BITS = 8  # a difference of two offsets lies within +-255

_NO_OFFSET = [0, 0]  # stands for a node left of the mesh
_ACTIVITIES = (1, 3, 7)  # thresholds of the neighbours' differences, quarter px
# Contexts: is it zero (4 activities x 4 groups); signs and escape bits (3 of 6 are used); steps (4 activities x 12).
_N_ZERO = 4 * 4
_SIGN_AT = _N_ZERO
_UNARY_AT = _SIGN_AT + 2 * 3
_N_CONTEXTS = _UNARY_AT + 4 * _UNARY_STEPS


def pack_mesh(mesh: Mesh) -> bytes:
    """Return the bytes of a mesh, int8 (rows, columns, 2) in quarter px; the inverse of `read_mesh`."""
    coder = _Encoder()
    _walk(coder, mesh.astype(np.int64).tolist(), is_known=True)
    return coder.finish()


def read_mesh(data: bytes, rows: int, columns: int) -> Mesh:
    """Return the mesh int8 (rows, columns, 2) that `data` holds; `CorruptStream` where no encoder writes such bytes."""
    values = [[[0, 0] for _ in range(columns)] for _ in range(rows)]
    _walk(_Decoder(data), values, is_known=False)
    mesh = np.array(values, dtype=np.int8)
    if pack_mesh(mesh) != data:
        raise CorruptStream("the mesh is not written as an encoder writes it: the stream is damaged")
    return mesh


class _Coder:
    """Adaptive probabilities of a 0, one for each context; a subclass for each direction has `code`."""

    def __init__(self) -> None:
        self.probabilities = [_ONE >> 1] * _N_CONTEXTS
        self.counts = [0] * _N_CONTEXTS
        self.range = _WORD - 1

    def code(self, context: int, bit: int) -> int:
        """Code a bit: an encoder writes and returns `bit`, a decoder ignores it and returns the one that it reads."""
        raise NotImplementedError

    def adapt(self, context: int, bit: int) -> None:
        """Move a context's probability of a zero, in 1 / 65,536, towards a bit: fast at first, then slower."""
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
        """Write the highest byte of `low`, after adding its carry to the bytes written before."""
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
        """Return all bytes: the shortest string that, continued with zeros, lies within the interval."""
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
    """Return the offset (dx, dy) predicted at (`row`, `column`), in quarter px, from the nodes before it alone."""
    west = mesh[row][column - 1] if column else _NO_OFFSET
    if row == 0:
        return west[0], west[1]
    north, north_west = mesh[row - 1][column], mesh[row - 1][column - 1] if column else _NO_OFFSET
    return _median(west[0], north[0], north_west[0]), _median(west[1], north[1], north_west[1])


def _walk(coder: _Coder, mesh: list[list[list[int]]], *, is_known: bool) -> None:
    """Code each node's dx and dy, row by row, as the difference from its prediction.

    `mesh` holds the offsets when encoding (`is_known`) and takes them when decoding.
    """
    for row, nodes in enumerate(mesh):
        for column, node in enumerate(nodes):
            expected = predict(mesh, row, column)
            level = 0
            for axis in (0, 1):
                wanted = node[axis] - expected[axis] if is_known else 0
                difference = _code_number(coder, _activity(mesh, row, column, axis), axis * (1 + level), wanted)
                node[axis] = expected[axis] + difference
                if not -128 <= node[axis] <= 127:
                    raise CorruptStream("the mesh holds an offset that does not exist: the stream is damaged")
                level = min(abs(difference), 2)


def _activity(mesh: list[list[list[int]]], row: int, column: int, axis: int) -> int:
    """The context of a node, 0 to 3: how much the neighbours before it differ from one another."""
    if row == 0:
        return 1
    above = mesh[row - 1]
    north = above[column][axis]
    west, north_west = (mesh[row][column - 1][axis], above[column - 1][axis]) if column else (0, 0)
    north_east = above[column + 1][axis] if column + 1 < len(above) else north
    difference = abs(west - north_west) + abs(north - north_west) + abs(north - north_east)
    return sum(difference >= threshold for threshold in _ACTIVITIES)


def _median(west: int, north: int, north_west: int) -> int:
    """The predictor of JPEG-LS (MED): the median of west, north and west + north - north_west."""
    low, high = (west, north) if west < north else (north, west)
    return low if north_west >= high else high if north_west <= low else west + north - north_west


def _code_number(coder: _Coder, activity: int, group: int, number: int) -> int:
    """Code an integer within +-255: whether it is zero, its sign, then its size in unary with an escape.

    `group` is 0 for dx, and 1 to 3 for dy by the size of dx's difference.
    """
    if not coder.code(4 * activity + group, int(number != 0)):
        return 0
    is_negative = coder.code(_SIGN_AT + (group > 0), int(number < 0))
    wanted = abs(number)
    size = 1
    while size <= _UNARY_STEPS and coder.code(_UNARY_AT + _UNARY_STEPS * activity + size - 1, int(wanted > size)):
        size += 1
    if size > _UNARY_STEPS:
        extra = 0
        for i in range(_ESCAPE_BITS):
            extra |= coder.code(_SIGN_AT + 2, wanted - size >> i & 1) << i
        size += extra
    return -size if is_negative else size
