"""Where photographs lie in a page: rectangles found by their pixels, in a hundredth of the time that coding takes.

    pixels that differ from both neighbours -> blocks of many such, and of many colours -> connected components
    -> each cut along rows and columns that are flat, until nothing is left to cut -> rectangles, exact to the pixel

Blocks are classified as compound images usually are, by their colours; cuts are the recursive XY-cut of the analysis of
documents. What is found is a proposal: `clc.codec.ways.compound` measures whether it pays.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from clc.pictures.picture import Picture

MIN_SIDE_PX = 64
"""The shortest side of a rectangle: below it the transform's own header and its edges take what it saves."""

MAX_FOUND = 8

_BLOCK_PX = 16
_LEAST_BUSY = 0.4
_LEAST_COLOURS = 24
"""Of a block: text and lines are less busy, patterns and dithered pictures have fewer colours."""

_LEAST_BUSY_LINE = 0.2
_FLAT_PX = 2
"""A row or column that is less busy belongs to the page; so many beside one another separate two photographs."""

_MOST_CUTS = 4
"""How often a rectangle is cut anew: columns, rows, and both once more."""

Mask = npt.NDArray[np.bool_]


class Rectangle(NamedTuple):
    """A part of a picture: rows `top` to `bottom` and columns `left` to `right`, px, the last ones outside."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """In px."""
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def rows(self) -> slice:
        """Its rows."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.left, self.right)

    def meets(self, other: Rectangle) -> bool:
        """Whether both have a pixel in common."""
        in_rows = self.top < other.bottom and other.top < self.bottom
        return in_rows and self.left < other.right and other.left < self.right


def photographs_in(image_HW3: Picture) -> tuple[Rectangle, ...]:
    """Return where photographs seem to lie in a picture, uint8 (H, W, 3): up to 8, the largest first, none overlap."""
    if min(image_HW3.shape[:2]) < MIN_SIDE_PX:
        return ()
    codes = _codes(image_HW3)
    busy = _busy(codes)
    found = [part for box in _components(_photographic(codes, busy)) for part in _cut(busy, box)]
    chosen: list[Rectangle] = []
    for rectangle in sorted(found, key=lambda one: one.area, reverse=True):
        if len(chosen) < MAX_FOUND and not any(rectangle.meets(one) for one in chosen):
            chosen.append(rectangle)
    return tuple(chosen)


def _codes(image_HW3: Picture) -> npt.NDArray[np.uint32]:
    """A number for each pixel's colour."""
    red, green, blue = (image_HW3[..., place].astype(np.uint32) for place in range(3))
    return (red << np.uint32(16)) | (green << np.uint32(8)) | blue


def _busy(codes_HW: npt.NDArray[np.uint32]) -> Mask:
    """Which pixels differ from the one to the right and from the one below; at those edges, from the other alone."""
    right = np.ones(codes_HW.shape, np.bool_)
    below = np.ones(codes_HW.shape, np.bool_)
    right[:, :-1] = codes_HW[:, 1:] != codes_HW[:, :-1]
    below[:-1] = codes_HW[1:] != codes_HW[:-1]
    busy: Mask = right & below
    return busy


def _photographic(codes_HW: npt.NDArray[np.uint32], busy_HW: Mask) -> Mask:
    """Which blocks are busy and have many colours, (rows, columns); of blocks that are cut off, none."""
    rows, columns = codes_HW.shape[0] // _BLOCK_PX, codes_HW.shape[1] // _BLOCK_PX
    whole = slice(rows * _BLOCK_PX), slice(columns * _BLOCK_PX)
    shape = rows, _BLOCK_PX, columns, _BLOCK_PX
    found: Mask = busy_HW[whole].reshape(shape).sum(axis=(1, 3)) >= _LEAST_BUSY * _BLOCK_PX**2
    blocks = codes_HW[whole].reshape(shape).swapaxes(1, 2)[found].reshape(-1, _BLOCK_PX**2)
    blocks.sort(axis=1)
    found[found] = 1 + (blocks[:, 1:] != blocks[:, :-1]).sum(axis=1) >= _LEAST_COLOURS
    return found


def _components(blocks: Mask) -> list[Rectangle]:
    """Boxes of connected blocks that are half full and large enough, a block wider than they are on every side.

    Gaps of a block are closed before: calm parts of a photograph.
    """
    closed = cv2.morphologyEx(blocks.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, statistics, _ = cv2.connectedComponentsWithStats(closed, connectivity=4)
    least = MIN_SIDE_PX // _BLOCK_PX - 1
    found = []
    for left, top, width, height, area in statistics[1:].tolist():
        if min(width, height) >= least and 2 * area >= width * height:
            box = (top - 1, top + height + 1, left - 1, left + width + 1)
            found.append(Rectangle(*(_BLOCK_PX * max(0, edge) for edge in box)))
    return found


def _cut(busy_HW: Mask, box: Rectangle, cuts: int = _MOST_CUTS) -> list[Rectangle]:
    """The parts of a box that remain where flat columns and rows at its edges and inside of it are left out."""
    pieces, is_cut = [box], False
    for axis in (1, 0):
        kept = []
        for piece in pieces:
            runs = _runs(busy_HW[piece.rows, piece.columns].mean(axis=1 - axis))
            parts = [_shortened(piece, axis, *run) for run in runs]
            kept += [part for part in parts if min(part.bottom - part.top, part.right - part.left) >= MIN_SIDE_PX]
            is_cut = is_cut or parts != [piece]
        pieces = kept
    if not is_cut or not cuts:
        return pieces
    return [part for piece in pieces for part in _cut(busy_HW, piece, cuts - 1)]


def _shortened(box: Rectangle, axis: int, start: int, stop: int) -> Rectangle:
    if axis == 1:
        return box._replace(left=box.left + start, right=box.left + stop)
    return box._replace(top=box.top + start, bottom=box.top + stop)


def _runs(shares: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Where lines are busy: start and stop of each run, those that hardly anything separates joined."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (shares >= _LEAST_BUSY_LINE).astype(np.int8), [0]))))
    runs: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if runs and start - runs[-1][1] < _FLAT_PX:
            runs[-1] = runs[-1][0], stop
        else:
            runs.append((start, stop))
    return runs
