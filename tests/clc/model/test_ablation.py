"""Each switch of the configuration changes what it says and nothing else."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clc.bundle.bundle import BundleEntries, exact_layers
from clc.bundle.export import export_bundle
from clc.codec import Codec
from clc.codec.info import stream_info
from clc.codec.search.selection import Search, Selector
from clc.exact.checkerboard import of_phase
from clc.exact.layers import GridConv2d
from clc.model.config import ModelConfig
from clc.model.model import Model
from clc.model.prior.prior import Prior
from clc.model.prior.slices import Context
from clc.references.key_pictures import PicturesInMemory, WarpedKeyPictures
from clc.retrieval.pca import Reduction
from clc.training.config import TrainingConfig
from clc.training.data import PictureSet, random_patches
from clc.training.reference_bank import ReferenceBank
from clc.training.trainer import Trainer
from tests.conftest import SMALL, Picture

BASE = replace(SMALL, slices=(4, 4), hyper=4, learned_tokens=4)
SWITCHED = {
    "no conditioner": replace(BASE, conditioner="none"),
    "no matching": replace(BASE, matching=False),
    "no synthesis": replace(BASE, synthesis=False),
    "no learned tokens": replace(BASE, learned_tokens=0),
    "no refresh": replace(BASE, refresh_before=0),
    "one scale": replace(BASE, alignment_scales=1),
    "no residual prediction": replace(BASE, residual_prediction=False),
    "no cache": replace(BASE, cache=False),
    "one query": replace(BASE, multi_query=False),
    "one reference": replace(BASE, references=1),
    "perturbed": replace(BASE, perturbation=0.5),
    "sampled": replace(BASE, sampling=0.5),
}
ONLY_DATA = ("no cache", "one query", "one reference", "perturbed", "sampled")


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def changed(config: ModelConfig) -> set[str]:
    """The parts of the state that a configuration adds, drops or resizes, by their first three names."""
    base, other = shapes(Model(BASE)), shapes(Model(config))
    names = {name for name in base.keys() | other.keys() if base.get(name) != other.get(name)}
    return {".".join(part for part in name.split(".")[:4] if not part.isdigit()) for name in names}


def passed(config: ModelConfig, tokens_BNT: torch.Tensor, present_B: torch.Tensor) -> torch.Tensor:
    """Bits and pictures of one training pass, as one vector; the same weights and noise for equal shapes."""
    torch.manual_seed(0)
    model = Model(config)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    noise = torch.Generator().manual_seed(1)
    done = model(model.g_a(x), torch.tensor([1600, 4800]), tokens_BNT, present_B, generator=noise)
    return torch.cat([done.y_bits, done.z_bits, done.x_hat.flatten()]).detach()


def tokens(seed: int, count: int = 64) -> torch.Tensor:
    return torch.randn(2, count, 8, generator=torch.Generator().manual_seed(seed))


PRESENT = torch.tensor([True, True])


@pytest.mark.parametrize("name", ONLY_DATA)
def test_what_concerns_training_or_the_encoder_leaves_the_model_alone(name: str) -> None:
    assert changed(SWITCHED[name]) == set()


def test_a_model_without_matching_lacks_attention_and_nothing_else() -> None:
    names = ("learned", "query", "query_decoded", "key", "value", "enter")
    parts = {f"prior.matching.{part}" for part in names}
    assert {".".join(name.split(".")[:3]) for name in changed(SWITCHED["no matching"])} == parts


def test_a_model_without_synthesis_lacks_the_blend_and_its_y_a_and_nothing_else() -> None:
    names = changed(SWITCHED["no synthesis"])
    assert {name.split(".")[-1] if name.count(".") < 3 else name.split(".")[2] for name in names} == {
        "shape",
        "aligned",
    }
    assert all(name.startswith("prior.nets.") for name in names)


def test_a_model_without_learned_tokens_lacks_their_table_and_nothing_else() -> None:
    assert changed(SWITCHED["no learned tokens"]) == {"prior.matching.learned.values"}


def test_a_model_without_conditioner_has_none_and_no_inputs_for_it() -> None:
    base, other = shapes(Model(BASE)), shapes(Model(SWITCHED["no conditioner"]))
    assert not any(name.startswith("prior.matching.") for name in other)
    assert other["g_s.enter.weight"][1] == base["g_s.enter.weight"][1] - BASE.reference
    assert other["prior.nets.0.enter.weight"][1] == base["prior.nets.0.enter.weight"][1] - BASE.reference
    for part in ("g_a.", "h_a.", "gains.", "z_prior", "prior.h_s.", "prior.fusion."):
        assert {k: v for k, v in base.items() if k.startswith(part)} == {
            k: v for k, v in other.items() if k.startswith(part)
        }


def test_residual_prediction_is_layers_before_synthesis_and_leaves_the_prior_alone() -> None:
    base, other = shapes(Model(BASE)), shapes(Model(SWITCHED["no residual prediction"]))
    assert {k: v for k, v in base.items() if not k.startswith("g_s.")} == {
        k: v for k, v in other.items() if not k.startswith("g_s.")
    }
    inner = {k.replace("g_s.synthesis.", "g_s."): v for k, v in base.items() if k.startswith("g_s.synthesis.")}
    assert inner == {k: v for k, v in other.items() if k.startswith("g_s.")}


def test_a_model_that_asks_once_lacks_the_second_query_and_nothing_else() -> None:
    assert {name.rsplit(".", 1)[0] for name in changed(SWITCHED["no refresh"])} == {"prior.matching.query_decoded"}


def test_a_model_that_aligns_at_one_scale_lacks_the_coarse_layers_and_nothing_else() -> None:
    assert {name.rsplit(".", 1)[0] for name in changed(SWITCHED["one scale"])} == {
        "prior.matching.coarse",
        "prior.matching.coarse_leave",
    }


@pytest.mark.parametrize("name", ["no refresh", "one scale", "no residual prediction"])
def test_what_was_added_later_starts_as_nothing(name: str) -> None:
    torch.manual_seed(0)
    model, smaller = Model(BASE), Model(SWITCHED[name])
    state = model.state_dict()
    rename = "g_s.synthesis." if name == "no residual prediction" else "g_s."
    smaller.load_state_dict({key: state[key.replace("g_s.", rename, 1)] for key in smaller.state_dict()})
    results = []
    for one in (model, smaller):
        y = one.g_a(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5)))
        noise = torch.Generator().manual_seed(1)
        done = one(y, torch.tensor([1600, 4800]), tokens(1), PRESENT, generator=noise)
        results.append(torch.cat([done.y_bits, done.z_bits, done.x_hat.flatten()]).detach())
    assert torch.allclose(results[0], results[1], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_second_question_knows_the_slices_decoded_by_then() -> None:
    torch.manual_seed(0)
    prior = Prior(BASE)
    prior.matching.query_decoded.weight.normal_()
    context = prior.context(torch.randn(2, 16, 4, 4), tokens(1))
    decoded = [torch.randn(2, 4, 4, 4)]
    assert prior.refreshed(0, context, []) is context
    again = prior.refreshed(1, context, decoded)
    assert not torch.equal(again.a, context.a)
    assert not torch.equal(prior.refreshed(1, context, [2 * decoded[0]]).a, again.a)


def test_sampling_changes_a_pass_in_training_and_none_outside() -> None:
    torch.manual_seed(0)
    sampled, plain = Model(SWITCHED["sampled"]), Model(BASE)
    plain.load_state_dict(sampled.state_dict())
    y = torch.randn(2, BASE.latents, 4, 4)
    bits = {}
    for is_training in (True, False):
        passes = [
            model.train(is_training)(
                y, torch.tensor([1600, 4800]), tokens(1), PRESENT, generator=torch.Generator().manual_seed(2)
            )
            for model in (sampled, plain)
        ]
        bits[is_training] = [done.y_bits for done in passes]
    assert not torch.equal(*bits[True])
    assert torch.equal(*bits[False])


@pytest.mark.parametrize("name", ["no conditioner", "no matching"])
def test_without_matching_no_token_changes_the_result(name: str) -> None:
    config = SWITCHED[name]
    assert torch.equal(passed(config, tokens(1), PRESENT), passed(config, tokens(2), PRESENT))
    assert torch.equal(passed(config, tokens(1), PRESENT), passed(config, tokens(2, 0), PRESENT))


@pytest.mark.parametrize("name", ["no synthesis", "no learned tokens", "no refresh", "one scale"])
def test_with_matching_tokens_change_the_result(name: str) -> None:
    config = SWITCHED[name]
    assert not torch.equal(passed(BASE, tokens(1), PRESENT), passed(BASE, tokens(2), PRESENT))
    assert not torch.equal(passed(config, tokens(1), PRESENT), passed(config, tokens(2), PRESENT))


@pytest.mark.parametrize("name", ["no cache", "one query", "one reference"])
def test_the_training_pass_is_that_of_the_base(name: str) -> None:
    assert torch.equal(passed(SWITCHED[name], tokens(1), PRESENT), passed(BASE, tokens(1), PRESENT))


def test_perturbation_changes_a_pass_with_references_and_none_without() -> None:
    config = replace(BASE, perturbation=1.0)
    assert not torch.equal(passed(config, tokens(1), PRESENT), passed(BASE, tokens(1), PRESENT))
    assert torch.equal(passed(config, tokens(1, 0), PRESENT), passed(BASE, tokens(1, 0), PRESENT))


@torch.no_grad()
def test_without_synthesis_the_mean_is_mu_h_and_with_it_a_blend_with_y_a() -> None:
    torch.manual_seed(0)
    blended, plain = Prior(BASE), Prior(SWITCHED["no synthesis"])
    state = blended.state_dict()
    for name, value in plain.state_dict().items():
        value.copy_(state[name][: len(value)])
    context = Context(torch.randn(1, 16, 4, 4), torch.randn(1, 8, 4, 4))
    base = blended.slice_base(0, context, [])
    assert plain.slice_base(0, context, []).y_a is None
    assert torch.equal(plain.slice_base(0, context, []).u, base.u)
    mean, level = plain.slice_parameters(0, 0, base._replace(y_a=None), None, context)
    features = plain.nets[0].hidden[0](of_phase(plain.phases(0)[0].board(base.u), 0))
    assert torch.equal(mean, plain.nets[0].mean[0](torch.maximum(features, features / 8)))
    with_y_a = blended.slice_parameters(0, 0, base, None, context)
    assert torch.equal(with_y_a.scale, level)
    assert not torch.equal(with_y_a.mean, mean)
    other = base._replace(y_a=base.y_a + 1.0)
    assert not torch.equal(blended.slice_parameters(0, 0, other, None, context).mean, with_y_a.mean)
    # alpha = 1: the blend is mu_h again.
    for phase in blended.nets[0].shape:
        phase.bias[BASE.slices[0] :] = 10.0
    assert torch.allclose(blended.slice_parameters(0, 0, base, None, context).mean, mean)


@torch.no_grad()
def test_without_learned_tokens_a_picture_without_references_matches_nothing() -> None:
    torch.manual_seed(0)
    matching = Prior(SWITCHED["no learned tokens"]).matching
    h = torch.randn(2, 16, 4, 4)
    nothing = matching(h, matching.remember(tokens(1, 0)))
    hidden = matching.remember(tokens(1), torch.tensor([False, False]))
    assert torch.equal(matching(h, hidden), nothing)
    some = matching(h, matching.remember(tokens(1), torch.tensor([True, False])))
    assert torch.equal(some[1], nothing[1])
    assert not torch.equal(some[0], nothing[0])


@pytest.mark.parametrize("name", SWITCHED)
def test_every_switch_is_exported_and_codes(name: str, tmp_path, photo: Picture) -> None:
    torch.manual_seed(0)
    config = SWITCHED[name]
    model = Model(config)
    entries = [np.ascontiguousarray(photo[:256, left : left + 256]) for left in (0, 90, 180, 195)]
    export_bundle(tmp_path, config, model.state_dict(), entries, [{"name": str(i)} for i in range(4)])
    codec = Codec.load(tmp_path)
    assert codec.bundle.config == config
    image = np.ascontiguousarray(photo[:70, :90])
    for mode in ("auto", "tokens"):
        data = codec.encode(image, 50, mode)
        assert codec.decode(data).shape == image.shape
    assert len(stream_info(data).references) == config.token_references


@torch.no_grad()
@pytest.mark.parametrize("name", SWITCHED)
def test_the_exact_prior_follows_the_float_one(name: str) -> None:
    torch.manual_seed(0)
    twin, exact = Prior(SWITCHED[name]), Prior(SWITCHED[name], is_exact=True)
    for layer_name, layer in exact_layers(twin).items():
        exact_layers(exact)[layer_name].load_integers(**layer.export())
    assert any(isinstance(layer, GridConv2d) for layer in exact.modules())
    z_hat, quality = torch.randint(-3, 4, (1, 4, 2, 2)), torch.tensor([3000])
    found = []
    for prior, dtype in ((twin, torch.float32), (exact, torch.float64)):
        h = prior.hyper_features(z_hat.to(dtype), quality)
        grid = torch.round(tokens(1)[:1] * 16) / 16
        context = prior.context(h, grid.to(dtype))
        found.append(prior.slice_parameters(0, 0, prior.slice_base(0, context, []), None, context))
    assert torch.allclose(found[0].mean, found[1].mean.float(), atol=0.05)
    assert torch.allclose(found[0].scale, found[1].scale.float(), atol=0.6)


class CountingDescriptor:
    """Describes a picture by its corner: a picture and its turned copy differ."""

    name = "corner"

    def vectors(self, images) -> np.ndarray:
        return np.array([[float(image[0, 0, 0])] for image in images], np.float32)


def selector(config: ModelConfig) -> Selector:
    """Entries 0..9 with the keys 0, 10, .. 90."""
    keys = np.arange(10, dtype=np.float32)[:, None] * 10
    one = np.ones((1, 1), np.float32)
    table = BundleEntries(
        np.zeros((10, 64, 8), np.int8),
        keys,
        Reduction(mean=np.zeros(1, np.float32), components=one, variances=one[0]),
        [],
        {},
    )
    return Selector(table, config, PicturesInMemory([]), descriptor_of=lambda _: CountingDescriptor())


def sought(image: Picture) -> Any:
    """A picture for which references are sought."""
    return SimpleNamespace(image_HW3=image, warped=WarpedKeyPictures(PicturesInMemory([])))


@pytest.mark.parametrize("count", range(1, 6))
def test_the_encoder_names_as_many_references_as_the_configuration_says(count: int) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    (choice,) = selector(replace(BASE, references=count)).propose(sought(image), Search("tokens"))
    assert choice.references == tuple(range(count))


def test_a_multi_query_finds_what_resembles_the_turned_picture_and_one_query_does_not() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[-1, -1] = 90
    (several,) = selector(BASE).propose(sought(image), Search("tokens"))
    (one,) = selector(SWITCHED["one query"]).propose(sought(image), Search("tokens"))
    assert several.references == (0, 9, 1)
    assert one.references == (0, 1, 2)


@pytest.mark.parametrize("name", ["no conditioner", "no matching"])
def test_references_that_the_model_would_not_look_at_are_not_proposed(name: str) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert [choice.references for choice in selector(SWITCHED[name]).propose(sought(image), Search("auto"))] == [()]


def test_without_the_cache_entries_are_analysed_as_the_model_is_now(photo: Picture, tmp_path) -> None:
    data = PictureSet([photo, photo[::-1].copy()], ["a", "b"])
    entries = random_patches(data, 2, 256, seed=0)
    found = {}
    for is_cached in (True, False):
        config = TrainingConfig(
            steps=2, batch_px=64 * 64, crops=((0.0, 64),), held_out=1, model=replace(BASE, references=1)
        )
        config = replace(config, model=replace(config.model, cache=is_cached))
        trainer = Trainer(config, data, entries, tmp_path)
        trainer.start_fresh()
        trainer.refresh_bank()
        y = trainer.model.g_a(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
        before = trainer._tokens(y, ["a"])
        with torch.no_grad():
            trainer.model.g_a.linear.weight.mul_(-1.0)
        found[is_cached] = (before, trainer._tokens(y, ["a"]))
    assert torch.equal(found[True][0], found[True][1])
    assert not torch.equal(found[False][0], found[False][1])
    assert torch.allclose(found[True][0], found[False][0], atol=0.1)


def test_a_bank_makes_latents_anew_of_the_entries_that_it_finds() -> None:
    patches = torch.stack([torch.full((3, 256, 256), value, dtype=torch.uint8) for value in (10, 200)])
    bank = ReferenceBank(patches, ["a", "b"])
    bank.refresh(torch.nn.AvgPool2d(16), torch.ones(1))
    query = torch.full((1, 3, 16, 16), 200 / 255)
    anew = bank.find(query, ["c"], 2, lambda x: 2 * torch.nn.functional.avg_pool2d(x, 16))
    assert torch.allclose(anew, 2 * bank.find(query, ["c"], 2), atol=1e-3)
    assert anew[0, 0].mean().item() == pytest.approx(400 / 255, rel=1e-3)
