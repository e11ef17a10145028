"""Every backbone does what the interface says: trains, is exported, and codes pictures of any size by its bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clc.bitstream.container import parse
from clc.bundle.export import export_bundle
from clc.bundle.extend import add_pictures
from clc.codec import Codec
from clc.codec.info import stream_info
from clc.codec.search.selection import Search
from clc.model.config import ModelConfig, tcm_config
from clc.model.model import Model
from clc.model.objective import rate_distortion_loss
from clc.model.transforms.backbones import make_transforms
from clc.model.transforms.tcm import GDN
from clc.model.transforms.windows import WindowAttention
from clc.references.aligned import AlignedPixels, AlignedView
from clc.training.klt_start import follow_analysis, start_from_klt
from tests.conftest import SMALL, Picture

TINY = replace(SMALL, wide=32, hyper_width=16, learned_tokens=4, residual_prediction=False)
BACKBONES = [TINY, replace(TINY, backbone="tcm"), replace(TINY, backbone="tcm", residual_prediction=True)]
IDS = ["depthconv", "tcm", "tcm with residual prediction"]


def orthonormal(rows: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(768, rows, generator=generator))[0].T.contiguous()


def started(config: ModelConfig) -> Model:
    torch.manual_seed(0)
    model = Model(config)
    start_from_klt(model, orthonormal(config.latents))
    return model


def references(height: int, width: int, batch: int = 1) -> AlignedPixels:
    generator = torch.Generator().manual_seed(1)
    inside = (torch.rand(batch, 1, height, width, generator=generator) > 0.2).float()
    levels = torch.randint(0, 256, (batch, 3, height, width), generator=generator).float()
    return AlignedPixels(levels * inside, inside, torch.ones(batch, 1, 1, 1))


def crops(photo: Picture, count: int, side: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    corners = zip(rng.integers(300 - side, size=count), rng.integers(451 - side, size=count), strict=True)
    parts = [photo[top : top + side, left : left + side] for top, left in corners]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255.0


@pytest.mark.parametrize("config", BACKBONES, ids=IDS)
@pytest.mark.parametrize("is_aligned", [False, True])
@torch.no_grad()
def test_the_sizes_of_pictures_latents_and_hyper_latents_are_those_of_the_interface(
    config: ModelConfig, is_aligned: bool
) -> None:
    model, height, width = started(config), 64, 192
    pixels = references(height, width) if is_aligned else None
    quality = torch.tensor([3200])
    y = model.g_a(torch.rand(1, 3, height, width), pixels)
    assert y.shape == (1, 16, height // 16, width // 16)
    own = None if pixels is None else model.prior.fusion(pixels, 1.0 / model.gains.step(quality))
    z = model.h_a(y, own)
    assert z.shape == (1, 8, height // 64, width // 64)
    view = None if pixels is None or own is None else AlignedView(pixels, own)
    a = torch.zeros(1, 8, height // 16, width // 16)
    x_hat = model.g_s(y, model.gains.step(quality), model.gains.modulation(quality), a, view)
    assert x_hat.shape == (1, 3, height, width)


@pytest.mark.parametrize("config", BACKBONES, ids=IDS)
@torch.no_grad()
def test_an_aligned_reference_changes_nothing_before_training(config: ModelConfig) -> None:
    transforms, x = make_transforms(config), torch.rand(1, 3, 64, 64)
    assert torch.equal(transforms.g_a(x, references(64, 64)), transforms.g_a(x))


@pytest.mark.parametrize("config", BACKBONES[1:], ids=IDS[1:])
def test_a_few_steps_lower_the_loss(config: ModelConfig, photo: Picture) -> None:
    model = started(config)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-4)
    noise, x, quality = torch.Generator().manual_seed(0), crops(photo, 2, 64), torch.full((2,), 3200)
    pixels = AlignedPixels((x * 255).round(), torch.ones(2, 1, 64, 64), torch.tensor([1.0, 0.0]).view(2, 1, 1, 1))
    losses = []
    for _ in range(8):
        y = model.g_a(x, pixels)
        done = model(y, quality, torch.zeros(2, 64, 8), torch.ones(2).bool(), aligned=pixels, generator=noise)
        loss = rate_distortion_loss(done, x, quality / 64.0)
        optimiser.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Codec:
    """A tcm codec of random weights, all layers of references awake, with entries and a key picture."""
    folder = tmp_path_factory.mktemp("tcm")
    model = started(BACKBONES[2])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    entries = [np.ascontiguousarray(photo[:256, left : left + 256]) for left in (0, 90, 180)]
    export_bundle(folder / "small", model.config, model.state_dict(), entries, [{"name": str(i)} for i in range(3)])
    add_pictures(folder / "small", folder / "large", [photo], [{"name": "whole"}])
    return Codec.load(folder / "large")


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 130), (200, 96)])
@pytest.mark.parametrize("mode", ["none", "tokens"])
def test_a_tcm_codec_codes_any_size(codec: Codec, photo: Picture, size: tuple[int, int], mode: str) -> None:
    image = np.ascontiguousarray(photo[20 : 20 + size[0], 30 : 30 + size[1]])
    data = codec.encode(image, 70, mode)
    assert len(stream_info(data).references) == (3 if mode == "tokens" else 0)
    assert codec.decode(data).shape == image.shape


def test_a_tcm_codec_uses_an_aligned_reference(codec: Codec, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[40:232, 64:256])
    encoding = codec.encoding(image)
    choice = next(one for one in encoding.proposals(Search("aligned")) if one.alignments)
    data = encoding.code(3200, choice).data
    assert parse(data).alignments
    decoded = codec.decode(data)
    assert decoded.shape == image.shape
    assert not np.array_equal(decoded, codec.decode(codec.encode(image, 50, "none")))


def test_a_backbone_without_a_linear_path_starts_without_trust_in_references() -> None:
    model = started(BACKBONES[1])
    net = model.prior.nets[0]
    features = torch.zeros(1, 16, 2, 2)
    assert torch.equal(net.fusion.trust_in_r(0, features), torch.zeros(1, 8, 2, 2))
    assert torch.equal(started(TINY).prior.nets[0].fusion.trust_in_r(0, features), torch.full((1, 8, 2, 2), 0.5))
    # A little more than none must be reachable: the gradient passes at the edge.
    net.fusion.trust_in_r(0, features).sum().backward()
    assert net.fusion.trust[0].bias.grad.abs().sum() > 0


def test_without_a_linear_path_the_references_keep_the_klt_of_pictures() -> None:
    model = started(BACKBONES[1])
    linear = orthonormal(16)[:, :, None, None]
    assert torch.allclose(model.prior.fusion.klt.weight, linear * 256 / 510)
    before = model.prior.fusion.klt.weight.clone()
    follow_analysis(model)
    assert torch.equal(model.prior.fusion.klt.weight, before)


def test_with_a_linear_path_both_ends_start_as_the_klt() -> None:
    model = started(TINY)
    assert torch.equal(model.g_a.linear_path().weight[:, :, 0, 0], orthonormal(16))
    assert torch.equal(model.g_s.linear_path().weight[:, :, 0, 0], orthonormal(16).T)


@torch.no_grad()
def test_residual_prediction_moves_latents_by_less_than_half_a_step_and_starts_at_nothing() -> None:
    plain, refined = (make_transforms(replace(TINY, residual_prediction=on)).g_s for on in (False, True))
    y_hat, a = 20 * torch.randn(1, 16, 4, 4), torch.randn(1, 8, 4, 4)
    assert not refined.residual(y_hat, a).any()
    refined.synthesis.load_state_dict(plain.state_dict())
    film = (torch.zeros(1, 32, 1, 1), torch.zeros(1, 32, 1, 1))
    assert torch.equal(refined(y_hat, torch.ones(1, 16, 1, 1), film, a), plain(y_hat, torch.ones(1, 16, 1, 1), film, a))
    torch.nn.init.normal_(refined.leave.weight, std=10.0)
    residual = refined.residual(y_hat, a)
    assert residual.any()
    assert residual.abs().max() <= 0.5


@pytest.mark.parametrize("is_shifted", [False, True])
@pytest.mark.parametrize("size", [(8, 8), (8, 12), (6, 10), (1, 3), (2, 2)])
@torch.no_grad()
def test_window_attention_is_finite_on_any_map_and_keeps_pictures_apart(
    size: tuple[int, int], is_shifted: bool
) -> None:
    attention = WindowAttention(8, 4, 4, is_shifted=is_shifted)
    x = torch.randn(2, *size, 8)
    first = attention(x)
    assert first.shape == x.shape
    assert torch.isfinite(first).all()
    assert torch.allclose(attention(x[:1]), first[:1], atol=1e-6)


@torch.no_grad()
def test_a_position_sees_its_own_window_and_no_other() -> None:
    x = torch.randn(1, 8, 8, 8)
    changed = x.clone()
    changed[0, 0, 0] += 1.0
    for is_shifted, side in ((False, 4), (True, 2)):
        attention = WindowAttention(8, 4, 4, is_shifted=is_shifted)
        moved = (attention(changed) - attention(x)).abs().sum(dim=3)[0] > 0
        assert moved[:side, :side].all()
        assert not moved[side:].any()
        assert not moved[:, side:].any()


@torch.no_grad()
def test_gdn_divides_by_the_energy_of_all_channels_and_its_inverse_multiplies() -> None:
    x = torch.randn(1, 4, 3, 3)
    gdn, inverse = GDN(4), GDN(4, is_inverse=True)
    energy = 1 + 1e-6 + torch.einsum("ij,bjhw->bihw", 0.1 * torch.eye(4) + 2.0**-18, x.square())
    assert torch.allclose(gdn(x), x / energy.sqrt(), atol=1e-6)
    assert torch.allclose(inverse(x), x * energy.sqrt(), atol=1e-5)


def test_the_papers_sizes_are_the_papers() -> None:
    for n in (64, 128):
        config = tcm_config(n)
        assert (config.latents, config.narrow, config.backbone) == (320, n, "tcm")
