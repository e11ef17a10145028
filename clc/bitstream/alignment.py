"""How a target picture lies in a reference picture: `Alignment` <-> bytes of the container.

`clc.references.registration` makes alignments, `clc.bitstream.container` carries them (version 2),
`clc.references.warp` applies them. Everything is an integer, so that both sides warp alike. No invalid alignment can
exist: the constructor refuses it, and so does `read_alignment`. The contract of the bytes: every alignment has exactly
one spelling.

    ============  ===========  ==================================================================================
    bytes         field        content
    ============  ===========  ==================================================================================
    8 to 32       corners      zigzag varints: p0, p1 - p0, p2 - p0, p3 - (p1 + p2 - p0); x, then y; 1/16 px
    1             flags        bit 0: brightness follows; bit 1: mesh follows
    0 or 6        brightness   3 gains (u8, 1/64), 3 offsets (two's complement); never the neutral ones
    0, 1 and up   mesh         varint: number of bytes; then the mesh as `clc.bitstream.mesh_coder` codes it
    ============  ===========  ==================================================================================

Ledger of bit widths: a corner is within +-2**20 sixteenths (65,536 px, more than any picture's side), a difference of
corners below 2**21, p3's prediction error below 2**22, hence below 2**23 as zigzag: 4 bytes as a varint.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from clc.bitstream.mesh_coder import Mesh, pack_mesh, read_mesh
from clc.bitstream.varints import read_varint, write_varint
from clc.errors import CorruptStream, InputError, TruncatedStream

MAX_ALIGNMENTS = 3
"""Aligned references that one stream may have."""

CORNER_BITS = 4
"""Corners are integers in units of 2**-CORNER_BITS px."""

MAX_CORNER_Q4 = 1 << 20
MESH_PX = 32
GAIN_BITS = 6
NEUTRAL_GAIN = (1 << GAIN_BITS,) * 3
NEUTRAL_OFFSET = (0, 0, 0)

_HAS_BRIGHTNESS, _HAS_MESH = 1, 2
_BRIGHTNESS_BYTES = 6
_MAX_CORNER_VARINT_BYTES = 4
_MAX_LENGTH_VARINT_BYTES = 3


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the target's pixels lie in the reference, and how its brightness differs.

    - `corners_q4` x0 y0 x1 y1 x2 y2 x3 y3: where the target's corners (0, 0), (W, 0), (0, H), (W, H) lie in the
      reference, in 1/16 px, within +-2**20. Positions count from the edge of the picture: a pixel's centre is at +0.5.
      They span a strictly convex quadrilateral in this order, so that the projective map has no pole and no flip.
    - `gain_q6` 1..255 and `offset` -128..127, for R, G, B: warped = (pixel * gain_q6 + 32 >> 6) + offset, clipped.
    - `mesh` int8 (rows, columns, 2) or None: offsets (dx, dy) in quarter px of the reference at nodes every
      `MESH_PX` px of the target, bilinear between them. It is copied and read-only.

    Raises `InputError` on construction where a field breaks these rules.
    """

    corners_q4: tuple[int, ...]
    gain_q6: tuple[int, int, int] = NEUTRAL_GAIN
    offset: tuple[int, int, int] = NEUTRAL_OFFSET
    mesh: Mesh | None = None

    def __post_init__(self) -> None:
        for name in ("corners_q4", "gain_q6", "offset"):
            given = getattr(self, name)
            if not all(isinstance(number, int | np.integer) for number in given):
                raise InputError(f"alignment: {name} holds integers, not {given}")
            # Python's own: products of corners do not fit into numpy's 64 bits
            object.__setattr__(self, name, tuple(int(number) for number in given))
        if len(self.corners_q4) != 8 or not all(-MAX_CORNER_Q4 <= c <= MAX_CORNER_Q4 for c in self.corners_q4):
            raise InputError(f"alignment: 8 corners within +-{MAX_CORNER_Q4} are needed, not {self.corners_q4}")
        if min(corner_denominators(self.corners_q4)) <= 0:
            raise InputError(f"alignment: the corners {self.corners_q4} do not span a convex quadrilateral in order")
        if len(self.gain_q6) != 3 or not all(1 <= gain <= 255 for gain in self.gain_q6):
            raise InputError(f"alignment: three gains within 1..255 are needed, not {self.gain_q6}")
        if len(self.offset) != 3 or not all(-128 <= offset <= 127 for offset in self.offset):
            raise InputError(f"alignment: three offsets within -128..127 are needed, not {self.offset}")
        if self.mesh is not None:
            if self.mesh.dtype != np.int8 or self.mesh.ndim != 3 or self.mesh.shape[2] != 2 or 0 in self.mesh.shape:
                raise InputError(
                    f"alignment: a mesh is int8 (rows, columns, 2), not {self.mesh.dtype} {self.mesh.shape}"
                )
            mesh = np.array(self.mesh, order="C")
            mesh.setflags(write=False)
            object.__setattr__(self, "mesh", mesh)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alignment) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        mesh = None if self.mesh is None else (self.mesh.shape, self.mesh.tobytes())
        return self.corners_q4, self.gain_q6, self.offset, mesh

    @property
    def is_neutral_in_brightness(self) -> bool:
        """Whether gain and offset leave every pixel as it is."""
        return self.gain_q6 == NEUTRAL_GAIN and self.offset == NEUTRAL_OFFSET


def without_brightness(alignment: Alignment) -> Alignment:
    """The same view of the reference, its levels as they are."""
    return replace(alignment, gain_q6=NEUTRAL_GAIN, offset=NEUTRAL_OFFSET)


def identity(height: int, width: int) -> Alignment:
    """The alignment of a picture of `height` x `width` px onto itself."""
    right, bottom = width << CORNER_BITS, height << CORNER_BITS
    return Alignment((0, 0, right, 0, 0, bottom, right, bottom))


