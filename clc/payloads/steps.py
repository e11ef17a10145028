"""Samples within an error E: numbers of steps of 2 E + 1 levels, which are coded exactly and take fewer bits.

Sample v becomes number (v + E) // (2 E + 1), and number n becomes sample min(255, n (2 E + 1)): never more than E off.
"""

from __future__ import annotations

import numpy as np

from clc.pictures.picture import Picture


def numbers_of(image_HW3: Picture, step_error: int) -> Picture:
    """Return the numbers of steps, uint8 (H, W, 3), of a picture's samples; `step_error` is E, from 1 on."""
    levels = np.arange(256)
    table = ((levels + step_error) // (2 * step_error + 1)).astype(np.uint8)
    numbers: Picture = table[image_HW3]
    return numbers


def samples_of(numbers_HW3: Picture, step_error: int) -> Picture:
    """Return the samples, uint8 (H, W, 3), that numbers of steps stand for; the inverse of `numbers_of` up to E."""
    table = np.minimum(np.arange(256) * (2 * step_error + 1), 255).astype(np.uint8)
    samples: Picture = table[numbers_HW3]
    return samples
