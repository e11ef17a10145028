"""The pictures of a collection by rectangle: a patch is a part of a stored picture, cut out when it is asked for.

Every stage reads the pictures of a collection through a `PatchReader`. Blobs are the sources' own files, so whoever
asks for many patches of one picture does so in a row: the picture that was decoded last is kept.
"""

from __future__ import annotations

import numpy as np

from clc.errors import InputError
from clc.pictures.images import read_image
from clc.pictures.picture import Picture, Rectangle
from storage.blobs import BlobStore


class PatchReader:
    """Reads pictures and patches out of a blob store. Threads may share one; each may then decode for itself."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._last: tuple[str, Picture] | None = None

    def read(self, blob: str, rectangle: Rectangle | None = None) -> Picture:
        """Return a stored picture, uint8 (H, W, 3), or a rectangle of it.

        Raises `StorageError` where the blob is missing or altered, and `InputError` where it is no picture, or one
        without that rectangle.
        """
        kept = self._last
        if kept is None or kept[0] != blob:
            self._last = None  # before another is decoded, so that memory holds one
            kept = self._last = blob, read_image(self._blobs.get(blob))
        image_HW3 = kept[1]
        if rectangle is None:
            return image_HW3.copy()
        left, top, width, height = rectangle
        if min(left, top) < 0 or left + width > image_HW3.shape[1] or top + height > image_HW3.shape[0]:
            raise InputError(
                f"blob {blob} is {image_HW3.shape[1]}x{image_HW3.shape[0]} px and has no {width}x{height} px at "
                f"{left}, {top}; run ingest-images again"
            )
        return np.ascontiguousarray(image_HW3[top : top + height, left : left + width])
