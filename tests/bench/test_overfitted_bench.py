"""bench/overfitted.py: what its figures are held against."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    return importlib.import_module("overfitted")


def test_channels_that_tell_of_one_another_cost_less_and_a_smaller_error_more(
    bench: ModuleType,
) -> None:
    noise = torch.randn(1, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    same = noise[:, :1].expand(-1, 4, -1, -1)
    assert bench.klt_bits(same, 0.1) < 0.5 * bench.klt_bits(noise, 0.1)
    assert bench.klt_bits(noise, 0.01) > bench.klt_bits(noise, 0.1) + 4 * 24 * 24
    # No code of white noise takes less than the logarithm of its spread over the error, a scalar one 1/4 bit more.
    bits = bench.klt_bits(noise, 0.01) / noise.numel()
    assert 3.32 < bits < 3.32 + 0.45


def test_a_plain_fit_is_read_between_those_that_were_made_and_nowhere_else(bench: ModuleType) -> None:
    study = {"plain": [{"bytes": 4000.0, "psnr": 24.0}, {"bytes": 1000.0, "psnr": 20.0}]}
    assert bench.plain_psnr(study, 2000.0) == pytest.approx(22.0)
    assert bench.plain_psnr(study, 4001.0) is None
    assert bench.plain_psnr(study, 999.0) is None
