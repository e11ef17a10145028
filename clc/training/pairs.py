"""References for training: what a warped key picture looks like beside the picture that it predicts.

A model must learn from each crop how far to trust a reference. Two kinds of pairs teach it: real ones, made of
overlapping pictures by the encoder's own registration (`clc.references.overlaps`), and synthetic ones for any picture:
the crop's own surroundings, displaced by what a registration leaves (a smooth field of up to a few px), recoloured,
blurred, noised, compressed, in places showing something else, and covered in part (`disturb`).
"""

from __future__ import annotations

import io
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

MARGIN_PX = 16


class Batch(NamedTuple):
    """`x` (B, 3, H, W) float32 in 0..1, the photo of each crop, and their references (None if it has none)."""

    x: Tensor
    photos: list[str]
    aligned: AlignedPixels | None


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture and a reference warped onto it: uint8 (H, W, 3) both, `inside` bool (H, W), and the photo's name."""

    picture: Picture
    warped: Picture
    inside: npt.NDArray[np.bool_]
    photo: str


class PairSampler:
    """Crops of a batch: with references all of them or none, a `real_share` from `pairs` if there are any.

    What a model does beside a reference costs a third more for the whole batch, though one crop alone have it.
    """

    def __init__(self, sampler: CropSampler, pairs: Sequence[Pair], real_share: float) -> None:
        self._sampler, self._pairs = sampler, pairs
        self._real_share = real_share if pairs else 0.0

    def sample(self, rng: np.random.Generator, count: int, crop_px: int, *, is_aligned: bool) -> Batch:
        """`count` crops of `crop_px` squared, a multiple of 64."""
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
        return Batch((x / 255.0).contiguous(memory_format=torch.channels_last), photos, aligned)


def split_pairs(pairs: Sequence[Pair], apart: Collection[str]) -> tuple[list[Pair], list[Pair]]:
    """(training, held out): pairs that show a photo of `apart` are held out.

    Where that is none of them, every eighth photo of the pairs is; a single photo is in both.
    """
    photos = sorted({pair.photo for pair in pairs})
    held_out = set(apart).intersection(photos) or set(photos[::8])
    if len(photos) <= len(held_out):
        return list(pairs), list(pairs)
    return [p for p in pairs if p.photo not in held_out], [p for p in pairs if p.photo in held_out]


