"""Means over repetitions, the exponents that they follow, and how far they are from a law."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clc.errors import InputError


class Point(NamedTuple):
    """A mean over repetitions `at` a value of the axis, with its standard error."""

    at: float
    mean: float
    standard_error: float


@dataclass(frozen=True)
class Exponent:
    """The exponent of a power law, with the standard error that the repetitions leave it.

    `chi2` is the weighted square of what the law leaves, by degree of freedom: about 1 where the points follow a power
    law, far more where they are measured more finely than they follow one; nan for two points.
    """

    value: float
    standard_error: float
    chi2: float


def point_of(at: float, values: Sequence[float]) -> Point:
    """Return mean and standard error of repetitions. Raises `InputError` for fewer than two."""
    if len(values) < 2:
        raise InputError(f"{len(values)} repetition tells no standard error; give 2 or more")
    return Point(at, float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values))))


def fit_exponent(points: Sequence[Point]) -> Exponent:
    """Fit mean = c at^exponent, weighted by the standard errors.

    Raises `InputError` for fewer than two places, and where repetitions were too few to tell means or their errors.
    """
    if len({point.at for point in points}) < 2:
        raise InputError(f"an exponent wants points at 2 places or more, not {len(points)}")
    weights = _weights(points)
    x = np.log([point.at for point in points])
    y = np.log([point.mean for point in points])
    x_apart = x - np.average(x, weights=weights)
    spread = float(np.sum(weights * x_apart**2))
    value = float(np.sum(weights * x_apart * y) / spread)
    left = y - np.average(y, weights=weights) - value * x_apart
    freedom = len(points) - 2
    return Exponent(value, 1 / math.sqrt(spread), float(np.sum(weights * left**2) / freedom) if freedom else math.nan)


def misfit(points: Sequence[Point], law: Callable[[float], float]) -> float:
    """Return the root mean square distance of the points from c law(at), with the best c, as a share of them."""
    left = np.log([point.mean / law(point.at) for point in points])
    return float(np.sqrt(np.mean((left - np.average(left, weights=_weights(points))) ** 2)))


def _weights(points: Sequence[Point]) -> NDArray[np.float64]:
    """Inverse variances of the logarithms of means. Raises `InputError` where they are not known."""
    for point in points:
        if not (point.mean > 0 and point.standard_error > 0):
            raise InputError(f"all repetitions at {point.at:g} came to {point.mean:g}; give more --repetitions")
    return np.array([(point.mean / point.standard_error) ** 2 for point in points])
