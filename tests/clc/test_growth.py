"""A deepened model computes what the shallower one computes, and its new blocks can learn."""

from dataclasses import replace

import pytest
import torch

from clc.bundle import SHIPPED
from clc.configuration import ModelConfig, tcm_config
from clc.errors import InputError
from clc.growth import deepened
from clc.model import Model
from clc.training import _begun, _parser
from tests.conftest import SMALL


def _pass(model: Model) -> torch.Tensor:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    tokens, absent = torch.zeros(2, 0, model.config.token), torch.zeros(2, dtype=torch.bool)
    result = model(model.g_a(x), torch.tensor([100, 5000]), tokens, absent)
    return torch.cat([result.x_hat.flatten(), result.y_bits])


@pytest.fixture
def small() -> Model:
    torch.manual_seed(2)
    return Model(SMALL).eval()


def test_a_deeper_model_starts_as_the_one_it_was_made_of(small: Model) -> None:
    config, weights = deepened(small.config, small.state_dict(), (3, 5))
    deeper = Model(config).eval()
    deeper.load_state_dict(weights)
    torch.testing.assert_close(_pass(deeper), _pass(small))
    assert (config.narrow_blocks, config.wide_blocks) == (3, 5)
    assert deeper.g_a.reach() == 7


def test_new_blocks_get_gradients(small: Model) -> None:
    config, weights = deepened(small.config, small.state_dict(), (3, 4))
    deeper = Model(config)
    deeper.load_state_dict(weights)
    _pass(deeper).square().sum().backward()
    added = {name: p for name, p in deeper.named_parameters() if name not in small.state_dict()}
    ends = [p.grad for name, p in added.items() if name.endswith((".leave.weight", ".narrow.weight"))]
    assert len(ends) == 2 * 4
    assert all(grad is not None and grad.abs().max() > 0 for grad in ends)


@pytest.mark.parametrize("blocks", [(1, 3), (2, 2), (40, 3)])
def test_blocks_cannot_be_taken_away_nor_be_too_many(small: Model, blocks: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="blocks"):
        deepened(small.config, small.state_dict(), blocks)


def test_a_backbone_without_such_blocks_is_refused() -> None:
    with pytest.raises(InputError, match="tcm"):
        deepened(tcm_config(), {}, (3, 4))


def test_weights_of_another_configuration_are_refused(small: Model) -> None:
    with pytest.raises(InputError, match="do not fit"):
        deepened(replace(SMALL, wide_blocks=4), small.state_dict(), (3, 5))


@pytest.mark.parametrize("start", [[], ["--start", str(SHIPPED)]])
def test_a_run_is_of_as_many_blocks_as_are_asked_for_from_the_klt_or_from_a_bundle(start: list[str]) -> None:
    options = _parser().parse_args(["--data", "x", "--out", "y", "--blocks", "3", "4", *start])
    config, weights = _begun(ModelConfig(), options)
    assert (config.narrow_blocks, config.wide_blocks) == (3, 4)
    assert (weights is not None) == bool(start)
    if weights is not None:
        assert set(weights) == set(Model(config).state_dict())


def test_an_older_configuration_has_the_blocks_it_had() -> None:
    fields = ModelConfig().to_json()
    del fields["narrow_blocks"], fields["wide_blocks"]
    assert ModelConfig.from_json(fields) == ModelConfig()
