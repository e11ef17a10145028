"""The six series of the study, each with its predicted lines, and the exponents and laws that they follow.

All means are over repetitions with generators of their own, seeded by the seed, the series and the place in it, so that
a series does not depend on what else is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from noisy_dictionary import (
    NoisyDictionary,
    chance_of_best,
    expected_regret,
    matched_error,
    regret_bound,
    select,
)
from rates import Point, fit_exponent, misfit, point_of
from spiked_pairs import Spiked, asymptotic, chance, first_order, subspace_error

from clc.errors import InputError

STRONG, WEAK = 3.0, 0.5
SPIKES = (STRONG, WEAK)
NOISES = (1.0, 0.5, 0.25)
DICTIONARIES, QUERIES = 10, 20
"""Of chosen entries: dictionaries for each repetition, and queries of each, whose results hang together."""

IN_FIRST_ORDER = 0.3
"""Exponents are fitted where the first-order error is no larger, which is decided before anything is drawn."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is measured: the places of each series, and the repetitions at each.

    Raises `InputError` where there is too little for an exponent and its standard error.
    """

    pairs: Sequence[int] = tuple(500 * 2**k for k in range(8))
    dimensions: Sequence[int] = (25, 35, 50, 71, 100, 141, 200, 283, 400)
    mismatches: Sequence[float] = tuple(k / 10 for k in range(11))
    matched: Sequence[int] = tuple(2**k for k in range(3, 14))
    entries: Sequence[int] = tuple(2**k for k in range(3, 17))
    repetitions: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.repetitions < 2:
            raise InputError(f"--repetitions {self.repetitions} tells no standard error; give 2 or more")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed} is no seed; give 0 or more")


@dataclass(frozen=True)
class Series:
    """Points under a name, the lines that are predicted for them by name, and what they were found to follow."""

    name: str
    points: Sequence[Point]
    lines: Mapping[str, Sequence[float]]
    found: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what a file of figures holds; what is infinite or not a number is None."""
        return {
            "name": self.name,
            "at": [point.at for point in self.points],
            "mean": [point.mean for point in self.points],
            "standard_error": [point.standard_error for point in self.points],
            "lines": {name: [_finite(value) for value in line] for name, line in self.lines.items()},
            "found": {name: _finite(value) for name, value in self.found.items()},
        }


@dataclass(frozen=True)
class Panel:
    """Series over the same axis."""

    key: str
    title: str
    axis: str
    series: Sequence[Series]


def study(grid: Grid, tell: Callable[[str], None] = lambda _: None) -> list[Panel]:
    """Measure all panels; `tell` is told the name of each part before it is begun. Raises `InputError`."""
    panels: list[Panel] = []
    for number, (name, measured) in enumerate(_STUDIES.items()):
        tell(name)
        panels.extend(measured(grid, number))
    return panels


def over_pairs(grid: Grid, number: int) -> list[Panel]:
    """The error of the subspace over the number of pairs."""
    settings = {spike: [Spiked(pairs=n, dimension=100, spike=spike) for n in grid.pairs] for spike in SPIKES}
    laws = {"1/sqrt(n)": lambda n: n**-0.5, "1/n": lambda n: 1 / n}
    return [Panel("n", "error over pairs", "pairs, n", _subspaces(grid, number, settings, grid.pairs, laws))]


def over_dimensions(grid: Grid, number: int) -> list[Panel]:
    """The error of the subspace over the directions that are noise alone, d - r: first order knows d only by them."""
    places = [dimension - 5 for dimension in grid.dimensions]
    settings = {spike: [Spiked(pairs=16_000, dimension=d, spike=spike) for d in grid.dimensions] for spike in SPIKES}
    laws = {"sqrt(d - r)": lambda d: d**0.5, "sqrt(log(d - r))": lambda d: math.log(d) ** 0.5}
    return [Panel("d", "error over dimension", "dimension, d − r", _subspaces(grid, number, settings, places, laws))]


def over_mismatches(grid: Grid, number: int) -> list[Panel]:
    """The error of the subspace over rho, the share of wrongly matched pairs; exponents are those of 1 - rho."""
    series = []
    for row, spike in enumerate(SPIKES):
        settings = [Spiked(pairs=4_000, dimension=100, spike=spike, mismatch=rho) for rho in grid.mismatches]
        points = [_errors(grid, (number, row, at), one, one.mismatch) for at, one in enumerate(settings)]
        kept = [Point(1 - point.at, *point[1:]) for point in points]
        found = _found(kept, [first_order(one) for one in settings], [asymptotic(one) for one in settings], {})
        series.append(Series(f"spike {spike:g}", points, _lines(settings), found))
    return [Panel("rho", "error over wrong pairs", "share of wrong pairs, ρ", series)]


def over_matched(grid: Grid, number: int) -> list[Panel]:
    """The error of the subspace over the size of a dictionary whose entry nearest to a picture is its partner."""
    setting = Spiked(pairs=2_000, dimension=100, spike=STRONG)
    series = []
    for row, (name, is_known) in enumerate({"own entry is there": True, "pictures are new": False}.items()):
        points, wrong = [], []
        for at, entries in enumerate(grid.matched):
            generators = _generators(grid, number, row, at)
            drawn = [matched_error(setting, entries, is_known=is_known, generator=one) for one in generators]
            points.append(point_of(entries, [one.error for one in drawn]))
            wrong.append(float(np.mean([one.wrong for one in drawn])))
        lines = {"all pairs right": [asymptotic(setting)] * len(points)}
        if is_known:
            lines["wrong pairs at random"] = [asymptotic(replace(setting, mismatch=share)) for share in wrong]
            lines["share of wrong pairs"] = wrong
        series.append(Series(name, points, lines, _power(points)))
    return [Panel("K-subspace", "error, nearest of K", "entries, K", series)]


