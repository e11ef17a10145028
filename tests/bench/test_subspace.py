"""bench/reproduction/subspace.py: its predictions have the limits they must have, and small studies follow them."""

import importlib
import json
import math
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest

from clc.errors import InputError

PARTS = Path(__file__).parents[2] / "bench" / "reproduction"
SMALL = {
    "pairs": (500, 2_000, 8_000),
    "dimensions": (25, 50, 100),
    "mismatches": (0.0, 0.5, 1.0),
    "matched": (16, 128),
    "entries": (8, 16, 64),
}


class Parts(NamedTuple):
    """The modules of the benchmark."""

    pairs: ModuleType
    dictionary: ModuleType
    rates: ModuleType
    study: ModuleType
    command: ModuleType


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.syspath_prepend(str(PARTS))
    names = ("spiked_pairs", "noisy_dictionary", "rates", "study", "subspace")
    return Parts(*(importlib.import_module(name) for name in names))


def mean_error(parts: Parts, setting: object, repetitions: int = 10) -> float:
    return float(np.mean([parts.pairs.subspace_error(setting, np.random.default_rng(i)) for i in range(repetitions)]))


def test_the_error_falls_as_the_root_of_the_pairs_and_rises_as_that_of_the_dimension_not_of_its_logarithm(
    parts: Parts,
) -> None:
    grid = parts.study.Grid(**SMALL, repetitions=5)
    by_pairs, by_dimension = (
        measured(grid, 0)[0].series[0].found for measured in (parts.study.over_pairs, parts.study.over_dimensions)
    )
    for found, exponent in ((by_pairs, -0.5), (by_dimension, 0.5)):
        assert found["points in the fit"] == 3
        assert found["exponent"] == pytest.approx(exponent, abs=0.1)
        assert abs(found["largest deviation from the asymptotic line"]) < 0.1
    assert by_dimension["misfit of sqrt(d - r)"] < 0.1 < by_dimension["misfit of sqrt(log(d - r))"]


def test_without_wrong_pairs_the_error_is_that_of_first_order_and_with_nothing_else_that_of_chance(
    parts: Parts,
) -> None:
    right = parts.pairs.Spiked(pairs=4_000, dimension=50, spike=3.0)
    wrong = parts.pairs.Spiked(pairs=4_000, dimension=50, spike=0.2, mismatch=1.0)
    assert mean_error(parts, right) == pytest.approx(parts.pairs.first_order(right), rel=0.1)
    assert mean_error(parts, wrong) == pytest.approx(parts.pairs.chance(wrong), rel=0.1)
    assert parts.pairs.first_order(wrong) == math.inf
    assert parts.pairs.asymptotic(wrong) == 1.0


def test_a_strong_spike_is_seen_in_part_though_all_pairs_are_wrong(parts: Parts) -> None:
    setting = parts.pairs.Spiked(pairs=5_000, dimension=200, rank=1, spike=3.0, mismatch=1.0)
    assert parts.pairs.asymptotic(setting) == pytest.approx(math.sqrt(2 / 3))
    assert mean_error(parts, setting) == pytest.approx(math.sqrt(2 / 3), abs=0.1)
    assert parts.pairs.chance(setting) > 0.99


@pytest.mark.parametrize("mismatch", [0.0, 0.5, 0.9])
def test_with_many_pairs_the_asymptotic_error_is_that_of_first_order(parts: Parts, mismatch: float) -> None:
    setting = parts.pairs.Spiked(pairs=10**8, dimension=100, spike=0.7, mismatch=mismatch)
    assert parts.pairs.asymptotic(setting) == pytest.approx(parts.pairs.first_order(setting), rel=0.01)


def test_a_weak_spike_is_lost_where_the_prediction_says(parts: Parts) -> None:
    threshold = 1 - 0.5 * math.sqrt(95 / 4_000) / 0.5  # (1 - rho) spike = (1 - spike) sqrt(d / n)
    for mismatch, is_lost in ((threshold - 0.01, False), (threshold + 0.01, True)):
        setting = parts.pairs.Spiked(pairs=4_000, dimension=100, spike=0.5, mismatch=mismatch)
        assert (parts.pairs.asymptotic(setting) == 1.0) is is_lost


def test_an_error_is_0_for_the_subspace_itself_and_1_for_a_perpendicular_one(parts: Parts) -> None:
    for axes, error in (((0, 1), 0.0), ((2, 3), 1.0), ((0, 2), math.sqrt(0.5))):
        samples_ND = np.zeros((9, 6))
        samples_ND[:2, axes] = np.eye(2)
        assert parts.pairs.sine_error(samples_ND, samples_ND, 2) == pytest.approx(error)


def test_what_noise_costs_among_two_entries_is_known_in_closed_form(parts: Parts) -> None:
    two = parts.dictionary.NoisyDictionary(entries=2, noise=0.75)
    assert two.correlation == pytest.approx(0.8)
    assert parts.dictionary.expected_regret(two) == pytest.approx(0.2 / math.sqrt(math.pi), rel=1e-6)
    assert parts.dictionary.chance_of_best(two) == pytest.approx(0.5 + math.asin(0.8) / math.pi, rel=1e-3)


@pytest.mark.parametrize("entries", [16, 1_024])
def test_what_noise_costs_is_measured_as_it_is_predicted_and_is_below_its_bound(parts: Parts, entries: int) -> None:
    dictionary = parts.dictionary.NoisyDictionary(entries=entries, noise=1.0)
    drawn = [parts.dictionary.select(dictionary, 20, np.random.default_rng(i)) for i in range(200)]
    regret, right = np.mean(drawn, axis=0)
    assert regret == pytest.approx(parts.dictionary.expected_regret(dictionary), rel=0.1)
    assert right == pytest.approx(parts.dictionary.chance_of_best(dictionary), rel=0.2)
    assert regret < parts.dictionary.regret_bound(dictionary)


