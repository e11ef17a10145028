"""Crops with aligned references, to train on.

A model must learn how far to trust an aligned reference, which is never quite the picture. Two kinds of pairs teach it.
Real pairs are overlapping pictures, registered and warped as the encoder does it (`clc.references.overlaps`). Synthetic
pairs can be made of any picture: the reference is the crop itself, degraded as references are (`disturb`). A smooth
field displaces it by what registration misses, up to a few px; its colours change; it is blurred, noised and
compressed; it shows something else in places, and does not cover all of the crop.

Called by `clc.training.batches` for training, by `clc.training.validation` for held-out crops, and by `train-codec` for
`overlapping_pairs`. The contract: a crop is a function of the generator alone.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from clc.references.aligned import AlignedPixels
from clc.references.warp import warp
from clc.training.data import CropSampler, PictureSet

if TYPE_CHECKING:
    from clc.references.overlaps import Overlap  # OpenCV is for finding overlaps only, not for training on them

logger = logging.getLogger(__name__)

MARGIN_PX = 16
"""How much of a picture around a crop `disturb` is given, on each side: a displaced crop shows some of it."""


class Crops(NamedTuple):
    """Crops and what goes with them: `x` float32 (B, 3, H, W) in 0..1, and the name of the photo that each one shows.

    `aligned` are their references, one for each crop, or None.
    """

    x: Tensor
    photos: list[str]
    aligned: AlignedPixels | None


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and a reference warped onto it, uint8 (H, W, 3) both.

    `inside` bool (H, W) is where the reference covers the picture; `photo` names the photo that the picture shows.
    """

    picture: Picture
    warped: Picture
    inside: npt.NDArray[np.bool_]
    photo: str


class PairSampler:
    """Draws the crops of a batch. Either all of them have references or none has.

    A share of the crops with references, `real_share`, comes from `pairs`; the others, and all of them without pairs,
    have synthetic references. A step with references takes a third longer even when one crop alone has one: so no batch
    is mixed.
    """

    def __init__(self, sampler: CropSampler, pairs: Sequence[Pair], real_share: float) -> None:
        self._sampler, self._pairs = sampler, pairs
        self._real_share = real_share if pairs else 0.0

    def sample(self, rng: np.random.Generator, count: int, crop_px: int, *, is_aligned: bool) -> Crops:
        """`count` crops of `crop_px` by `crop_px`, a multiple of 64, with references if `is_aligned`."""
        contexts, photos = self._sampler.sample(rng, count, crop_px + 2 * MARGIN_PX)
        x = contexts[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX].float()
        aligned = None
        if is_aligned:
            is_real = rng.random(count) < self._real_share
            levels, inside = torch.zeros_like(x), torch.zeros_like(x[:, :1])
            if not is_real.all():
                levels[~is_real], inside[~is_real] = disturb(contexts[~is_real].float(), rng)
            for index in np.flatnonzero(is_real):
                pair = self._pairs[int(rng.integers(len(self._pairs)))]
                x[index], levels[index], inside[index] = _crop_pair(pair, rng, crop_px)
                photos[index] = pair.photo
            aligned = AlignedPixels(levels, inside, torch.ones(count, 1, 1, 1))
        return Crops((x / 255.0).contiguous(memory_format=torch.channels_last), photos, aligned)


def split_pairs(pairs: Sequence[Pair], apart: Collection[str]) -> tuple[list[Pair], list[Pair]]:
    """Splits pairs by photo into (training, held out): the pairs of the photos in `apart` are held out.

    If there are none of these, every eighth photo's pairs are held out. If no photo would be left to train on, all
    pairs are in both parts, and a warning says so.
    """
    photos = sorted({pair.photo for pair in pairs})
    held_out = set(apart).intersection(photos) or set(photos[::8])
    if len(photos) <= len(held_out):
        if pairs:
            logger.warning("held_out_pairs=none: too few photos overlap, so validation is on pairs that are trained on")
        return list(pairs), list(pairs)
    return [p for p in pairs if p.photo not in held_out], [p for p in pairs if p.photo in held_out]