def over_selection(grid: Grid, number: int) -> list[Panel]:
    """The correlation that is lost to a dictionary's noise over its size, and how often its best entry is found."""
    laws: dict[str, Callable[[float], float]] = {
        "sqrt(log K)": lambda k: math.log(k) ** 0.5,
        "log K": math.log,
        "constant": lambda _: 1.0,
    }
    regrets, rights = [], []
    for row, noise in enumerate(NOISES):
        ones = [NoisyDictionary(entries=entries, noise=noise) for entries in grid.entries]
        drawn = [
            [select(one, QUERIES, generator) for generator in _generators(grid, number, row, at, times=DICTIONARIES)]
            for at, one in enumerate(ones)
        ]
        points = [point_of(one.entries, [got.regret for got in some]) for one, some in zip(ones, drawn, strict=True)]
        exact = [expected_regret(one) for one in ones]
        found = _power(points) | {"largest deviation from the exact line": _apart(points, exact)}
        found |= {f"misfit of {name}": misfit(points, law) for name, law in laws.items()}
        lines = {"exact": exact, "bound": [regret_bound(one) for one in ones]}
        regrets.append(Series(f"noise {noise:g}", points, lines, found))

        points = [point_of(one.entries, [got.right for got in some]) for one, some in zip(ones, drawn, strict=True)]
        exact = [chance_of_best(one) for one in ones]
        upper, kept = slice(len(points) // 2, None), ones[0].correlation
        found = _power(points[upper]) | {
            "exponent of the exact line": _slope(points[upper], exact[upper]),
            # Two such normals both pass the level of the largest of K with a probability of about K^(-2 / (1 + kept)).
            "exponent for large K": -(1 - kept) / (1 + kept),
            "largest deviation from the exact line": _apart(points, exact),
        }
        rights.append(Series(f"noise {noise:g}", points, {"exact": exact}, found))
    return [
        Panel("K-regret", "correlation lost", "entries, K", regrets),
        Panel("K-right", "share of best found", "entries, K", rights),
    ]


_STUDIES: Mapping[str, Callable[[Grid, int], list[Panel]]] = {
    "pairs": over_pairs,
    "dimensions": over_dimensions,
    "wrong pairs": over_mismatches,
    "matched entries": over_matched,
    "chosen entries": over_selection,
}


def _subspaces(
    grid: Grid,
    number: int,
    settings: Mapping[float, Sequence[Spiked]],
    places: Sequence[float],
    laws: Mapping[str, Callable[[float], float]],
) -> list[Series]:
    series = []
    for row, (spike, ones) in enumerate(settings.items()):
        points = [_errors(grid, (number, row, at), one, places[at]) for at, one in enumerate(ones)]
        found = _found(points, [first_order(one) for one in ones], [asymptotic(one) for one in ones], laws)
        series.append(Series(f"spike {spike:g}", points, _lines(ones), found))
    return series


def _errors(grid: Grid, place: tuple[int, int, int], setting: Spiked, at: float) -> Point:
    return point_of(at, [subspace_error(setting, generator) for generator in _generators(grid, *place)])


def _generators(grid: Grid, *place: int, times: int = 1) -> Iterator[np.random.Generator]:
    """A generator for each repetition at a place; `times` as many of them."""
    for repetition in range(grid.repetitions * times):
        yield np.random.default_rng([grid.seed, *place, repetition])


def _lines(settings: Sequence[Spiked]) -> dict[str, list[float]]:
    return {
        "first order": [first_order(one) for one in settings],
        "asymptotic": [asymptotic(one) for one in settings],
        "chance": [chance(one) for one in settings],
    }


def _found(
    points: Sequence[Point],
    first: Sequence[float],
    predicted: Sequence[float],
    laws: Mapping[str, Callable[[float], float]],
) -> dict[str, float]:
    """Exponent and misfits where the first-order error is small, and how far all points are from the prediction."""
    used = [at for at, error in enumerate(first) if error <= IN_FIRST_ORDER]
    small = [points[at] for at in used]
    found: dict[str, float] = {"largest deviation from the asymptotic line": _apart(points, predicted)}
    if len(small) > 1:
        found |= _power(small)
        found["exponent of the asymptotic line"] = _slope(small, [predicted[at] for at in used])
        found |= {f"misfit of {name}": misfit(small, law) for name, law in laws.items()}
    return {**found, "points in the fit": len(small)}


def _apart(points: Sequence[Point], line: Sequence[float]) -> float:
    """The largest distance of the points from a line, as a share of it."""
    return max((point.mean / value - 1 for point, value in zip(points, line, strict=True)), key=abs)


def _power(points: Sequence[Point]) -> dict[str, float]:
    fitted = fit_exponent(points)
    return {"exponent": fitted.value, "standard error": fitted.standard_error, "chi2": fitted.chi2}


def _slope(points: Sequence[Point], line: Sequence[float]) -> float:
    """The exponent that a predicted line has at these points, with their weights."""
    return fit_exponent(
        [Point(p.at, value, p.standard_error * value / p.mean) for p, value in zip(points, line, strict=True)]
    ).value


def _finite(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
