"""Transforms in strips give what the whole picture gives, and each row once."""

import numpy as np
import pytest
import torch

from clc import tiling
from clc.fusion import AlignedLatents, AlignedPixels
from clc.model import Model
from clc.transforms.interface import AlignedView
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
    ("rows", "columns", "reach"), [(4, 4, 4), (188, 128, 4), (512, 512, 4), (4096, 4, 1), (4, 9000, 4)]
)
def test_each_row_is_kept_once_and_has_its_margin(rows: int, columns: int, reach: int) -> None:
    kept = []
    for strip in tiling.strips(rows, columns, reach):
        first, last = strip.start + strip.keep.start, strip.start + strip.keep.stop
        kept += range(first, last)
        assert strip.start in (0, first - 4)
        assert strip.stop in (rows, last + 4)
    assert kept == list(range(rows))


def test_a_transform_without_bounded_reach_is_run_on_the_whole() -> None:
    assert [tuple(strip) for strip in tiling.strips(4096, 4096, None)] == [(0, 4096, slice(0, 4096))]


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
        y = tiling.analyse(model.g_a, x, seen if is_aligned else None)
        own = AlignedLatents(y * 0.9 / step, torch.ones(1, 1, 28, 8), torch.zeros(1, 8, 28, 8), seen.present)
        view = AlignedView(seen, own) if is_aligned else None
        return y, tiling.synthesise(model.g_s, torch.round(y / step), step, film, (a, view))

    whole = run()
    monkeypatch.setattr(tiling, "WHOLE_LATENTS", 64)
    assert len(list(tiling.strips(28, 8, 4))) == 4
    cut = run()
    for one, other in zip(whole, cut, strict=True):
        assert np.abs((one - other).numpy()).max() < 1e-4
