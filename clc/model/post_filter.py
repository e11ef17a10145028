"""The post-filter: a linear filter of the decoded pixels, chosen for each by the edges around it.

g_s ends in a linear transform of 16x16 blocks: nothing behind it sees single pixels. What it leaves, ringing along an
edge and grain in flat places, depends on how strong, how directed and how turned the edges around a pixel are. So every
pixel is one of `CLASSES` by the structure tensor of its surroundings, and each class has, for each channel of YCoCg and
each of a few qualities, two weights of each of twelve symmetric pairs of differences within 5x5, d = y(p + o_t) - y(p)
and e = y(p - o_t) - y(p):

    y'(p) = y(p) + sum over t of w[class(p), t] (d + e) + v[class(p), t] (clip(d) + clip(e))

With clipped differences a pixel is drawn to those that are like it, and little to those across an edge. The weights
are least squares over pictures that a model was exported with (`fit`), no training; a stream says nothing of them.
Classes come from rounded pixels by whole numbers, so that two machines whose g_s differ in the last bit agree on all
but a few pixels. Filters chosen by a hash of local structure are those of RAISR (Romano et al., 2017); symmetric and
clipped ones, fitted by the encoder, are VVC's adaptive loop filter. See ADR 012. Called by `clc.model.tiling` and
`clc.bundle.export`.

Shapes: B pictures, H, W pixels, T taps; 2 T weights, those of plain differences first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clc.quality import MAX_QUALITY_Q6

STRENGTHS = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0)
"""Between the classes of strength: root mean square of luma's central differences, in levels."""
COHERENCES = (0.4, 0.75)
"""Between the classes of coherence, 0 (no direction) to 1 (one alone)."""
ANGLES = 8
CLASSES = (len(STRENGTHS) + 1) * (len(COHERENCES) + 1) * ANGLES
TAPS = tuple((down, right) for down in range(3) for right in range(-2, 3) if (down, right) > (0, 0))
CLIP = 8.0
"""Where differences are clipped, in levels."""
QUALITIES_Q6 = tuple(MAX_QUALITY_Q6 * quarter // 4 for quarter in range(5))
WEIGHTS_SHAPE = (len(QUALITIES_Q6), CLASSES, 3, 2 * len(TAPS))
LARGEST_WEIGHT = 4.0
"""Of any that is read or fitted: far beyond what smooths or sharpens."""
REACH_PX = 3
"""How far a filtered pixel sees: one for a difference, two for the means of its products; taps reach two."""

_SUMMED = 81
"""Weights of two means of 3x3, one behind the other, as sums."""
_SLOPE = float(np.tan(np.pi / 8))
_ANGLE_OF = torch.tensor([1, 0, 2, 0, 3, 4, 2, 4, 7, 0, 6, 0, 5, 4, 6, 4])
"""By four bits: near level, near upright, left of upright, below level."""
_STRIP_PX = 128
_RIDGE, _RIDGE_OF_MEAN = 2000.0, 1e-3
_TO_YCOCG = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.0, -0.5], [-0.25, 0.5, -0.25]])
_TO_RGB = torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0], [1.0, -1.0, -1.0]])

Example = tuple[Tensor, Tensor]
"""Decoded levels, float, and those of the picture, (B, 3, H, W) both."""


