"""`bench/archive.py`: the formats that an archive is measured beside."""

import numpy as np
import pytest

from bench import archive as bench
from clc.evaluation.coders import BaselineSet

SOURCES = [np.random.default_rng(seed).integers(90, 160, (24, 32, 3), np.uint8) for seed in (0, 1)]


def test_curve_of_a_format_has_a_point_for_each_quality() -> None:
    curve = bench.baseline_curve("jpeg", SOURCES, 2)
    assert curve is not None
    assert len(curve.points) == 7
    assert curve.fault() is None


def test_format_that_is_not_there_has_no_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_baselines", lambda names: BaselineSet((), {"avif": "not in this Pillow"}))
    assert bench.baseline_curve("avif", SOURCES, 1) is None
