"""The post-filter: classes by whole numbers, the same in parts as on the whole, and weights that lower the error."""

import dataclasses
import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clc.bundle.bundle import SHIPPED, Bundle
from clc.codec import Codec
from clc.errors import StorageError
from clc.model import tiling
from clc.model.model import Model
from clc.model.post_filter import (
    ANGLES,
    CLASSES,
    CLIP,
    QUALITIES_Q6,
    REACH_PX,
    TAPS,
    WEIGHTS_SHAPE,
    PostFilter,
    classes,
    fit,
)
from clc.model.transforms import tiled
from clc.pictures.images import read_image
from clc.references.aligned import AlignedLatents, AlignedPixels, AlignedView
from storage.arrays import read_arrays, write_arrays
from storage.digest import sha256_file
from tests.conftest import SMALL, Picture


def levels_of(picture: Picture) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()


def noisy(levels: Tensor, seed: int) -> Tensor:
    noise = torch.randn(levels.shape, generator=torch.Generator().manual_seed(seed))
    return (levels + 6.0 * noise).clamp(0.0, 255.0)


def fitted(photo: Picture) -> PostFilter:
    levels = levels_of(photo[:128, :192])
    return fit((knot, (noisy(levels, knot), levels)) for knot in range(len(QUALITIES_Q6)))


@pytest.mark.parametrize(
    ("right", "down", "angle"),
    [(8, 0, 0), (8, 4, 1), (8, 8, 2), (4, 8, 3), (0, 8, 4), (-4, 8, 5), (8, -8, 6), (8, -4, 7)],
)
def test_an_angle_is_that_of_the_slope(right: int, down: int, angle: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    ramp = (100.0 + down * rows + right * columns)[None, None].expand(1, 3, 12, 12)
    found = classes(ramp)
    assert found.shape == (1, 12 - 2 * REACH_PX, 12 - 2 * REACH_PX)
    kind = int(found.unique().item())
    assert kind % ANGLES == angle
    assert kind // ANGLES % 3 == 2  # one direction alone


def test_flat_is_the_first_class_and_what_is_steep_and_directed_is_among_the_last() -> None:
    assert classes(torch.full((1, 3, 16, 16), 77.0)).unique().tolist() == [0]
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[..., 8:] = 255.0
    assert int(classes(stripes).max()) == CLASSES - ANGLES


def test_without_examples_nothing_is_filtered(photo: Picture) -> None:
    nothing = fit([])
    assert tuple(nothing.weights.shape) == WEIGHTS_SHAPE
    levels = levels_of(photo[:70, :50])
    assert torch.equal(nothing.apply(levels, 3200), levels)


def test_the_error_of_pictures_like_the_examples_is_lower(photo: Picture) -> None:
    postfilter, other = fitted(photo), levels_of(photo[128:256, :192])
    for quality_q6 in (0, 2000, 6400):
        seen = noisy(other, 77)
        filtered = postfilter.apply(seen, quality_q6)
        assert (filtered - other).square().mean() < 0.8 * (seen - other).square().mean()


def test_a_turned_picture_is_filtered_as_the_picture_is(photo: Picture) -> None:
    postfilter, levels = fitted(photo), levels_of(photo[:90, :110])
    filtered = postfilter.apply(levels, 3200)
    for turn in (lambda x: x.flip(3), lambda x: x.flip(2), lambda x: x.transpose(2, 3), lambda x: x.rot90(1, (2, 3))):
        turned = postfilter.apply(turn(levels).contiguous(), 3200)
        assert (turned - turn(filtered)).abs().max() < 1e-3


def test_a_part_is_filtered_as_in_the_whole(photo: Picture) -> None:
    postfilter, levels = fitted(photo), levels_of(photo[:200, :150])
    whole, part = postfilter.apply(levels, 1234), postfilter.apply(levels[:, :, 50:180, 40:140].contiguous(), 1234)
    inner = slice(REACH_PX, -REACH_PX)
    assert (part[..., inner, inner] - whole[:, :, 50:180, 40:140][..., inner, inner]).abs().max() < 1e-4
    both = postfilter.apply(torch.cat([levels, levels.flip(3)]), 1234)
    assert (both[:1] - whole).abs().max() < 1e-3


def test_between_two_fitted_qualities_weights_are_in_between() -> None:
    weights = torch.zeros(WEIGHTS_SHAPE) + torch.arange(len(QUALITIES_Q6)).view(-1, 1, 1, 1)
    found = [float(PostFilter(weights).at(quality).mean()) for quality in (0, 800, 1600, 5600, 6400)]
    assert found == [0.0, 0.5, 1.0, 3.5, 4.0]


def test_a_pixel_takes_little_from_across_an_edge() -> None:
    """Of one pair, left and right: what differs by more than `CLIP` counts as if it differed by that."""
    levels = torch.full((1, 3, 16, 16), 100.0)
    levels[..., 8:] = 200.0
    weights = torch.zeros(WEIGHTS_SHAPE)
    right = TAPS.index((0, 1))
    weights[..., right] = 0.25
    assert PostFilter(weights).apply(levels, 0)[0, 0, 8, 6:10].tolist() == [100.0, 125.0, 175.0, 200.0]
    weights[..., right], weights[..., len(TAPS) + right] = 0.0, 0.25
    moved = 0.25 * CLIP
    assert PostFilter(weights).apply(levels, 0)[0, 0, 8, 6:10].tolist() == [100.0, 100.0 + moved, 200.0 - moved, 200.0]


@pytest.mark.parametrize("is_cut", [False, True])
def test_pixels_that_a_reference_covers_are_left_alone(monkeypatch: pytest.MonkeyPatch, *, is_cut: bool) -> None:
    torch.manual_seed(0)
    model = Model(SMALL).eval().requires_grad_(False)
    if is_cut:
        monkeypatch.setattr(tiling, "WHOLE_LATENTS", 32)
    inside = torch.zeros(1, 1, 192, 64)
    inside[:, :, :100] = 1.0
    seen = AlignedPixels(torch.full((1, 3, 192, 64), 90.0), inside, torch.ones(1, 1, 1, 1))
    latents = torch.randn(1, SMALL.latents, 12, 4)
    own = AlignedLatents(latents, torch.ones(1, 1, 12, 4), torch.zeros(1, SMALL.aligned, 12, 4), seen.present)
    quality = torch.tensor([3200])
    arguments = (model.g_s, latents, model.gains.step(quality), model.gains.modulation(quality))
    sides = tiled.Known(torch.zeros(1, SMALL.conditioning, 12, 4), AlignedView(seen, own))
    plain = tiled.synthesise(*arguments, sides).int()
    moved = tiled.synthesise(*arguments, sides, lambda levels: levels + 9.0).int()
    assert (moved - plain)[:, :, :100].abs().max() <= 1  # the margin of a tile is wider
    assert (moved - plain)[:, :, 101:].float().mean() > 4.0


def test_the_shipped_post_filter_lowers_the_error_of_photographs_and_hardly_raises_it(shipped: Codec) -> None:
    """On average over four; the fur of a cat is the one of them that it does nothing for."""
    without = Codec(dataclasses.replace(shipped.bundle, postfilter=None))
    for quality, most in ((20, 0.982), (80, 0.95)):
        ratios = []
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"):
            image = np.ascontiguousarray(read_image((files("skimage") / "data" / name).read_bytes())[:384, :448])
            data = shipped.encode(image, quality, "none")
            errors = [np.square(codec.decode(data).astype(float) - image).mean() for codec in (shipped, without)]
            ratios.append(errors[0] / errors[1])
        assert np.mean(ratios) < most
        assert max(ratios) < 1.005


def test_a_bundle_without_one_is_read_and_filters_nothing(tmp_path: Path) -> None:
    copied = with_weights(tmp_path, None)
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, "version": 5}))
    codec = Codec.load(copied)
    assert codec.bundle.postfilter is None
    image = np.zeros((64, 64, 3), np.uint8)
    assert codec.decode(codec.encode(image)).shape == image.shape


