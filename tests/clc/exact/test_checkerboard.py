"""The phases of a checkerboard: which positions they hold, and what a convolution needs of them."""

import pytest
import torch
import torch.nn.functional as F

from clc.exact.checkerboard import (
    CORNER_COLUMNS,
    CORNER_ROWS,
    CROSS_COLUMNS,
    CROSS_ROWS,
    FIVE_PHASES,
    THREE_PHASES,
    TWO_PHASES,
    Phase,
    assembled,
    cornered,
    crossed,
    decoded_anchors,
    interleaved,
    of_phase,
)


def test_a_phase_holds_its_squares_row_by_row() -> None:
    plane = torch.arange(24).view(1, 1, 4, 6)
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    for phase in (0, 1):
        expected = plane.flatten()[((rows + columns) % 2 == phase).flatten()]
        assert torch.equal(of_phase(plane, phase), expected.view(1, 1, 4, 3))


def test_interleaving_undoes_the_split() -> None:
    plane = torch.rand(2, 3, 8, 4)
    assert torch.equal(interleaved(of_phase(plane, 0), of_phase(plane, 1)), plane)


def test_four_taps_are_the_convolution_of_phase_0_at_phase_1() -> None:
    first, weight = torch.rand(2, 3, 6, 4).double(), torch.rand(5, 3, 3, 3).double()
    anchors = interleaved(first, torch.zeros_like(first))
    whole = of_phase(F.conv2d(anchors, weight, padding=1), 1)
    cross = weight[:, :, CROSS_ROWS, CROSS_COLUMNS].unbind(2)
    parts = zip(cross, crossed(first), strict=True)
    assert torch.allclose(sum(F.conv2d(part, tap[..., None, None]) for tap, part in parts), whole)


@pytest.mark.parametrize("phases", [TWO_PHASES, THREE_PHASES, FIVE_PHASES])
def test_phases_hold_each_position_once_and_make_the_plane_again(phases: tuple[Phase, ...]) -> None:
    plane = torch.arange(1, 2 * 8 * 12 + 1).view(1, 2, 8, 12)
    parts = [phase.of(plane) for phase in phases]
    assert sorted(value for part in parts for value in part.flatten().tolist()) == plane.flatten().tolist()
    assert torch.equal(assembled(phases, parts), plane)
    assert decoded_anchors(phases, []) is None
    assert torch.equal(decoded_anchors(phases, parts[:-1]), of_phase(plane, 0))


def test_of_the_first_rows_alone_the_others_are_not_known() -> None:
    plane = torch.rand(1, 2, 8, 6)
    known = decoded_anchors(THREE_PHASES, [THREE_PHASES[0].of(plane)])
    assert torch.equal(known[..., 0::2, :], of_phase(plane, 0)[..., 0::2, :])
    assert not known[..., 1::2, :].any()


def test_a_coarse_board_is_coded_as_a_plane_of_its_own_before_the_rest() -> None:
    plane = torch.rand(1, 2, 8, 12)
    parts = [phase.of(plane) for phase in FIVE_PHASES]
    coarse = plane[..., ::2, ::2]
    assert torch.equal(parts[0], THREE_PHASES[0].of(coarse))
    for count in (1, 2):
        known = decoded_anchors(FIVE_PHASES, parts[:count])
        assert torch.equal(known, decoded_anchors(THREE_PHASES, [phase.of(coarse) for phase in THREE_PHASES[:count]]))
    assert torch.equal(decoded_anchors(FIVE_PHASES, parts[:3]), decoded_anchors(THREE_PHASES, [coarse]))


def test_the_corner_taps_are_those_of_the_convolution() -> None:
    squares, weight = torch.rand(2, 3, 6, 4).double(), torch.rand(5, 3, 3, 3).double()
    weight[:, :, [0, 1, 1, 1, 2], [1, 0, 1, 2, 1]] = 0.0
    whole = of_phase(F.conv2d(interleaved(squares, torch.zeros_like(squares)), weight, padding=1), 0)
    corners = weight[:, :, CORNER_ROWS, CORNER_COLUMNS].unbind(2)
    parts = zip(corners, cornered(squares), strict=True)
    assert torch.allclose(sum(F.conv2d(part, tap[..., None, None]) for tap, part in parts), whole)
