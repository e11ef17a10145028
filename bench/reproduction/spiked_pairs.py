"""Pairs of a picture and its partner in the spiked covariance model, and how well they tell the subspace they share.

A picture is x = sqrt(spike) U w + noise: r directions U of d, of variance 1 + spike, in white noise of variance 1
(Johnstone 2001). Its partner x' has noise of its own and the same w, or with the probability `mismatch`, the paper's
rho, that of another picture. The subspace is estimated as the first r left singular vectors of the cross-covariance of
n pairs, which is what a linear contrastive loss learns (Nakada et al. 2023, who have wrongly matched pairs, too). An
error is the root mean square sine of the r principal angles: 0 is the subspace itself, 1 a perpendicular one.

As the noise knows no direction, U is the first r axes here, without loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clc.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Spiked:
    """The setting of a study: `pairs` of pictures (n), `dimension` (d), `rank` (r), `spike` and `mismatch` (rho).

    Raises `InputError` where there is no such setting.
    """

    pairs: int
    dimension: int
    spike: float
    rank: int = 5
    mismatch: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.rank < self.dimension:
            raise InputError(f"a subspace of rank {self.rank} in {self.dimension} dimensions; give 1 to dimension - 1")
        if self.pairs < self.rank:
            raise InputError(f"{self.pairs} pairs tell no subspace of rank {self.rank}; give more pairs")
        if not (math.isfinite(self.spike) and self.spike > 0):
            raise InputError(f"a spike of {self.spike}; give a number above 0")
        if not 0 <= self.mismatch <= 1:
            raise InputError(f"a mismatch of {self.mismatch}; give a share from 0 to 1")

    @property
    def aspect(self) -> float:
        """Directions that are noise alone, by pairs: (d - r) / n."""
        return (self.dimension - self.rank) / self.pairs


def draw_pairs(setting: Spiked, generator: np.random.Generator) -> tuple[Array, Array]:
    """Draw pictures and their partners, two arrays of n x d."""
    shape, rank = (setting.pairs, setting.dimension), setting.rank
    pictures_ND, partners_ND = generator.standard_normal(shape), generator.standard_normal(shape)
    signal_NR = math.sqrt(setting.spike) * generator.standard_normal((setting.pairs, rank))
    pictures_ND[:, :rank] += signal_NR
    is_wrong_N = generator.random(setting.pairs) < setting.mismatch
    signal_NR[is_wrong_N] = math.sqrt(setting.spike) * generator.standard_normal((int(is_wrong_N.sum()), rank))
    partners_ND[:, :rank] += signal_NR
    return pictures_ND, partners_ND


def sine_error(pictures_ND: Array, partners_ND: Array, rank: int) -> float:
    """Return the error, 0 to 1, of the subspace that pairs tell, where the first `rank` axes are the true one."""
    left_DD, _, _ = np.linalg.svd(pictures_ND.T @ partners_ND)
    return float(np.linalg.norm(left_DD[rank:, :rank]) / math.sqrt(rank))


def subspace_error(setting: Spiked, generator: np.random.Generator) -> float:
    """Draw pairs and return the error, 0 to 1, of the subspace that they tell."""
    return sine_error(*draw_pairs(setting, generator), setting.rank)


def chance(setting: Spiked) -> float:
    """Return the root mean square error of a subspace that knows nothing, drawn uniformly."""
    return math.sqrt(1 - setting.rank / setting.dimension)


def first_order(setting: Spiked) -> float:
    """Return the error to first order in the noise, infinite at a mismatch of 1.

    The part of the cross-covariance from U into its complement has entries of variance (1 + spike) / n, and divided by
    the signal, (1 - rho) spike, it is the sine: sqrt((d - r) (1 + spike) / n) / ((1 - rho) spike). At rho = 0 its
    square, times r, is the minimax rate r d (1 + spike) / (n spike^2) of Cai, Ma and Wu (2013), with the constant 1.
    """
    signal = (1 - setting.mismatch) * setting.spike
    return math.sqrt(setting.aspect * (1 + setting.spike)) / signal if signal else math.inf


def asymptotic(setting: Spiked) -> float:
    """Return the error to all orders in (1 - rho) spike / sqrt(d / n), where r spike is much below d, and d below n.

    The cross-covariance is then (1 - rho) spike U U^T + S G S: G has independent entries of variance 1 / n, and S^2 is
    the covariance of a picture. Its r outlying singular values s obey, with g = d / n and
    q = (1 - sqrt(1 - 4 g / s^2)) / 2 (from the semicircle's transform, so that q (1 - q) = g / s^2),

        s (1 - (1 + spike) q) = (1 - rho) spike,        tan^2 = (1 + spike) q / (1 - 2 q).

    They leave the bulk only where (1 - rho) spike > (1 - spike) sqrt(g); else the error is 1. As a wrongly matched
    partner is spiked itself, a spike above 1 is seen in part even if all pairs are wrong.
    """
    signal = (1 - setting.mismatch) * setting.spike
    low, high = 0.0, min(0.5, 1 / (1 + setting.spike))

    def excess(q: float) -> float:
        return math.sqrt(setting.aspect / (q * (1 - q))) * (1 - (1 + setting.spike) * q) - signal

    for _ in range(200):  # halving: the excess falls in q; where it is positive up to 1/2, high stays there
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    across, along = (1 + setting.spike) * high, 1 - 2 * high
    return math.sqrt(across / (across + along))
