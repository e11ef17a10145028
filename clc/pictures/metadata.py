"""What a picture file says beside its pixels, and what a `.clc` stream carries with it: EXIF and XMP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metadata:
    """Metadata of one picture; either is empty where there is none.

    `exif` is a TIFF structure that begins with "II*\\0" or "MM\\0*", without the "Exif\\0\\0" that JPEG puts in front;
    its orientation is upright, because the pixels are. `xmp` is an XMP packet in UTF-8.
    """

    exif: bytes = b""
    xmp: bytes = b""

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.exif or self.xmp)


NO_METADATA = Metadata()
