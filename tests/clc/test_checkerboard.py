"""The phases of a checkerboard: which positions they hold, and what a convolution needs of them."""

import torch
import torch.nn.functional as F

from clc.checkerboard import CROSS_COLUMNS, CROSS_ROWS, PHASES, crossed, interleaved, of_phase


def test_a_phase_holds_its_squares_row_by_row() -> None:
    plane = torch.arange(24).view(1, 1, 4, 6)
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    for phase in range(PHASES):
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