def centre_pairs(pairs: Sequence[Pair], side_px: int) -> tuple[Tensor, AlignedPixels]:
    """The middle of each pair, mirrored where it is smaller: uint8 (n, 3, side, side) and their references."""
    cut = [_cut(_stacked(pair, side_px), side_px, lambda room: room // 2) for pair in pairs]
    planes = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)
    inside = planes[:, 6:].float()
    return planes[:, :3], AlignedPixels(planes[:, 3:6] * inside, inside, torch.ones(len(pairs), 1, 1, 1))


def disturb(contexts_BCHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """References for crops from their surroundings: float (B, 3, H + 32, W + 32) of 0..255 -> levels, inside.

    Returns whole levels (B, 3, H, W), 0 outside, and the coverage (B, 1, H, W).
    """
    batch, _, height, width = contexts_BCHW.shape
    seen = _displaced(contexts_BCHW, rng)
    blurred = F.avg_pool2d(F.pad(seen, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    softness = _per_picture(np.where(rng.random(batch) < 0.4, rng.random(batch), 0.0))
    seen = seen + softness * (blurred - seen)
    gain = 1.0 + _normal(rng, (batch, 1, 1, 1), 0.05) + _normal(rng, (batch, 3, 1, 1), 0.015)
    seen = seen * gain + _normal(rng, (batch, 3, 1, 1), 5.0)
    noise = _per_picture(np.where(rng.random(batch) < 0.5, 6.0 * rng.random(batch), 0.0))
    seen = seen + noise * _normal(rng, seen.shape, 1.0)
    seen = torch.round(seen.clamp(0.0, 255.0))
    for index in np.flatnonzero(rng.random(batch) < 0.4):
        seen[index] = _compressed(seen[index], int(rng.integers(25, 96)))
    seen = _changed_in_places(seen, rng)
    inside = _coverage(rng, (batch, height - 2 * MARGIN_PX, width - 2 * MARGIN_PX))
    return seen * inside, inside


def _displaced(contexts: Tensor, rng: np.random.Generator) -> Tensor:
    """The middle of the contexts, seen through a smooth field of displacements."""
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


def _changed_in_places(seen: Tensor, rng: np.random.Generator) -> Tensor:
    """Shows another crop inside an ellipse in a third of the pictures, and all over in a few."""
    batch, _, height, width = seen.shape
    other = seen.roll(1, dims=0).flip(3)
    rows = torch.linspace(0.0, 1.0, height)[:, None]
    columns = torch.linspace(0.0, 1.0, width)[None, :]
    result = seen.clone()
    for index in np.flatnonzero(rng.random(batch) < 0.35):
        middle, radius = rng.random(2), rng.uniform(0.05, 0.45, 2) * (8.0 if rng.random() < 0.1 else 1.0)
        distance = ((rows - middle[0]) / radius[0]) ** 2 + ((columns - middle[1]) / radius[1]) ** 2
        result[index] = torch.where(distance < 1.0, other[index], seen[index])
    return result


def _coverage(rng: np.random.Generator, shape: tuple[int, int, int]) -> Tensor:
    """0 or 1 (B, 1, H, W): all for three in five, else one side of a line."""
    batch, height, width = shape
    rows = torch.linspace(-1.0, 1.0, height)[:, None]
    columns = torch.linspace(-1.0, 1.0, width)[None, :]
    inside = torch.ones(batch, 1, height, width)
    for index in np.flatnonzero(rng.random(batch) < 0.4):
        angle, offset = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-0.9, 0.9)
        inside[index, 0] = (np.cos(angle) * rows + np.sin(angle) * columns < offset).float()
    return inside


def _compressed(levels_CHW: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    pixels = levels_CHW.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=0)
    return torch.from_numpy(read_image(buffer.getvalue())).permute(2, 0, 1).float()


def _crop_pair(pair: Pair, rng: np.random.Generator, crop_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same crop, flip and turn of picture, reference and coverage."""
    crop = _cut(_stacked(pair, crop_px), crop_px, lambda room: int(rng.integers(room + 1)))
    crop = np.rot90(crop, int(rng.integers(4)))
    crop = crop[:, ::-1] if rng.integers(2) else crop
    planes = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1).float()
    return planes[:3], planes[3:6] * planes[6:], planes[6:]


def _stacked(pair: Pair, least_px: int) -> Picture:
    """Picture, reference and coverage as 7 channels of one picture, mirrored up to a size."""
    stacked = np.concatenate([pair.picture, pair.warped, pair.inside[..., None].astype(np.uint8)], axis=2)
    missing = [max(0, least_px - side) for side in stacked.shape[:2]]
    return np.pad(stacked, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric") if any(missing) else stacked


def _cut(picture: Picture, side_px: int, place: Callable[[int], int]) -> Picture:
    """A square; `place(room)` chooses, within 0 and `room`, where it begins."""
    top, left = (place(side - side_px) for side in picture.shape[:2])
    return picture[top : top + side_px, left : left + side_px]


def _normal(rng: np.random.Generator, shape: tuple[int, ...] | torch.Size, spread: float) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32) * np.float32(spread))


def _per_picture(values: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32)).view(-1, 1, 1, 1)


def overlapping_pairs(pictures: PictureSet, overlaps: Sequence[Overlap], partners: int = 4) -> list[Pair]:
    """Every picture with the `partners` that are worth most to it, warped onto it: pairs to train on."""
    pairs = []
    for target, picture in enumerate(pictures.pictures):
        own = sorted((o for o in overlaps if o.target == target), key=lambda o: -o.worth)
        for overlap in own[:partners]:
            size = (picture.shape[0], picture.shape[1])
            warped = warp(pictures.pictures[overlap.reference], size, overlap.registration.alignment)
            pairs.append(Pair(picture, warped.pixels, warped.inside, pictures.photos[target]))
    return pairs
