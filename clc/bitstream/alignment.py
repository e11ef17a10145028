"""The geometry and brightness that map a target picture onto a reference picture: `Alignment` <-> bytes.

`clc.references.registration` makes alignments, `clc.bitstream.container` carries them (version 2),
`clc.references.warp` applies them. All fields are integers, so that both sides warp alike. No invalid alignment can
exist: the constructor refuses it, and so does `read_alignment`. The contract of the bytes: every alignment has exactly
one encoding.

    ============  ===========  ==================================================================================
    bytes         field        content
    ============  ===========  ==================================================================================
    8 to 32       corners      zigzag varints: p0, p1 - p0, p2 - p0, p3 - (p1 + p2 - p0); x, then y; 1/16 px
    1             flags        bit 0: brightness follows; bit 1: mesh follows; bit 2: regions follow
    0 or 6        brightness   3 gains (u8, 1/64), 3 offsets (two's complement); never the neutral ones
    0, 1 and up   mesh         varint: number of bytes; then the mesh as `clc.bitstream.mesh_coder` codes it
    0, 2 and up   regions      as `clc.bitstream.regions` codes them
    ============  ===========  ==================================================================================

Ledger of bit widths: a corner is within +-2**20 sixteenths (65,536 px, more than any picture's side), a difference of
corners below 2**21, p3's prediction error below 2**22, hence below 2**23 as zigzag: 4 bytes as a varint.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from clc.bitstream.mesh_coder import Mesh, pack_mesh, read_mesh
from clc.bitstream.regions import PackedRegions, Regions, pack_regions, read_regions
from clc.bitstream.varints import read_varint, unzigzag, write_varint, zigzag
from clc.errors import CorruptStream, InputError, TruncatedStream

MAX_ALIGNMENTS = 3
"""Aligned references that one stream may have."""

CORNER_BITS = 4
"""Corners are integers in units of 2**-CORNER_BITS px."""

MAX_CORNER_Q4 = 1 << 20
"""Largest magnitude of a corner's coordinate, 1/16 px: 65,536 px."""

MESH_PX = 32
"""Distance of the mesh's nodes, px of the target."""

GAIN_BITS = 6
"""Gains are integers in units of 2**-GAIN_BITS."""

NEUTRAL_GAIN, NEUTRAL_OFFSET = (1 << GAIN_BITS,) * 3, (0, 0, 0)
"""Gains and offsets of R, G, B that leave every level as it is."""

_HAS_BRIGHTNESS, _HAS_MESH, _HAS_REGIONS = 1, 2, 4
_BRIGHTNESS_BYTES = 6
_MAX_CORNER_VARINT_BYTES = 4
_MAX_LENGTH_VARINT_BYTES = 3


@dataclass(frozen=True, eq=False)
class Alignment:
    """A projective map from the target to the reference, a mesh of offsets to it, and a brightness curve by colour.

    - `corners_q4` x0 y0 x1 y1 x2 y2 x3 y3: where the target's corners (0, 0), (W, 0), (0, H), (W, H) lie in the
      reference, in 1/16 px, within +-2**20. Positions count from the picture's edge: a pixel's centre is at +0.5 px.
      They span a strictly convex quadrilateral in this order, so that the projective map has no pole and no flip.
    - `gain_q6` 1..255 and `offset` -128..127 levels, for R, G, B: warped = (level * gain_q6 + 32 >> 6) + offset,
      clipped to 0..255.
    - `mesh` int8 (rows, columns, 2) or None: offsets (dx, dy) in quarter px of the reference, at nodes every
      `MESH_PX` px of the target, bilinear between them. It is copied and read-only.
    - `regions`: where the reference is used, and moved by how much beyond the map and its mesh; None for everywhere.

    Raises `InputError` on construction where a field breaks these rules.
    """

    corners_q4: tuple[int, ...]
    gain_q6: tuple[int, int, int] = NEUTRAL_GAIN
    offset: tuple[int, int, int] = NEUTRAL_OFFSET
    mesh: Mesh | None = None
    regions: Regions | None = None

    def __post_init__(self) -> None:
        for name in ("corners_q4", "gain_q6", "offset"):
            given = getattr(self, name)
            if not all(isinstance(number, int | np.integer) for number in given):
                raise InputError(f"alignment: {name} holds integers, not {given}")
            # Python's integers: products of corners do not fit into numpy's 64 bits.
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
        return self.corners_q4, self.gain_q6, self.offset, mesh, self.regions

    @property
    def is_neutral_in_brightness(self) -> bool:
        """Whether gain and offset leave every pixel as it is."""
        return self.gain_q6 == NEUTRAL_GAIN and self.offset == NEUTRAL_OFFSET


def without_brightness(alignment: Alignment) -> Alignment:
    """The alignment with the same geometry and a neutral brightness."""
    return replace(alignment, gain_q6=NEUTRAL_GAIN, offset=NEUTRAL_OFFSET)