@dataclass(frozen=True, eq=False)
class PostFilter:
    """Weights float32 of `WEIGHTS_SHAPE`: qualities, classes, channels, two for each tap."""

    weights: Tensor

    def at(self, quality_q6: int) -> Tensor:
        """The weights (CLASSES, 3, 2 T) of a quality of 0..6400, in between those that were fitted."""
        place = quality_q6 * (len(QUALITIES_Q6) - 1) / QUALITIES_Q6[-1]
        knot = min(int(place), len(QUALITIES_Q6) - 2)
        return torch.lerp(self.weights[knot], self.weights[knot + 1], place - knot)

    def apply(self, levels_B3HW: Tensor, quality_q6: int) -> Tensor:
        """Filters pictures of levels 0..255, in their own precision; what comes out may be a little outside of them."""
        # (2 T, 3, CLASSES)
        weights = self.at(quality_q6).permute(2, 1, 0).contiguous().to(levels_B3HW)
        filtered = torch.empty_like(levels_B3HW)
        for top, strip in _strips(levels_B3HW):
            y, kinds = _turned(strip, _TO_YCOCG).transpose(0, 1), classes(strip)
            change = strip.new_zeros(3, *kinds.shape)
            for of_kind, difference in zip(weights, _differences(y), strict=True):
                change.addcmul_(of_kind.index_select(1, kinds.flatten()).view_as(change), difference)
            rows = slice(top, top + kinds.shape[1])
            filtered[:, :, rows] = levels_B3HW[:, :, rows] + _turned(change.transpose(0, 1), _TO_RGB)
        return filtered


def classes(levels_B3HW: Tensor) -> Tensor:
    """The class int64 (B, H - 6, W - 6) of every pixel but those at the edge, of float levels 0..255."""
    red, green, blue = torch.round(levels_B3HW.clamp(0.0, 255.0)).unbind(1)
    luma = torch.floor((red + blue + 2.0 * green) * 0.25)
    right = luma[:, 1:-1, 2:] - luma[:, 1:-1, :-2]
    down = luma[:, 2:, 1:-1] - luma[:, :-2, 1:-1]
    # Whole numbers below 2**24: exact, in whatever order they are summed.
    across, mixed, along = (_around(one) for one in (right * right, right * down, down * down))
    total, difference, cross = across + along, across - along, 2.0 * mixed
    strengths = total.new_tensor([_SUMMED * one * one for one in STRENGTHS])
    strength = torch.bucketize(total, strengths)
    directed, whole = difference * difference + cross * cross, torch.square(total + _SUMMED)
    weak, strong = (directed >= one * one * whole for one in COHERENCES)
    coherence = weak.long() + strong
    return (strength * (len(COHERENCES) + 1) + coherence) * ANGLES + _angles(difference, cross)


def _around(plane: Tensor) -> Tensor:
    """Nine times the mean of 3x3 of nine times the mean of 3x3, (B, H, W) to (B, H - 4, W - 4)."""
    for _ in range(2):
        plane = plane[:, :-2] + plane[:, 1:-1] + plane[:, 2:]
        plane = plane[:, :, :-2] + plane[:, :, 1:-1] + plane[:, :, 2:]
    return plane


def _angles(difference: Tensor, cross: Tensor) -> Tensor:
    """Which of eight parts of a turn (cross, difference) is in, the first around 0, by comparisons alone."""
    is_level = cross.abs() <= _SLOPE * difference.abs()
    is_upright = difference.abs() < _SLOPE * cross.abs()
    code = is_level.byte() + 2 * is_upright.byte() + 4 * (difference < 0).byte() + 8 * (cross < 0).byte()
    return _ANGLE_OF.to(cross.device)[code.int()]


