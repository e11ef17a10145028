"""Bytes and PSNR of many pictures together, and the bytes that a coder needs for them at a given PSNR.

An archive is judged by its total, so everything beside it is: bytes are those of all files, PSNR that of all pixels.
`flows.strip` and `bench/archive.py` call it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from clc.evaluation.coders import Coder
from clc.pictures.picture import Picture


class Total(NamedTuple):
    """Bytes of all files, and PSNR in dB of all pixels; infinite where no pixel differs."""

    bytes: int
    psnr_db: float


class SquaredError:
    """The squared error of many pictures, summed."""

    def __init__(self) -> None:
        self._sum, self._values = 0.0, 0

    def add(self, a_HW3: Picture, b_HW3: Picture) -> None:
        """Adds the error between two pictures of one size."""
        self._sum += float(np.square(a_HW3.astype(np.float64) - b_HW3).sum())
        self._values += a_HW3.size

    @property
    def psnr_db(self) -> float:
        """PSNR in dB of all pixels so far."""
        return 10 * math.log10(255**2 * self._values / self._sum) if self._sum else math.inf


def total(coder: Coder, quality: float, sources: Sequence[Picture], workers: int = 1) -> Total:
    """Return what a coder makes of pictures at one quality, every file decoded again; `workers` pictures at a time."""
    errors, size = SquaredError(), 0
    with ThreadPoolExecutor(workers) as pool:
        files: Iterable[bytes] = pool.map(lambda source: coder.encode(source, quality), sources)
        for source, data in zip(sources, files, strict=True):
            errors.add(coder.decode(data), source)
            size += len(data)
    return Total(size, errors.psnr_db)


def bytes_at_psnr(
    coder: Coder,
    sources: Sequence[Picture],
    psnr_db: float,
    known: Mapping[float, Total] | None = None,
    workers: int = 1,
) -> float | None:
    """Return the bytes that a coder needs for pictures at a PSNR, or None where its ladder of qualities lacks it.

    The two qualities of the ladder on either side are searched for by bisection, and the logarithm of the bytes is
    interpolated between them. `known` has totals that were measured before, by quality.
    """
    measured = dict(known or {})

    def at(index: int) -> Total:
        quality = coder.qualities[index]
        if quality not in measured:
            measured[quality] = total(coder, quality, sources, workers)
        return measured[quality]

    below, above = -1, len(coder.qualities)
    while above - below > 1:
        middle = (below + above) // 2
        if at(middle).psnr_db <= psnr_db:
            below = middle
        else:
            above = middle
    if below < 0 or above == len(coder.qualities):
        return None
    low, high = at(below), at(above)
    share = (psnr_db - low.psnr_db) / (high.psnr_db - low.psnr_db)
    return math.exp((1 - share) * math.log(low.bytes) + share * math.log(high.bytes))
