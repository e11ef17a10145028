"""Parts of a graphic that are copied from pictures of other streams: screens of one application, slides, forms.

    references -> for each block: what it costs anew, and copied from where -> regions (`clc.bitstream.regions`)
               -> the picture with one colour in the place of what is copied -> AVIF, or exact samples

What is copied takes a map of blocks and no more. A block is copied from the same place, or from where a panel has moved
to, if the error that it has there costs less than its bits and the error that it would have anew. The bits of a block
are estimated in the transform's domain (`clc.references.block_bits`); what all of it takes is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from clc.bitstream.alignment import MAX_ALIGNMENTS, identity
from clc.bitstream.embedding import Embedding, Reason
from clc.bitstream.regions import UNCOVERED, Regions, pack_regions
from clc.codec.embedded import Copies, sealed
from clc.codec.ways.avif_search import AvifSearch, Trial, speed_of, start_of
from clc.codec.ways.choice import Way
from clc.codec.ways.suitability import squared_error_of
from clc.errors import CorruptStream, InputError
from clc.payloads import avif
from clc.payloads.exact import payload_within
from clc.pictures.picture import Picture
from clc.quality import from_q6, rate_distortion_lambda
from clc.references.block_bits import BLOCK_PX, BlockBits
from clc.references.key_pictures import PictureSource
from clc.references.region_search import Corners, cheapest_regions, find_corners, likely_offsets
from clc.references.warp import Warped, compose, warp

Blocks = npt.NDArray[np.float32]
"""A number for each block, (rows, columns)."""

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
    def _bits(self) -> Blocks:
        """About the bits of each block, for their proportions."""
        bits: Blocks = BlockBits(self._image_HW3).alone.clip(0.1)
        return bits

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
        quality, where = from_q6(quality_q6), copied.inside[..., None]

        def completed(decoded_HW3: Picture) -> Picture:
            whole: Picture = np.where(where, copied.pixels, decoded_HW3)
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
        left = share * self._bits + trade * _block_sums(self._squared_error(anew.decoded_HW3))
        layers = {one: self._layers(one, trade, most_error) for one in references}
        chosen: dict[bytes, Regions] = {}
        while layers and len(chosen) < MAX_ALIGNMENTS:
            found = {one: _regions(left, *of_one) for one, of_one in layers.items()}
            best = max(found, key=lambda one: found[one][1])
            regions, saved = found[best]
            if saved <= _REFERENCE_BITS:
                break
            chosen[best] = regions
            left = np.where(regions.blocks == UNCOVERED, left, 0.0).astype(np.float32)
            del layers[best]
        whole = identity(*self._size)
        alignments = tuple(replace(whole, regions=regions) for regions in chosen.values())
        return Copies(tuple(chosen), alignments, self._pictures)

    def _layers(
        self, reference: bytes, trade: float, most_error: int | None
    ) -> tuple[list[Blocks], list[tuple[int, int]]]:
        """What blocks cost copied from the same place, and from each of some offsets, which stand beside it."""
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
        costs = trade * _block_sums(self._squared_error(moved))
        never = ~inside
        if most_error is not None:
            never |= (np.abs(moved.astype(np.int16) - self._image_HW3) > most_error).any(axis=2)
        costs[_block_sums(never.astype(np.float32)) > 0] = _NEVER
        return costs

    def _squared_error(self, other_HW3: Picture) -> npt.NDArray[np.float32]:
        """The squared error of each pixel, its colours' mean, float32 (H, W)."""
        errors: npt.NDArray[np.float32] = np.square(other_HW3.astype(np.float32) - self._image_HW3).mean(axis=2)
        return errors


def _moved(picture_HW3: Picture, size: tuple[int, int], offset_q2: tuple[int, int]) -> tuple[Picture, Mask]:
    """A picture moved by whole pixels onto one of `size` (height, width), as `warp` does, and where it lies inside."""
    height, width = size
    dx, dy = (quarters // _WHOLE_PX for quarters in offset_q2)
    rows, columns = np.arange(height) + dy, np.arange(width) + dx
    inside = ((rows >= 0) & (rows < picture_HW3.shape[0]))[:, None] & (columns >= 0) & (columns < picture_HW3.shape[1])
    moved = picture_HW3[rows.clip(0, picture_HW3.shape[0] - 1)][:, columns.clip(0, picture_HW3.shape[1] - 1)]
    return moved, inside


def _regions(left: Blocks, layers: Sequence[Blocks], offsets: Sequence[tuple[int, int]]) -> tuple[Regions, float]:
    """The regions to copy, and the bits that they save, of blocks that cost `left` where nothing is copied.

    `layers` are what blocks cost copied from the same place, then from each of `offsets`.
    """
    regions, cost = cheapest_regions(left, layers[0], zip(offsets, layers[1:], strict=True))
    return regions, float(left.sum()) - cost - 8 * len(pack_regions(regions))


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


def _block_sums(values_HW: npt.NDArray[np.float32]) -> Blocks:
    """The sums of a number of each pixel over blocks, those at the edge cut."""
    height, width = values_HW.shape
    padded = np.pad(values_HW, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)))
    rows, columns = padded.shape[0] // BLOCK_PX, padded.shape[1] // BLOCK_PX
    sums: Blocks = padded.reshape(rows, BLOCK_PX, columns, BLOCK_PX).sum(axis=(1, 3))
    return sums