def _strips(levels: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields strips of rows with `REACH_PX` around them, small enough for a core's cache, and their first row."""
    padded = F.pad(levels, (REACH_PX,) * 4, mode="replicate")
    for top in range(0, levels.shape[2], _STRIP_PX):
        yield top, padded[:, :, top : top + _STRIP_PX + 2 * REACH_PX]


def _turned(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Channels (B, 3, H, W) multiplied by a matrix (3, 3)."""
    return torch.einsum("ij,bjhw->bihw", matrix.to(pixels), pixels)


def _differences(y: Tensor) -> Iterator[Tensor]:
    """The 2 T differences that the weights multiply, each (.., H - 6, W - 6), from channels (.., H, W)."""
    for most in (None, CLIP):
        for pair in _pairs(y):
            first, second = pair if most is None else (one.clamp_(-most, most) for one in pair)
            yield first.add_(second)


def _pairs(y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The two differences of each of `TAPS`."""
    height, width = y.shape[-2] - 2 * REACH_PX, y.shape[-1] - 2 * REACH_PX

    def moved(down: int, right: int) -> Tensor:
        return y[..., REACH_PX + down : REACH_PX + down + height, REACH_PX + right : REACH_PX + right + width]

    for down, right in TAPS:
        yield moved(down, right) - moved(0, 0), moved(-down, -right) - moved(0, 0)


def fit(examples: Iterable[tuple[int, Example]]) -> PostFilter:
    """The post-filter with the least squared error over examples, each with the index of its quality in `QUALITIES_Q6`.

    The products of each class are shared with those that it becomes when a picture is mirrored or turned, and a ridge
    keeps what few pixels say from being believed: without examples nothing is filtered.
    """
    squares = torch.zeros(*WEIGHTS_SHAPE, WEIGHTS_SHAPE[-1], dtype=torch.float64)
    products = torch.zeros(WEIGHTS_SHAPE, dtype=torch.float64)
    for knot, (decoded, picture) in examples:
        _add(decoded, picture, squares[knot], products[knot])
    squares, products = _shared(squares, products)
    mean = torch.diagonal(squares, dim1=-2, dim2=-1).mean(dim=-1)
    ridge = (_RIDGE + _RIDGE_OF_MEAN * mean)[..., None, None] * torch.eye(WEIGHTS_SHAPE[-1], dtype=torch.float64)
    weights = torch.linalg.solve(squares + ridge, products).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
    return PostFilter(weights.float())


def _add(decoded: Tensor, picture: Tensor, squares: Tensor, products: Tensor) -> None:
    """Adds the products of an example to those of each class (CLASSES, 3, 2 T, 2 T) and (CLASSES, 3, 2 T)."""
    for top, strip in _strips(decoded):
        y, kinds = _turned(strip, _TO_YCOCG), classes(strip).flatten()
        rows = strip.shape[2] - 2 * REACH_PX
        missing = _turned((picture - decoded)[:, :, top : top + rows], _TO_YCOCG)
        order = torch.argsort(kinds)
        found, counts = torch.unique_consecutive(kinds[order], return_counts=True)
        seen = torch.stack([*_differences(y), missing], dim=-1).transpose(0, 1).flatten(1, 3)[:, order]
        for kind, part in zip(found.tolist(), torch.split(seen, counts.tolist(), dim=1), strict=True):
            gram = (part.transpose(1, 2) @ part).double()
            squares[kind] += gram[:, :-1, :-1]
            products[kind] += gram[:, :-1, -1]


def _shared(squares: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """The products, summed over all that mirroring and transposing makes of a class and of its taps."""
    rest = torch.arange(CLASSES) // ANGLES * ANGLES
    angle = torch.arange(CLASSES) % ANGLES
    summed = torch.zeros_like(squares), torch.zeros_like(products)
    for is_mirrored in (False, True):
        for is_transposed in (False, True):
            turned = -angle if is_mirrored else angle
            turned = (ANGLES // 2 - turned if is_transposed else turned) % ANGLES
            kinds, taps = rest + turned, torch.tensor([_moved(tap, is_mirrored, is_transposed) for tap in TAPS])
            taps = torch.cat([taps, taps + len(TAPS)])
            summed[0].add_(squares[:, kinds][..., taps, :][..., taps])
            summed[1].add_(products[:, kinds][..., taps])
    return summed


def _moved(tap: tuple[int, int], is_mirrored: bool, is_transposed: bool) -> int:
    """The tap that this one becomes; a tap and its opposite count as one."""
    down, right = tap[0], -tap[1] if is_mirrored else tap[1]
    down, right = (right, down) if is_transposed else (down, right)
    return TAPS.index(max((down, right), (-down, -right)))
