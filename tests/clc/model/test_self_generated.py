"""A self-generated prior: absent it changes nothing, new it costs its bits alone, and every exit can learn."""

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from clc.bitstream.container import pack
from clc.bundle.bundle import exact_layers
from clc.bundle.identity import parse_manifest, read_manifest_bytes
from clc.codec import Codec
from clc.codec.exact_pixels import ExactSynthesis
from clc.codec.latent_coding import Analysed, Tables, check_payload, encode_latents
from clc.codec.search.contest import Choice
from clc.codec.search.selection import Search
from clc.codec.selftest import replay, write_vectors
from clc.errors import CorruptStream, DecodeMismatch, InputError
from clc.model import tiling
from clc.model.config import ModelConfig, tcm_config
from clc.model.model import Model
from clc.model.objective import TrainingPass, rate_distortion_loss
from clc.model.prior.prior import Prior
from clc.model.prior.walk import Conditions, HyperLatents, Turn, latents_crc32, structure_of, walk
from clc.quality import from_q6
from clc.training.growth import grown
from clc.training.klt_start import start_self_prior
from tests.conftest import SMALL, Picture
from tests.self_prior import SELF_PRIOR, exits, export_with_self_prior, model_with_self_prior

QUALITIES = torch.tensor([100, 5000])


def passed(model: Model, x: torch.Tensor) -> TrainingPass:
    """A pass of two pictures, with noise of its own generator."""
    tokens, absent = torch.zeros(2, 0, model.config.token), torch.zeros(2, dtype=torch.bool)
    generated = model.generate_prior(x, QUALITIES, torch.Generator().manual_seed(1))
    noise = torch.Generator().manual_seed(2)
    y = model.analysis(x, None, generated)
    result: TrainingPass = model(y, QUALITIES, tokens, absent, generator=noise, generated=generated)
    return result


@pytest.fixture
def x(photo: Picture) -> torch.Tensor:
    crops = np.stack([photo[:128, :128], photo[150:278, 200:328]])
    return torch.from_numpy(crops).permute(0, 3, 1, 2) / 255.0


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Codec:
    folder = tmp_path_factory.mktemp("self-prior")
    export_with_self_prior(folder, photo)
    write_vectors(folder)
    return Codec.load(folder)


def grown_model(photo: Picture) -> tuple[Model, Model]:
    """A small model, and the same with a self-generated prior that is new."""
    torch.manual_seed(2)
    small, model = Model(SMALL).eval(), Model(SELF_PRIOR).eval()
    model.load_state_dict(grown(SMALL, small.state_dict(), SELF_PRIOR))
    start_self_prior(model, [photo], np.random.default_rng(0))
    return small, model


def test_a_model_without_it_is_described_as_before_and_has_none_of_its_parts() -> None:
    assert "self_prior" not in SMALL.to_json()
    assert ModelConfig.from_json(SMALL.to_json()) == SMALL
    assert ModelConfig.from_json(SELF_PRIOR.to_json()) == SELF_PRIOR
    with_it, without = Model(SELF_PRIOR).state_dict(), Model(SMALL).state_dict()
    parts = {name.split(".")[0] for name in with_it.keys() - without.keys()}
    assert parts == {"self_prior", "p_prior", "prior"}
    widened = {name for name in without if without[name].shape != with_it[name].shape}
    assert widened == {"prior.h_s.leave.weight", *(f"prior.nets.{i}.enter.weight" for i in range(len(SMALL.slices)))}


@pytest.mark.parametrize("wrong", [-1, 65, 2.5])
def test_a_size_out_of_range_is_refused(wrong: int) -> None:
    with pytest.raises(InputError, match="self_prior is a whole number from 0 to 64"):
        replace(SMALL, self_prior=wrong)


@torch.no_grad()
def test_a_new_one_costs_its_bits_and_changes_nothing_else(photo: Picture, x: torch.Tensor) -> None:
    small, model = grown_model(photo)
    before, after = passed(small, x), passed(model, x)
    torch.testing.assert_close(after.x_hat, before.x_hat)
    torch.testing.assert_close(after.y_bits, before.y_bits)
    torch.testing.assert_close(after.z_bits, before.z_bits)
    assert before.p_bits is None
    assert after.p_bits is not None
    quality = from_q6(QUALITIES)
    difference = rate_distortion_loss(after, x, quality).bpp - rate_distortion_loss(before, x, quality).bpp
    torch.testing.assert_close(difference, after.p_bits / 128**2, atol=1e-5, rtol=1e-3)
    # Not rounded to zero: the trap in which no exit would ever get a gradient.
    p = model.self_prior.source(x)
    assert (torch.round(p).abs() >= 1).float().mean() > 0.2


