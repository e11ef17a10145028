"""SSIMULACRA2 and shift-tolerant LPIPS: they order distortions as eyes do, or say why they are not to be had."""

import importlib.util
import sys

import numpy as np
import pytest

from clc.errors import InputError
from clc.evaluation.perceptual import NOT_ASKED, find_perceptual, measures_named

has_extra = importlib.util.find_spec("ssimulacra2") and importlib.util.find_spec("stlpips_pytorch")


@pytest.mark.skipif(not has_extra, reason="the extra perceptual is not installed")
@pytest.mark.parametrize(("key", "of_equal", "sign"), [("ssimulacra2", 100.0, 1), ("st_lpips", 0.0, -1)])
def test_more_noise_is_worse_and_none_is_the_best(key: str, of_equal: float, sign: int, make_scene_HW3) -> None:
    image_HW3 = make_scene_HW3(1, 96, 96)
    grain = np.random.default_rng(0).normal(size=image_HW3.shape)
    weak, strong = (np.clip(image_HW3 + level * grain, 0, 255).astype(np.uint8) for level in (3, 25))
    measure = find_perceptual().available[key]
    assert measure(image_HW3, image_HW3) == pytest.approx(of_equal, abs=1e-4)
    assert sign * measure(image_HW3, weak) > sign * measure(image_HW3, strong)


@pytest.mark.skipif(not has_extra, reason="the extra perceptual is not installed")
def test_what_stood_in_for_packages_that_are_never_used_is_gone_afterwards() -> None:
    before = {name: sys.modules.get(name) for name in ("IPython", "torchsummary")}
    find_perceptual()
    assert {name: sys.modules.get(name) for name in before} == before


def test_measures_are_named_by_a_word_or_by_their_keys() -> None:
    assert measures_named("fast") == ()
    assert measures_named("all") == measures_named("st_lpips,ssimulacra2") == ("ssimulacra2", "st_lpips")
    assert measures_named("ssimulacra2") == ("ssimulacra2",)
    for text in ("", "ssimulacra2,", "lpips", "fast,st_lpips"):
        with pytest.raises(InputError, match="choose fast, all, or of ssimulacra2, st_lpips"):
            measures_named(text)


def test_what_was_not_asked_for_and_what_is_not_installed_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(find_perceptual(()).missing.values()) == {NOT_ASKED}
    assert find_perceptual(["ssimulacra2"]).missing["st_lpips"] == NOT_ASKED
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = find_perceptual()
    assert found.available == {}
    assert "which the extra perceptual brings" in found.missing["ssimulacra2"]
