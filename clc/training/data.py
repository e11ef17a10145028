"""Training pictures in memory, and crops of them.

Pictures are decoded once and kept as uint8. Crops and flips are cheap, so that a training step never waits for data.
Called by the command line of `clc.training`, by `train-codec`, and by the other modules of this room. The contract:
crops are a function of the pictures and the generator.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clc.bundle.identity import own_names
from clc.console import text_of
from clc.errors import InputError
from clc.pictures.folders import find_pictures, passed_over_text
from clc.pictures.images import read_image
from clc.pictures.picture import Picture
from storage.names import shown_name

logger = logging.getLogger(__name__)

WEIGHT_CAP_PX = 1 << 20
"""Pictures are drawn in proportion to their pixels, up to so many."""
LARGEST_CUT = 2.0
"""The side of the largest rescaled crop, before it is scaled down, over that of the crop."""


@dataclass(frozen=True)
class PictureSet:
    """Pictures, uint8 (H, W, 3), and in the same order what tells the photo that each one shows from all others.

    That is the path of its file, or what a caller has that is as good; a file's own name is not, for
    `scene1/image.png` and `scene2/image.png` are two photos. Several pictures may show one photo, such as its crops.
    """

    pictures: Sequence[Picture]
    photos: Sequence[str]

    def __len__(self) -> int:
        return len(self.pictures)

    def split(self, held_out: int, generator: np.random.Generator) -> tuple[PictureSet, PictureSet]:
        """Splits into (training, held out) by photo: random photos until `held_out` pictures or more are held out.

        At most half of the pictures are held out. If all show a single photo, both parts have all of them, and a
        warning says so.
        """
        photos = list(dict.fromkeys(self.photos))
        if len(photos) == 1:
            logger.warning("held_out=none: all pictures show one photo, so validation is on what is trained on")
            return self, self
        apart: list[int] = []
        for place in generator.permutation(len(photos)).tolist():
            if len(apart) >= held_out:
                break
            shown = [i for i, photo in enumerate(self.photos) if photo == photos[place]]
            if 2 * (len(apart) + len(shown)) <= len(self):
                apart += shown
        chosen = set(apart)
        return self._subset([i for i in range(len(self)) if i not in chosen]), self._subset(sorted(apart))

    def _subset(self, indexes: list[int]) -> PictureSet:
        return PictureSet([self.pictures[i] for i in indexes], [self.photos[i] for i in indexes])


def read_folders(folders: Iterable[Path], longest_side_px: int = 1200) -> PictureSet:
    """Every readable picture below the folders, in the order of their paths, read by as many threads as torch has.

    Pictures with a side above `longest_side_px` are scaled down to it. A file is read once, however many folders and
    links lead to it. Its photo is its path, links resolved; files of the same pixels show one photo, that of the first
    of them. Folders are searched by `clc.pictures.folders`. What cannot be read, or is passed over, is logged and left
    out. Raises `InputError` for what is no folder, and when no picture is left.
    """
    paths = _paths(folders)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        read = list(pool.map(lambda path: _read(path, longest_side_px), paths))
    kept = [(picture, path) for picture, path in zip(read, paths, strict=True) if picture is not None]
    if not kept:
        raise InputError("no readable picture in the training folders; name folders that hold PNG, JPEG or WebP files")
    if len(kept) < len(paths):
        logger.warning("pictures left out: %d of %d cannot be read", len(paths) - len(kept), len(paths))
    pictures = [picture for picture, _ in kept]
    return PictureSet(pictures, _photos(pictures, [path for _, path in kept]))


def _paths(folders: Iterable[Path]) -> list[Path]:
    """The files of pictures below the folders, each once, with links resolved."""
    paths: dict[Path, None] = {}
    passed_over: Counter[str] = Counter()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder of pictures; name one that there is")
        found = find_pictures(folder, own_names)
        paths.update(dict.fromkeys(path.resolve() for path in found.files))
        passed_over.update(found.passed_over)
        for path, reason in found.unreadable:
            logger.warning("folder left out path=%s reason=%s", shown_name(str(path)), reason)
    if passed_over:
        logger.warning("passed over in the training folders: %s", passed_over_text(passed_over))
    return list(paths)


def _photos(pictures: Sequence[Picture], paths: Sequence[Path]) -> list[str]:
    """The photo that each picture shows: a copy shows that of the first picture with the same pixels."""
    first: dict[bytes, str] = {}
    photos = []
    for picture, path in zip(pictures, paths, strict=True):
        name = shown_name(str(path))
        photos.append(first.setdefault(_digest(picture), name))
        if photos[-1] != name:
            logger.warning("copy name=%s has the pixels of %s, and counts as the same photo", name, photos[-1])
    return photos


def _digest(picture: Picture) -> bytes:
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return digest.digest()


def _read(path: Path, longest_side_px: int) -> Picture | None:
    try:
        return _limit_side(read_image(path), longest_side_px)
    except Exception as error:  # a decoder may raise anything over a file from outside
        logger.warning("picture left out name=%s reason=%s", shown_name(str(path)), text_of(error, path))
        return None


def _limit_side(picture: Picture, longest_side_px: int) -> Picture:
    height, width = picture.shape[:2]
    scale = longest_side_px / max(height, width)
    if scale >= 1.0:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


class CropSampler:
    """Draws random square crops with flips and quarter turns, more of them from larger pictures, up to one megapixel.

    A share of them, `rescaled_share`, is cut larger, up to `LARGEST_CUT` times the side, and scaled down.
    """

    def __init__(self, pictures: PictureSet, rescaled_share: float = 0.0) -> None:
        areas = np.array([p.shape[0] * p.shape[1] for p in pictures.pictures], dtype=np.float64)
        weights = np.minimum(areas, WEIGHT_CAP_PX)
        self._probability = weights / weights.sum()
        self._set = pictures
        self._rescaled_share = rescaled_share

    def sample(self, generator: np.random.Generator, count: int, crop_px: int) -> tuple[Tensor, list[str]]:
        """Crops, uint8 (count, 3, crop_px, crop_px), and the names of the photos that they show.

        Pictures smaller than a crop are mirrored up to its size.
        """
        chosen = generator.choice(len(self._set), size=count, p=self._probability)
        crops = [self._crop(self._set.pictures[i], generator, crop_px) for i in chosen]
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2), [self._set.photos[i] for i in chosen]

    def _crop(self, picture: Picture, generator: np.random.Generator, crop_px: int) -> Picture:
        largest = min(LARGEST_CUT, min(picture.shape[:2]) / crop_px)
        # Without a share no number is drawn: the crops are then those of a sampler that never rescales.
        if largest <= 1.0 or not self._rescaled_share or generator.random() >= self._rescaled_share:
            return _random_crop(picture, generator, crop_px)
        cut_px = int(crop_px * np.exp(generator.uniform(0.0, np.log(largest))))
        cut = Image.fromarray(_random_crop(picture, generator, cut_px))
        return np.asarray(cut.resize((crop_px, crop_px), Image.Resampling.LANCZOS))


def _random_crop(picture: Picture, generator: np.random.Generator, crop_px: int) -> Picture:
    picture = _at_least(picture, crop_px)
    top, left = (int(generator.integers(side - crop_px + 1)) for side in picture.shape[:2])
    crop = picture[top : top + crop_px, left : left + crop_px]
    crop = np.rot90(crop, int(generator.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if generator.integers(2) else crop)


def spread_crops(pictures: PictureSet, crop_px: int, at_least: int) -> Tensor:
    """Crops at fixed places, uint8 (n, 3, crop_px, crop_px): the middle of every picture.

    If there are fewer than `at_least` pictures, each has several crops, evenly apart, to make up the number; pictures
    hardly larger than a crop have fewer. Pictures smaller than a crop are mirrored up to its size.
    """
    of_each = -(-at_least // len(pictures))
    columns = math.isqrt(of_each - 1) + 1
    rows = -(-of_each // columns)
    crops = []
    for picture in pictures.pictures:
        large = _at_least(picture, crop_px)
        height, width = (side - crop_px for side in large.shape[:2])
        for top, left in dict.fromkeys(
            (height * (2 * row + 1) // (2 * rows), width * (2 * column + 1) // (2 * columns))
            for row, column in product(range(rows), range(columns))
        ):
            crops.append(large[top : top + crop_px, left : left + crop_px])
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def random_patches(pictures: PictureSet, count: int, side_px: int, seed: int) -> PictureSet:
    """Dictionary patches to train with where there is no dictionary: random squares of `side_px` px.

    There are `count` of them or fewer, one at most from each picture that is large enough.
    """
    rng = np.random.default_rng(seed)
    large = [i for i, p in enumerate(pictures.pictures) if min(p.shape[:2]) >= side_px]
    chosen = rng.permutation(large)[:count]
    patches = []
    for picture in (pictures.pictures[i] for i in chosen):
        top, left = (int(rng.integers(side - side_px + 1)) for side in picture.shape[:2])
        patches.append(picture[top : top + side_px, left : left + side_px])
    return PictureSet(patches, [pictures.photos[i] for i in chosen])


def _at_least(picture: Picture, side_px: int) -> Picture:
    missing = [max(0, side_px - side) for side in picture.shape[:2]]
    if not any(missing):
        return picture
    return np.pad(picture, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
