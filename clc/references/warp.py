"""The warp of reference pictures in integer arithmetic: the same pixels on every machine.

The encoder and the decoder both call `warp`. Its pixels enter the exact prior (`clc.model.prior.fusion`), so they must
not differ in one bit: all arithmetic is in integers, and no result depends on the order of operations.

The projective map of `clc.bitstream.alignment` is evaluated exactly at nodes every 32 px of the target, the mesh is
added there, and positions between nodes are bilinear. The last column or row of nodes may lie beyond the target's edge,
where the map may have a pole; such a node continues the line through the last inner node and the edge. A sample is a
4x4 filter (Catmull-Rom's kernel in 1/128) at positions of 1/32 px; taps beyond the reference take its edge's pixel.
Regions of an alignment move whole blocks by an offset, or leave them uncovered.

Ledger of bit widths (px positions count from the picture's edge):

    corners                      q4, 2**20; the map's numerators below 2**64 and 2**93 with the sizes: Python's integers
    nodes                        q8; within 2**16 px, beyond the edge within 2**28 px: 2**36
    interpolated positions       times (2 * 32)**2: q20, 2**48; rounded once to q5, 2**33; with a region's offset 2**34
    horizontal sums              255 * 128 * 1.25 < 2**16 in magnitude and range, rounded by 2 bits: 2**14
    vertical sums                range of 2**13.4 * 128 * 1.25 < 2**21
    three colours in an int64    lanes of 21 bits, biased to be positive: 63 bits
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import CORNER_BITS, GAIN_BITS, MESH_PX, Alignment, corner_denominators, mesh_shape
from clc.bitstream.regions import UNCOVERED, Regions, map_shape
from clc.errors import InputError
from clc.limits import check_size
from clc.pictures.picture import Picture, check_picture

Int64Array = npt.NDArray[np.int64]

POSITION_BITS = 5
"""Positions in the reference are rounded to 2**-POSITION_BITS px."""

_NODE_BITS = 8  # fractional bits of the nodes' positions, px
_MESH_BITS = 2  # fractional bits of the mesh's offsets, px
_WEIGHTS = 2 * MESH_PX  # bilinear weights count half pixels, because pixels' centres lie between whole ones
_TAP_BITS = 7  # fractional bits of the filter's taps
_MIDDLE_BITS = 2  # dropped between the horizontal and the vertical filter
_LANE_BITS = 21  # of an int64, for each colour
_LANE = (1 << _LANE_BITS) - 1
_LANES = 1 | 1 << _LANE_BITS | 1 << 2 * _LANE_BITS
_LEFT_TAPS = 1  # left of (above) the sample's pixel; two stand on the other side
_PAD = 2  # px by which each edge of the reference is repeated
_STRIP_PIXELS = 1 << 14  # in work at one time: temporaries of 128 KiB stay in the cache


class Warped(NamedTuple):
    """A warped reference: `pixels` uint8 (H, W, 3), 0 where not `inside`; `inside` bool (H, W), what it covers."""

    pixels: Picture
    inside: npt.NDArray[np.bool_]


def warp(reference_HW3: Picture, size: tuple[int, int], alignment: Alignment) -> Warped:
    """Return the reference, uint8 (H', W', 3), warped onto a target of `size` (height, width).

    A pixel is inside where its centre maps into the reference, edges included, and its block is covered. Raises
    `InputError` for another shape or dtype and for a mesh or regions of another size, `LimitError` over the caps of
    `clc.limits`. Memory: 8 bytes a pixel of the reference and 4 a pixel of the target; time in proportion to both.
    """
    check_picture(reference_HW3, "a reference")
    height, width = size
    check_size(width, height)
    check_size(reference_HW3.shape[1], reference_HW3.shape[0])
    nodes = _nodes(alignment, height, width)
    moves = _Moves(alignment.regions, size)
    source = _Source(reference_HW3)
    brightness = brightness_curves(alignment)[:, np.clip(np.arange(_LEVELS) - _LEVEL_BIAS, 0, 255)]
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    inside = np.zeros((height, width), dtype=np.bool_)
    n_rows = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, n_rows):
        rows = slice(top, min(height, top + n_rows))
        x_q5, y_q5 = (_positions(axis, rows, width) for axis in nodes)
        inside[rows] = moves.apply(rows, x_q5, y_q5)
        inside[rows] &= (x_q5 >= 0) & (x_q5 <= source.right_q5) & (y_q5 >= 0) & (y_q5 <= source.bottom_q5)
        where = inside[rows]
        if where.any():
            source.sample(x_q5, y_q5, brightness, pixels[rows])
            pixels[rows][~where] = 0
    return Warped(pixels, inside)


def compose(parts: Sequence[Warped]) -> Warped:
    """Return one warped picture of several of the same size: the first that covers a pixel provides it.

    Raises `InputError` for no parts or parts of different sizes.
    """
    if not parts or any(part.inside.shape != parts[0].inside.shape for part in parts):
        raise InputError("warped references can be composed where there is one at least and all have the same size")
    pixels, inside = parts[0].pixels.copy(), parts[0].inside.copy()
    for part in parts[1:]:
        is_new = part.inside & ~inside
        pixels[is_new] = part.pixels[is_new]
        inside |= part.inside
    return Warped(pixels, inside)


def brightness_curves(alignment: Alignment) -> npt.NDArray[np.uint8]:
    """The level that each of 256 levels of R, G, B maps to by gain and offset, clipped: uint8 (3, 256)."""
    gains, offsets = np.array(alignment.gain_q6)[:, None], np.array(alignment.offset)[:, None]
    raised = ((np.arange(256) * gains + (1 << GAIN_BITS - 1)) >> GAIN_BITS) + offsets
    curves: npt.NDArray[np.uint8] = np.clip(raised, 0, 255).astype(np.uint8)
    return curves


def with_brightness(warped: Warped, alignment: Alignment) -> Warped:
    """Apply the brightness of `alignment` to a reference that was warped with its geometry and a neutral brightness.

    The result equals `warp` with `alignment`.
    """
    curves, pixels = brightness_curves(alignment), np.empty_like(warped.pixels)
    for colour in range(3):
        pixels[:, :, colour] = curves[colour][warped.pixels[:, :, colour]]
    pixels[~warped.inside] = 0
    return Warped(pixels, warped.inside)


def _nodes(alignment: Alignment, height: int, width: int) -> tuple[Int64Array, Int64Array]:
    """Positions x and y of the nodes in the reference, int64 (rows, columns) each, in 1/256 px."""
    rows, columns = mesh_shape(height, width)
    if alignment.mesh is not None and alignment.mesh.shape[:2] != (rows, columns):
        raise InputError(f"the mesh has {alignment.mesh.shape[:2]} nodes, a {width}x{height} px target {rows, columns}")
    x0, y0, x1, y1, x2, y2, _, _ = alignment.corners_q4
    d0, d1, d2, _ = corner_denominators(alignment.corners_q4)
    # Times width * height: weights of the corners (0, 0), (W, 0) and (0, H), which the map blends projectively.
    at_x = np.array([min(MESH_PX * i, width) for i in range(columns)], dtype=object)[None, :] * height
    at_y = np.array([min(MESH_PX * j, height) for j in range(rows)], dtype=object)[:, None] * width
    at_0 = width * height - at_x - at_y
    denominator = d0 * at_0 + d1 * at_x + d2 * at_y
    nodes = []
    for axis, (p0, p1, p2) in enumerate(((x0, x1, x2), (y0, y1, y2))):
        numerator = (p0 * d0 * at_0 + p1 * d1 * at_x + p2 * d2 * at_y) << _NODE_BITS - CORNER_BITS
        exact = (2 * numerator + denominator) // (2 * denominator)
        position = _beyond_edge(_beyond_edge(exact, width).T, height).T.astype(np.int64)
        if alignment.mesh is not None:
            position += alignment.mesh[:, :, axis].astype(np.int64) << _NODE_BITS - _MESH_BITS
        nodes.append(position)
    return nodes[0], nodes[1]


def _beyond_edge(nodes: npt.NDArray[np.object_], length: int) -> npt.NDArray[np.object_]:
    """Move the last column, in place, from the edge at `length` px to a multiple of 32 px, by linear extrapolation."""
    last_cell = length - MESH_PX * (nodes.shape[1] - 2)
    nodes[:, -1] = nodes[:, -2] + (nodes[:, -1] - nodes[:, -2]) * MESH_PX // last_cell
    return nodes


def _positions(nodes: Int64Array, rows: slice, width: int) -> Int64Array:
    """Where the pixels' centres of some rows map to, along one axis of the reference: int64 (rows, width), 1/32 px."""
    y = np.arange(rows.start, rows.stop)
    cell, down = y // MESH_PX, 2 * (y % MESH_PX) + 1
    lines = nodes[cell] * (_WEIGHTS - down)[:, None] + nodes[cell + 1] * down[:, None]
    left, step = lines[:, :-1, None], np.diff(lines, axis=1)[:, :, None]
    exact = left * _WEIGHTS + step * (2 * np.arange(MESH_PX) + 1)
    drop = _NODE_BITS - POSITION_BITS + 2 * (_WEIGHTS.bit_length() - 1)
    position: Int64Array = (exact.reshape(len(y), -1)[:, :width] + (1 << drop - 1)) >> drop
    return position


