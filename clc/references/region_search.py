"""Regions of an alignment: where a reference agrees, and which parts of it have moved. Encoder only.

`clc.references.registration` asks for them once a map for the whole picture is found. Where the same content stands
elsewhere (a panel that moved, a page that was scrolled), corners of both pictures match with one offset many times: the
offsets that most matches share are tried. Each block then takes what costs least, by the estimate of
`clc.references.block_bits`, plus what a change from block to block costs: nothing, the map as it is, or an offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.regions import MAX_OFFSETS, UNCOVERED, UNMOVED, Regions
from clc.pictures.picture import Picture
from clc.references.block_bits import BLOCK_PX, Bits, BlockBits
from clc.references.policy import POLICY
from clc.references.warp import Warped

MAX_CORNERS = 2_000
"""Corners of a picture, the strongest of those found."""

MAX_CORNER_PIXELS = 4_000_000
"""Pixels of a picture up to which corners are sought."""

LEAST_VOTES = 6
"""Matches of corners that must share an offset."""

TRIED_OFFSETS = 24
"""Offsets that are tried, those with the most matches."""

CHANGE_BITS = 3.0
"""Bits that a block's value costs for each of its four neighbours with another value."""

OFFSET_BITS = 100.0
"""Bits that an offset must save: its own, and those of its region's border."""

SWEEPS = 4
"""Times that the values are chosen anew beside those of their neighbours."""

_PATCH_PX = 31  # of the patch around a corner that its descriptor sees
_QUARTERS = 4  # units of an offset in a px

Moved = Callable[[tuple[int, int]], Warped]
"""The reference as an alignment shows it with all of it moved by an offset (dx, dy) in quarter px."""


class Corners(NamedTuple):
    """The N corners of a picture: `points` float64 (N, 2), x and y in px from its edge, and ORB's descriptors of them.

    They are found at full resolution and lie on whole pixels, so that a panel that moved gives one offset exactly.
    """

    points: npt.NDArray[np.float64]
    descriptors: npt.NDArray[np.uint8]


class Found(NamedTuple):
    """Regions, and the bits that blocks take with them by the estimate, the regions' own bytes not counted."""

    regions: Regions
    bits: float


def find_corners(picture_HW3: Picture) -> Corners:
    """The corners of a picture, uint8 (H, W, 3); none where it has more than `MAX_CORNER_PIXELS`."""
    none = Corners(np.zeros((0, 2)), np.zeros((0, 32), dtype=np.uint8))
    height, width = picture_HW3.shape[:2]
    if height * width > MAX_CORNER_PIXELS or min(height, width) <= 2 * _PATCH_PX:
        return none
    orb: Any = cv2.ORB.create(MAX_CORNERS, nlevels=1, edgeThreshold=_PATCH_PX // 2 + 1, patchSize=_PATCH_PX)
    keypoints, descriptors = orb.detectAndCompute(cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY), None)
    if not keypoints:
        return none
    return Corners(np.array([keypoint.pt for keypoint in keypoints]) + 0.5, descriptors)


def likely_offsets(target: Corners, reference: Corners, matrix: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Offsets (dx, dy), in quarter px of the reference, that many matches share beyond the projective map `matrix`.

    The most frequent come first; none is (0, 0).
    """
    if min(len(target.points), len(reference.points)) < LEAST_VOTES:
        return []
    matcher: Any = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    pairs = [(match.queryIdx, match.trainIdx) for match in matcher.match(target.descriptors, reference.descriptors)]
    ours, theirs = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    mapped = np.column_stack([target.points[ours], np.ones(len(ours))]) @ matrix.T
    offsets = reference.points[theirs] - mapped[:, :2] / mapped[:, 2:]
    found: list[tuple[int, int]] = []
    remaining = offsets[np.abs(offsets).max(axis=1) >= 0.5]
    for _ in range(TRIED_OFFSETS):
        whole, votes = np.unique(np.rint(remaining).astype(np.int64), axis=0, return_counts=True)
        if not len(votes) or votes.max() < LEAST_VOTES:
            break
        near = np.abs(remaining - whole[votes.argmax()]).max(axis=1)
        dx, dy = np.rint(np.median(remaining[near <= 0.75], axis=0) * _QUARTERS).astype(int)
        found.append((int(dx), int(dy)))
        remaining = remaining[near > 0.75]
    return [offset for offset in found if offset != (0, 0)]


def find_regions(bits: BlockBits, unmoved: Bits, offsets_q2: list[tuple[int, int]], moved: Moved) -> Found:
    """The regions that cost least, for a target whose `bits` are known, `unmoved` those beside the whole reference.

    `offsets_q2` are tried in their order, and an offset is kept that saves more than `OFFSET_BITS`.
    """
    trust = POLICY.trusted_bits
    layers = ((offset, bits.beside(moved(offset)) - trust) for offset in offsets_q2)
    regions, cost = cheapest_regions(bits.alone, unmoved - trust, layers)
    return Found(regions, cost + float(trust * (regions.blocks != UNCOVERED).sum()))


def cheapest_regions(
    alone: Bits, unmoved: Bits, moved: Iterable[tuple[tuple[int, int], Bits]]
) -> tuple[Regions, float]:
    """The regions that cost least, and the sum of what their blocks cost.

    Blocks cost `alone` without the reference, `unmoved` beside it as it lies, and each layer of `moved` with an offset;
    of these, in their order, those are kept that save more than `OFFSET_BITS`.
    """
    layers, palette = [alone, unmoved], list[tuple[int, int]]()
    best = np.minimum(alone, unmoved)
    for offset, layer in moved:
        saved = np.maximum(best - layer - 2 * CHANGE_BITS, 0).sum()
        if saved > OFFSET_BITS and len(palette) < MAX_OFFSETS:
            palette.append(offset)
            layers.append(layer)
            best = np.minimum(best, layer)
    stack = np.stack(layers)
    values = smoothed_values(stack)
    cost = float(np.take_along_axis(stack, values[None].astype(np.intp), axis=0).sum())
    used = sorted(set(np.unique(values).tolist()) - {UNCOVERED, UNMOVED})
    numbers = np.zeros(len(layers), dtype=np.uint8)
    numbers[[UNCOVERED, UNMOVED, *used]] = range(len(used) + 2)
    return Regions(BLOCK_PX, tuple(palette[value - 2] for value in used), numbers[values]), cost


def smoothed_values(layers: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The value of each block, uint8 (rows, columns), from the bits of each value (values, rows, columns).

    Iterated conditional modes (Besag 1986), the blocks as on a checkerboard, the white ones between the black ones.
    """
    values = layers.argmin(axis=0)
    is_white = np.indices(values.shape).sum(axis=0) % 2 == 0
    for sweep in range(2 * SWEEPS):
        around = np.pad(values, 1, mode="edge")
        neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
        costs = [
            layer + CHANGE_BITS * sum((neighbour != value).astype(np.float32) for neighbour in neighbours)
            for value, layer in enumerate(layers)
        ]
        chosen = np.argmin(costs, axis=0)
        values = np.where(is_white == bool(sweep % 2), chosen, values)
    blocks: npt.NDArray[np.uint8] = values.astype(np.uint8)
    return blocks
