"""The order of the latents: every one is coded once, after all that it knows."""

import numpy as np
import pytest

from clc.overfitted.layout import FEATURES, layout_of

SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (16, 24), (33, 18)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_all_that_a_latent_knows_comes_in_an_earlier_wavefront(height: int, width: int) -> None:
    layout = layout_of(height, width)
    front = np.append(layout.front, -1)  # what lies outside is known from the start
    assert (front[layout.contexts] < layout.front[:, None]).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_wavefronts_hold_every_latent_once(height: int, width: int) -> None:
    layout = layout_of(height, width)
    assert sorted(np.concatenate(list(layout.wavefronts()))) == list(range(layout.n_latents))


def test_grids_halve_and_end_at_the_resolution_of_the_autoencoder() -> None:
    grids = layout_of(64, 96).grids
    assert [grid.shape for grid in grids[-3:]] == [(2, 16, 24), (2, 32, 48), (4, 64, 96)]
    assert [grid.features for grid in reversed(grids)] == list(FEATURES)
    assert [grid.start for grid in grids[1:]] == [grid.start + grid.size for grid in grids[:-1]]


def test_a_latent_knows_its_neighbours_the_feature_before_and_the_coarser_grid() -> None:
    layout = layout_of(8, 8)
    fine, coarse = layout.grids[-1], layout.grids[-2]
    place = np.arange(layout.n_latents)
    values = place[fine.span].reshape(fine.shape)
    coarser = place[coarse.span].reshape(coarse.shape)
    known = layout.contexts[values[3, 5, 2]].tolist()
    own = values[3]
    assert known[:6] == [own[5, 1], own[5, 0], own[4, 1], own[4, 2], own[4, 3], own[3, 2]]
    assert known[6:] == [values[2, 5, 2], coarser[1, 2, 1]]
    assert layout.contexts[values[0, 0, 0]].tolist()[:7] == [layout.n_latents] * 7