def centre_pairs(pairs: Sequence[Pair], side_px: int) -> tuple[Tensor, AlignedPixels]:
    """The middle square of each pair as crop and reference: uint8 (n, 3, side, side) and `AlignedPixels`.

    Pairs smaller than `side_px` are mirrored up to it.
    """
    cut = [_cut(_stacked(pair, side_px), side_px, lambda room: room // 2) for pair in pairs]
    planes = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)
    inside = planes[:, 6:].float()
    return planes[:, :3], AlignedPixels(planes[:, 3:6] * inside, inside, torch.ones(len(pairs), 1, 1, 1))


def disturb(contexts_BCHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Synthetic references for crops: (levels, inside), from the crops with `MARGIN_PX` more of the picture around.

    `contexts_BCHW` is float32 (B, 3, H + 32, W + 32), in levels 0..255. Returned are whole levels (B, 3, H, W), 0 where
    the reference does not cover the crop, and the coverage, 0 or 1 (B, 1, H, W).
    """
    batch, _, height, width = contexts_BCHW.shape
    reference = _displaced(contexts_BCHW, rng)
    blurred = F.avg_pool2d(F.pad(reference, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    softness = _per_picture(np.where(rng.random(batch) < 0.4, rng.random(batch), 0.0))
    reference = reference + softness * (blurred - reference)
    gain = 1.0 + _normal(rng, (batch, 1, 1, 1), 0.05) + _normal(rng, (batch, 3, 1, 1), 0.015)
    reference = reference * gain + _normal(rng, (batch, 3, 1, 1), 5.0)
    noise = _per_picture(np.where(rng.random(batch) < 0.5, 6.0 * rng.random(batch), 0.0))
    reference = reference + noise * _normal(rng, reference.shape, 1.0)
    reference = torch.round(reference.clamp(0.0, 255.0))
    for index in np.flatnonzero(rng.random(batch) < 0.4):
        reference[index] = _compressed(reference[index], int(rng.integers(25, 96)))
    reference = _changed_in_places(reference, rng)
    inside = _coverage(rng, (batch, height - 2 * MARGIN_PX, width - 2 * MARGIN_PX))
    return reference * inside, inside


def _displaced(contexts: Tensor, rng: np.random.Generator) -> Tensor:
    """The contexts without their margin, each pixel displaced by a smooth random field."""
    batch, _, height, width = contexts.shape
    size = (height - 2 * MARGIN_PX, width - 2 * MARGIN_PX)
    strength = np.exp(rng.uniform(np.log(0.05), np.log(1.6), batch))
    coarse = int(rng.integers(2, 7))
    field = _normal(rng, (batch, 2, coarse, coarse), 1.0) * _per_picture(strength)
    offsets = F.interpolate(field, size=size, mode="bicubic", align_corners=True)
    offsets = offsets + _normal(rng, (batch, 2, 1, 1), 1.0) * _per_picture(0.3 * strength)
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    x = (columns + MARGIN_PX + offsets[:, 0] + 0.5) * 2.0 / width - 1.0
    y = (rows + MARGIN_PX + offsets[:, 1] + 0.5) * 2.0 / height - 1.0
    grid = torch.stack([x, y], dim=-1)
    return F.grid_sample(contexts, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _changed_in_places(levels: Tensor, rng: np.random.Generator) -> Tensor:
    """The references, a third of which show another picture inside an ellipse, a few of them everywhere."""
    batch, _, height, width = levels.shape
    other = levels.roll(1, dims=0).flip(3)
    rows = torch.linspace(0.0, 1.0, height)[:, None]
    columns = torch.linspace(0.0, 1.0, width)[None, :]
    result = levels.clone()
    for index in np.flatnonzero(rng.random(batch) < 0.35):
        middle, radius = rng.random(2), rng.uniform(0.05, 0.45, 2) * (8.0 if rng.random() < 0.1 else 1.0)
        distance = ((rows - middle[0]) / radius[0]) ** 2 + ((columns - middle[1]) / radius[1]) ** 2
        result[index] = torch.where(distance < 1.0, other[index], levels[index])
    return result


def _coverage(rng: np.random.Generator, shape: tuple[int, int, int]) -> Tensor:
    """The coverage of references, 0 or 1 (B, 1, H, W): all of the crop in three of five, else one side of a line."""
    batch, height, width = shape
    rows = torch.linspace(-1.0, 1.0, height)[:, None]
    columns = torch.linspace(-1.0, 1.0, width)[None, :]
    inside = torch.ones(batch, 1, height, width)
    for index in np.flatnonzero(rng.random(batch) < 0.4):
        angle, offset = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-0.9, 0.9)
        inside[index, 0] = (np.cos(angle) * rows + np.sin(angle) * columns < offset).float()
    return inside


def _compressed(levels_CHW: Tensor, quality: int) -> Tensor:
    """Levels (3, H, W) after WebP of `quality`."""
    buffer = io.BytesIO()
    pixels = levels_CHW.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=0)
    return torch.from_numpy(read_image(buffer.getvalue())).permute(2, 0, 1).float()


def _crop_pair(pair: Pair, rng: np.random.Generator, crop_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same random crop, quarter turn and flip of picture (3, H, W), reference (3, H, W) and coverage (1, H, W)."""
    crop = _cut(_stacked(pair, crop_px), crop_px, lambda room: int(rng.integers(room + 1)))
    crop = np.rot90(crop, int(rng.integers(4)))
    crop = crop[:, ::-1] if rng.integers(2) else crop
    planes = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float()
    return planes[:3], planes[3:6] * planes[6:], planes[6:]


def _stacked(pair: Pair, least_px: int) -> Picture:
    """Picture, reference and coverage as one array of 7 channels, mirrored up to `least_px` where it is smaller."""
    stacked = np.concatenate([pair.picture, pair.warped, pair.inside[..., None].astype(np.uint8)], axis=2)
    missing = [max(0, least_px - side) for side in stacked.shape[:2]]
    return np.pad(stacked, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else stacked


def _cut(picture: Picture, side_px: int, place: Callable[[int], int]) -> Picture:
    """A square of a picture; `place(room)` chooses each of its offsets, 0 to `room`."""
    top, left = (place(side - side_px) for side in picture.shape[:2])
    return picture[top : top + side_px, left : left + side_px]


def _normal(rng: np.random.Generator, shape: tuple[int, ...] | torch.Size, spread: float) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(spread))


def _per_picture(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)


def overlapping_pairs(pictures: PictureSet, overlaps: Sequence[Overlap], partners: int = 4) -> list[Pair]:
    """Pairs of every picture with the `partners` that overlap it best (`Overlap.worth`), each warped onto it."""
    pairs = []
    for target, picture in enumerate(pictures.pictures):
        found = sorted((o for o in overlaps if o.target == target), key=lambda o: -o.worth)
        for overlap in found[:partners]:
            size = (picture.shape[0], picture.shape[1])
            warped = warp(pictures.pictures[overlap.reference], size, overlap.registration.alignment)
            pairs.append(Pair(picture, warped.pixels, warped.inside, pictures.photos[target]))
    return pairs
