"""BD-rate: its laws, what it refuses, and the published table."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve, bd_rate
from clc.evaluation.published import ANCHOR, PUBLISHED, read_published
from clc.evaluation.scales import MS_SSIM, ST_LPIPS

BPP = [0.1, 0.25, 0.5, 0.9, 1.6]
DB = [28.0, 31.0, 33.6, 36.2, 39.5]


def curve(name: str = "a", factor: float = 1.0, shift_db: float = 0.0) -> RateCurve:
    return RateCurve.of(name, [factor * bpp for bpp in BPP], [db + shift_db for db in DB])


def test_bd_rate_of_a_curve_with_itself_is_zero() -> None:
    assert bd_rate(curve(), curve()).percent == pytest.approx(0.0, abs=1e-9)


def test_halving_all_rates_gives_minus_fifty_percent() -> None:
    assert bd_rate(curve(), curve("b", 0.5)).percent == pytest.approx(-50.0)


@given(st.floats(0.05, 20.0))
def test_scaling_all_rates_gives_that_scale(factor: float) -> None:
    assert bd_rate(curve(), curve("b", factor)).percent == pytest.approx(100 * (factor - 1), abs=1e-6)


def test_exchanging_anchor_and_test_inverts_the_ratio() -> None:
    one, other = curve(), curve("b", 0.8, 0.7)
    there, back = bd_rate(one, other).percent, bd_rate(other, one).percent
    assert there is not None
    assert back is not None
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_a_shift_of_the_curve_is_the_gain_at_equal_rate() -> None:
    rate = bd_rate(curve(), curve("b", 1.0, 0.8))
    assert rate.gain == pytest.approx(0.8)
    assert (rate.low_bpp, rate.high_bpp) == (0.1, 1.6)


def test_curves_that_share_no_rates_have_no_gain() -> None:
    rate = bd_rate(curve(), curve("b", 0.01))
    assert rate.percent == pytest.approx(-99.0)
    assert rate.gain is None


def test_of_a_distance_less_is_better() -> None:
    near, far = ([ST_LPIPS.on_axis(factor * value) for value in (0.4, 0.2, 0.1, 0.05)] for factor in (1.0, 1.1))
    rate = bd_rate(RateCurve.of("far", BPP[:4], far, ST_LPIPS), RateCurve.of("near", BPP[:4], near, ST_LPIPS))
    assert rate.percent is not None
    assert rate.percent < 0
    assert rate.range_text == "0.400 to 0.055"


def test_ms_ssim_lies_on_an_axis_of_decibels() -> None:
    assert MS_SSIM.on_axis(0.99) == pytest.approx(20.0)
    assert MS_SSIM.on_axis(1.0) == math.inf


def test_curves_of_two_measures_are_not_compared() -> None:
    with pytest.raises(InputError, match="a curve of PSNR of RGB cannot be compared with one of MS-SSIM"):
        bd_rate(curve(), RateCurve.of("other", BPP, DB, MS_SSIM))


def test_a_curve_of_no_points_says_that_nothing_was_measured() -> None:
    assert bd_rate(curve(), RateCurve.of("ours", [], [])).reason == "PSNR of RGB of ours was not measured"


def test_points_may_come_in_any_order() -> None:
    shuffled = RateCurve.of("b", reversed(BPP), reversed(DB))
    assert bd_rate(curve(), shuffled).percent == pytest.approx(0.0, abs=1e-9)


def test_a_bd_rate_names_anchor_interpolation_and_range() -> None:
    rate = bd_rate(curve("anchor"), curve("codec", 0.5, 1.0))
    assert (rate.anchor, rate.test, rate.interpolation) == ("anchor", "codec", "pchip")
    assert (rate.low, rate.high) == (29.0, 39.5)
    assert str(rate) == f"BD-rate of codec against anchor: {rate.percent:+.1f} % (pchip, 29.0 to 39.5 dB)"


def test_too_few_points_give_a_reason_instead_of_a_figure() -> None:
    rate = bd_rate(curve(), RateCurve.of("short", BPP[:3], DB[:3]))
    assert rate.percent is None
    assert rate.reason == "short has 3 points, 4 are needed"
    assert "no BD-rate of short" in str(rate)


def test_a_curve_that_is_not_monotone_gives_a_reason() -> None:
    rate = bd_rate(curve(), RateCurve.of("bent", BPP, [28.0, 31.0, 30.0, 36.0, 39.0]))
    assert rate.percent is None
    assert "bent is not monotone: from 0.2500 to 0.5000 bpp" in rate.reason


def test_two_points_of_one_rate_give_a_reason() -> None:
    assert bd_rate(curve(), RateCurve.of("flat", [0.1, 0.1, 0.5, 0.9], DB[:4])).percent is None


@pytest.mark.parametrize("shift_db", [40.0, 11.0, -11.0])
def test_curves_with_too_little_range_in_common_give_a_reason(shift_db: float) -> None:
    rate = bd_rate(curve(), curve("far", 1.0, shift_db))
    assert rate.percent is None
    assert "too little PSNR of RGB in common" in rate.reason


@pytest.mark.parametrize("bad", [(0.0, 30.0), (-1.0, 30.0), (math.nan, 30.0), (0.1, math.inf), (math.inf, 30.0)])
def test_points_that_are_no_positive_finite_figures_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="'broken'"):
        RateCurve.of("broken", [*BPP, bad[0]], [*DB, bad[1]])


def test_series_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="5 rates but 4 values of PSNR of RGB"):
        RateCurve.of("uneven", BPP, DB[:4])


@pytest.mark.parametrize(
    ("codec", "percent"),
    [
        ("glic-2026", -19.2),
        ("dcae-2025", -17.0),
        ("lalic-2025", -15.3),
        ("mlicplusplus-2023", -15.0),
        ("cca-2024", -13.7),
        ("tcm-large-2023", -11.7),
        ("elic2022-paper", -7.0),
        ("tcm-small-2023", -6.7),
        ("cool-chic-v5.0.1", -6.6),
        ("vtm-9.1", 0.0),
        ("cheng2020-anchor", 3.7),
        ("mbt2018", 11.0),
        ("av1", 16.2),
        ("mbt2018-mean", 21.3),
        ("bpg_444_x265_ycbcr", 22.0),
        ("hm", 23.3),
        ("bmshj2018-hyperprior", 30.5),
        ("bmshj2018-factorized", 68.1),
        ("webp", 78.8),
        ("jpeg2000", 98.0),
        ("jpeg", 208.5),
    ],
)
def test_the_published_table_comes_out(codec: str, percent: float) -> None:
    published = read_published(PUBLISHED, "kodak")
    rate = bd_rate(published[ANCHOR], published[codec])
    assert rate.percent == pytest.approx(percent, abs=0.06)  # the table has one decimal


def test_every_published_curve_names_its_source_and_can_be_read() -> None:
    found = json.loads(PUBLISHED.read_bytes())
    assert set(found) == {"kodak", "clic2020-professional-test", "clic2020-professional-valid", "tecnick"}
    for dataset, codecs in found.items():
        assert all(codec["source"] for codec in codecs.values())
        assert set(read_published(PUBLISHED, dataset)) == {name for name, codec in codecs.items() if "psnr" in codec}


def test_published_curves_are_read_by_codec_and_those_without_psnr_left_out(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('{"set": {"a": {"psnr": {"bpp": [1, 2], "value": [30, 33]}}, "b": {"ms_ssim": {}}}}')
    assert read_published(path, "set") == {"a": RateCurve.of("a", [1, 2], [30, 33])}


def test_published_ms_ssim_is_read_as_decibels_of_the_mean_ratio(tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text('{"set": {"a": {"ms_ssim": {"bpp": [1, 2], "value": [0.9, 0.99]}}, "b": {"psnr": {}}}}')
    (curve_of_a,) = read_published(path, "set", MS_SSIM).values()
    assert [point.value for point in curve_of_a.points] == pytest.approx([10.0, 20.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"other": {}}', "has no data set 'set'; it has other"),
        ("[1, 2", "no file of published curves"),
        ('{"set": {"a": {"psnr": {"bpp": [1]}}}}', "no file of published curves"),
        ('{"set": 3}', "no file of published curves"),
    ],
)
def test_a_damaged_file_of_published_curves_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "points.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_published(path, "set")


def test_a_missing_file_of_published_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the published curves"):
        read_published(tmp_path / "none.json", "set")
