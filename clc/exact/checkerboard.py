"""The phases in which the latents of a slice are coded: a checkerboard context model (He et al. 2021).

`clc.model.prior` codes the positions of colour 0 (the anchors) first, and conditions those of colour 1 on them. Values
are only moved here, so every function is exact in any dtype.

    0 1 0 1        phase 0    0 0        phase 1    1 1
    1 0 1 0   ->              0 0                   1 1
    0 1 0 1                   0 0                   1 1

A *phase plane* (.., h, w/2) holds the positions of one colour, row by row; h and w are even. In row r, index k of
colour p is column 2k + (r + p) % 2. A position of colour 1 has colour 0 above, below, left and right, and colour 1 at
its corners. A 3x3 convolution over decoded anchors, read at colour 1, is therefore four taps at half of the positions.

The first slice, before which only z is decoded, may code colour 0 in two steps, `THREE_PHASES`:

    0 2 0 2        phase 0: even rows of colour 0; phase 1: odd rows of colour 0, with
    2 1 2 1        positions of phase 0 at their corners; phase 2: all of colour 1
    0 2 0 2
    2 1 2 1

Or in four, `FIVE_PHASES`: phase 0 of these three is every second row and column of the plane, a *coarse board*, which
is coded in three such phases itself. Then one position in sixteen is conditioned on z alone; h and w are multiples of
4 latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CROSS_ROWS, CROSS_COLUMNS = [0, 2, 1, 1], [1, 1, 0, 2]
"""Rows and columns in a 3x3 kernel of the taps above, below, left and right: the order of `crossed`."""

CORNER_ROWS, CORNER_COLUMNS = [0, 0, 2, 2], [0, 2, 0, 2]
"""Rows and columns in a 3x3 kernel of the four corner taps: the order of `cornered`."""


class Phase(NamedTuple):
    """The positions that are coded together: those of one `colour`, 0 or 1, in even (0), odd (1) or all (None) `rows`.

    They lie on the plane of latents (.., h, w), or with `is_coarse` on its coarse board (.., h/2, w/2).
    """

    colour: int
    rows: int | None = None
    is_coarse: bool = False

    @property
    def layer_name(self) -> str:
        """Name of the layers that read the decoded neighbours of this phase; a bundle's weights are stored under it.

        "anchor" reads the four anchors around colour 1, "corner" the even rows at the corners of the odd rows of
        colour 0; "far_" is for the coarse board.
        """
        return ("far_" if self.is_coarse else "") + ("anchor" if self.colour else "corner")

    @property
    def reach(self) -> int:
        """Margin, in latents, that a tile needs around the positions that it codes; 4 keeps coarse boards whole."""
        return 4 if self.is_coarse else 1

    def board(self, plane: Tensor) -> Tensor:
        """The board on which the phase lies: the plane (.., h, w) itself, or its coarse board (.., h/2, w/2)."""
        return plane[..., ::2, ::2] if self.is_coarse else plane

    def of(self, plane: Tensor) -> Tensor:
        """Values of a plane (.., h, w) at the positions of the phase, row by row."""
        return self.within(of_phase(self.board(plane), self.colour))

    def within(self, colour_plane: Tensor) -> Tensor:
        """Values at the positions of the phase, from the phase plane of its colour on its board."""
        return colour_plane if self.rows is None else _rows(colour_plane)[self.rows]


TWO_PHASES = (Phase(0), Phase(1))
THREE_PHASES = (Phase(0, 0), Phase(0, 1), Phase(1))
FIVE_PHASES = (*(phase._replace(is_coarse=True) for phase in THREE_PHASES), *THREE_PHASES[1:])
PHASES = {2: TWO_PHASES, 3: THREE_PHASES, 5: FIVE_PHASES}


def decoded_anchors(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor | None:
    """Values already decoded at colour 0 on the next phase's board, a phase plane; unknown rows are 0.

    `parts` are the values of the first phases of `phases`, in order; the next phase is the one after them. None before
    the first phase.
    """
    return _anchors(*_on_one_board(phases, parts)) if parts else None


def assembled(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor:
    """The plane (.., h, w) from its values `parts` at all `phases`, a value of `PHASES`; the inverse of `Phase.of`."""
    phases, parts = _on_one_board(phases, parts)
    return interleaved(_anchors(phases, parts[:-1]), parts[-1])


def of_phase(plane: Tensor, colour: int) -> Tensor:
    """The phase plane of a colour, 0 or 1: (.., h, w) -> (.., h, w/2)."""
    even, odd = _rows(plane)
    return _joined(even[..., colour::2], odd[..., 1 - colour :: 2])


def interleaved(first: Tensor, second: Tensor) -> Tensor:
    """The plane (.., h, w) whose phase planes of colours 0 and 1 are `first` and `second`, (.., h, w/2) each."""
    ours, theirs = _rows(first), _rows(second)
    even = torch.stack([ours[0], theirs[0]], dim=-1).flatten(-2)
    odd = torch.stack([theirs[1], ours[1]], dim=-1).flatten(-2)
    return _joined(even, odd)


def crossed(first: Tensor) -> list[Tensor]:
    """Values above, below, left and right of each position of colour 1: four phase planes, 0 beyond the border.

    `first` (.., h, w/2) is the phase plane of colour 0.
    """
    upright = F.pad(first, (0, 0, 1, 1))
    even, odd = _rows(first)
    left = _joined(even, F.pad(odd, (1, 0))[..., :-1])
    right = _joined(F.pad(even, (0, 1))[..., 1:], odd)
    return [upright[..., :-2, :], upright[..., 2:, :], left, right]


def cornered(first: Tensor) -> list[Tensor]:
    """Values above left, above right, below left and below right of each position of colour 0, 0 beyond the border.

    `first` (.., h, w/2) and the four results are phase planes of colour 0.
    """
    upright = F.pad(first, (0, 0, 1, 1))
    corners = []
    for beyond in (upright[..., :-2, :], upright[..., 2:, :]):
        even, odd = _rows(beyond)
        corners.append(_joined(F.pad(even, (1, 0))[..., :-1], odd))
        corners.append(_joined(even, F.pad(odd, (0, 1))[..., 1:]))
    return corners


def _on_one_board(phases: Sequence[Phase], parts: Sequence[Tensor]) -> tuple[Sequence[Phase], Sequence[Tensor]]:
    """`phases` and `parts` with a fully decoded coarse board joined to one part; unchanged before that."""
    coarse = sum(phase.is_coarse for phase in phases)
    if not coarse or len(parts) < coarse:
        return phases, parts
    return THREE_PHASES, [assembled(THREE_PHASES, parts[:coarse]), *parts[coarse:]]


def _anchors(phases: Sequence[Phase], parts: Sequence[Tensor]) -> Tensor:
    """The phase plane of colour 0 from `parts`, its values at one or two of `phases`; rows not given are 0."""
    if phases[0].rows is None:
        return parts[0]
    return _joined(parts[0], parts[1] if len(parts) > 1 else torch.zeros_like(parts[0]))


def _rows(plane: Tensor) -> tuple[Tensor, Tensor]:
    """The even rows and the odd rows of (.., h, w)."""
    return plane[..., 0::2, :], plane[..., 1::2, :]


def _joined(even: Tensor, odd: Tensor) -> Tensor:
    """The inverse of `_rows`."""
    return torch.stack([even, odd], dim=-2).flatten(-3, -2)
