"""The aligned reference inside the prior: nothing where it is absent, the same in float and on the grid."""

import pytest
import torch

from clc.bundle.bundle import exact_layers
from clc.errors import InputError
from clc.exact.functions import GridExp2, exp2_table
from clc.model.model import Model, make_prior
from clc.references.aligned import AlignedPixels
from clc.training.klt_start import follow_analysis
from tests.conftest import SMALL


@pytest.fixture
def model() -> Model:
    torch.manual_seed(5)
    model = Model(SMALL).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "fusion" in name or "aligned" in name or "take_over" in name:
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    follow_analysis(model)
    return model


def pixels(batch: int, present: list[float]) -> AlignedPixels:
    generator = torch.Generator().manual_seed(2)
    levels = torch.randint(0, 256, (batch, 3, 128, 64), generator=generator).float()
    inside = torch.ones(batch, 1, 128, 64)
    inside[:, :, :, 40:] = 0
    return AlignedPixels(levels * inside, inside, torch.tensor(present).view(-1, 1, 1, 1))


def run(model: Model, x: torch.Tensor, aligned: AlignedPixels | None) -> tuple[torch.Tensor, torch.Tensor]:
    quality = torch.full((len(x),), 3000)
    tokens, absent = torch.zeros(len(x), 0, SMALL.token), torch.zeros(len(x), dtype=torch.bool)
    noise = torch.Generator().manual_seed(1)
    result = model(model.g_a(x, aligned), quality, tokens, absent, aligned=aligned, generator=noise)
    return result.x_hat, result.y_bits + result.z_bits


def test_a_picture_without_reference_does_not_see_those_of_its_batch(model: Model) -> None:
    x = torch.rand(2, 3, 128, 64, generator=torch.Generator().manual_seed(3))
    seen = pixels(2, [0.0, 1.0])
    alone, bits_alone = run(model, x, None)
    beside, bits_beside = run(model, x, seen)
    assert torch.allclose(alone[0], beside[0], atol=1e-5)
    assert torch.allclose(bits_alone[0], bits_beside[0], rtol=1e-4)
    assert not torch.allclose(alone[1], beside[1], atol=1e-3)


def test_the_exact_branch_follows_the_float_one(model: Model) -> None:
    seen, quality = pixels(1, [1.0]), torch.tensor([3000])
    model.prior.fusion.log_gain.values.copy_(-model.gains.log_step / torch.log(torch.tensor(2.0)))
    exact = make_prior(SMALL, is_exact=True)
    for name, layer in exact_layers(model.prior).items():
        exact_layers(exact)[name].load_integers(**layer.export())
    found = exact.fusion(AlignedPixels(*(part.double() for part in seen)), exact.inverse_step(quality))
    expected = model.prior.fusion(seen, 1.0 / model.gains.step(quality))
    assert (found.r - expected.r).abs().max() < 0.05
    assert (found.features - expected.features).abs().max() < 0.05
    assert torch.equal(found.r * 64, torch.round(found.r * 64))
    assert torch.equal(found.covered.float(), expected.covered)


def test_where_nothing_is_covered_r_is_the_bias_alone(model: Model) -> None:
    seen = pixels(1, [1.0])
    found = model.prior.fusion(seen, torch.ones(1, SMALL.latents, 1, 1))
    assert found.covered[0, 0, 0, 3] == 0
    assert torch.allclose(found.r[0, :, 0, 3], model.prior.fusion.klt.bias, atol=1e-6)
    assert (found.features[:, :, :, 3] == 0).all()


@pytest.mark.parametrize("x", [-32.0, -1.0, -0.001, 0.0, 0.7, 5.0, 31.999])
def test_exact_powers_of_two_are_close_and_on_their_grid(x: float) -> None:
    snapped = torch.tensor([round(x * 1024) / 1024], dtype=torch.float64)
    power = GridExp2(is_exact=True)(snapped)
    assert torch.allclose(power, torch.exp2(snapped), rtol=1e-5)
    assert (power * 2.0**48 == torch.round(power * 2.0**48)).all()


def test_a_malformed_table_of_powers_is_refused() -> None:
    for broken in (exp2_table()[:-1], exp2_table().flip(0), exp2_table() + 1, exp2_table() * 2):
        with pytest.raises(InputError, match="powers of two"):
            GridExp2(is_exact=True).load_integers(broken)
