"""A dictionary whose entries are perturbed, and what the nearest of them is worth as its size K grows.

Entries are signals of the spiked model (`spiked_pairs.py`) plus noise. Three questions: how well the pairs of pictures
and their nearest entries tell the subspace (`matched_error`); how much of the correlation is lost because the noise
picks an entry (regret); and how often it picks the best one. For the last two there are exact values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from spiked_pairs import Array, Spiked, sine_error

from clc.errors import InputError

_STEP = 0.04
_AXIS = np.arange(-9.0, 9.0 + _STEP / 2, _STEP)
"""Where integrals over a standard normal are summed; from 9 on less than 1e-18 is left."""
_DENSITY = np.exp(-(_AXIS**2) / 2) / math.sqrt(2 * math.pi)


class Matched(NamedTuple):
    """The error of a subspace, 0 to 1, and the share of pictures that were matched with another entry than their own.

    `wrong` is nan where pictures have no entry of their own.
    """

    error: float
    wrong: float


class Selection(NamedTuple):
    """What noise costs: the lost correlation, in standard deviations of it, and the share of best entries found."""

    regret: float
    right: float


@dataclass(frozen=True, kw_only=True)
class NoisyDictionary:
    """`entries` (K), their signals in `rank` directions; `noise` is the deviation of theirs, over that of the signal.

    Raises `InputError` where there is no such dictionary.
    """

    entries: int
    noise: float
    rank: int = 5

    def __post_init__(self) -> None:
        if self.entries < 2:
            raise InputError(f"a dictionary of {self.entries} entries leaves no choice; give 2 or more")
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise InputError(f"noise of {self.noise}; give a number above 0")
        if self.rank < 1:
            raise InputError(f"signals of rank {self.rank}; give 1 or more")

    @property
    def correlation(self) -> float:
        """Of a true score and the one that is seen."""
        return 1 / math.hypot(1, self.noise)


def matched_error(setting: Spiked, entries: int, *, is_known: bool, generator: np.random.Generator) -> Matched:
    """Match each picture with the nearest of so many noisy entries, and estimate the subspace from these pairs.

    Entries and pictures are both of the spiked model, so that an entry is as noisy as a picture. With `is_known` each
    picture has an entry with its own w, else its w is new. `setting.mismatch` is not used: what is wrong is found.
    """
    rank, scale = setting.rank, math.sqrt(setting.spike)
    signals_KR = generator.standard_normal((entries, rank))
    noisy_KD = generator.standard_normal((entries, setting.dimension))
    noisy_KD[:, :rank] += scale * signals_KR
    own_N = generator.integers(entries, size=setting.pairs)
    pictures_ND = generator.standard_normal((setting.pairs, setting.dimension))
    pictures_ND[:, :rank] += scale * (signals_KR[own_N] if is_known else generator.standard_normal((len(own_N), rank)))
    nearest_N = ((noisy_KD**2).sum(axis=1) - 2 * pictures_ND @ noisy_KD.T).argmin(axis=1)
    wrong = float((nearest_N != own_N).mean()) if is_known else math.nan
    return Matched(sine_error(pictures_ND, noisy_KD[nearest_N], rank), wrong)


def select(dictionary: NoisyDictionary, queries: int, generator: np.random.Generator) -> Selection:
    """Draw a dictionary and queries, unit vectors of the subspace, and take for each the entry of the largest score.

    A score is the inner product of query and entry; the true one is that of the entry before the noise. Of the noise
    only what lies in the subspace reaches it, whatever d is, and only that is drawn. Means over the queries.
    """
    signals_KR = generator.standard_normal((dictionary.entries, dictionary.rank))
    noise_KR = dictionary.noise * generator.standard_normal((dictionary.entries, dictionary.rank))
    queries_RQ = generator.standard_normal((dictionary.rank, queries))
    queries_RQ /= np.linalg.norm(queries_RQ, axis=0)
    true_KQ = signals_KR @ queries_RQ
    chosen_Q = (true_KQ + noise_KR @ queries_RQ).argmax(axis=0)
    lost_Q = true_KQ.max(axis=0) - true_KQ[chosen_Q, np.arange(queries)]
    return Selection(float(lost_Q.mean()), float((lost_Q == 0).mean()))


def largest_of(count: int) -> float:
    """Return the mean of the largest of so many independent standard normals; sqrt(2 log count) is above it."""
    below = np.array([math.erfc(-value / math.sqrt(2)) / 2 for value in _AXIS])
    with np.errstate(divide="ignore"):
        return float(np.sum(_AXIS * count * _DENSITY * np.exp((count - 1) * np.log(below))) * _STEP)


def expected_regret(dictionary: NoisyDictionary) -> float:
    """Return the mean lost correlation: the largest of K normals times 1 - `correlation`, in standard deviations."""
    return largest_of(dictionary.entries) * (1 - dictionary.correlation)


def regret_bound(dictionary: NoisyDictionary) -> float:
    """Return noise sqrt(2 log K), which the mean lost correlation cannot exceed whatever the entries are.

    The chosen entry's score is the largest, so that what is lost is at most the difference of two noises, and the
    largest of K normals is sqrt(2 log K) deviations at most in the mean (Boucheron, Lugosi and Massart 2013, 2.5).
    """
    return dictionary.noise * math.sqrt(2 * math.log(dictionary.entries))


def chance_of_best(dictionary: NoisyDictionary) -> float:
    """Return the probability that the entry of the largest noisy score is the one of the largest true score.

    It is K times the integral of the density of two normals of this correlation, true and seen, times the probability
    that all other pairs lie below both.
    """
    kept = dictionary.correlation
    true, seen = _AXIS[:, None], _AXIS[None, :]
    squares = (true**2 - 2 * kept * true * seen + seen**2) / (1 - kept**2)
    density = np.exp(-squares / 2) / (2 * math.pi * math.sqrt(1 - kept**2)) * _STEP**2
    both_above = _tail(_tail(density, 0), 1)
    above = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in _AXIS])
    beyond = np.clip(above[:, None] + above[None, :] - both_above, 0.0, 1.0)  # one of the two lies above
    with np.errstate(divide="ignore"):
        all_below = np.exp((dictionary.entries - 1) * np.log1p(-beyond))
    return float(dictionary.entries * np.sum(density * all_below))


def _tail(masses: Array, axis: int) -> Array:
    """Sum masses from each point on to the end of an axis, of the point itself the half."""
    return np.flip(np.cumsum(np.flip(masses, axis), axis), axis) - masses / 2
