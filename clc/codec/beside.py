"""What a stream carries beside the colours of its picture: alpha, EXIF and XMP, as sections and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clc.bitstream.sections import ALPHA, EXIF, XMP, Section, unknown_kinds
from clc.errors import InputError
from clc.pictures import losses
from clc.pictures.alpha import alpha_bytes, read_alpha
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane
from clc.pictures.xmp import is_text


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """All that a stream holds: `image_HW3` uint8 (H, W, 3), `alpha_HW` uint8 (H, W) or None where all is opaque.

    `left_out` says in sentences what the stream holds and this release cannot give back.
    """

    image_HW3: Picture
    alpha_HW: Plane | None = None
    metadata: Metadata = NO_METADATA
    left_out: tuple[str, ...] = ()


def sections_of(alpha_HW: Plane | None, metadata: Metadata, size_HW: tuple[int, int]) -> tuple[Section, ...]:
    """Return the sections of a picture of some size in px; a plane that is opaque everywhere needs none.

    Raises `InputError` for a plane of another shape or dtype, for what is no `Metadata` of bytes and for XMP that is
    not UTF-8, `LimitError` for metadata over `clc.limits`.
    """
    if not isinstance(metadata, Metadata) or not all(isinstance(part, bytes) for part in (metadata.exif, metadata.xmp)):
        raise InputError(f"metadata are a clc.Metadata(exif=bytes, xmp=bytes), not {type(metadata).__name__}")
    if not is_text(metadata.xmp):
        raise InputError("the XMP data are not UTF-8; give them as UTF-8, or leave them out")
    plane = checked_alpha(alpha_HW, size_HW)
    sections = []
    if metadata.exif:
        sections.append(Section.of(EXIF, metadata.exif))
    if metadata.xmp:
        sections.append(Section.of(XMP, metadata.xmp))
    if plane is not None:
        sections.append(Section.of(ALPHA, alpha_bytes(plane)))
    return tuple(sections)


def checked_alpha(alpha_HW: Plane | None, size_HW: tuple[int, int]) -> Plane | None:
    """Return an alpha plane, or None where it is opaque everywhere; `InputError` for another shape or dtype."""
    if alpha_HW is None:
        return None
    if not isinstance(alpha_HW, np.ndarray) or isinstance(alpha_HW, np.ma.MaskedArray):
        raise InputError(f"the alpha plane is a uint8 array {size_HW}, not a {type(alpha_HW).__name__}")
    if alpha_HW.dtype != np.uint8 or alpha_HW.shape != size_HW:
        raise InputError(f"the alpha plane is uint8 {size_HW}, not {alpha_HW.dtype} {alpha_HW.shape}")
    return alpha_HW if int(alpha_HW.min()) < 255 else None


def with_beside(image_HW3: Picture, sections: Sequence[Section]) -> DecodedPicture:
    """Return a decoded picture with what its stream's sections hold. Raises `CorruptStream` for a damaged section."""
    contents = {section.kind: section.content() for section in sections}
    size_HW = image_HW3.shape[0], image_HW3.shape[1]
    alpha_HW = read_alpha(contents[ALPHA], size_HW) if ALPHA in contents else None
    left_out = [
        f"a section of kind {kind}, which this release does not know, was left out" for kind in unknown_kinds(sections)
    ]
    xmp = contents.get(XMP, b"")
    if not is_text(xmp):
        xmp = b""
        left_out.append(losses.XMP)
    return DecodedPicture(image_HW3, alpha_HW, Metadata(contents.get(EXIF, b""), xmp), tuple(left_out))
