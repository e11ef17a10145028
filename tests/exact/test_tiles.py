"""The exact path of a picture that is larger than anything sees: in tiles it gives the bits of the whole."""

from unittest import mock

import pytest
import torch
from torch import Tensor

from clc.codec import Codec
from clc.model import tiling
from clc.model.prior.walk import Conditions, Turn, walk
from clc.references.aligned import AlignedPixels

Z_ROWS, Z_COLUMNS = 9, 7


def steps(codec: Codec, *, is_aligned: bool) -> dict[str, Tensor]:
    """Every intermediate result of a walk over random symbols."""
    generator = torch.Generator().manual_seed(3)
    hyper, latents = codec.bundle.config.hyper, codec.bundle.config.latents
    z_hat = torch.randint(-9, 10, (1, hyper, Z_ROWS, Z_COLUMNS), generator=generator).double()
    symbols = torch.round(torch.randn(1, latents, 4 * Z_ROWS, 4 * Z_COLUMNS, generator=generator).double() * 3.0)
    size = (1, 3, 64 * Z_ROWS, 64 * Z_COLUMNS)
    levels = torch.randint(0, 256, size, generator=generator).float()
    inside = torch.ones(1, 1, *size[2:])
    inside[..., :100] = 0.0
    aligned = AlignedPixels(levels, inside, torch.ones(1, 1, 1, 1)) if is_aligned else None
    found: dict[str, Tensor] = {}

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        del level
        return turn.of(symbols) + mean

    conditions = Conditions(2000, codec.bundle.entries.conditioning((0, 1)), b"", aligned)
    with torch.no_grad():
        walk(codec.bundle.prior, z_hat, conditions, exchange, lambda name, values: found.update({name: values}))
    return found


@pytest.mark.parametrize("is_aligned", [False, True])
@pytest.mark.parametrize("side", [4, 12])
def test_tiles_give_the_bits_of_the_whole(shipped: Codec, side: int, is_aligned: bool) -> None:
    whole = steps(shipped, is_aligned=is_aligned)
    with mock.patch.multiple(tiling, WHOLE_LATENTS=side**2, WIDEST_LATENTS=side):
        assert len(tiling.tiles(4 * Z_ROWS, 4 * Z_COLUMNS, 1)) > 4
        tiled = steps(shipped, is_aligned=is_aligned)
    assert [name for name, values in whole.items() if not torch.equal(tiled[name], values)] == []
