"""Samples of test pictures, what they come to, and how they lie in rows of bytes."""

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Order = Literal["<", ">"]
Samples = npt.NDArray[np.uint32]
Levels = npt.NDArray[np.uint8]

WIDTH, HEIGHT = 21, 18


class Made(NamedTuple):
    """A picture's file; its colours, uint8 (H, W, 3), None where Pillow's are the right ones; its alpha plane."""

    name: str
    data: bytes
    colours_HW3: Levels | None
    alpha_HW: Levels | None = None


def samples_of(channels: int, bits: int, seed: int = 0) -> Samples:
    """Random samples (18, 21, channels), both ends among them."""
    made = np.random.default_rng(seed + 97 * bits + channels).integers(0, 2**bits, (HEIGHT, WIDTH, channels), np.uint64)
    made[0, 0], made[0, 1] = 0, 2**bits - 1
    return made.astype(np.uint32)


def levels_of(samples: npt.NDArray[Any], bits: int) -> Levels:
    """Samples as levels of 0..255, rounded, in floating point."""
    return np.rint(samples.astype(np.float64) * 255 / (2**bits - 1)).astype(np.uint8)


def rgb(levels_HWC: Levels) -> Levels:
    """Grey, of one channel, or RGB, as RGB."""
    return np.repeat(levels_HWC, 3, axis=2) if levels_HWC.shape[2] == 1 else levels_HWC


def packed(samples_HWC: npt.NDArray[Any], bits: int, order: Order) -> Levels:
    """Rows of samples as rows of bytes, uint8 (H, bytes): numbers of whole bytes by order, others packed."""
    samples_HS = samples_HWC.reshape(len(samples_HWC), -1).astype(np.uint32)
    if bits % 8:
        shifts = np.arange(bits - 1, -1, -1, dtype=np.uint32)
        bits_HB = (samples_HS[..., None] >> shifts & 1).reshape(len(samples_HS), -1)
        return np.packbits(bits_HB.astype(np.uint8), axis=1)
    places = range(bits - 8, -8, -8) if order == ">" else range(0, bits, 8)
    split = np.stack([samples_HS >> np.uint32(place) & 255 for place in places], axis=2)
    return split.reshape(len(samples_HS), -1).astype(np.uint8)


def turned(stored: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """What a picture stored with an EXIF orientation looks like upright."""
    if orientation >= 5:
        stored = stored.swapaxes(0, 1)
    vertical, horizontal = {
        1: (1, 1),
        2: (1, -1),
        3: (-1, -1),
        4: (-1, 1),
        5: (1, 1),
        6: (1, -1),
        7: (-1, -1),
        8: (-1, 1),
    }[orientation]
    return np.ascontiguousarray(stored[::vertical, ::horizontal])