def test_after_one_step_every_exit_has_a_gradient_and_passes_one_on(photo: Picture, x: torch.Tensor) -> None:
    _, model = grown_model(photo)
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)

    def learn() -> None:
        optimiser.zero_grad()
        rate_distortion_loss(passed(model, x), x, from_q6(QUALITIES)).total.backward()

    learn()
    own = model.self_prior
    seen = {
        **{name: layer.weight.grad[:, -64:] for name, layer in _readers(model).items()},
        "g_a": own.to_g_a.film.weight.grad,
        "g_s": own.to_g_s.film.weight.grad,
    }
    assert {name for name, gradient in seen.items() if not gradient.abs().max() > 0} == set()
    optimiser.step()
    # What leads to the structure learns through each exit alone, once it is not zero any more.
    for name in exits(model):
        kept = {other: weight.detach().clone() for other, weight in exits(model).items()}
        with torch.no_grad():
            for other, weight in exits(model).items():
                weight.mul_(1.0 if other == name else 0.0)
        learn()
        assert model.prior.self_generated.leave.weight.grad.abs().max() > 0, name
        assert own.source.leave.weight.grad.abs().max() > 0, name
        with torch.no_grad():
            for other, weight in exits(model).items():
                weight.copy_(kept[other])


def _readers(model: Model) -> dict[str, torch.nn.Module]:
    return {"h": model.prior.h_s.leave, **{f"slice {i}": net.enter for i, net in enumerate(model.prior.nets)}}


@torch.no_grad()
def test_the_exact_prior_follows_the_float_one() -> None:
    twin, exact = model_with_self_prior().prior, Prior(SELF_PRIOR, is_exact=True)
    for name, layer in exact_layers(twin).items():
        exact_layers(exact)[name].load_integers(**layer.export())
    p_hat, z_hat = torch.randint(-9, 10, (1, 4, 4, 4)), torch.randint(-3, 4, (1, 8, 2, 2))
    found = []
    for prior, dtype in ((twin, torch.float32), (exact, torch.float64)):
        structure = prior.self_generated(p_hat.to(dtype), torch.tensor([3000]))
        h = prior.hyper_features(z_hat.to(dtype), torch.tensor([3000]), structure)
        context = prior.context(h, torch.zeros(1, 0, 8, dtype=dtype), structure=structure)
        found.append((structure, prior.slice_parameters(0, 0, prior.slice_base(0, context, []), None, context).mean))
    assert found[0][0].abs().max() > 0.1
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other.float(), atol=0.05)