def test_a_bundle_whose_filter_clips_nothing_is_read(tmp_path: Path, shipped: Codec) -> None:
    weights = shipped.bundle.postfilter.weights[..., : len(TAPS)]
    read = Bundle.load(with_weights(tmp_path, weights.numpy().astype(np.float16))).postfilter.weights
    assert torch.equal(read[..., : len(TAPS)], weights)
    assert not read[..., len(TAPS) :].any()


@pytest.mark.parametrize(
    "weights",
    [np.zeros((5, 7, 3, 12), np.float16), np.full(WEIGHTS_SHAPE, np.nan, np.float16), np.full(WEIGHTS_SHAPE, 9.0)],
)
def test_weights_that_no_fit_makes_are_refused(tmp_path: Path, weights: np.ndarray) -> None:
    with pytest.raises(StorageError, match="post-filter"):
        Bundle.load(with_weights(tmp_path, weights.astype(np.float16)))


def with_weights(folder: Path, weights: np.ndarray | None) -> Path:
    """A copy of the shipped bundle with these weights in the place of its own."""
    copied = Path(shutil.copytree(SHIPPED, folder / "bundle"))
    path = copied / "tables.safetensors"
    arrays = {name: array for name, array in read_arrays(path).items() if name != "postfilter"}
    write_arrays(path, arrays if weights is None else {**arrays, "postfilter": weights}, None)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"]["tables.safetensors"] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    return copied
