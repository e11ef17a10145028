"""The baselines: whole files out, pictures of the same size back, and a reason where a format is missing."""

import io

import numpy as np
import pytest
from PIL import Image, features

from clc.errors import InputError, LimitError
from clc.evaluation.coders import CodecUnderTest, find_baselines
from clc.evaluation.metrics import psnr_db

AVAILABLE = find_baselines().available
SIDE = max(one.side_px for one in AVAILABLE)


@pytest.fixture(params=AVAILABLE, ids=lambda one: one.name)
def baseline(request):
    return request.param


def test_every_baseline_of_the_wheel_is_there() -> None:
    assert [one.name for one in AVAILABLE] == ["jpeg", "webp", "avif"]


def test_a_decoded_picture_resembles_the_original(baseline, scene_HW3) -> None:
    decoded_HW3 = baseline.decode(baseline.encode(scene_HW3, 90))
    assert decoded_HW3.dtype == scene_HW3.dtype
    assert psnr_db(scene_HW3, decoded_HW3) > 25


def test_rate_and_quality_rise_along_the_ladder(baseline, scene_HW3) -> None:
    assert 6 <= len(baseline.qualities) <= 8
    assert list(baseline.qualities) == sorted(baseline.qualities)
    files = [baseline.encode(scene_HW3, quality) for quality in (baseline.qualities[0], baseline.qualities[-1])]
    assert len(files[0]) < len(files[1])
    assert psnr_db(scene_HW3, baseline.decode(files[0])) < psnr_db(scene_HW3, baseline.decode(files[1]))


def test_odd_sizes_come_back_as_they_were(baseline, make_scene_HW3) -> None:
    for height, width in ((1, 1), (7, 5), (33, 2)):
        image_HW3 = make_scene_HW3(1, height, width)
        assert baseline.decode(baseline.encode(image_HW3, 50)).shape == image_HW3.shape


def test_the_longest_side_of_a_format_comes_back_and_a_longer_one_is_refused_by_what_it_is(baseline) -> None:
    longest = np.zeros((1, baseline.side_px, 3), np.uint8)
    for image_HW3 in (longest, longest.transpose(1, 0, 2)):
        assert baseline.decode(baseline.encode(image_HW3, 50)).shape == image_HW3.shape
    with pytest.raises(LimitError, match=rf"{baseline.name} ends at {baseline.side_px} px a side, .* {SIDE + 1}x2 px"):
        baseline.encode(np.zeros((2, SIDE + 1, 3), np.uint8), 50)


def test_the_same_picture_gives_the_same_bytes(baseline, scene_HW3) -> None:
    assert baseline.encode(scene_HW3, 40) == baseline.encode(scene_HW3, 40)


def test_jpeg_is_written_with_chroma_halved_both_ways(scene_HW3) -> None:
    with Image.open(io.BytesIO(AVAILABLE[0].encode(scene_HW3, 60))) as picture:
        assert [layer[1:3] for layer in picture.layer] == [(2, 2), (1, 1), (1, 1)]


@pytest.mark.parametrize("quality", [-1, 101, float("nan")])
def test_a_quality_out_of_range_is_refused(baseline, scene_HW3, quality) -> None:
    with pytest.raises(InputError, match=r"quality must lie in 0\.\.100"):
        baseline.encode(scene_HW3, quality)


def test_settings_name_the_library_and_its_version(baseline) -> None:
    assert baseline.settings.startswith("lib")
    assert any(character.isdigit() for character in baseline.settings)


def test_a_format_that_pillow_lacks_is_reported_with_a_reason(monkeypatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: feature != "avif")
    found = find_baselines()
    assert [one.name for one in found.available] == ["jpeg", "webp"]
    assert "no AVIF" in found.missing["avif"]


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="unknown baseline 'gif': choose from jpeg, webp, avif, jpeg-xl"):
        find_baselines(["gif"])


def test_the_codec_under_test_passes_quality_and_references_on(webp_codec, scene_HW3) -> None:
    with_them = CodecUnderTest(webp_codec, "clc", "", (50.0,))
    without = CodecUnderTest(webp_codec, "clc, no references", "", (50.0,), "none")
    assert len(with_them.encode(scene_HW3, 50)) < len(without.encode(scene_HW3, 50))
    assert len(with_them.encode(scene_HW3, 20)) < len(with_them.encode(scene_HW3, 80))
    assert (without.decode(without.encode(scene_HW3, 50)) == with_them.decode(with_them.encode(scene_HW3, 50))).all()
