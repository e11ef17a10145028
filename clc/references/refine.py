"""From a located reference to the alignment that is sent: mesh, brightness and regions where they pay. Encoder only.

`clc.references.registration.Registrar.refine` calls it. What pays is told by `clc.references.block_bits`: bits that the
blocks of the picture take beside the reference, against the bits of the alignment itself. The identity competes with
the map that features gave, because a fixed camera or a screen agrees with it to the pixel, and any other map blurs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from clc.bitstream.alignment import Alignment, identity, pack_alignment
from clc.pictures.picture import Picture
from clc.references.block_bits import BlockBits
from clc.references.likeness import agreement_db, fit_brightness
from clc.references.mesh_fit import fit_mesh
from clc.references.policy import POLICY
from clc.references.projective import matrix_of, warp_in_float
from clc.references.region_search import Corners, Moved, find_corners, find_regions, likely_offsets
from clc.references.warp import Warped, with_brightness

WarpTo = Callable[[tuple[int, int], Alignment], Warped]


class Registration(NamedTuple):
    """The alignment of a picture to a key picture.

    - `alignment` has mesh, brightness and regions where they save bytes, `plain` the projective map alone.
    - `coverage` is the share of the target that the reference covers by `alignment`, 0..1.
    - `psnr_db` is the PSNR of the reference warped by `alignment` against the target, where it covers it.
    """

    alignment: Alignment
    plain: Alignment
    coverage: float
    psnr_db: float


class _Way(NamedTuple):
    """One way to align: the reference as it shows it, and the bits of picture and alignment together."""

    alignment: Alignment
    warped: Warped
    total_bits: float


class Refinement:
    """A target, uint8 (H, W, 3), and what is computed once for all references that it is aligned to."""

    def __init__(self, target_HW3: Picture) -> None:
        self._target_HW3, self._size = target_HW3, (target_HW3.shape[0], target_HW3.shape[1])
        self._bits, self._corners = BlockBits(target_HW3), find_corners(target_HW3)

    def refined(
        self, reference_HW3: Picture, corners: Callable[[], Corners], plain: Alignment, warp_to: WarpTo
    ) -> Registration:
        """The best alignment that begins with `plain`, or with the identity where that is nearer.

        `corners` are those of the reference; `warp_to` warps it as a decoder does.
        """
        start = self._way(plain, warp_in_float(reference_HW3, matrix_of(plain, self._size), self._size))
        if reference_HW3.shape == self._target_HW3.shape:
            still = Warped(reference_HW3, np.ones(self._size, dtype=np.bool_))
            start = min(self._way(identity(*self._size), still), start, key=_total_bits)
        mesh = fit_mesh(self._target_HW3, reference_HW3, matrix_of(start.alignment, self._size))
        bent = replace(start.alignment, mesh=mesh)
        best = min(start, self._way(bent, warp_to(self._size, bent)), key=_total_bits) if mesh.any() else start
        best = self._with_brightness(best)
        ways = [best, self._with_regions(best, [], lambda offset: best.warped)]
        # Offsets are tried beside the map without its mesh, because each then takes a warp in floats alone.
        flat = best if best.alignment.mesh is None else self._with_brightness(start)
        offsets = likely_offsets(self._corners, corners(), matrix_of(start.alignment, self._size))
        if offsets:
            moved = self._with_regions(flat, offsets, self._mover(flat.alignment, reference_HW3))
            # A mesh is as good as many offsets where a scene is bent: they take its place for a clear gain alone.
            if flat is best or moved.total_bits < (1 - POLICY.moved_gain) * best.total_bits:
                ways.append(moved)
        alignment = min(ways, key=_total_bits).alignment
        warped = warp_to(self._size, alignment)
        agreement = agreement_db(self._target_HW3, warped)
        return Registration(alignment, start.alignment, float(warped.inside.mean()), agreement)

    def _way(self, alignment: Alignment, warped: Warped) -> _Way:
        bits = np.minimum(self._bits.beside(warped), POLICY.misled_share * self._bits.alone + POLICY.misled_bits)
        return _Way(alignment, warped, self._total(alignment, float(bits.sum())))

    def _total(self, alignment: Alignment, picture_bits: float) -> float:
        return POLICY.coded_share * picture_bits + 8 * len(pack_alignment(alignment))

    def _with_brightness(self, way: _Way) -> _Way:
        """With a brightness, where that pays."""
        gain_q6, offset = fit_brightness(self._target_HW3, way.warped)
        brightened = replace(way.alignment, gain_q6=gain_q6, offset=offset)
        if brightened == way.alignment:
            return way
        return min(way, self._way(brightened, with_brightness(way.warped, brightened)), key=_total_bits)

    def _mover(self, alignment: Alignment, reference_HW3: Picture) -> Moved:
        """What warps the reference by the map and the brightness of `alignment`, moved by an offset."""
        matrix = matrix_of(alignment, self._size)

        def moved(offset_q2: tuple[int, int]) -> Warped:
            shift = np.array([[1, 0, offset_q2[0] / 4], [0, 1, offset_q2[1] / 4], [0, 0, 1]])
            return with_brightness(warp_in_float(reference_HW3, shift @ matrix, self._size), alignment)

        return moved

    def _with_regions(self, way: _Way, offsets_q2: list[tuple[int, int]], moved: Moved) -> _Way:
        """With the regions that cost least."""
        found = find_regions(self._bits, self._bits.beside(way.warped), offsets_q2, moved)
        alignment = replace(way.alignment, regions=found.regions)
        return _Way(alignment, way.warped, self._total(alignment, found.bits))


def _total_bits(way: _Way) -> float:
    return way.total_bits