@torch.no_grad()
def test_tiles_give_the_bits_of_the_whole(codec: Codec) -> None:
    generator = torch.Generator().manual_seed(3)
    z_hat = torch.randint(-9, 10, (1, 8, 9, 7), generator=generator).double()
    p_hat = torch.randint(-9, 10, (1, 4, 18, 14), generator=generator).double()
    symbols = torch.randint(-3, 4, (1, SELF_PRIOR.latents, 36, 28), generator=generator).double()

    def exchange(turn: Turn, mean: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        del level
        return turn.of(symbols) + mean

    def steps() -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        conditions = Conditions(2000, torch.zeros(1, 0, 8, dtype=torch.float64))
        hyper = HyperLatents(z_hat, p_hat)
        walk(codec.bundle.prior, hyper, conditions, exchange, lambda name, values: found.update({name: values}))
        return found

    whole = steps()
    with mock.patch.multiple(tiling, WHOLE_LATENTS=16, WIDEST_LATENTS=4):
        tiled = steps()
    assert "structure" in whole
    assert [name for name, values in whole.items() if not torch.equal(tiled[name], values)] == []


def test_streams_decode_at_every_quality_and_effort_and_the_self_test_covers_it(codec: Codec, photo: Picture) -> None:
    manifest = parse_manifest(read_manifest_bytes(codec.bundle.directory), codec.bundle.directory)
    assert (manifest["version"], manifest["model"]["self_prior"]) == (9, 4)
    assert replay(codec).first_difference is None
    assert '"structure"' in (codec.bundle.directory / "selftest.json").read_text()
    image = np.ascontiguousarray(photo[:100, :130])
    for quality, effort in ((0, 0), (50, 6), (100, 1)):
        data = codec.encode(image, quality, effort=effort)
        assert np.array_equal(codec.decode(data), codec.decode(data))
        assert codec.decode(data).shape == image.shape


def test_what_was_coded_before_changes_no_stream(codec: Codec, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[:100, :130])
    kept = codec.encoding(image)
    for quality_q6 in (3200, 400, 3200, 6400, 400):
        kept.proposals()
        assert kept.code(quality_q6, Choice()).data == codec.encoding(image).code(quality_q6, Choice()).data
        assert kept.encode(quality_q6, Search()) == codec.encode(image, quality_q6 / 64, "auto")


def test_the_checksum_of_the_latents_covers_it(codec: Codec, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[:64, :64])
    attempt, own = codec.encoding(image).code(3200, Choice()), codec.encoding(image)._self_prior(3200)
    assert own is not None
    z_hat, y_hat = torch.zeros(1, 8, 1, 1), attempt.decoded.y_hat
    moved = own.p_hat.clone()
    moved[0, 0, 0, 0] += 1.0
    assert latents_crc32(b"", z_hat, y_hat, moved) != latents_crc32(b"", z_hat, y_hat, own.p_hat)
    with torch.no_grad():
        y = codec.decoder.model.analyse(image, structure=own.structure.float())
        step = codec.decoder.model.gains.step(torch.tensor([3200]))
        analysed = Analysed(y / step, codec.decoder.model.h_a(y / step), None, moved)
        payload, _ = encode_latents(codec.bundle.prior, codec.bundle.table, analysed, attempt.conditions)
    with pytest.raises(DecodeMismatch):
        codec.decode(pack(replace(attempt.stream, payload=payload)))


def test_a_payload_without_room_for_it_is_refused(codec: Codec) -> None:
    prior, table = codec.bundle.prior, codec.bundle.table
    tables = Tables.of(prior, table, SELF_PRIOR.hyper)
    assert (tables.sets, tables.self_prior) == (SELF_PRIOR.first_phases, 4)
    assert tables.of_p().stop == table.n_tables
    p_bits = float(table.least_bits[tables.of_p()].sum()) * 4 * 64
    assert p_bits > 64
    z_bits = float(table.least_bits[tables.of_z(is_aligned=False)].sum()) * 64
    y_bits = float(table.least_bits[: 64 * tables.sets].min()) * SELF_PRIOR.latents * 16 * 64
    short = int((z_bits + y_bits) / 8) + 5
    with pytest.raises(CorruptStream, match="cannot hold"):
        check_payload(prior, table, short, (SELF_PRIOR.hyper, 8, 8), is_aligned=False)
    check_payload(prior, table, short + int(p_bits / 8) + 1, (SELF_PRIOR.hyper, 8, 8), is_aligned=False)


def test_exact_pixels_are_those_of_the_decoder_but_for_roundings(codec: Codec, photo: Picture) -> None:
    attempt = codec.encoding(np.ascontiguousarray(photo[:90, :64])).code(4000, Choice())
    exact = ExactSynthesis(codec.decoder).synthesise_exactly(attempt.stream, attempt.decoded, attempt.conditions)
    assert np.abs(exact.image_HW3.astype(int) - codec.decode(attempt.data)).max() <= 1


def test_g_s_sees_the_structure_when_it_decodes(codec: Codec, photo: Picture) -> None:
    attempt = codec.encoding(np.ascontiguousarray(photo[:64, :64])).code(3200, Choice())
    shown = codec.decoder.picture(attempt.stream, attempt.decoded, attempt.conditions)
    without = attempt.decoded._replace(structure=None)
    assert not np.array_equal(codec.decoder.picture(attempt.stream, without, attempt.conditions), shown)


def test_the_self_test_covers_it_beside_an_aligned_reference_too(codec: Codec) -> None:
    listed = (codec.bundle.directory / "selftest.json").read_text()
    assert listed.count('"structure"') == 2


@torch.no_grad()
def test_a_tcm_has_one_too(x: torch.Tensor) -> None:
    sizes = {"narrow": 32, "wide": 64, "hyper": 8, "hyper_width": 16, "refresh_before": 1, "token": 8}
    model = model_with_self_prior(replace(tcm_config(), slices=(8, 8), **sizes, self_prior=3))
    generated = model.generate_prior(x, QUALITIES)
    assert generated.structure.shape == (2, 64, 8, 8)
    assert not torch.equal(model.analysis(x, None, generated), model.analysis(x))
    assert passed(model, x).x_hat.shape == x.shape


def test_it_keeps_its_size_when_a_model_grows() -> None:
    with pytest.raises(InputError, match="a self_prior of 4 cannot be made 6"):
        grown(SELF_PRIOR, Model(SELF_PRIOR).state_dict(), replace(SELF_PRIOR, self_prior=6))


def test_the_structure_of_a_stream_is_that_of_its_symbols(codec: Codec, photo: Picture) -> None:
    encoding = codec.encoding(np.ascontiguousarray(photo[:64, :96]))
    attempt = encoding.code(3200, Choice())
    own = encoding._self_prior(3200)
    assert own is not None
    assert own.p_hat.shape == (1, 4, 2, 4)
    decoded = codec.decoder.latents(attempt.stream, attempt.conditions)
    assert torch.equal(decoded.structure, structure_of(codec.bundle.prior, own.p_hat, 3200))
