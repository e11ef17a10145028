"""The pictures that an archive holds already, as references for one that is added to it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clc.archive.layout import Archive
from clc.archive.manifest import ArchivedPicture, Manifest
from clc.archive.packing.overlaps import ALL_PAIRS, NEIGHBOURS, worth_of
from clc.archive.pictures import ReferredPictures
from clc.bitstream.stream import Reference
from clc.codec.codec import Codec
from clc.errors import ClcError
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource
from clc.references.policy import POLICY
from clc.references.registration import Keypoints, Located, Registrar, detail_db, find_keypoints
from storage.digest import sha256_bytes

CANDIDATES = 6
"""Pictures beside which one is tried, those that show most of it first."""

MOST_LEVELS = 3
"""How many streams stand in the longest chain: a picture, one that it refers to, and one that this refers to."""

_DEEPER = 0.8
"""What a reference is worth that itself refers to others, over one that stands alone: reading it takes longer."""


class EarlierPictures(PictureSource):
    """Finds which pictures of an archive show what another picture shows, and makes them fit to be referred to.

    `warn` is told the name of a picture that cannot be read, once, and why; it is passed over. `referred` gives their
    exact pixels.
    """

    def __init__(self, archive: Archive, codec: Codec, warn: Callable[[str, str], None]) -> None:
        self._archive, self._warn = archive, warn
        self.referred = ReferredPictures(codec.decoder, archive.stream_of, self._pixels_sha256_of)
        self._codec = codec.beside(self.referred)
        self._registrar = Registrar(self)
        self._pixels: dict[bytes, str] = {}
        self._unfit: set[bytes] = set()

    def read(self, reference: Reference, /) -> Picture:
        """The picture of a stream, uint8 (H, W, 3), for a look at it: exact only where the table names its pixels."""
        if isinstance(reference, int) or self._pixels_sha256_of(reference):
            return self.referred.read(reference)
        return self._codec.decode_picture(self._archive.stream_of(reference)).image_HW3

    def candidates(self, name: str, image_HW3: Picture) -> list[bytes]:
        """The ids of the pictures that show most of one, uint8 (H, W, 3), at most `CANDIDATES`.

        All may be referred to: their pixels are the same on every machine. The search ends early once those that agree
        well with the picture cover nearly all of it.
        """
        target, least_db = find_keypoints(image_HW3), detail_db(image_HW3)
        covered = np.zeros(target.grey.shape, dtype=np.bool_)
        found: list[tuple[float, bytes]] = []
        depths = self._archive.manifest.depths()
        for row in self._in_reach(name, depths):
            located = self._located(target, row)
            if located is None or located.coverage < POLICY.added_coverage:
                continue
            found.append((worth_of(located) * (_DEEPER if depths[row.id] else 1.0), bytes.fromhex(row.id)))
            if located.psnr_db >= least_db:
                covered |= located.covered
            if covered.mean() >= POLICY.nearly_all:
                break
        found.sort(key=lambda one: -one[0])
        fit = (reference for worth, reference in found if worth > 0 and self._is_exact(reference))
        return [reference for reference, _ in zip(fit, range(CANDIDATES), strict=False)]

    def with_row(self, row: ArchivedPicture) -> Manifest:
        """The archive's table with a new row, and the digests of the pixels to which it refers."""
        pictures = [*self._archive.manifest.pictures, row]
        named = {one.id: one.pixels_sha256 for one in pictures if one.pixels_sha256}
        named |= {one: self._pixels_sha256_of(bytes.fromhex(one)) for one in row.references}
        manifest = self._archive.manifest
        told = (replace(one, pixels_sha256=named.get(one.id, "")) for one in pictures)
        return replace(manifest, pictures=tuple(told))

    def _in_reach(self, name: str, depths: dict[str, int]) -> list[ArchivedPicture]:
        """The pictures to look at, those first that stand alone, of these the ones that others refer to already.

        Of more than `ALL_PAIRS` pictures `NEIGHBOURS`, the nearest by name: up to half of them are such as others
        refer to.
        """
        allowed = {
            row.id: row
            for row in self._archive.manifest.pictures
            if depths[row.id] < MOST_LEVELS - 1 and bytes.fromhex(row.id) not in self._unfit
        }
        rows = list(allowed.values())
        place = bisect_left([row.name for row in rows], name)
        nearest = [rows[index] for index in sorted(range(len(rows)), key=lambda index: abs(index - place))]
        if len(nearest) > ALL_PAIRS:
            shared = [row for row in nearest if row.pixels_sha256][: NEIGHBOURS // 2]
            others = [row for row in nearest if row not in shared]
            nearest = [*shared, *others[: NEIGHBOURS - len(shared)]]
        return sorted(nearest, key=lambda row: (depths[row.id], not row.pixels_sha256))

    def _located(self, target: Keypoints, row: ArchivedPicture) -> Located | None:
        reference = bytes.fromhex(row.id)
        try:
            return self._registrar.locate(target, [reference])[0]
        except ClcError as error:
            self._pass_over(reference, str(error))
            return None

    def _is_exact(self, reference: bytes) -> bool:
        """Whether every machine makes the same pixels of a stream; they are kept, and their digest is known then."""
        if self._pixels_sha256_of(reference):
            return True
        try:
            exact = self.referred.exactly(self._archive.stream_of(reference))
        except ClcError as error:
            self._pass_over(reference, str(error))
            return False
        if not exact.is_safe:
            self._unfit.add(reference)
            return False
        self.referred.keep(reference, exact.image_HW3)
        self._pixels[reference] = sha256_bytes(exact.image_HW3.tobytes())
        return True

    def _pass_over(self, reference: bytes, reason: str) -> None:
        self._unfit.add(reference)
        name = self._archive.manifest.by_id[reference.hex()].name
        self._warn(name, f"cannot be referred to: {reason}; see `clc verify`")

    def _pixels_sha256_of(self, reference: bytes) -> str:
        return self._pixels.get(reference) or self._archive.pixels_sha256_of(reference)
