"""Transforms in strips give what the whole picture gives, and each row once."""

import numpy as np
import pytest
import torch

from clc.model import tiling
from clc.model.model import Model
from clc.model.transforms import tiled
from clc.references.aligned import AlignedLatents, AlignedPixels, AlignedView
from tests.conftest import SMALL


@pytest.fixture
def model() -> Model:
    torch.manual_seed(5)
    model = Model(SMALL).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "aligned" in name or "take_over" in name or name.endswith("leave.weight"):
            parameter.copy_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize(
    ("rows", "columns", "reach"), [(4, 4, 4), (188, 128, 4), (512, 512, 5), (4096, 4, 1), (4, 9000, 4), (180, 100, 8)]
)
def test_each_latent_is_kept_once_and_has_its_margin(rows: int, columns: int, reach: int) -> None:
    seen = torch.zeros(rows, columns)
    for tile in tiling.tiles(rows, columns, reach):
        for span, length in zip(tile, (rows, columns), strict=True):
            assert span.start == 0 or span.first - span.start >= reach
            assert span.stop == length or span.stop - span.last >= reach
            assert not any(place % 2 for place in span)
            assert not any(place % tiling.GRAIN for place in (span.first, span.last))
        seen[tile.rows.first : tile.rows.last, tile.columns.first : tile.columns.last] += 1
    assert torch.equal(seen, torch.ones(rows, columns))


def test_what_a_tile_computes_grows_no_faster_than_the_picture() -> None:
    def computed(side: int) -> float:
        cut = tiling.tiles(side, side, 5)
        return sum((t.rows.stop - t.rows.start) * (t.columns.stop - t.columns.start) for t in cut) / side**2

    assert computed(128) < 1.2
    assert computed(512) < 1.3
    assert computed(1024) < 1.3


def test_a_transform_without_bounded_reach_is_run_on_the_whole() -> None:
    (tile,) = tiling.tiles(4096, 4096, None)
    assert tile == tiling.Tile(tiling.Span(0, 0, 4096, 4096), tiling.Span(0, 0, 4096, 4096))


def test_planes_of_several_resolutions_are_put_together() -> None:
    whole = torch.arange(32 * 24).reshape(1, 1, 32, 24)
    cut = [
        tiling.Tile(tiling.Span(0, 0, 16, 20), tiling.Span(0, 0, 24, 24)),
        tiling.Tile(tiling.Span(12, 16, 32, 32), tiling.Span(0, 0, 24, 24)),
    ]
    same, twice = tiling.in_tiles(
        cut, lambda t: (t.latents(whole), t.latents(whole).repeat_interleave(2, 2).repeat_interleave(2, 3))
    )
    assert torch.equal(same, whole)
    assert torch.equal(twice[..., ::2, ::2], whole)


@pytest.mark.parametrize("is_aligned", [False, True])
def test_strips_give_what_the_whole_gives(model: Model, monkeypatch: pytest.MonkeyPatch, is_aligned: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(1, 3, 448, 128, generator=generator)
    seen = AlignedPixels(
        torch.rand(1, 3, 448, 128, generator=generator) * 255, torch.ones(1, 1, 448, 128), torch.ones(1, 1, 1, 1)
    )
    step = model.gains.step(torch.tensor([3000]))
    film, a = model.gains.modulation(torch.tensor([3000])), torch.randn(1, 8, 28, 8, generator=generator)

    def run() -> tuple[torch.Tensor, torch.Tensor]:
        y = tiled.analyse(model.g_a, x, seen if is_aligned else None)
        own = AlignedLatents(y * 0.9 / step, torch.ones(1, 1, 28, 8), torch.zeros(1, 8, 28, 8), seen.present)
        view = AlignedView(seen, own) if is_aligned else None
        return y, tiled.synthesise(model.g_s, torch.round(y / step), step, film, tiled.Known(a, view))

    whole = run()
    monkeypatch.setattr(tiling, "WHOLE_LATENTS", 64)
    assert len(tiling.tiles(28, 8, 4)) == 4
    cut = run()
    assert np.abs((whole[0] - cut[0]).numpy()).max() < 1e-4
    assert np.abs(whole[1].numpy().astype(int) - cut[1].numpy()).max() <= 1
    assert whole[1].shape == x.shape
