"""The conditional latent codec as one differentiable model: transforms, gains, hyperprior, prior.

    x -- g_a -- y -- / step(quality) --+-- Q -- y_hat -- * step -- g_s -- x_hat
                                       |    |
                                       h_a  mean, scale <-- Prior(z_hat, references, slices before)
                                       |
                                       z -- Q -- z_hat

A model may have a self-generated prior, p, which is coded before z (`clc.model.prior.self_generated`):

    x -- source -- p / step(quality) -- Q -- p_hat -- structure --> g_a, h, every slice, g_s

References come as tokens (`clc.model.prior.matching`) and, where one is aligned, as warped pixels
(`clc.model.prior.fusion`), which g_a, h_a and g_s see too.

`forward` is the training pass: rate and reconstruction are those of rounded latents, with the gradients of
`clc.model.quantisation.trained_bits` and of the identity. Encoding and decoding use the same parts through `clc.codec`.
Called by `clc.training`, `clc.codec.refinement`, `clc.bundle.export` and `clc.bundle.bundle`.

Shapes: B pictures, M latent channels, h = H/16, w = W/16, Z hyper channels, N tokens of T values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clc.exact.grid import compand
from clc.model.config import ModelConfig as ModelConfig
from clc.model.description import analysis_features
from clc.model.gains import Gains
from clc.model.objective import TrainingPass
from clc.model.prior.hyperprior import FactorizedPrior
from clc.model.prior.matching import TOKENS_PER_ENTRY, TokenCompression
from clc.model.prior.prior import Prior
from clc.model.prior.self_generated import STRUCTURE
from clc.model.prior.slices import Context
from clc.model.prior.walk import Turn, walk_slices
from clc.model.quantisation import Quantiser, gaussian_bits, sigma, thrifty_round, trained_bits
from clc.model.transforms.backbones import make_transforms
from clc.model.transforms.interface import ScaleAndShift
from clc.model.transforms.self_generated import SelfPriorTransforms, added
from clc.model.transforms.tiled import Structured, analyse
from clc.pictures.picture import Picture
from clc.quality import MIDDLE_QUALITY_Q6, from_q6, rate_distortion_lambda
from clc.references.aligned import AlignedPixels, AlignedView

STRIDE_Y = 16
STRIDE_Z = 64


class GeneratedPrior(NamedTuple):
    """A self-generated prior of pictures: its `structure` (B, S, h, w), and what p cost in bits (B,), an estimate."""

    structure: Tensor
    bits: Tensor


class SliceCoding(NamedTuple):
    """How a training pass codes the slices.

    `bits_per_squared_step` (B, M, 1, 1) and `quantise` make the symbols; `noise` (B, M, h, w), uniform within +-0.5, or
    None outside of training. With `is_context_followed` the gradient of the rate reaches a latent through the means and
    scales of those that are coded after it, too.
    """

    bits_per_squared_step: Tensor
    quantise: Quantiser
    noise: Tensor | None
    is_context_followed: bool


class Model(nn.Module):
    """All parts of the codec with one forward pass for training; see the module for the data flow."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.low_precision: torch.dtype | None = None
        self.g_a, self.g_s, self.h_a = make_transforms(config)
        self.gains = Gains(config.knots, config.latents, config.wide)
        self.compress_tokens = TokenCompression(config.latents, config.token)
        self.z_prior = FactorizedPrior(config.hyper)
        self.z_prior_aligned = FactorizedPrior(config.hyper)
        self.prior = make_prior(config, is_exact=False)
        self.self_prior: SelfPriorTransforms | None = None
        if config.self_prior:
            self.self_prior = SelfPriorTransforms(config.self_prior, STRUCTURE, config.wide)
            self.p_prior = FactorizedPrior(config.self_prior)

    def tokens(self, y_BMhw: Tensor) -> Tensor:
        """Latents of dictionary entries (B, M, 16, 16) -> conditioning tokens (B, 64, T), CLC Eq. 2."""
        return self.compress_tokens(compand(y_BMhw / self._middle_step(y_BMhw), is_exact=False))

    def _middle_step(self, like: Tensor) -> Tensor:
        middle = torch.full((1,), MIDDLE_QUALITY_Q6, dtype=torch.int64, device=like.device)
        return self.gains.step(middle).detach()

    @torch.no_grad()
    def analyse(
        self, image_HW3: Picture, aligned: AlignedPixels | None = None, structure: Tensor | None = None
    ) -> Tensor:
        """Latents y (1, M, h, w) of a uint8 picture, padded by its edges to multiples of 64 px; h, w multiples of 4.

        With a self-generated prior, latents to be coded need its `structure` (1, S, h, w), which differs from quality
        to quality. Those that describe a picture (`feature_map`, `tokens`) are made without.
        """
        pixels = self._pixels(image_HW3)
        structured = None
        if structure is not None and self.self_prior is not None:
            structured = Structured(structure, self.self_prior.to_g_a)
        with self._lowered(pixels):
            y = analyse(self.g_a, pixels.contiguous(memory_format=torch.channels_last), aligned, structured)
        return y.float()

    @torch.no_grad()
    def self_prior_of(self, image_HW3: Picture, quality_q6_B: Tensor) -> Tensor | None:
        """p over its step, not rounded (B, P, h/2, w/2), of a uint8 picture; None where the model has no such prior."""
        if self.self_prior is None or self.prior.self_generated is None:
            return None
        p: Tensor = self.self_prior.source(self._pixels(image_HW3)) / self.prior.self_generated.step(quality_q6_B)
        return p

    def _pixels(self, image_HW3: Picture) -> Tensor:
        return padded(torch.from_numpy(image_HW3.copy()).to(self.gains.log_step.device)) / 255.0

    @torch.no_grad()
    def feature_map(self, y: Tensor) -> npt.NDArray[np.float32]:
        """The map (1, 64, h, w) that retrieval pools, from latents y (1, M, h, w)."""
        return analysis_features(y / self._middle_step(y)).cpu().numpy()

    def generate_prior(
        self, x: Tensor, quality_q6_B: Tensor, generator: torch.Generator | None = None
    ) -> GeneratedPrior | None:
        """The self-generated prior of pictures (B, 3, H, W) in 0..1, for training; None where the model has none."""
        if self.self_prior is None or self.prior.self_generated is None:
            return None
        p = self.self_prior.source(x) / self.prior.self_generated.step(quality_q6_B)
        bits = self.p_prior.bits(p + _noise_like(p, generator)).sum(dim=(1, 2, 3))
        structure = self.prior.self_generated(p + (torch.round(p) - p).detach(), quality_q6_B)
        return GeneratedPrior(structure, bits)

    def _modulation(self, quality_q6_B: Tensor, generated: GeneratedPrior | None) -> ScaleAndShift:
        """Scale and shift for g_s, of the rate level and of the structure."""
        of_rate = self.gains.modulation(quality_q6_B)
        if self.self_prior is None or generated is None:
            return of_rate
        return added(of_rate, self.self_prior.to_g_s(generated.structure))

    def forward(
        self,
        y: Tensor,
        quality_q6_B: Tensor,
        tokens_BNT: Tensor,
        present_B: Tensor,
        *,
        aligned: AlignedPixels | None = None,
        quantise: Quantiser = thrifty_round,
        generator: torch.Generator | None = None,
        is_synthesised: bool = True,
        is_context_followed: bool = True,
        z: Tensor | None = None,
        generated: GeneratedPrior | None = None,
    ) -> TrainingPass:
        """One training pass from latents y = g_a(x, aligned) (B, M, h, w).

        Args:
            y: Latents.
            quality_q6_B: Qualities in 1/64, int64 (B,).
            tokens_BNT: Tokens of references (B, N, T).
            present_B: Which pictures may see their tokens, bool (B,).
            aligned: The warped references, if there are any.
            quantise: How offsets become symbols.
            generator: Of the noise.
            is_synthesised: Whether g_s runs; without it there is no `x_hat`, and the pass takes half of the time.
            is_context_followed: See `SliceCoding`.
            z: Hyper-latents (B, Z, h/4, w/4) in the place of those that h_a would make.
            generated: What `generate_prior` gives; a model with a self-generated prior needs it.
        """
        step = self.gains.step(quality_q6_B)
        scaled = y / step
        reference = None if aligned is None else self.prior.fusion(aligned, 1.0 / step.detach())
        z = self.h_a(scaled, reference) if z is None else z
        noisy = z + _noise_like(z, generator)
        z_bits = self.z_prior.bits(noisy)
        if aligned is not None:
            z_bits = torch.where(aligned.present > 0, self.z_prior_aligned.bits(noisy), z_bits)
        structure, p_bits = (None, None) if generated is None else generated
        h = self.prior.hyper_features(z + (torch.round(z) - z).detach(), quality_q6_B, structure)
        if self.config.perturbation and tokens_BNT.shape[1]:
            tokens_BNT = perturbed(tokens_BNT, self.config.perturbation, generator)
        context = self.prior.context(h, tokens_BNT, present_B, reference, structure)
        noise = _noise_like(scaled, generator) if self.training else None
        coding = SliceCoding(self.bits_per_squared_step(quality_q6_B, step), quantise, noise, is_context_followed)
        y_hat, y_bits, a = self.walk_slices(scaled, context, coding)
        latent_mse = (step * (y_hat - scaled)).square().mean(dim=(1, 2, 3)) * (y.shape[1] / (3 * STRIDE_Y**2))
        if not is_synthesised:
            return TrainingPass(y.new_empty(0), y_bits, z_bits.sum(dim=(1, 2, 3)), y_hat, latent_mse, p_bits)
        view = None if aligned is None or reference is None else AlignedView(aligned, reference)
        with self._lowered(y):
            x_hat = self.g_s(y_hat, step, self._modulation(quality_q6_B, generated), a, view)
        return TrainingPass(x_hat.float(), y_bits, z_bits.sum(dim=(1, 2, 3)), y_hat, latent_mse, p_bits)

    def analysis(
        self, x: Tensor, aligned: AlignedPixels | None = None, generated: GeneratedPrior | None = None
    ) -> Tensor:
        """y (B, M, h, w) of pictures (B, 3, H, W) in 0..1, for training: in `low_precision` where that is set."""
        with self._lowered(x):
            seen = None if self.self_prior is None or generated is None else self.self_prior.to_g_a(generated.structure)
            y: Tensor = self.g_a(x, aligned, seen)
        return y.float()

    def _lowered(self, like: Tensor) -> torch.autocast:
        is_lowered = self.low_precision is not None
        return torch.autocast(like.device.type, self.low_precision or torch.bfloat16, enabled=is_lowered)

    def bits_per_squared_step(self, quality_q6_B: Tensor, step: Tensor) -> Tensor:
        """What a squared error of one quantisation step in a latent costs, in bits (B, M, 1, 1): lambda * step**2.

        g_s is taken for orthonormal, as its linear path is; the error of a latent is spread over three colours.
        """
        trade = rate_distortion_lambda(from_q6(quality_q6_B.float()))
        return (trade[:, None, None, None] * (255.0**2 / 3.0) * step.square()).detach()

    def walk_slices(self, scaled: Tensor, context: Context, coding: SliceCoding) -> tuple[Tensor, Tensor, Tensor]:
        """Codes y over its step (B, M, h, w): returns y_hat of the same shape, its bits (B,), and a (B, A, h, w) for
        g_s.

        No random number is drawn in here, so that `torch.compile` takes it whole.
        """
        spread = self.config.sampling * math.sqrt(12.0)
        coded: list[tuple[Tensor, ...]] = []

        def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
            noise = None if coding.noise is None else turn.of(coding.noise)
            if noise is not None and spread:
                mean = mean + spread * noise.roll(1, dims=3) * sigma(level.detach())
            offset = turn.of(scaled) - mean
            rounded = coding.quantise(offset, level, coding.bits_per_squared_step[:, turn.channels])
            coded.append((rounded, level) if noise is None else (rounded, level, offset, noise))
            return rounded + mean

        is_followed = coding.is_context_followed
        y_hat, a = walk_slices(self.prior, context, exchange, is_context_followed=is_followed)
        # Counted for all phases at once: many small operations less.
        every = [torch.cat([plane.flatten(1) for plane in planes], dim=1) for planes in zip(*coded, strict=True)]
        bits = gaussian_bits(*every) if coding.noise is None else trained_bits(*every)
        return y_hat, bits.sum(dim=1), a