def mesh_shape(height: int, width: int, mesh_px: int = MESH_PX) -> tuple[int, int]:
    """(rows, columns) of the nodes that cover a target of `height` x `width` px, its right and lower edge included."""
    return -(-height // mesh_px) + 1, -(-width // mesh_px) + 1


def corner_denominators(corners_q4: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The denominator of the projective map at the corners (0, 0), (W, 0), (0, H), (W, H), times one common factor.

    They are twice the areas of the four triangles of corners: all positive exactly where the quadrilateral is strictly
    convex and not mirrored. Below 2**44 in magnitude.
    """
    x0, y0, x1, y1, x2, y2, x3, y3 = corners_q4
    at_0 = (x2 - x3) * (y1 - y3) - (x1 - x3) * (y2 - y3)
    at_1 = (x2 - x3) * (y0 - y2) - (x0 - x2) * (y2 - y3)
    at_2 = (x1 - x3) * (y1 - y0) - (x1 - x0) * (y1 - y3)
    return at_0, at_1, at_2, at_1 + at_2 - at_0


def pack_alignment(alignment: Alignment) -> bytes:
    """Return the bytes of `alignment`."""
    x0, y0, x1, y1, x2, y2, x3, y3 = alignment.corners_q4
    numbers = (x0, y0, x1 - x0, y1 - y0, x2 - x0, y2 - y0, x3 - x1 - x2 + x0, y3 - y1 - y2 + y0)
    parts = [write_varint(2 * n if n >= 0 else -2 * n - 1) for n in numbers]
    flags = 0 if alignment.is_neutral_in_brightness else _HAS_BRIGHTNESS
    if alignment.mesh is not None:
        flags |= _HAS_MESH
    parts.append(bytes((flags,)))
    if flags & _HAS_BRIGHTNESS:
        parts.append(bytes((*alignment.gain_q6, *(offset & 255 for offset in alignment.offset))))
    if alignment.mesh is not None:
        packed = pack_mesh(alignment.mesh)
        parts += [write_varint(len(packed)), packed]
    return b"".join(parts)


def read_alignment(data: bytes, position: int, height: int, width: int) -> tuple[Alignment, int]:
    """Return the alignment of a target of `height` x `width` px at `data[position:]` and the position behind it.

    The inverse of `pack_alignment`. Raises `TruncatedStream` where the data end inside it, `CorruptStream` where no
    encoder writes such bytes. Time and memory: in proportion to the picture's nodes (about 1 us and 150 bytes for each
    32x32 px), never to another number of the stream.
    """
    fields, position = _read_fields(data, position)
    try:
        alignment = Alignment(
            _corners(fields.numbers),
            gain_q6=fields.gain_q6,
            offset=fields.offset,
            mesh=None if fields.mesh is None else read_mesh(fields.mesh, *mesh_shape(height, width)),
        )
    except InputError as error:
        raise CorruptStream(f"the stream is damaged: {error}") from error
    return alignment, position


def skip_alignment(data: bytes, position: int) -> int:
    """Return the position behind the alignment at `data[position:]` without making sense of its corners and mesh.

    Takes constant time; raises as `read_alignment` does for what it sees.
    """
    return _read_fields(data, position)[1]


class _Fields(NamedTuple):
    """An alignment's fields as they stand in the bytes; `mesh` is still packed."""

    numbers: tuple[int, ...]
    gain_q6: tuple[int, int, int]
    offset: tuple[int, int, int]
    mesh: bytes | None


def _read_fields(data: bytes, position: int) -> tuple[_Fields, int]:
    numbers = []
    for _ in range(8):
        number, position = read_varint(data, position, _MAX_CORNER_VARINT_BYTES, "alignment's corners")
        numbers.append(number >> 1 if number & 1 == 0 else -(number >> 1) - 1)
    (flags,), position = _take(data, position, 1, "flags")
    if flags & ~(_HAS_BRIGHTNESS | _HAS_MESH):
        raise CorruptStream(f"the alignment's flags are {flags:#04x}, which this release does not know")
    gain_q6, offset = NEUTRAL_GAIN, NEUTRAL_OFFSET
    if flags & _HAS_BRIGHTNESS:
        packed, position = _take(data, position, _BRIGHTNESS_BYTES, "brightness")
        gain_q6 = (packed[0], packed[1], packed[2])
        offset = (_signed(packed[3]), _signed(packed[4]), _signed(packed[5]))
        if gain_q6 == NEUTRAL_GAIN and offset == NEUTRAL_OFFSET:
            raise CorruptStream("the alignment spells out a neutral brightness: the stream is damaged")
    mesh = None
    if flags & _HAS_MESH:
        length, position = read_varint(data, position, _MAX_LENGTH_VARINT_BYTES, "mesh's length")
        mesh, position = _take(data, position, length, "mesh")
    return _Fields(tuple(numbers), gain_q6, offset, mesh), position


def _corners(numbers: tuple[int, ...]) -> tuple[int, ...]:
    x0, y0, dx1, dy1, dx2, dy2, dx3, dy3 = numbers
    x1, y1, x2, y2 = x0 + dx1, y0 + dy1, x0 + dx2, y0 + dy2
    return x0, y0, x1, y1, x2, y2, x1 + x2 - x0 + dx3, y1 + y2 - y0 + dy3


def _signed(octet: int) -> int:
    return octet - 256 if octet > 127 else octet


def _take(data: bytes, position: int, n_bytes: int, field: str) -> tuple[bytes, int]:
    if position + n_bytes > len(data):
        raise TruncatedStream(f"the stream ends inside the alignment's {field}: get the whole file again")
    return data[position : position + n_bytes], position + n_bytes
