"""What Pillow's AVIF encoder is given, so that chroma is rounded: libyuv, which makes the planes, rounds it down.

Half a level of both differences of chroma is a third of the error at 46 dB, and most of it above. The planes cannot be
handed over, so each pixel whose chroma would be rounded down to another level is given as the colour whose planes, made
in that way, are the rounded ones of the pixel. Decoders see nothing of this. On Kodak's kodim04 and kodim13 the same
bytes have 0.06 to 0.1 dB more at 35 to 37 dB, 0.2 at 40, and 0.7 to 0.8 at 46.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from clc.payloads.avif import FASTEST, NAME, avif_file, avif_payload
from clc.pictures.images import read_picture
from clc.pictures.picture import Picture

Levels = npt.NDArray[np.float32]
"""Levels of three planes, float32 (N, 3): of RGB, or of Y, Cb and Cr around 0."""

_TO_PLANES = np.array(
    [
        (0.299, 0.587, 0.114),
        (-0.299 / 1.772, -0.587 / 1.772, 0.5),
        (0.5, -0.587 / 1.402, -0.114 / 1.402),
    ],
    np.float32,
).T
_TO_COLOURS = np.array(
    [
        (1.0, 0.0, 1.402),
        (1.0, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587),
        (1.0, 1.772, 0.0),
    ],
    np.float32,
).T
"""BT.601 in full range."""
_HALF = np.array((0.0, 0.5, 0.5), np.float32)
_SLACK = 1e-3
"""Chroma that is a whole level is one although float32 makes it a little less."""
_BAND_PX = 2**18
_MOST_LOST = 0.25


def rounding_chroma(image_HW3: Picture) -> Image.Image:
    """Return what to give Pillow of a picture, uint8 (H, W, 3), so that its planes are those of `image_HW3`, rounded.

    Greys and colours whose planes are whole already are given as they are, and so is each pixel that the other colour
    would not bring nearer, and the whole picture where this installation rounds.
    """
    if not rounds_chroma_down():
        return Image.fromarray(image_HW3)
    given_N3 = image_HW3.reshape(-1, 3).copy()
    for start in range(0, len(given_N3), _BAND_PX):
        band = slice(start, start + _BAND_PX)
        given_N3[band] = _compensated(given_N3[band])
    return Image.fromarray(given_N3.reshape(image_HW3.shape))


def _compensated(rgb_N3: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    colours: Levels = rgb_N3.astype(np.float32)
    rounded = np.rint(colours @ _TO_PLANES)
    other = ((rounded + _HALF) @ _TO_COLOURS).round().clip(0, 255)
    is_nearer = _squared_error(other, colours) < _squared_error(colours, colours)
    return np.where(is_nearer[:, None], other.astype(np.uint8), rgb_N3)


def _squared_error(given: Levels, wanted: Levels) -> Levels:
    """The squared error (N,) of what is decoded, but for AV1's own, where `given` is handed over for `wanted`."""
    planes = given @ _TO_PLANES
    planes[:, 0] = np.rint(planes[:, 0])
    planes[:, 1:] = np.floor(planes[:, 1:] + np.float32(_SLACK))
    errors: Levels = np.square(planes @ _TO_COLOURS - wanted).sum(1)
    return errors


@cache
def rounds_chroma_down() -> bool:
    """Whether Pillow's AVIF encoder here rounds chroma down: it is tried, for it depends on how libavif was built."""
    colours_HW3 = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    wanted = colours_HW3.reshape(-1, 3).astype(np.float32) @ _TO_PLANES
    payload = avif_payload(Image.fromarray(colours_HW3), 100, FASTEST)
    planes_HW3 = read_picture(avif_file(payload, *colours_HW3.shape[1::-1]), NAME).image_HW3
    red, _, blue = planes_HW3.reshape(-1, 3).astype(np.float32).T
    lost = (wanted[:, 1:] + 128 - np.stack([blue, red], 1)).mean()
    return bool(lost > _MOST_LOST)
