"""Streams whose samples are promised: without loss, or within an error. They need no bundle."""

from __future__ import annotations

from clc.bitstream.embedding import Embedding, Reason
from clc.codec.beside import checked_alpha, sections_of
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.embedded import sealed
from clc.limits import check_size
from clc.payloads.exact import payload_within
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.pictures.picture import Picture, Plane, check_picture

THOROUGH_EFFORT = 7
"""From here on WebP tries all that it can, which takes up to a minute for each megapixel."""


def encode_exact(
    image_HW3: Picture,
    max_error: int = 0,
    *,
    effort: int = DEFAULT_EFFORT,
    alpha_HW: Plane | None = None,
    metadata: Metadata = NO_METADATA,
) -> bytes:
    """Codes a uint8 (H, W, 3) RGB picture with no sample more than `max_error` levels off, 0 to 127; 0 is lossless.

    Alpha and metadata stay as they are. The stream is decoded again and compared before it is returned. Raises
    `InputError` for another shape or dtype, `LimitError` over `clc.limits`.
    """
    effort_of(effort)
    height, width = check_picture(image_HW3).shape[:2]
    check_size(width, height)
    plane = checked_alpha(alpha_HW, (height, width))
    sections = sections_of(None, metadata, (height, width))
    payload = payload_within(image_HW3, plane, max_error, is_thorough=effort >= THOROUGH_EFFORT)
    embedding = Embedding(Reason.MAX_ERROR, max_error) if max_error else Embedding(Reason.LOSSLESS)
    return sealed(image_HW3, plane, payload, embedding, sections)[0]
