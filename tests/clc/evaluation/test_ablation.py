"""Variants of a codec: which entries each takes, what its streams hold, and the figures of a table."""

import math
from pathlib import Path

import numpy as np
import pytest

from clc.bitstream.container import parse
from clc.codec.codec import Codec
from clc.errors import InputError
from clc.evaluation.ablation import (
    AlignedCoder,
    LastEncoding,
    TokenCoder,
    gain_lost,
    lookup_s,
    nearest,
    performance_reduction,
    variant_figures,
    wrong_at_random,
)
from clc.evaluation.bd_rate import BdRate
from clc.evaluation.curves import compare
from clc.evaluation.measure import FAILED, Row
from tests.small_bundle import smooth

IMAGE = smooth(30, 64, 64)
RANKED = (7, 2, 9)


@pytest.fixture(scope="module")
def memory(small_bundle: Path) -> LastEncoding:
    return LastEncoding(Codec.load(small_bundle))


def _row(codec: str, quality: float, bpp: float, psnr: float, item: str = "a", status: str = "ok") -> Row:
    return Row(codec, quality, item, item, "natural", "tokens", 16, 16, 9, bpp, psnr, 0.9, status=status)


def _curve(codec: str, factor: float, item: str = "a") -> list[Row]:
    return [_row(codec, step, 0.1 * factor * step, 20.0 + 3.0 * math.log2(step), item) for step in (1.0, 2.0, 4.0, 8.0)]


def _taken(probability: float, seed: int = 0) -> tuple[int, ...]:
    return wrong_at_random(probability, 3, 50, (0, seed))(smooth(seed, 64, 64), RANKED)


def test_nearest_takes_the_first() -> None:
    assert [nearest(count)(IMAGE, RANKED) for count in (0, 1, 5)] == [(), (7,), RANKED]


def test_nothing_is_wrong_at_0_and_everything_at_1() -> None:
    assert all(_taken(0.0, seed) == RANKED for seed in range(20))
    assert all(not set(_taken(1.0, seed)) & set(RANKED) for seed in range(20))
    assert all(len(set(_taken(0.5, seed))) == 3 for seed in range(20))


def test_what_is_wrong_once_is_wrong_at_every_higher_probability_and_alike() -> None:
    for seed in range(20):
        low, high = _taken(0.3, seed), _taken(0.6, seed)
        assert all(one in (own, other) for one, own, other in zip(low, RANKED, high, strict=True))
        assert _taken(0.3, seed) == low


def test_so_many_are_wrong_as_the_probability_says() -> None:
    wrong = [one != own for seed in range(300) for one, own in zip(_taken(0.3, seed), RANKED, strict=True)]
    assert 0.25 < np.mean(wrong) < 0.35


def test_a_dictionary_without_others_has_no_wrong_entry_and_says_so() -> None:
    with pytest.raises(InputError, match="take a larger dictionary"):
        wrong_at_random(1.0, 3, 3, (0,))(IMAGE, (0, 1, 2))


def test_a_stream_names_the_entries_that_were_chosen_and_decodes(memory: LastEncoding) -> None:
    for count in (0, 1, 2):
        coder = TokenCoder(name=str(count), qualities=(50.0,), memory=memory, choose=nearest(count))
        data = coder.encode(IMAGE, 50.0)
        assert parse(data).references == memory.ranked[:count]
        assert coder.decode(data).shape == IMAGE.shape
        assert len(coder.seconds) == 1


def test_the_search_is_made_once_a_picture_and_counted_with_each_stream(memory: LastEncoding) -> None:
    coder = TokenCoder(name="1", qualities=(10.0, 90.0), memory=memory, choose=nearest(1))
    coder.encode(IMAGE, 10.0)
    encoding = memory.of(IMAGE)
    coder.encode(IMAGE, 90.0)
    assert memory.of(IMAGE) is encoding
    assert {spent.search_s for spent in coder.seconds} == {memory.search_s}
    coder.encode(smooth(31, 64, 64), 10.0)
    assert memory.of(IMAGE) is not encoding


def test_without_key_pictures_the_aligned_coder_still_codes(memory: LastEncoding) -> None:
    coder = AlignedCoder(name="at most 1", qualities=(50.0,), memory=memory, most=1)
    data = coder.encode(IMAGE, 50.0)
    assert len(parse(data).references) <= 1
    assert coder.decode(data).shape == IMAGE.shape


def test_a_look_up_takes_time(memory: LastEncoding) -> None:
    assert lookup_s(memory.codec, [IMAGE], 2) > 0.0


def test_figures_are_of_the_mean_curves_and_count_pictures() -> None:
    rows = [row for item, factor in (("a", 0.8), ("b", 1.1)) for row in _curve("more", factor, item)]
    rows += [row for item in "ab" for row in _curve("none", 1.0, item)]
    more, none = variant_figures(rows, "none")
    assert (more["variant"], more["better"], more["pictures"]) == ("more", 1, 2)
    assert more["bd_rate_percent"] == pytest.approx(-5.0, abs=0.01)
    assert more["bd_psnr_db"] > 0.0
    assert none["bd_rate_percent"] == pytest.approx(0.0, abs=1e-9)


def test_a_variant_that_failed_is_told() -> None:
    rows = [*_curve("none", 1.0), _row("broken", 1.0, math.nan, math.nan, status=FAILED)]
    none, broken = variant_figures(rows, "none")
    assert (none["failed"], broken["failed"]) == (0, 1)
    assert "coded no picture" in broken["reason"]


def test_performance_is_reduced_by_what_psnr_loses_at_equal_rate() -> None:
    [curve] = compare(_curve("0", 1.0)).curves
    mean = float(np.mean([point.psnr_db for point in curve.points]))
    lost = BdRate("0.5", "0", 3.0, "pchip", 20.0, 29.0, gain=-0.01 * mean)
    assert performance_reduction(curve, lost) == pytest.approx(1.0)
    assert performance_reduction(curve, BdRate("0.5", "0", None, "pchip", 0.0, 0.0, "no")) is None


def test_a_gain_is_lost_only_where_there_is_one() -> None:
    assert gain_lost(-10.0, -4.0) == (pytest.approx(60.0), "")
    assert gain_lost(-10.0, 2.0)[0] == pytest.approx(120.0)
    assert gain_lost(0.2, 0.3) == (None, "references save nothing unperturbed")
    assert gain_lost(None, -4.0) == (None, "a curve allows no BD-rate")
