"""Meshes of offsets <-> bytes: predicted offsets under an adaptive binary range coder, all integers.

`clc.bitstream.alignment` codes meshes here; `clc.references.mesh_fit` predicts offsets as this coder does. Neighbouring
offsets resemble each other, and most differences from the prediction are 0: a context model learns that within a few
hundred nodes and spends less than a bit on a difference of 0, which a Rice code cannot. One walk over the nodes
(`_walk`) serves both directions.

The contract: every mesh has exactly one encoding. A range decoder by itself accepts many byte strings for the same
numbers, so `read_mesh` encodes the mesh again and compares.
"""

import numpy as np
import numpy.typing as npt

from clc.bitstream.binary_coder import BinaryCoder, BinaryDecoder, BinaryEncoder
from clc.errors import CorruptStream

Mesh = npt.NDArray[np.int8]

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
    coder = BinaryEncoder(_N_CONTEXTS)
    _walk(coder, mesh.astype(np.int64).tolist(), is_known=True)
    return coder.finish()


def read_mesh(data: bytes, rows: int, columns: int) -> Mesh:
    """Return the mesh int8 (rows, columns, 2) that `data` holds; `CorruptStream` where no encoder writes such bytes."""
    values = [[[0, 0] for _ in range(columns)] for _ in range(rows)]
    _walk(BinaryDecoder(data, _N_CONTEXTS), values, is_known=False)
    mesh = np.array(values, dtype=np.int8)
    if pack_mesh(mesh) != data:
        raise CorruptStream("the mesh is not written as an encoder writes it: the stream is damaged")
    return mesh


def predict(mesh: list[list[list[int]]], row: int, column: int) -> tuple[int, int]:
    """Return the offset (dx, dy) predicted at (`row`, `column`), in quarter px, from the nodes before it alone."""
    west = mesh[row][column - 1] if column else _NO_OFFSET
    if row == 0:
        return west[0], west[1]
    north, north_west = mesh[row - 1][column], mesh[row - 1][column - 1] if column else _NO_OFFSET
    return _median(west[0], north[0], north_west[0]), _median(west[1], north[1], north_west[1])


def _walk(coder: BinaryCoder, mesh: list[list[list[int]]], *, is_known: bool) -> None:
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


def _code_number(coder: BinaryCoder, activity: int, group: int, number: int) -> int:
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
