"""A paired bootstrap: it finds what is there, doubts what is not, and knows that patches of one photo are no photos."""

import numpy as np
import pytest

from clc.evaluation.measure import Row
from clc.evaluation.paired import FEWEST_PHOTOS, paired_bd_rate


def rows(name: str, factors: list[float], seed: int = 0) -> list[Row]:
    """Rows of pictures whose rates are those of a common curve times a factor each."""
    random = np.random.default_rng(seed)
    base = random.uniform(0.5, 2.0, len(factors))  # pictures differ far more than codecs do
    return [
        Row(name, q, f"item{place}", f"picture {place}", "natural", "-", 64, 64, 9, bpp * base[place] * factor, psnr)
        for place, factor in enumerate(factors)
        for q, bpp, psnr in ((0.0, 0.1, 28.0), (25.0, 0.2, 31.0), (50.0, 0.4, 34.0), (75.0, 0.8, 37.0))
    ]


def test_a_gain_on_every_picture_is_beyond_chance_although_pictures_differ_much() -> None:
    found = paired_bd_rate(rows("new", [0.95, 0.96, 0.94, 0.95, 0.96, 0.95]), rows("old", [1.0] * 6), {})
    assert found.percent == pytest.approx(-5, abs=1)
    assert found.low_percent is not None
    assert found.high_percent is not None
    assert -7 < found.low_percent < found.percent < found.high_percent < -3
    assert found.photos == 6


def test_a_gain_that_one_picture_makes_may_be_chance() -> None:
    found = paired_bd_rate(rows("new", [0.6, 1.02, 1.01, 1.02, 1.01, 1.02]), rows("old", [1.0] * 6), {})
    assert found.percent is not None
    assert found.percent < 0
    assert found.high_percent is not None
    assert found.high_percent > 0


def test_the_interval_misses_the_truth_as_rarely_as_it_says() -> None:
    """Of 20 collections with no difference between the codecs, one may show one."""
    random = np.random.default_rng(5)
    wrong = 0
    for seed in range(20):
        new = rows("new", list(np.exp(random.normal(0.0, 0.05, 8))), seed)
        found = paired_bd_rate(new, rows("old", [1.0] * 8, seed), {}, resamples=120)
        assert found.low_percent is not None
        assert found.high_percent is not None
        wrong += not found.low_percent <= 0 <= found.high_percent
    assert wrong <= 3


def test_the_same_rows_give_the_same_interval() -> None:
    new, old = rows("new", [0.9, 1.0, 0.95, 0.97, 0.99]), rows("old", [1.0] * 5)
    assert paired_bd_rate(new, old, {}, resamples=200) == paired_bd_rate(new, old, {}, resamples=200)
    assert paired_bd_rate(new, old, {}, resamples=200) != paired_bd_rate(new, old, {}, resamples=200, seed=1)


def test_patches_of_few_photographs_are_too_few_to_tell() -> None:
    photos = {f"item{place}": f"photo {place % (FEWEST_PHOTOS - 1)}" for place in range(12)}
    found = paired_bd_rate(rows("new", [0.9] * 12), rows("old", [1.0] * 12), photos)
    assert found.percent == pytest.approx(-10, abs=1)
    assert (found.low_percent, found.high_percent, found.photos) == (None, None, FEWEST_PHOTOS - 1)
    assert "4 photographs are too few" in found.reason


def test_patches_of_one_photograph_are_drawn_together() -> None:
    """Three photos say no and one says yes, in ever so many patches: no certainty comes of patches."""
    factors = [0.7] * 8 + [1.02] * 4
    photos = {f"item{place}": "a" if place < 8 else f"photo {place}" for place in range(12)}
    alone = paired_bd_rate(rows("new", factors), rows("old", [1.0] * 12), {}, resamples=500)
    together = paired_bd_rate(rows("new", factors), rows("old", [1.0] * 12), photos, resamples=500)
    assert alone.high_percent is not None
    assert together.high_percent is not None
    assert alone.high_percent < 0 < together.high_percent


def test_what_cannot_be_compared_says_why() -> None:
    assert paired_bd_rate([], rows("old", [1.0]), {}).reason == "the two were measured on no picture in common"
    flat = [row for row in rows("new", [1.0] * 5) if row.quality < 50]
    assert "points" in paired_bd_rate(flat, rows("old", [1.0] * 5), {}).reason
