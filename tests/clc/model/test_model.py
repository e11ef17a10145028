"""The model's state stays what trained weights are for, and its configuration reads what was written before."""

import hashlib
import json
from dataclasses import asdict, replace

import pytest
import torch

from clc.bundle.bundle import SHIPPED
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.model.config import ModelConfig, tcm_config
from clc.model.model import Model, perturbed
from clc.model.quantisation import straight_through_round
from clc.references.aligned import AlignedPixels

FIRST_FIELDS = {
    "slices": [16, 32, 64, 144],
    "narrow": 128,
    "wide": 192,
    "hyper": 64,
    "hyper_width": 96,
    "features": 128,
    "token": 48,
    "reference": 64,
    "aligned": 64,
    "context": 128,
    "knots": 9,
}


THREE = ModelConfig(slices=(16, 32, 64, 144), first_phases=3, context_blocks=0)
TWO = replace(THREE, first_phases=2)
FIRST = replace(TWO, refresh_before=0, alignment_scales=1, residual_prediction=False)
CONFIGS = {"first": FIRST, "two phases": TWO, "three phases": THREE, "default": ModelConfig()}
# A trained model lies in files under these names and shapes: a change here makes them unreadable.
STATE_SHA256 = {
    "first": "7549dcef1e186d7b8473644bc5ace6329bcd3d530e2b637df36ece88ca1cd224",
    "two phases": "0a23850e236198d64ae0d6cd3e3e433f66b06290e8f5c27e150b81e7025f043a",
    "three phases": "8da02060e0f6bb33cd633aef766b4ffa1fe69fd1190767e5e178dab92b7e96a0",
    "default": "725c511a6ec52ff3cd53c2dc8b5d9c229a597b611b9150724b60b81601d35913",
}
FRESH_SUM = {
    "first": 110548.09211821186,
    "two phases": 112928.40768080569,
    "three phases": 114813.38723771535,
    "default": 138222.0713707207,
}
# Sums of y, x_hat, y_bits and z_bits, with and without an aligned reference, of the passes below.
PASSES = {
    ("first", False): (-9.760385, 24745.6486, 42138.8887, 724.5172),
    ("first", True): (-6.208757, 24770.7345, 42296.8516, 725.1662),
    ("two phases", False): (-9.760385, 24761.2896, 42220.5586, 724.7267),
    ("two phases", True): (-6.208757, 24786.0212, 42390.2715, 724.3992),
    ("three phases", False): (-9.760385, 24754.5714, 42197.4648, 724.8403),
    ("three phases", True): (-6.208756, 24788.3840, 42378.8457, 724.3239),
    ("default", False): (-92.879915, 25165.5356, 52669.2500, 725.2209),
    ("default", True): (-100.425994, 25167.3889, 52850.3027, 725.6183),
}


@pytest.fixture(scope="module", params=CONFIGS)
def fresh(request: pytest.FixtureRequest) -> tuple[str, Model]:
    torch.manual_seed(0)
    return request.param, Model(CONFIGS[request.param])


def test_a_model_keeps_its_keys_and_shapes(fresh: tuple[str, Model]) -> None:
    name, model = fresh
    text = "\n".join(f"{key} {list(value.shape)}" for key, value in sorted(model.state_dict().items()))
    assert hashlib.sha256(text.encode()).hexdigest() == STATE_SHA256[name]


def test_a_seed_gives_a_model_the_numbers_that_it_always_gave(fresh: tuple[str, Model]) -> None:
    name, model = fresh
    total = sum(float(value.double().abs().sum()) for value in model.state_dict().values())
    assert total == pytest.approx(FRESH_SUM[name], rel=1e-9)


@pytest.mark.parametrize("is_aligned", [False, True])
def test_a_model_computes_what_it_always_did(fresh: tuple[str, Model], is_aligned: bool) -> None:
    name, model = fresh[0], Model(CONFIGS[fresh[0]])
    model.load_state_dict(fresh[1].state_dict())
    weights = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=weights))
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(2, 3, 64, 128, generator=generator)
    inside = (torch.rand(2, 1, 64, 128, generator=generator) > 0.3).float()
    references = AlignedPixels((x * 255).round(), inside, torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    tokens = torch.randn(2, 128, 48, generator=generator)
    aligned = references if is_aligned else None
    y = model.g_a(x, aligned)
    done = model(
        y,
        torch.tensor([800, 5000]),
        tokens,
        torch.tensor([True, False]),
        aligned=aligned,
        quantise=straight_through_round,
        generator=generator,
    )
    found = [value.detach().double().sum().item() for value in (y, done.x_hat, done.y_bits, done.z_bits)]
    assert found == pytest.approx(PASSES[name, is_aligned], rel=1e-4, abs=1e-2)


def test_the_configuration_of_a_model_from_before_the_switches_is_read() -> None:
    assert ModelConfig.from_json(FIRST_FIELDS) == FIRST
    shipped = json.loads((SHIPPED / "manifest.json").read_text())["model"]
    assert ModelConfig.from_json(shipped) == replace(ModelConfig(), narrow=160, narrow_blocks=6, wide_blocks=8)


@pytest.mark.parametrize("config", [ModelConfig(), tcm_config(128), ModelConfig(matching=False, references=5)])
def test_a_configuration_comes_back_from_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError):
        ModelConfig.from_json({**FIRST_FIELDS, "depth": 3})


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "resnet"},
        {"conditioner": "self"},
        {"backbone": "tcm"},
        {"references": 0},
        {"references": MAX_REFERENCES + 1},
        {"perturbation": 1.5},
        {"learned_tokens": -1},
        {"refresh_before": 5},
        {"first_phases": 4},
        {"context_blocks": -1},
        {"alignment_scales": 3},
        {"sampling": -0.1},
    ],
)
def test_a_value_out_of_range_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        ModelConfig(**{**asdict(ModelConfig()), **fields})


def test_perturbation_takes_whole_references_of_another_picture_and_as_often_as_it_says() -> None:
    pictures, entries = 200, 3
    names = torch.arange(pictures)[:, None, None] * 10 + torch.arange(entries)[None, :, None]
    tokens = names.expand(-1, -1, 64).reshape(pictures, -1, 1).float()
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(perturbed(tokens, 0.0, generator), tokens)
    assert torch.equal(perturbed(tokens, 1.0, generator), tokens.roll(1, dims=0))
    some = perturbed(tokens, 0.3, generator).unflatten(1, (entries, 64))
    is_own = some == tokens.unflatten(1, (entries, 64))
    assert torch.equal(is_own.all(dim=2), is_own.any(dim=2))
    assert (~is_own).float().mean().item() == pytest.approx(0.3, abs=0.06)
