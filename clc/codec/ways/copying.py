"""Parts of a graphic that are copied from pictures of other streams: screens of one application, slides, forms.

    references -> for each block: what it costs anew, and copied from where -> regions (`clc.bitstream.regions`)
               -> the picture with one colour in the place of what is copied -> AVIF, or exact samples

What is copied takes a map of blocks and no more. A block is copied from the same place, or from where a panel has moved
to, if the error that it has there costs less than its bits and the error that it would have anew. The bits of a block
are estimated in the transform's domain (`clc.references.block_bits`); what all of it takes is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import MAX_ALIGNMENTS, Alignment, identity
from clc.bitstream.container import parse
from clc.bitstream.embedding import Embedding, Reason
from clc.bitstream.regions import UNCOVERED, Regions, map_shape, pack_regions
from clc.codec.embedded import Copies, sealed
from clc.codec.search.contest import Choice
from clc.codec.ways.avif_search import AvifSearch, Trial, speed_of, start_of
from clc.codec.ways.suitability import squared_error_of
from clc.codec.ways.way import Way
from clc.errors import CorruptStream, InputError
from clc.payloads import avif
from clc.payloads.exact import payload_within
from clc.pictures.picture import Picture
from clc.quality import from_q6, rate_distortion_lambda
from clc.references.block_bits import BLOCK_PX, Bits, BlockBits
from clc.references.key_pictures import PictureSource, WarpedKeyPictures
from clc.references.region_search import Corners, cheapest_regions, find_corners, likely_offsets
from clc.references.warp import Warped, compose, warp

Blocks = npt.NDArray[np.float32]
"""A number for each block, (rows, columns)."""

Layers = tuple[list[Blocks], list[tuple[int, int]]]
"""What blocks cost copied from the same place, then from each of some offsets; and these, in quarter px."""

_REFERENCE_BITS = 8.0 * 24
"""What a stream that is copied from takes before anything is: its id, corners, and the beginning of a map."""

Mask = npt.NDArray[np.bool_]

_NEVER = 1e9
"""What a block costs, bits, that cannot be copied."""

_WHOLE_PX = 4
"""Quarters of a pixel: offsets of anything less would blur what is copied."""


@dataclass(frozen=True, eq=False)
class Anew:
    """A picture as it is coded without copies: its bytes, and its decoded colours, uint8 (H, W, 3)."""

    n_bytes: int
    decoded_HW3: Picture


class Copying:
    """One picture, uint8 (H, W, 3), and what of it stands in pictures of other streams; `effort` is 0 to 9.

    With a `max_error` no sample is more than so many levels off, copied or not.
    """

    def __init__(self, image_HW3: Picture, pictures: PictureSource, effort: int, max_error: int | None = None) -> None:
        self._image_HW3, self._pictures, self._effort, self._max_error = image_HW3, pictures, effort, max_error
        self._size = image_HW3.shape[0], image_HW3.shape[1]
        self._offsets: dict[bytes, list[tuple[int, int]]] = {}

    def best_of(
        self, references: Sequence[bytes], quality_q6: int, anew: Anew, least_psnr: float, *, is_exact: bool
    ) -> Way | None:
        """The stream with the least rate + lambda * distortion at a quality x 64 that copies from some of `references`.

        Nothing that falls short of a PSNR, dB, is taken; None where nothing is worth to be copied. With `is_exact`
        the payload is one of exact samples, else AVIF.
        """
        trade = rate_distortion_lambda(from_q6(quality_q6))
        copies = self._copies(references, trade, anew, 0 if is_exact and self._max_error is None else self._max_error)
        if not copies.streams:
            return None
        parts = zip(copies.streams, copies.alignments, strict=True)
        copied = compose([warp(self._pictures.read(one), self._size, alignment) for one, alignment in parts])
        payload_HW3 = _blanked(self._image_HW3, copied)
        if is_exact:
            return self._exact(payload_HW3, copies, quality_q6)
        return self._by_avif(payload_HW3, copied, copies, quality_q6, least_psnr)

    @cached_property
    def _block_bits(self) -> BlockBits:
        return BlockBits(self._image_HW3)

    @cached_property
    def _bits(self) -> Blocks:
        """About the bits of each block, for their proportions."""
        bits: Blocks = self._block_bits.alone.clip(0.1)
        return bits

    def least_share(self, choices: Sequence[Choice], warped: WarpedKeyPictures) -> float:
        """The share of its bits that the transform takes about, beside the best of some ways to lay streams over it."""
        laid = ([warped.warp(*one) for one in self._parts(choice.streams, choice.alignments)] for choice in choices)
        return min((self._share([self._block_bits.beside(compose(parts))]) for parts in laid), default=1.0)

    def least_share_in_place(self, references: Sequence[bytes], copied: bytes) -> float:
        """About the same beside streams that are not registered: as they lie there, or as `copied` takes parts of them.

        Each block counts as beside that of them which suits it best, so it is rather less than what registration gives
        wherever that moves nothing by less than a pixel.
        """
        stream = parse(copied)
        parts = self._parts(stream.streams, stream.alignments)
        laid = [warp(self._pictures.read(one), size, how) for one, size, how in parts]
        seen = [compose(laid)] if laid else []
        for reference in references:
            moved, place = _moved(self._pictures.read(reference), self._size, (0, 0))
            inside = np.zeros(self._size, np.bool_)
            inside[place] = True
            seen.append(Warped(moved, inside))
        return self._share([self._block_bits.beside(one) for one in seen])

    def _parts(
        self, streams: Sequence[bytes], alignments: Sequence[Alignment]
    ) -> list[tuple[bytes, tuple[int, int], Alignment]]:
        """What is laid over the picture, as `WarpedKeyPictures.warp` takes it."""
        return [(one, self._size, how) for one, how in zip(streams, alignments, strict=True)]

    def _share(self, beside: Sequence[Bits]) -> float:
        """The share of the bits alone that blocks take, each beside what suits it best, or alone."""
        alone = self._block_bits.alone
        least = np.minimum.reduce([alone, *beside])
        return float(least.sum()) / max(float(alone.sum()), 1.0)

    @cached_property
    def _corners(self) -> Corners:
        return find_corners(self._image_HW3)

    def _exact(self, payload_HW3: Picture, copies: Copies, quality_q6: int) -> Way:
        payload = payload_within(payload_HW3, None, self._max_error or 0)
        embedding = Embedding(Reason.CHEAPER, quality_q6)
        if self._max_error is not None:
            embedding = Embedding(Reason.MAX_ERROR, self._max_error) if self._max_error else Embedding(Reason.LOSSLESS)
        data, decoded_HW3 = sealed(self._image_HW3, None, payload, embedding, (), copies)
        return Way(data, squared_error_of(decoded_HW3, self._image_HW3))

    def _by_avif(
        self, payload_HW3: Picture, copied: Warped, copies: Copies, quality_q6: int, least_psnr: float
    ) -> Way | None:
        if not avif.can_write():
            return None
        quality, where = from_q6(quality_q6), copied.inside.view(np.uint8)

        def completed(decoded_HW3: Picture) -> Picture:
            whole: Picture = cv2.copyTo(copied.pixels, where, decoded_HW3.copy()).astype(np.uint8, copy=False)
            return whole

        search = AvifSearch(
            self._image_HW3, speed_of(self._effort, self._size[0] * self._size[1]), payload_HW3, completed
        )
        try:
            found: Trial | None = search.cheapest(rate_distortion_lambda(quality), start_of(quality))
            if found is not None and found.psnr < least_psnr:
                found = search.reaching(least_psnr)
        except (InputError, CorruptStream):  # the picture as it is coded anew is left
            return None
        if found is None:
            return None
        embedding = Embedding(Reason.CHEAPER, quality_q6)
        return Way(sealed(self._image_HW3, None, found.payload, embedding, (), copies)[0], found.squared_error)

    def _copies(self, references: Sequence[bytes], trade: float, anew: Anew, most_error: int | None) -> Copies:
        """From which streams what is copied: the one that saves most, then what saves most of the rest."""
        share = 8 * anew.n_bytes / float(self._bits.sum())
        left = share * self._bits + trade * self._squared_sums(anew.decoded_HW3)
        layers = {one: self._layers(one, trade, most_error) for one in references}
        chosen: dict[bytes, Regions] = {}
        while layers and len(chosen) < MAX_ALIGNMENTS:
            best, regions = _best_of(left, layers)
            if best is None or regions is None:
                break
            chosen[best] = regions
            left = np.where(regions.blocks == UNCOVERED, left, 0.0).astype(np.float32)
            del layers[best]
        whole = identity(*self._size)
        alignments = tuple(replace(whole, regions=regions) for regions in chosen.values())
        return Copies(tuple(chosen), alignments, self._pictures)

    def _layers(self, reference: bytes, trade: float, most_error: int | None) -> Layers:
        picture_HW3 = self._pictures.read(reference)
        if reference not in self._offsets:
            found = likely_offsets(self._corners, find_corners(picture_HW3), np.eye(3))
            whole = [(dx, dy) for dx, dy in found if dx % _WHOLE_PX == dy % _WHOLE_PX == 0]
            self._offsets[reference] = whole
        offsets = self._offsets[reference]
        return [self._copied(picture_HW3, offset, trade, most_error) for offset in ((0, 0), *offsets)], offsets

    def _copied(self, picture_HW3: Picture, offset_q2: tuple[int, int], trade: float, most_error: int | None) -> Blocks:
        """What blocks cost that are copied with an offset: their error, and `_NEVER` where that may not be."""
        moved, inside = _moved(picture_HW3, self._size, offset_q2)
        differences = cv2.absdiff(moved, self._image_HW3).astype(np.uint8, copy=False)
        costs: Blocks = trade * _squared_sums(differences)
        never = ~_whole_blocks(inside, self._size)
        if most_error is not None:
            never |= _largest(differences) > most_error
        costs[never] = _NEVER
        return costs

    def _squared_sums(self, other_HW3: Picture) -> Blocks:
        """The squared error of each block of another picture, summed over pixels, of their colours' mean."""
        return _squared_sums(cv2.absdiff(other_HW3, self._image_HW3).astype(np.uint8, copy=False))


