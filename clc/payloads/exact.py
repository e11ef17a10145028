"""Pixels to the smallest exact payload: WebP lossless or the rows of a PNG, whichever is smaller."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from clc.bitstream.embedding import PNG_PROFILE, WEBP_PROFILE
from clc.payloads import webp
from clc.payloads.png import png_payload
from clc.payloads.steps import numbers_of
from clc.payloads.webp import webp_payload
from clc.pictures.formats import WEBP_SIDE_PX
from clc.pictures.picture import Picture, Plane

_MOST_PNG_PIXELS = 2**18
_MOST_PNG_COLOURS = 256


class Payload(NamedTuple):
    """A bitstream, its profile, and the error of the steps that it counts in (0 where it holds samples)."""

    profile: int
    data: bytes
    step_error: int = 0


def exact_payload(
    image_HW3: Picture,
    alpha_HW: Plane | None = None,
    *,
    is_thorough: bool = False,
    worth_bytes: float = math.inf,
) -> Payload:
    """Return the smallest payload of a picture with its alpha, uint8 (H, W, 3) and (H, W).

    One of more than `worth_bytes` is not wanted, so no time is spent on what would be a little larger.
    PNG is tried where WebP is missing or has no number for a side, and where it may win: with few colours, or small.
    """
    image = _image_of(image_HW3, alpha_HW)
    found: list[Payload] = []
    if webp.is_available() and max(image.size) <= WEBP_SIDE_PX:
        found.append(Payload(WEBP_PROFILE, webp_payload(image, is_thorough=is_thorough, worth_bytes=worth_bytes)))
    if not found or image.width * image.height <= _MOST_PNG_PIXELS or image.getcolors(_MOST_PNG_COLOURS):
        found.append(Payload(PNG_PROFILE, png_payload(image)))
    return min(found, key=lambda payload: len(payload.data))


def payload_within(
    image_HW3: Picture, alpha_HW: Plane | None, most_error: int, *, is_thorough: bool = False
) -> Payload:
    """Return the smallest payload whose samples are within `most_error` levels, 0 to 127; the alpha stays exact.

    Few colours are smaller as they are than in steps, so both are tried.
    """
    exact = exact_payload(image_HW3, alpha_HW, is_thorough=is_thorough)
    if most_error == 0:
        return exact
    stepped = exact_payload(numbers_of(image_HW3, most_error), alpha_HW, is_thorough=is_thorough)
    return min(exact, stepped._replace(step_error=most_error), key=lambda payload: len(payload.data))


def _image_of(image_HW3: Picture, alpha_HW: Plane | None) -> Image.Image:
    samples = image_HW3 if alpha_HW is None else np.dstack((image_HW3, alpha_HW))
    return Image.fromarray(np.ascontiguousarray(samples))
