"""A grown model computes what the smaller one computes, and what was added can learn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from clc.bundle.bundle import SHIPPED
from clc.errors import InputError
from clc.model.config import ModelConfig, tcm_config
from clc.model.model import Model
from clc.references.aligned import AlignedPixels
from clc.training.__main__ import _begun, _parser
from clc.training.growth import grown
from clc.training.klt_start import klt_basis, start_from_klt, start_new_latents
from tests.conftest import SMALL, Picture


def _pass(model: Model) -> torch.Tensor:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    tokens, absent = torch.zeros(2, 0, model.config.token), torch.zeros(2, dtype=torch.bool)
    result = model(model.g_a(x), torch.tensor([100, 5000]), tokens, absent)
    return torch.cat([result.x_hat.flatten(), result.y_bits])


TWO_PHASES = replace(SMALL, first_phases=2, context_blocks=0)


@pytest.fixture
def small() -> Model:
    torch.manual_seed(2)
    return Model(TWO_PHASES).eval()


def larger(model: Model, **changes: Any) -> Model:
    wanted = replace(model.config, **changes)
    grew = Model(wanted)
    grew.load_state_dict(grown(model.config, model.state_dict(), wanted))
    return grew


def test_a_deeper_model_starts_as_the_one_it_was_made_of(small: Model) -> None:
    deeper = larger(small, narrow_blocks=3, wide_blocks=5).eval()
    torch.testing.assert_close(_pass(deeper), _pass(small))
    assert deeper.g_a.reach() == 7


@pytest.mark.parametrize("steps", [(3,), (5,), (3, 5)])
def test_a_model_of_more_phases_starts_as_that_of_two(small: Model, steps: tuple[int, ...]) -> None:
    model = small
    for phases in steps:
        model = larger(model, first_phases=phases)
    torch.testing.assert_close(_pass(model.eval()), _pass(small))
    assert len(model.prior.phases(0)) == steps[-1]
    assert len(model.prior.phases(1)) == 2


def test_a_prior_of_more_blocks_starts_as_that_of_fewer(small: Model) -> None:
    model = larger(small, context_blocks=2).eval()
    torch.testing.assert_close(_pass(model), _pass(small))
    assert (small.prior.base_reach, model.prior.base_reach) == (1, 3)


def test_the_synthesis_sees_nothing_of_a_further_slice_and_all_else_is_as_before(small: Model) -> None:
    model = larger(small, slices=(*SMALL.slices, 4)).eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    tokens, absent, quality = torch.zeros(1, 0, SMALL.token), torch.zeros(1, dtype=torch.bool), torch.tensor([3000])
    before, after = (one(one.g_a(x), quality, tokens, absent) for one in (small, model))
    torch.testing.assert_close(after.x_hat, before.x_hat)
    torch.testing.assert_close(after.y_hat[:, : SMALL.latents], before.y_hat)
    torch.testing.assert_close(model.gains.log_step[:, -4:], Model(model.config).gains.log_step[:, -4:])


def test_new_latents_carry_what_the_others_leave(small: Model, photo: Picture) -> None:
    model = larger(small, slices=(*SMALL.slices, 32)).eval()
    start_from_klt(small, klt_basis([photo], SMALL.latents, np.random.default_rng(0)))
    model.load_state_dict(grown(small.config, small.state_dict(), model.config))
    start_new_latents(model, [photo], SMALL.latents, np.random.default_rng(0))
    x = torch.from_numpy(photo[:192, :192].copy()).permute(2, 0, 1)[None] / 255.0
    tokens, absent, quality = torch.zeros(1, 0, SMALL.token), torch.zeros(1, dtype=torch.bool), torch.tensor([6400])
    errors = [(one(one.g_a(x), quality, tokens, absent).x_hat - x).square().mean() for one in (small, model)]
    assert errors[1] < 0.7 * errors[0]


def test_a_wider_model_starts_as_the_one_it_was_made_of(small: Model) -> None:
    wider = larger(small, narrow=SMALL.narrow + 8, narrow_blocks=SMALL.narrow_blocks + 1).eval()
    torch.testing.assert_close(_pass(wider), _pass(small))


@pytest.mark.parametrize(
    "changes", [{"first_phases": 3}, {"first_phases": 5, "context_blocks": 1}, {"narrow": SMALL.narrow + 8}]
)
def test_beside_a_reference_it_does_too(small: Model, changes: dict[str, int]) -> None:
    model = larger(small, **changes).eval()
    generator = torch.Generator().manual_seed(4)
    levels = torch.randint(0, 256, (1, 3, 64, 64), generator=generator).float()
    aligned = AlignedPixels(levels, torch.ones(1, 1, 64, 64), torch.ones(1, 1, 1, 1))
    x, quality = torch.rand(1, 3, 64, 64, generator=generator), torch.tensor([3000])
    tokens, absent = torch.zeros(1, 0, SMALL.token), torch.zeros(1, dtype=torch.bool)
    before, after = (one(one.g_a(x, aligned), quality, tokens, absent, aligned=aligned) for one in (small, model))
    torch.testing.assert_close(after.x_hat, before.x_hat)
    torch.testing.assert_close(after.y_bits, before.y_bits)


def test_the_new_phase_gets_gradients(small: Model) -> None:
    model = larger(small, first_phases=3)
    _pass(model).square().sum().backward()
    added = {name: p for name, p in model.named_parameters() if name not in small.state_dict()}
    trained = [name for name, p in added.items() if p.grad is not None and p.grad.abs().max() > 0]
    assert "prior.nets.0.corner_out.weight" in trained
    assert {"prior.nets.0.hidden.2.weight", "prior.nets.0.mean.2.weight"} <= set(trained)


def test_new_blocks_get_gradients(small: Model) -> None:
    deeper = larger(small, narrow_blocks=3, wide_blocks=4)
    _pass(deeper).square().sum().backward()
    added = {name: p for name, p in deeper.named_parameters() if name not in small.state_dict()}
    ends = [p.grad for name, p in added.items() if name.endswith((".leave.weight", ".narrow.weight"))]
    assert len(ends) == 2 * 4
    assert all(grad is not None and grad.abs().max() > 0 for grad in ends)


def test_new_channels_get_gradients(small: Model) -> None:
    wider = larger(small, narrow=SMALL.narrow + 8)
    for _ in range(2):
        _pass(wider).square().sum().backward()
        with torch.no_grad():
            for p in wider.parameters():
                if p.grad is not None:
                    p -= 1e-4 * p.grad.sign()
    grad = dict(wider.named_parameters())["g_s.synthesis.expand.weight"].grad
    assert grad is not None
    assert grad[4 * SMALL.narrow :].abs().max() > 0


LARGER = replace(
    TWO_PHASES,
    narrow=SMALL.narrow + 8,
    narrow_blocks=3,
    wide_blocks=4,
    first_phases=3,
    context_blocks=1,
    slices=(*SMALL.slices, 4),
)
CLEARED = """
g_a.eighth.3.leave.bias g_a.eighth.3.leave.weight g_a.eighth.3.narrow.bias g_a.eighth.3.narrow.weight
g_a.sixteenth.4.leave.bias g_a.sixteenth.4.leave.weight g_a.sixteenth.4.narrow.bias g_a.sixteenth.4.narrow.weight
g_s.synthesis.eighth.2.leave.bias g_s.synthesis.eighth.2.leave.weight
g_s.synthesis.eighth.2.narrow.bias g_s.synthesis.eighth.2.narrow.weight
g_s.synthesis.sixteenth.3.leave.bias g_s.synthesis.sixteenth.3.leave.weight
g_s.synthesis.sixteenth.3.narrow.bias g_s.synthesis.sixteenth.3.narrow.weight
prior.nets.0.corner_out.weight
prior.nets.2.aligned.weight prior.nets.2.anchor_out.weight
prior.nets.2.mean.0.weight prior.nets.2.mean.1.weight prior.nets.2.shape.0.weight prior.nets.2.shape.1.weight
"""


def test_a_grown_model_has_the_numbers_it_always_had(small: Model) -> None:
    state, fresh = grown(TWO_PHASES, small.state_dict(), LARGER), Model(LARGER).state_dict()
    assert list(state) == list(fresh)
    added = [name for name in state if name not in small.state_dict() and fresh[name].any()]
    assert sorted(name for name in added if not state[name].any()) == CLEARED.split()
    for phase in range(2):
        assert state[f"prior.nets.2.shape.{phase}.bias"].tolist() == [-2.0] * 4 + [0.0] * 4
    total = sum(float(value.double().abs().sum()) for value in state.values())
    assert total == pytest.approx(11681.936818821408, rel=1e-9)


def test_latents_and_phases_can_be_added_beside_another_backbone() -> None:
    torch.manual_seed(2)
    small = Model(replace(TWO_PHASES, backbone="tcm", narrow=8, residual_prediction=False)).eval()
    with torch.no_grad():
        small.h_a.enter_aligned.weight.normal_()
    model = larger(small, slices=(*SMALL.slices, 4), first_phases=3, context_blocks=1).eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    quality, latents = torch.tensor([3000]), SMALL.latents
    aligned = AlignedPixels(255.0 * x, torch.ones(1, 1, 64, 64), torch.ones(1, 1, 1, 1))
    tokens, absent = torch.zeros(1, 0, SMALL.token), torch.zeros(1, dtype=torch.bool)
    before, after = (one(one.g_a(x, aligned), quality, tokens, absent, aligned=aligned) for one in (small, model))
    torch.testing.assert_close(after.y_hat[:, :latents], before.y_hat)
    torch.testing.assert_close(after.x_hat, before.x_hat)


@pytest.mark.parametrize("blocks", [(1, 3), (2, 2), (40, 3)])
def test_blocks_cannot_be_taken_away_nor_be_too_many(small: Model, blocks: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="blocks"):
        larger(small, narrow_blocks=blocks[0], wide_blocks=blocks[1])


def test_a_backbone_without_such_blocks_is_refused() -> None:
    with pytest.raises(InputError, match="tcm"):
        grown(tcm_config(), {}, replace(tcm_config(), narrow_blocks=3))


def test_no_phase_can_be_taken_away_and_nothing_else_added(small: Model) -> None:
    with pytest.raises(InputError, match="phases"):
        larger(larger(small, first_phases=3), first_phases=2)
    with pytest.raises(InputError, match="further ones come last"):
        larger(small, slices=(4, *SMALL.slices))
    with pytest.raises(InputError, match="nothing else"):
        larger(small, hyper=16)


def test_weights_of_another_configuration_are_refused(small: Model) -> None:
    with pytest.raises(InputError, match="do not fit"):
        grown(replace(TWO_PHASES, wide_blocks=4), small.state_dict(), replace(TWO_PHASES, wide_blocks=5))


@pytest.mark.parametrize("start", [[], ["--start", str(SHIPPED)]])
def test_a_run_is_of_as_many_blocks_as_are_asked_for_from_the_klt_or_from_a_bundle(start: list[str]) -> None:
    options = _parser().parse_args(
        ["--data", "x", "--out", "y", "--blocks", "7", "9", "--narrow", "192", "--first-phases", "5", *start]
    )
    config, weights = _begun(ModelConfig(), options)
    assert (config.narrow_blocks, config.wide_blocks, config.narrow, config.first_phases) == (7, 9, 192, 5)
    assert (weights is not None) == bool(start)
    if weights is not None:
        assert set(weights) == set(Model(config).state_dict())


def test_an_older_configuration_has_the_blocks_and_phases_it_had() -> None:
    fields = ModelConfig().to_json()
    del fields["narrow_blocks"], fields["wide_blocks"], fields["first_phases"], fields["context_blocks"]
    assert ModelConfig.from_json(fields) == ModelConfig(first_phases=2, context_blocks=0)
