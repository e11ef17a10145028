"""Rate and distortion of a model in training, from its own estimates: quick, and the same crops and noise each time.

The pictures are held out: their loss decides which weights of a run are kept (`clc.training.trainer`).
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
AT_ONCE = 4
SIDE_PX = 256
LEAST_CROPS = 4
SHOWN, SHOWN_QUALITY = 4, 50.0


class Curve(NamedTuple):
    """Means over the crops at each of `QUALITIES`: bpp, PSNR in dB, and the training loss."""

    bpp: list[float]
    psnr_db: list[float]
    loss: list[float]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """uint8 crops (n, 3, 256, 256), synthetic references of them, and crops of real pairs with theirs, if there are."""

    crops: Tensor
    synthetic: AlignedPixels
    pairs: tuple[Tensor, AlignedPixels] | None

    @classmethod
    def of(cls, pictures: PictureSet, pairs: Sequence[Pair], device: torch.device) -> HeldOut:
        """From the middles of pictures and pairs; from more places where there are few pictures."""
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
        """The figures of a validation: curves without references, with synthetic ones and with real ones.

        `validation_loss` is the mean training loss over the qualities without references, and with real ones where
        there are pairs.
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
        """One picture (512, 256 n, 3): up to four crops, and below each what the model makes of it at quality 50."""
        crops = self.crops[:SHOWN]
        result, _ = _pass(model, crops.float() / 255.0, SHOWN_QUALITY, None, torch.Generator(crops.device))
        made = torch.round(result.x_hat.clamp(0, 1) * 255.0).to(torch.uint8)
        rows = [torch.cat(list(row), dim=2) for row in (crops, made)]
        picture: npt.NDArray[np.uint8] = torch.cat(rows, dim=1).permute(1, 2, 0).cpu().contiguous().numpy()
        return picture


@torch.no_grad()
def rd_curve(model: Model, crops_B3HW: Tensor, aligned: AlignedPixels | None, objective: str = MSE) -> Curve:
    """The curve of a model on uint8 crops, with their aligned references if given, no tokens; H, W multiples of 64."""
    noise = torch.Generator(crops_B3HW.device).manual_seed(1)
    curve = Curve([], [], [])
    for quality in QUALITIES:
        figures = []
        for start in range(0, len(crops_B3HW), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            x = crops_B3HW[part].float() / 255.0
            seen = None if aligned is None else AlignedPixels(*(tensor[part] for tensor in aligned))
            result, level = _pass(model, x, quality, seen, noise)
            loss = rate_distortion_loss(result._replace(x_hat=result.x_hat.clamp(0, 1)), x, level, objective)
            psnr = -10.0 * torch.log10(loss.mse)
            figures.append(torch.stack([loss.bpp, psnr, loss.total.expand_as(psnr)]))
        for means, value in zip(curve, torch.cat(figures, dim=1).mean(dim=1).tolist(), strict=True):
            means.append(value)
    return curve


def _pass(
    model: Model, x: Tensor, quality: float, seen: AlignedPixels | None, noise: torch.Generator
) -> tuple[TrainingPass, Tensor]:
    """One pass at one quality, and that quality for each picture."""
    level = torch.full((len(x),), to_q6(quality), device=x.device)
    absent = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    no_tokens = torch.zeros(len(x), 0, model.config.token, device=x.device)
    result: TrainingPass = model(model.g_a(x, seen), level, no_tokens, absent, aligned=seen, generator=noise)
    return result, from_q6(level)


def _on(device: torch.device, aligned: AlignedPixels) -> AlignedPixels:
    return AlignedPixels(*(part.to(device) for part in aligned))