def test_with_more_entries_more_matches_are_wrong_and_the_subspace_is_known_better(parts: Parts) -> None:
    setting = parts.pairs.Spiked(pairs=1_000, dimension=50, spike=3.0)
    few, many = (
        np.mean(
            [
                parts.dictionary.matched_error(setting, entries, is_known=True, generator=np.random.default_rng(i))
                for i in range(5)
            ],
            axis=0,
        )
        for entries in (16, 1_024)
    )
    assert many[0] < 0.6 * few[0]
    assert many[1] > 0.95 > few[1]
    lost = parts.pairs.Spiked(pairs=1_000, dimension=50, spike=3.0, mismatch=many[1])
    assert many[0] < 0.5 * parts.pairs.asymptotic(lost)  # the nearest entry is no random one


def test_an_exponent_is_that_of_the_power_law_that_points_follow(parts: Parts) -> None:
    points = [parts.rates.Point(at, 3 * at**-0.7, 0.01 * at**-0.7) for at in (1.0, 10.0, 100.0)]
    fitted = parts.rates.fit_exponent(points)
    assert fitted.value == pytest.approx(-0.7)
    assert fitted.chi2 == pytest.approx(0.0, abs=1e-9)
    assert fitted.standard_error == pytest.approx(0.01 / 3 / (math.log(10) * math.sqrt(2)))
    assert parts.rates.misfit(points, lambda at: at**-0.7) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InputError, match="2 places or more"):
        parts.rates.fit_exponent(points[:1])
    with pytest.raises(InputError, match="more --repetitions"):
        parts.rates.fit_exponent([*points, parts.rates.Point(7.0, 0.0, 0.0)])


def test_a_mean_has_the_standard_error_of_its_repetitions(parts: Parts) -> None:
    assert parts.rates.point_of(7.0, [1.0, 3.0, 2.0]) == pytest.approx((7.0, 2.0, 1 / math.sqrt(3)))
    with pytest.raises(InputError, match="give 2 or more"):
        parts.rates.point_of(7.0, [1.0])


@pytest.mark.parametrize(
    "wrong",
    [{"rank": 0}, {"rank": 100}, {"pairs": 4}, {"spike": 0.0}, {"spike": math.nan}, {"mismatch": 1.1}],
)
def test_a_setting_that_cannot_be_is_refused(parts: Parts, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give"):
        parts.pairs.Spiked(**{"pairs": 100, "dimension": 100, "spike": 1.0, **wrong})


@pytest.mark.parametrize("wrong", [{"entries": 1}, {"noise": 0.0}, {"noise": math.inf}, {"rank": 0}])
def test_a_dictionary_that_cannot_be_is_refused(parts: Parts, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give"):
        parts.dictionary.NoisyDictionary(**{"entries": 8, "noise": 1.0, **wrong})


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--repetitions", "1"], 1, "error: --repetitions 1 tells no standard error; give 2 or more"),
        (["--seed", "-1"], 1, "error: --seed -1 is no seed; give 0 or more"),
        (["--seed", "x"], 2, "error: argument --seed: invalid int value: 'x' (see subspace.py --help)"),
        (["--out", "plot.pdf"], 1, "error: --out plot.pdf: a plot is a file *.svg or *.png"),
        (["--out", "a.svg", "--json", "a.svg"], 1, "error: --out and --json are the same file, a.svg; give two"),
        (["--json", "kept.json"], 1, "error: kept.json exists already; remove it, or give another name or --overwrite"),
    ],
)
def test_wrong_arguments_are_one_line_before_anything_is_measured(
    arguments: list[str],
    status: int,
    message: str,
    parts: Parts,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts.command, "study", lambda *_: pytest.fail("something was measured"))
    Path("kept.json").write_text("kept")
    try:
        found = parts.command.main(arguments)
    except SystemExit as error:
        found = error.code
    assert found == status
    assert capsys.readouterr().err.splitlines() == [message]
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
    assert Path("kept.json").read_text() == "kept"


def test_a_study_is_printed_plotted_and_written_and_its_figures_are_the_same_again(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parts.command, "Grid", partial(parts.study.Grid, **SMALL))
    monkeypatch.chdir(tmp_path)
    assert parts.command.main(["--repetitions", "2", "--out", "a.svg", "--json", "a.json"]) == 0
    assert parts.command.main(["--repetitions", "2", "--json", "b.json"]) == 0
    assert "error over pairs" in capsys.readouterr().out
    assert Path("a.svg").read_bytes().startswith(b"<?xml")
    figures, again = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    assert figures["values"] == again["values"]
    assert all(isinstance(figures[key], str) and figures[key] for key in ("version", "commit", "machine", "date"))
    told = "python bench/reproduction/subspace.py --repetitions 2 --out a.svg --json a.json"
    assert figures["command"] == told
    assert figures["values"]["repetitions"] == 2
    panels = figures["values"]["panels"]
    assert list(panels) == ["n", "d", "rho", "K-subspace", "K-regret", "K-right"]
    for series in (one for panel in panels.values() for one in panel["series"]):
        columns = [series["mean"], series["standard_error"], *series["lines"].values()]
        assert {len(column) for column in columns} == {len(series["at"])}
    assert panels["rho"]["series"][0]["lines"]["first order"][-1] is None  # infinite


def test_the_same_panels_are_drawn_as_the_same_bytes(parts: Parts) -> None:
    panels = parts.study.over_mismatches(parts.study.Grid(**SMALL, repetitions=2), 2)
    assert parts.command.draw(panels, "svg") == parts.command.draw(panels, "svg")
    assert parts.command.draw(panels, "png").startswith(b"\x89PNG")
