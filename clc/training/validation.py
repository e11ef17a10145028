"""Validation: the rate and distortion of a model on held-out pictures, as it estimates them, without coding.

Called by `clc.training.trainer`, which keeps the weights with the lowest loss. The contract: every validation of a run
has the same crops, references and noise, so that its figures differ by the weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.model.model import Model
from clc.model.objective import MSE, TrainingPass, rate_distortion_loss
from clc.quality import from_q6, to_q6
from clc.references.aligned import AlignedPixels
from clc.training.data import PictureSet, spread_crops
from clc.training.pairs import MARGIN_PX, Pair, centre_pairs, disturb

QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)
CROPS_AT_ONCE = 4
SIDE_PX = 256
LEAST_CROPS = 4
SHOWN, SHOWN_QUALITY = 4, 50.0


class HeldOutCurve(NamedTuple):
    """The estimates at each of `QUALITIES`, means over held-out crops: bpp, PSNR in dB, and the training loss.

    Not to be taken for `clc.evaluation.bd_rate.Curve`, which is of coded files.
    """

    bpp: list[float]
    psnr_db: list[float]
    loss: list[float]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The held-out crops of a run.

    `crops` uint8 (n, 3, 256, 256) come with `synthetic` references; `pairs` are (crops, references) of real pairs, None
    without any.
    """

    crops: Tensor
    synthetic: AlignedPixels
    pairs: tuple[Tensor, AlignedPixels] | None

    @classmethod
    def of(cls, pictures: PictureSet, pairs: Sequence[Pair], device: torch.device) -> HeldOut:
        """The middles of the pictures and pairs, on `device`; several crops of each picture where there are few."""
        contexts = spread_crops(pictures, SIDE_PX + 2 * MARGIN_PX, LEAST_CROPS)
        levels, inside = disturb(contexts.float(), np.random.default_rng(1))
        synthetic = AlignedPixels(levels, inside, torch.ones(len(levels), 1, 1, 1))
        real = None
        if pairs:
            crops, aligned = centre_pairs(pairs, SIDE_PX)
            real = crops.to(device), _on(device, aligned)
        middle = contexts[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        return cls(middle.to(device), _on(device, synthetic), real)

    def measure(self, model: Model, objective: str = MSE) -> dict[str, float | list[float]]:
        """The figures of a validation, a list over `QUALITIES` each but for the last.

        `validation_bpp` and `validation_psnr_db` are without references, `aligned_` with synthetic ones, `pairs_` with
        real ones. `validation_loss` is the mean training loss without references and, where there are pairs, with real
        ones.
        """
        plain = rd_curve(model, self.crops, None, objective)
        aligned = rd_curve(model, self.crops, self.synthetic, objective)
        figures: dict[str, float | list[float]] = {
            "validation_bpp": plain.bpp,
            "validation_psnr_db": plain.psnr_db,
            "aligned_bpp": aligned.bpp,
            "aligned_psnr_db": aligned.psnr_db,
        }
        losses = plain.loss
        if self.pairs is not None:
            real = rd_curve(model, *self.pairs, objective)
            figures |= {"pairs_bpp": real.bpp, "pairs_psnr_db": real.psnr_db}
            losses = [*plain.loss, *real.loss]
        return {**figures, "validation_loss": float(np.mean(losses))}

    @torch.no_grad()
    def reconstructions(self, model: Model) -> npt.NDArray[np.uint8]:
        """Up to four crops side by side, each above its reconstruction at quality 50: uint8 (512, 256 n, 3)."""
        crops = self.crops[:SHOWN]
        result, _ = _pass(model, crops.float() / 255.0, SHOWN_QUALITY, None, torch.Generator(crops.device))
        made = torch.round(result.x_hat.clamp(0, 1) * 255.0).to(torch.uint8)
        rows = [torch.cat(list(row), dim=2) for row in (crops, made)]
        picture: npt.NDArray[np.uint8] = torch.cat(rows, dim=1).permute(1, 2, 0).cpu().contiguous().numpy()
        return picture


@torch.no_grad()
def rd_curve(model: Model, crops_B3HW: Tensor, aligned: AlignedPixels | None, objective: str = MSE) -> HeldOutCurve:
    """The curve of a model on uint8 crops, H and W multiples of 64, with their aligned references or without.

    No crop has tokens of dictionary entries.
    """
    noise = torch.Generator(crops_B3HW.device).manual_seed(1)
    curve = HeldOutCurve([], [], [])
    for quality in QUALITIES:
        figures = []
        for start in range(0, len(crops_B3HW), CROPS_AT_ONCE):
            part = slice(start, start + CROPS_AT_ONCE)
            x = crops_B3HW[part].float() / 255.0
            references = None if aligned is None else AlignedPixels(*(tensor[part] for tensor in aligned))
            result, quality_B = _pass(model, x, quality, references, noise)
            loss = rate_distortion_loss(result._replace(x_hat=result.x_hat.clamp(0, 1)), x, quality_B, objective)
            psnr = -10.0 * torch.log10(loss.mse)
            figures.append(torch.stack([loss.bpp, psnr, loss.total.expand_as(psnr)]))
        for means, value in zip(curve, torch.cat(figures, dim=1).mean(dim=1).tolist(), strict=True):
            means.append(value)
    return curve


def _pass(
    model: Model, x: Tensor, quality: float, aligned: AlignedPixels | None, noise: torch.Generator
) -> tuple[TrainingPass, Tensor]:
    """One pass of pictures (B, 3, H, W) in 0..1 at one quality, and that quality for each of them (B,)."""
    quality_q6_B = torch.full((len(x),), to_q6(quality), device=x.device)
    absent = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    no_tokens = torch.zeros(len(x), 0, model.config.token, device=x.device)
    generated = model.generate_prior(x, quality_q6_B)
    y = model.analysis(x, aligned, generated)
    result: TrainingPass = model(
        y, quality_q6_B, no_tokens, absent, aligned=aligned, generator=noise, generated=generated
    )
    return result, from_q6(quality_q6_B)


def _on(device: torch.device, aligned: AlignedPixels) -> AlignedPixels:
    return AlignedPixels(*(part.to(device) for part in aligned))
