"""The phases in which the latents of a slice are coded: the squares of a checkerboard.

    0 1 0 1        phase 0    0 0        phase 1    1 1
    1 0 1 0   ->              0 0                   1 1
    0 1 0 1                   0 0                   1 1

A *phase plane* (.., h, w/2) holds the positions of one phase, row by row; h and w are even. In row r, index k of phase
p is column 2k + (r + p) % 2. Beside, above and below a position of phase 1 are positions of phase 0, at its corners
ones of phase 1: so of a 3x3 convolution over what phase 0 became, phase 1 needs but four taps at half of the positions.

The first slice, before which nothing but z is known, may take the squares of phase 0 in two steps, `THREE_PHASES`:

    0 2 0 2        phase 0 is the even rows of the squares, phase 1 the odd ones, which
    2 1 2 1        have positions of phase 0 at their corners; phase 2 are all squares
    0 2 0 2        of the other colour
    2 1 2 1

Or in five, `FIVE_PHASES`: phase 0 of these three is a board of its own, of every second row and column, and is coded
in three such phases itself, so that a sixteenth of the positions is coded knowing z alone. h and w are then multiples
of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CROSS_ROWS, CROSS_COLUMNS = [0, 2, 1, 1], [1, 1, 0, 2]
"""Where in a 3x3 kernel the taps of `crossed` are, in its order."""

CORNER_ROWS, CORNER_COLUMNS = [0, 0, 2, 2], [0, 2, 0, 2]
"""Where those of `cornered` are."""


class Phase(NamedTuple):
    """What is coded at once: the squares of a `colour`, 0 or 1; their even (0) or odd (1) `rows`, or None for both.

    `is_coarse`: of the board of every second row and column.
    """

    colour: int
    rows: int | None = None
    is_coarse: bool = False

    @property
    def layer_name(self) -> str:
        """Which of its neighbours it is told, and so the name of the layers that are."""
        return ("far_" if self.is_coarse else "") + ("anchor" if self.colour else "corner")

    @property
    def reach(self) -> int:
        """How many positions of the plane beyond its own it needs, in whole boards."""
        return 4 if self.is_coarse else 1

    def board(self, plane: Tensor) -> Tensor:
        """The board of which it is a part: the plane (.., h, w) or its coarse one (.., h/2, w/2)."""
        return plane[..., ::2, ::2] if self.is_coarse else plane

    def of(self, plane: Tensor) -> Tensor:
        """Its positions of a plane (.., h, w), row by row."""
        return self.within(of_phase(self.board(plane), self.colour))

    def within(self, squares: Tensor) -> Tensor:
        """Its positions of the squares of its colour, which are a phase plane of its board."""
        return squares if self.rows is None else _rows(squares)[self.rows]


TWO_PHASES = (Phase(0), Phase(1))
THREE_PHASES = (Phase(0, 0), Phase(0, 1), Phase(1))
FIVE_PHASES = (*(phase._replace(is_coarse=True) for phase in THREE_PHASES), *THREE_PHASES[1:])
PHASES = {2: TWO_PHASES, 3: THREE_PHASES, 5: FIVE_PHASES}


def decoded_anchors(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor | None:
    """What the next of `phases` is told by `parts`, what the first of them became; None from nothing.

    The squares of colour 0 on the board of the next phase, a phase plane. Rows that are not known yet are 0.
    """
    return _squares(*_on_one_board(phases, parts)) if parts else None


def assembled(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor:
    """The plane (.., h, w) of which `parts` are the `phases`, which are one of `PHASES`."""
    phases, parts = _on_one_board(phases, parts)
    return interleaved(_squares(phases, parts[:-1]), parts[-1])


def of_phase(plane: Tensor, phase: int) -> Tensor:
    """The squares of a colour, 0 or 1: (.., h, w) -> (.., h, w/2)."""
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


def cornered(first: Tensor) -> list[Tensor]:
    """What is above left, above right, below left and below right of each square of one colour, 0 beyond the border.

    `first` (.., h, w/2) is the phase plane of colour 0, and so are the four results.
    """
    upright = F.pad(first, (0, 0, 1, 1))
    corners = []
    for beyond in (upright[..., :-2, :], upright[..., 2:, :]):
        even, odd = _rows(beyond)
        corners.append(_joined(F.pad(even, (1, 0))[..., :-1], odd))
        corners.append(_joined(even, F.pad(odd, (0, 1))[..., 1:]))
    return corners


def _on_one_board(phases: Sequence[Phase], parts: Sequence[Tensor]) -> tuple[Sequence[Phase], Sequence[Tensor]]:
    """The same with a coarse board that is known as one part."""
    coarse = sum(phase.is_coarse for phase in phases)
    if not coarse or len(parts) < coarse:
        return phases, parts
    return THREE_PHASES, [assembled(THREE_PHASES, parts[:coarse]), *parts[coarse:]]


def _squares(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor:
    if phases[0].rows is None:
        return parts[0]
    return _joined(parts[0], parts[1] if len(parts) > 1 else torch.zeros_like(parts[0]))


def _rows(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Rows 0, 2, .. and rows 1, 3, .."""
    return plane[..., 0::2, :], plane[..., 1::2, :]


def _joined(even: Tensor, odd: Tensor) -> Tensor:
    """The inverse of `_rows`."""
    return torch.stack([even, odd], dim=-2).flatten(-3, -2)
