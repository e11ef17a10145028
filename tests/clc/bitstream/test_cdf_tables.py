"""Integer tables: valid for the coder, and close to the distributions that they stand for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.cdf_tables import COUNTED, digest, fitted_table, gaussian_table, merge, sigma_levels, table_from_pmf
from clc.bitstream.range_coder import TOTAL_MASS, CdfTable
from clc.errors import InputError


def masses_of(table: CdfTable, t: int) -> list[int]:
    return np.diff(table.cdf[t, : table.lengths[t] - 1]).tolist()


@pytest.fixture(scope="module")
def gaussians() -> CdfTable:
    return gaussian_table(sigma_levels())


def test_the_levels_are_64_from_finest_to_coarsest() -> None:
    levels = sigma_levels()
    assert levels.shape == (64,)
    assert levels[0] == pytest.approx(0.11)
    assert levels[-1] == pytest.approx(128)
    assert np.ptp(np.diff(np.log(levels))) < 1e-12


def test_every_gaussian_value_has_mass_and_all_sum_to_65536(gaussians: CdfTable) -> None:
    for t in range(64):
        masses = masses_of(gaussians, t)
        assert min(masses) >= 1
        assert sum(masses) == TOTAL_MASS


def test_gaussian_tables_reach_six_sigma_and_ten_at_least(gaussians: CdfTable) -> None:
    for t, sigma in enumerate(sigma_levels()):
        assert gaussians.offsets[t] == -gaussians.highest[t] == -max(10, math.ceil(6 * sigma))


def test_gaussian_tables_are_symmetric_but_for_rounding(gaussians: CdfTable) -> None:
    for t in range(64):
        masses = np.array(masses_of(gaussians, t))
        assert np.abs(masses - masses[::-1]).max() <= 1


def test_gaussian_tables_cost_little_more_than_the_real_distribution(gaussians: CdfTable) -> None:
    for t, sigma in enumerate(sigma_levels()):
        values = np.arange(gaussians.offsets[t], gaussians.highest[t] + 1)
        edges = [math.erf((k - 0.5) / (sigma * math.sqrt(2))) / 2 for k in [*values, values[-1] + 1]]
        p = np.maximum(np.diff(edges), 1e-300)
        coded = np.array(masses_of(gaussians, t)) / TOTAL_MASS
        assert float(np.sum(p * np.log2(p / coded))) < 0.02


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.floats(0, 1e6), min_size=2, max_size=40).filter(lambda row: sum(row) > 0), min_size=1, max_size=5
    )
)
def test_any_distribution_becomes_a_valid_table_in_its_order(rows: list[list[float]]) -> None:
    table = table_from_pmf([np.array(row) for row in rows], list(range(len(rows))))
    for t, row in enumerate(rows):
        masses = masses_of(table, t)
        assert len(masses) == len(row)
        by_weight = [mass for _, mass in sorted(zip(row, masses, strict=True))]
        assert all(more >= less - 1 for less, more in itertools.pairwise(by_weight))


def test_the_same_distribution_gives_the_same_digest() -> None:
    row = np.array([1.0, 2.0, 1.0])
    assert digest(table_from_pmf([row], [0])) == digest(table_from_pmf([3 * row], np.array([0])))
    assert digest(table_from_pmf([row], [0])) != digest(table_from_pmf([row], [1]))


def test_a_digest_is_known() -> None:
    table = table_from_pmf([np.array([1.0, 2.0, 1.0])], [-1])
    assert masses_of(table, 0) == [16384, 32768, 16384]
    assert digest(table) == "cec3f089e3ec83f213f96fc897e37669a208b343dfac16eeb154735258f3580b"


def test_merge_puts_the_second_tables_behind_the_first() -> None:
    a = table_from_pmf([np.ones(3), np.ones(9)], [-1, -4])
    b = table_from_pmf([np.ones(5)], [-2])
    both = merge(a, b)
    assert both.n_tables == 3
    assert both.offsets.tolist() == [-1, -4, -2]
    assert [masses_of(both, t) for t in range(3)] == [masses_of(a, 0), masses_of(a, 1), masses_of(b, 0)]


@pytest.mark.parametrize(
    "row", [[1.0], [0.0, 0.0], [1.0, -0.1], [1.0, math.nan], [1.0, math.inf], [1.0] * (TOTAL_MASS + 1)]
)
def test_what_is_no_distribution_is_refused(row: list[float]) -> None:
    with pytest.raises(InputError, match="distribution"):
        table_from_pmf([np.array(row)], [0])


def test_distributions_without_offsets_are_refused() -> None:
    with pytest.raises(InputError, match="2 distributions for 1"):
        table_from_pmf([np.ones(2), np.ones(2)], [0])


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_sigma_that_is_not_positive_and_finite_is_refused(sigma: float) -> None:
    with pytest.raises(InputError, match="positive finite"):
        gaussian_table(np.array([1.0, sigma]))


def test_a_sigma_too_wide_for_the_mass_is_refused() -> None:
    with pytest.raises(InputError, match="65536 values"):
        gaussian_table(np.array([6000.0]))


def test_tables_fitted_to_nothing_are_gaussian(gaussians: CdfTable) -> None:
    fitted = fitted_table(sigma_levels(), np.zeros((64, 2 * COUNTED + 1), np.int64))
    assert digest(fitted) == digest(gaussians)


def test_fitted_tables_cost_less_for_what_they_were_fitted_to_and_are_symmetric(gaussians: CdfTable) -> None:
    symbols = np.clip(np.round(np.random.default_rng(0).laplace(0.0, 0.6, 20_000)), -COUNTED, COUNTED).astype(int)
    level = 16
    counts = np.zeros((64, 2 * COUNTED + 1), np.int64)
    np.add.at(counts[level], symbols + COUNTED, 1)
    fitted = fitted_table(sigma_levels(), counts)

    def bits(table: CdfTable) -> float:
        masses = np.array(masses_of(table, level))
        return float(-np.log2(masses[np.clip(symbols, -10, 10) + 10] / TOTAL_MASS).sum())

    assert bits(fitted) < 0.98 * bits(gaussians)
    masses = np.array(masses_of(fitted, level))
    assert np.abs(masses - masses[::-1]).max() <= 1
    for t in (0, level - 1, 63):
        assert masses_of(fitted, t) == masses_of(gaussians, t)


def test_fitted_tables_fold_what_lies_beyond_their_reach_into_their_ends(gaussians: CdfTable) -> None:
    counts = np.zeros((64, 2 * COUNTED + 1), np.int64)
    counts[5, -1] = 1000
    masses = masses_of(fitted_table(sigma_levels(), counts), 5)
    assert masses[0] == pytest.approx(masses[-1], abs=1)
    assert masses[-1] > 0.4 * TOTAL_MASS
    assert len(masses) == len(masses_of(gaussians, 5))


@pytest.mark.parametrize("counts", [np.zeros((64, 5), np.int64), -np.ones((64, 2 * COUNTED + 1), np.int64)])
def test_counts_that_cannot_be_are_refused(counts: np.ndarray) -> None:
    with pytest.raises(InputError, match="counts"):
        fitted_table(sigma_levels(), counts)