def perturbed(tokens_BNT: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Tokens (B, N, T) in which each reference is replaced, with `probability`, by that of the next picture."""
    batch, count = len(tokens_BNT), tokens_BNT.shape[1] // TOKENS_PER_ENTRY
    tokens = tokens_BNT.unflatten(1, (count, TOKENS_PER_ENTRY))
    is_wrong = torch.rand(batch, count, 1, 1, generator=generator, device=tokens.device) < probability
    return torch.where(is_wrong, tokens.roll(1, dims=0), tokens).flatten(1, 2)


def padded(image_HWC: Tensor) -> Tensor:
    """A picture (H, W, C) of integers as float32 (1, C, H', W'), repeating its edges up to multiples of 64 px."""
    height, width = image_HWC.shape[:2]
    pixels = image_HWC.permute(2, 0, 1)[None].float()
    return F.pad(pixels, (0, -width % STRIDE_Z, 0, -height % STRIDE_Z), mode="replicate")


def channels_last(model: Model) -> Model:
    """Puts the weights of all convolutions into the channels-last layout, in which 1x1 ones are fastest on a CPU.

    Returns the model, which is changed in place.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model


def make_prior(config: ModelConfig, *, is_exact: bool) -> Prior:
    """The prior of a model, trainable in float32 or exact in float64."""
    return Prior(config, is_exact=is_exact)


def _noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) - 0.5