def _moved(
    picture_HW3: Picture, size: tuple[int, int], offset_q2: tuple[int, int]
) -> tuple[Picture, tuple[slice, slice]]:
    """A picture moved by whole pixels onto one of `size` (height, width), as `warp` does, and where it lies inside.

    It is black elsewhere.
    """
    (height, width), (dx, dy) = size, (quarters // _WHOLE_PX for quarters in offset_q2)
    rows = slice(max(0, -dy), max(0, -dy, min(height, picture_HW3.shape[0] - dy)))
    columns = slice(max(0, -dx), max(0, -dx, min(width, picture_HW3.shape[1] - dx)))
    if (rows, columns) == (slice(0, height), slice(0, width)):
        return picture_HW3[dy : dy + height, dx : dx + width], (rows, columns)
    moved = np.zeros((height, width, 3), np.uint8)
    moved[rows, columns] = picture_HW3[rows.start + dy : rows.stop + dy, columns.start + dx : columns.stop + dx]
    return moved, (rows, columns)


def _whole_blocks(inside: tuple[slice, slice], size: tuple[int, int]) -> Mask:
    """Which blocks of a picture of `size` (height, width) lie inside some rows and columns, what is cut of them too."""
    first = [-(-side.start // BLOCK_PX) for side in inside]
    last = [
        -(-length // BLOCK_PX) if side.stop == length else side.stop // BLOCK_PX
        for side, length in zip(inside, size, strict=True)
    ]
    whole = np.zeros(map_shape(*size, BLOCK_PX), np.bool_)
    whole[first[0] : last[0], first[1] : last[1]] = True
    return whole


def _best_of(left: Blocks, layers: Mapping[bytes, Layers]) -> tuple[bytes, Regions] | tuple[None, None]:
    """The reference that saves most, with the regions to copy from it; None where none saves what it takes.

    `left` is what blocks cost where nothing is copied.
    """
    found = {
        one: cheapest_regions(left, of[0], zip(offsets, of[1:], strict=True)) for one, (of, offsets) in layers.items()
    }
    total = float(left.sum())
    best, most = None, _REFERENCE_BITS
    # What a map of blocks takes is looked at only where it may decide: to code one takes milliseconds.
    for one in sorted(found, key=lambda one: found[one][1]):
        regions, cost = found[one]
        if total - cost <= most:
            break
        saved = total - cost - 8 * len(pack_regions(regions))
        if saved > most:
            best, most = one, saved
    return (None, None) if best is None else (best, found[best][0])


def _blanked(image_HW3: Picture, copied: Warped) -> Picture:
    """The picture with the most frequent colour of what is not copied in the place of what is."""
    rest = image_HW3[~copied.inside]
    if not len(rest):
        return np.zeros_like(image_HW3)
    codes = rest.astype(np.uint32) @ np.array((1 << 16, 1 << 8, 1), np.uint32)
    found, counts = np.unique(codes, return_counts=True)
    code = int(found[counts.argmax()])
    blanked = image_HW3.copy()
    blanked[copied.inside] = (code >> 16, code >> 8 & 255, code & 255)
    return blanked


def _squared_sums(differences_HW3: Picture) -> Blocks:
    """The sums over blocks of squared differences, of the mean of three colours; blocks at the edge are cut."""
    whole = _padded(cv2.multiply(differences_HW3, differences_HW3, dtype=cv2.CV_32F))
    size = whole.shape[1] // BLOCK_PX, whole.shape[0] // BLOCK_PX
    sums: Blocks = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).mean(axis=2, dtype=np.float32)
    return sums * np.float32(BLOCK_PX**2)


def _largest(differences_HW3: Picture) -> npt.NDArray[np.uint8]:
    """The largest difference in each block."""
    whole = _padded(differences_HW3)
    rows, columns = whole.shape[0] // BLOCK_PX, whole.shape[1] // BLOCK_PX
    largest: npt.NDArray[np.uint8] = whole.reshape(rows, BLOCK_PX, columns, -1).max(axis=(1, 3))
    return largest


def _padded(values_HW3: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Values with 0 beside them, up to whole blocks."""
    height, width = values_HW3.shape[:2]
    return cv2.copyMakeBorder(
        values_HW3, 0, -height % BLOCK_PX, 0, -width % BLOCK_PX, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