def without_regions(alignment: Alignment) -> Alignment:
    """The alignment with the same geometry and brightness everywhere: no block moves, and all are covered."""
    return replace(alignment, regions=None)


def identity(height: int, width: int) -> Alignment:
    """The alignment of a picture of `height` x `width` px onto itself."""
    right, bottom = width << CORNER_BITS, height << CORNER_BITS
    return Alignment((0, 0, right, 0, 0, bottom, right, bottom))


def mesh_shape(height: int, width: int, mesh_px: int = MESH_PX) -> tuple[int, int]:
    """(rows, columns) of the nodes that cover a target of `height` x `width` px, its right and lower edge included."""
    return -(-height // mesh_px) + 1, -(-width // mesh_px) + 1


def corner_denominators(corners_q4: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The denominators of the projective map at the corners (0, 0), (W, 0), (0, H), (W, H), up to a common factor.

    Each is twice the area of the triangle of three corners of the quadrilateral, below 2**44 in magnitude. All are
    positive exactly where the quadrilateral is strictly convex and not mirrored.
    """
    x0, y0, x1, y1, x2, y2, x3, y3 = corners_q4
    at_0 = (x2 - x3) * (y1 - y3) - (x1 - x3) * (y2 - y3)
    at_1 = (x2 - x3) * (y0 - y2) - (x0 - x2) * (y2 - y3)
    at_2 = (x1 - x3) * (y1 - y0) - (x1 - x0) * (y1 - y3)
    return at_0, at_1, at_2, at_1 + at_2 - at_0


def pack_alignment(alignment: Alignment) -> bytes:
    """Return the bytes of `alignment`, in the layout of the module's table; the inverse of `read_alignment`."""
    x0, y0, x1, y1, x2, y2, x3, y3 = alignment.corners_q4
    numbers = (x0, y0, x1 - x0, y1 - y0, x2 - x0, y2 - y0, x3 - x1 - x2 + x0, y3 - y1 - y2 + y0)
    parts = [write_varint(zigzag(number)) for number in numbers]
    flags = 0 if alignment.is_neutral_in_brightness else _HAS_BRIGHTNESS
    if alignment.mesh is not None:
        flags |= _HAS_MESH
    if alignment.regions is not None:
        flags |= _HAS_REGIONS
    parts.append(bytes((flags,)))
    if flags & _HAS_BRIGHTNESS:
        parts.append(bytes((*alignment.gain_q6, *(offset & 255 for offset in alignment.offset))))
    if alignment.mesh is not None:
        packed = pack_mesh(alignment.mesh)
        parts += [write_varint(len(packed)), packed]
    if alignment.regions is not None:
        parts.append(pack_regions(alignment.regions))
    return b"".join(parts)


def read_alignment(data: bytes, position: int, height: int, width: int) -> tuple[Alignment, int]:
    """Return the alignment of a target of `height` x `width` px at `data[position:]` and the position behind it.

    The inverse of `pack_alignment`. Raises `TruncatedStream` where the data end inside it, `CorruptStream` where no
    encoder writes such bytes. Time and memory grow with the number of nodes and blocks of the picture (about 1 us and
    150 bytes for each), and with no other number in the stream.
    """
    fields, position = _read_fields(data, position)
    try:
        alignment = Alignment(
            _corners(fields.numbers),
            gain_q6=fields.gain_q6,
            offset=fields.offset,
            mesh=None if fields.mesh is None else read_mesh(fields.mesh, *mesh_shape(height, width)),
            regions=None if fields.regions is None else fields.regions.unpack(height, width),
        )
    except InputError as error:
        raise CorruptStream(f"the stream is damaged: {error}") from error
    return alignment, position


def skip_alignment(data: bytes, position: int) -> int:
    """Return the position behind the alignment at `data[position:]`; corners, mesh and map are not checked.

    Takes constant time. Raises `TruncatedStream` and `CorruptStream` as `read_alignment` does for the other fields.
    """
    return _read_fields(data, position)[1]


class _Fields(NamedTuple):
    """An alignment's fields as they stand in the bytes: the corners' differences; mesh and map are packed."""

    numbers: tuple[int, ...]
    gain_q6: tuple[int, int, int]
    offset: tuple[int, int, int]
    mesh: bytes | None
    regions: PackedRegions | None


def _read_fields(data: bytes, position: int) -> tuple[_Fields, int]:
    numbers = []
    for _ in range(8):
        number, position = read_varint(data, position, _MAX_CORNER_VARINT_BYTES, "alignment's corners")
        numbers.append(unzigzag(number))
    (flags,), position = _take(data, position, 1, "flags")
    if flags & ~(_HAS_BRIGHTNESS | _HAS_MESH | _HAS_REGIONS):
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
    regions = None
    if flags & _HAS_REGIONS:
        regions, position = read_regions(data, position)
    return _Fields(tuple(numbers), gain_q6, offset, mesh, regions), position


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
