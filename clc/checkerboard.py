"""The two phases in which the latents of a slice are coded: the squares of a checkerboard.

    0 1 0 1        phase 0    0 0        phase 1    1 1
    1 0 1 0   ->              0 0                   1 1
    0 1 0 1                   0 0                   1 1

A *phase plane* (.., h, w/2) holds the positions of one phase, row by row; h and w are even. In row r, index k of phase
p is column 2k + (r + p) % 2. Beside, above and below a position of phase 1 are positions of phase 0, at its corners
ones of phase 1: so of a 3x3 convolution over what phase 0 became, phase 1 needs but four taps at half of the positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PHASES = 2
CROSS_ROWS, CROSS_COLUMNS = [0, 2, 1, 1], [1, 1, 0, 2]
"""Where in a 3x3 kernel the taps of `crossed` are, in its order."""


def of_phase(plane: Tensor, phase: int) -> Tensor:
    """The positions of a phase, 0 or 1: (.., h, w) -> (.., h, w/2)."""
    even, odd = _rows(plane)
    return _joined(even[..., phase::2], odd[..., 1 - phase :: 2])


def interleaved(first: Tensor, second: Tensor) -> Tensor:
    """The plane (.., h, w) of which `first` and `second` (.., h, w/2) are the phases."""
    ours, theirs = _rows(first), _rows(second)
    even = torch.stack([ours[0], theirs[0]], dim=-1).flatten(-2)
    odd = torch.stack([theirs[1], ours[1]], dim=-1).flatten(-2)
    return _joined(even, odd)


def crossed(first: Tensor) -> list[Tensor]:
    """What is above, below, left and right of each position of phase 1: four phase planes, 0 beyond the border.

    `first` (.., h, w/2) is the phase plane of phase 0.
    """
    upright = F.pad(first, (0, 0, 1, 1))
    even, odd = _rows(first)
    left = _joined(even, F.pad(odd, (1, 0))[..., :-1])
    right = _joined(F.pad(even, (0, 1))[..., 1:], odd)
    return [upright[..., :-2, :], upright[..., 2:, :], left, right]


def _rows(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Rows 0, 2, .. and rows 1, 3, .."""
    return plane[..., 0::2, :], plane[..., 1::2, :]


def _joined(even: Tensor, odd: Tensor) -> Tensor:
    """The inverse of `_rows`."""
    return torch.stack([even, odd], dim=-2).flatten(-3, -2)
