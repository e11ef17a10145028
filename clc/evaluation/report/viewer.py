"""Pictures to look at: the original, and what each codec makes of it at the same number of bytes, as data of a page.

The report shows them beside the figures. For each quality of the codec under test, the quality of each baseline is
searched for until its file is as large, so that the eye compares equal bytes and nothing else. The pixels are exact: a
file that browsers show (JPEG, WebP, AVIF) stands in the page itself, anything else is decoded and stands there
lossless. A page has a budget, and a picture that would exceed it is named instead.
"""

import bisect
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from clc.console import text_of
from clc.evaluation.coders import Coder
from clc.evaluation.measure import OK, PICTURE_ERRORS, PictureUnderTest, Row
from clc.evaluation.metrics import bits_per_pixel, ms_ssim, psnr_db
from clc.pages import page
from clc.pictures.picture import Picture

BUDGET_BYTES = 12_000_000
"""What the pictures of a page may take of its text."""

WINDOW_PX = 768
"""Longest side that is shown: more would leave room for one picture only. What is larger is shown in part."""

MOST_STEPS = 6
"""Qualities of the codec under test, of its ladder, that the rate slider has."""


MOST_THUMBNAILS = 200
"""About 3 kB each."""

_THUMBNAIL_PX, _THUMBNAIL_QUALITY = 240, 70


@dataclass(frozen=True)
class Shot:
    """A picture as one codec returned it; all figures are those of the whole picture, whatever part is shown."""

    codec: str
    quality: float
    bytes: int
    bpp: float
    psnr_db: float
    ms_ssim: float
    uri: str


@dataclass(frozen=True)
class Window:
    """What is shown of a picture, in pixels from its top left corner."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class ViewedPicture:
    """A picture to look at: `steps` has, for each quality of the codec under test, rising, what every codec returned.

    `left_out` says which codec is missing from all steps, and why.
    """

    item_id: str
    name: str
    width: int
    height: int
    window: Window
    original: str
    steps: tuple[tuple[Shot, ...], ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole picture."""
        return (self.window.width, self.window.height) == (self.width, self.height)

    @property
    def size_bytes(self) -> int:
        """What the picture takes of a page."""
        return len(self.original) + sum(len(shot.uri) for step in self.steps for shot in step)