class _Moves:
    """The offsets and the coverage that regions give to the blocks of a target of `size` (height, width)."""

    def __init__(self, regions: Regions | None, size: tuple[int, int]) -> None:
        if regions is None:
            self._blocks = None
            return
        self._px, self._width, self._blocks = regions.block_px, size[1], regions.blocks
        if regions.blocks.shape != map_shape(*size, self._px):
            raise InputError(f"the map has {regions.blocks.shape} blocks of {self._px} px, the target {size} px")
        offsets = np.array([(0, 0), (0, 0), *regions.offsets_q2], dtype=np.int64)
        self._offsets_q5 = offsets << POSITION_BITS - _MESH_BITS

    def apply(self, rows: slice, x_q5: Int64Array, y_q5: Int64Array) -> npt.NDArray[np.bool_] | bool:
        """Move the positions (rows, width) of some rows in place; returns which of them are covered, True for all."""
        if self._blocks is None:
            return True
        lines = self._blocks[np.arange(rows.start, rows.stop) // self._px]
        at = np.repeat(lines, self._px, axis=1)[:, : self._width]
        x_q5 += self._offsets_q5[at, 0]
        y_q5 += self._offsets_q5[at, 1]
        covered: npt.NDArray[np.bool_] = at != UNCOVERED
        return covered


def _tap_table() -> Int64Array:
    """Catmull-Rom's four taps for each phase of 1/32 px, int64 (4, 32), in 1/128; each phase sums to 128."""
    t: Int64Array = np.arange(1 << POSITION_BITS, dtype=np.int64)
    one = 1 << POSITION_BITS
    outer_left = -t * (one - t) ** 2  # times 2 * one**3, as the others
    inner_left = 3 * t**3 - 5 * one * t**2 + 2 * one**3
    outer_right = -(t**2) * (one - t)
    unit = 2 * one**3 >> _TAP_BITS
    taps: Int64Array = np.stack([outer_left, inner_left, np.zeros_like(t), outer_right])
    taps = (taps + unit // 2) // unit
    taps[2] = (1 << _TAP_BITS) - taps.sum(axis=0)
    return taps


_TAPS = _tap_table()
_MIDDLE_BIAS = 1 << 12  # more than the least horizontal sum, 255 * 128 * -1/8 / 4 = -1020
_BIAS = _LANES * ((_MIDDLE_BIAS << _MIDDLE_BITS) + (1 << _MIDDLE_BITS - 1))
_MIDDLE_MASK = _LANES * ((1 << _LANE_BITS - _MIDDLE_BITS) - 1)
_DROP = 2 * _TAP_BITS - _MIDDLE_BITS
_LEVEL_BIAS = _MIDDLE_BIAS << _TAP_BITS >> _DROP  # a constant passes the vertical filter times 128
_LEVELS = 1 << _LANE_BITS - _DROP


class _Source:
    """A reference ready for sampling: the three colours of a pixel packed into one int64, the edges repeated."""

    def __init__(self, reference_HW3: Picture) -> None:
        height, width, _ = reference_HW3.shape
        self.right_q5, self.bottom_q5 = width << POSITION_BITS, height << POSITION_BITS
        self._width, self._height, self._stride = width, height, width + 2 * _PAD
        packed = np.empty((height + 2 * _PAD, self._stride), dtype=np.int64)
        inner = packed[_PAD : _PAD + height, _PAD : _PAD + width]
        inner[:] = reference_HW3[:, :, 2]
        for colour in (1, 0):
            inner <<= _LANE_BITS
            inner |= reference_HW3[:, :, colour]
        packed[_PAD : _PAD + height, :_PAD] = inner[:, :1]
        packed[_PAD : _PAD + height, _PAD + width :] = inner[:, -1:]
        packed[:_PAD] = packed[_PAD]
        packed[_PAD + height :] = packed[_PAD + height - 1]
        self._packed = packed.ravel()

    def sample(self, x_q5: Int64Array, y_q5: Int64Array, brightness: npt.NDArray[np.uint8], out_HW3: Picture) -> None:
        """Write the samples at positions (h, w) into `out_HW3`, with brightness; outside, those at the nearest edge."""
        half = 1 << POSITION_BITS - 1
        x, y = (
            np.clip(p_q5 - half, -half, p_max - half) for p_q5, p_max in ((x_q5, self.right_q5), (y_q5, self.bottom_q5))
        )
        corner = ((y >> POSITION_BITS) + _PAD - _LEFT_TAPS) * self._stride
        corner += (x >> POSITION_BITS) + _PAD - _LEFT_TAPS
        x &= (1 << POSITION_BITS) - 1
        y &= (1 << POSITION_BITS) - 1
        across = [taps.take(x) for taps in _TAPS]
        total = np.zeros_like(corner)
        product = np.empty_like(corner)
        for row, taps in enumerate(_TAPS):
            line = self._filter(row * self._stride, corner, across, product)
            line *= np.take(taps, y, out=product, mode="clip")
            total += line
        total += _LANES << _DROP - 1
        for colour in range(3):
            level = (total >> colour * _LANE_BITS + _DROP) & _LEVELS - 1
            out_HW3[:, :, colour] = brightness[colour].take(level)

    def _filter(self, offset: int, corner: Int64Array, across: list[Int64Array], product: Int64Array) -> Int64Array:
        """The horizontal sums, biased and rounded, of the row of taps that starts `offset` pixels after `corner`."""
        line = self._packed[offset:].take(corner)
        line *= across[0]
        for column in range(1, 4):
            np.take(self._packed[offset + column :], corner, out=product, mode="clip")
            product *= across[column]
            line += product
        line += _BIAS
        line >>= _MIDDLE_BITS
        line &= _MIDDLE_MASK
        return line