@dataclass(frozen=True)
class Viewed:
    """The pictures of a page, and the reason for each one, by name, that was to be shown and is not."""

    pictures: tuple[ViewedPicture, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def view(
    pictures: Sequence[PictureUnderTest],
    rows: Sequence[Row],
    test: Coder,
    baselines: Sequence[Coder],
    budget_bytes: int = BUDGET_BYTES,
) -> Viewed:
    """Code pictures, the most telling ones first, until the budget of the page is used.

    `rows` are those of the evaluation: they say at which qualities the codec under test coded a picture, and between
    which ones of a baseline the same bytes lie.
    """
    viewed: list[ViewedPicture] = []
    left_out: list[tuple[str, str]] = []
    for picture in pictures:
        try:
            one = view_picture(picture, rows, test, baselines)
        except PICTURE_ERRORS as error:
            left_out.append((picture.name, text_of(error)))
            continue
        if sum(other.size_bytes for other in viewed) + one.size_bytes <= budget_bytes:
            viewed.append(one)
        else:
            reason = f"its {page.size(one.size_bytes)} would exceed the {page.size(budget_bytes)} of this page"
            left_out.append((picture.name, reason))
    return Viewed(tuple(viewed), tuple(left_out))


def view_picture(
    picture: PictureUnderTest, rows: Sequence[Row], test: Coder, baselines: Sequence[Coder]
) -> ViewedPicture:
    """Code a picture at each quality of the codec under test, and with each baseline to the same bytes.

    A baseline that raises over the picture is left out; what `test` raises goes through.
    """
    image_HW3 = picture.load()
    own = [row for row in rows if row.item_id == picture.item_id and row.status == OK]
    window = busiest_window(image_HW3)
    files = {quality: test.encode(image_HW3, quality) for quality in _steps(own, test)}
    steps = {quality: [_shot(test, quality, data, image_HW3, window)] for quality, data in files.items()}
    left_out: dict[str, str] = {}

    def shots_of(baseline: Coder) -> list[Shot] | str:
        known = {row.quality: row.bytes for row in own if row.codec == baseline.name}
        try:
            matched = [match_bytes(baseline, image_HW3, len(data), known) for data in files.values()]
            return [_shot(baseline, quality, data, image_HW3, window) for quality, data in matched]
        except PICTURE_ERRORS as error:
            return text_of(error)

    # Nothing is timed here, so that a core each may code.
    with ThreadPoolExecutor(os.cpu_count() or 1) as side_by_side:
        for baseline, shots in zip(baselines, side_by_side.map(shots_of, baselines), strict=True):
            if isinstance(shots, str):
                left_out[baseline.name] = shots
                continue
            for step, shot in zip(steps.values(), shots, strict=True):
                step.append(shot)
    height, width = image_HW3.shape[:2]
    return ViewedPicture(
        item_id=picture.item_id,
        name=picture.name,
        width=width,
        height=height,
        window=window,
        original=page.lossless_uri(cut(image_HW3, window)),
        steps=tuple(tuple(step) for step in steps.values()),
        left_out=left_out,
    )


def thumbnails(pictures: Sequence[PictureUnderTest]) -> dict[str, str]:
    """Return small pictures as data of a page by item id, for so many as a page takes; none of what cannot be read."""
    found = {}
    for picture in pictures[:MOST_THUMBNAILS]:
        try:
            found[picture.item_id] = page.lossy_uri(_small(picture.load()), _THUMBNAIL_QUALITY)
        except PICTURE_ERRORS:
            continue  # its rows say why
    return found


def match_bytes(coder: Coder, image_HW3: Picture, target_bytes: int, known: Mapping[float, int]) -> tuple[float, bytes]:
    """Find the quality whose file is nearest to `target_bytes`; return it with the file.

    `known` has the bytes at qualities that were measured; where it has none, the ladder's ends are coded. Between the
    two of them on either side, whole qualities are tried, as far as the coder knows whole ones: where the logarithm of
    the bytes would be right if it grew evenly, and in the middle after a step that did not halve what is left.
    """
    files: dict[float, bytes] = {}

    def bytes_at(quality: float) -> int:
        if quality in known:
            return known[quality]
        files[quality] = coder.encode(image_HW3, quality)
        return len(files[quality])

    ladder = sorted(known) or [float(coder.qualities[0]), float(coder.qualities[-1])]
    sizes = {quality: bytes_at(quality) for quality in ladder}
    above = bisect.bisect_left([sizes[quality] for quality in ladder], target_bytes)
    low, high = ladder[max(0, above - 1)], ladder[min(above, len(ladder) - 1)]
    is_even = True
    while low.is_integer() and high - low > 1:
        share = math.log(target_bytes / sizes[low]) / max(math.log(sizes[high] / sizes[low]), 1e-9) if is_even else 0.5
        tried = min(max(float(round(low + share * (high - low))), low + 1), high - 1)
        sizes[tried] = bytes_at(tried)
        left = high - low
        low, high = (tried, high) if sizes[tried] < target_bytes else (low, tried)
        is_even = 2 * (high - low) <= left
    quality = min(sizes, key=lambda one: abs(sizes[one] - target_bytes))
    return quality, files[quality] if quality in files else coder.encode(image_HW3, quality)


def busiest_window(image_HW3: Picture) -> Window:
    """Return the whole picture, or of a large one the part with the most horizontal and vertical change."""
    height, width = image_HW3.shape[:2]
    tall, wide = min(height, WINDOW_PX), min(width, WINDOW_PX)
    if (tall, wide) == (height, width):
        return Window(0, 0, width, height)
    grey_HW = image_HW3.astype(np.float32).mean(axis=2)
    change_HW = np.zeros_like(grey_HW)
    change_HW[:, 1:] += np.abs(np.diff(grey_HW, axis=1))
    change_HW[1:] += np.abs(np.diff(grey_HW, axis=0))
    corners = [(top, left) for top in _starts(height, tall) for left in _starts(width, wide)]
    top, left = max(corners, key=lambda c: float(change_HW[c[0] : c[0] + tall, c[1] : c[1] + wide].mean()))
    return Window(left, top, wide, tall)


def _steps(own: Sequence[Row], test: Coder) -> list[float]:
    """Return the qualities of the rate slider: those that were measured, evenly thinned out where there are many."""
    qualities = sorted({row.quality for row in own if row.codec == test.name})
    if len(qualities) <= MOST_STEPS:
        return qualities
    return [qualities[index * (len(qualities) - 1) // (MOST_STEPS - 1)] for index in range(MOST_STEPS)]


def _shot(coder: Coder, quality: float, data: bytes, image_HW3: Picture, window: Window) -> Shot:
    decoded_HW3 = coder.decode(data)
    kind = page.kind_of_file(data)
    is_whole = (window.height, window.width) == image_HW3.shape[:2]
    uri = page.file_uri(kind, data) if kind and is_whole else page.lossless_uri(cut(decoded_HW3, window))
    bpp = bits_per_pixel(len(data), image_HW3)
    figures = (psnr_db(image_HW3, decoded_HW3), ms_ssim(image_HW3, decoded_HW3))
    return Shot(coder.name, quality, len(data), bpp, *figures, uri)


def _small(image_HW3: Picture) -> Picture:
    height, width = image_HW3.shape[:2]
    scale = min(1.0, _THUMBNAIL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: Picture = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    return small


def cut(image_HW3: Picture, window: Window) -> Picture:
    """Return the part of a picture that a window shows."""
    return image_HW3[window.top : window.top + window.height, window.left : window.left + window.width]


def _starts(size_px: int, side_px: int) -> list[int]:
    last = size_px - side_px
    return sorted({*range(0, last, max(1, side_px // 2)), last})
