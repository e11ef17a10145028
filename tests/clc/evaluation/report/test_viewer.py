"""The pictures of a report: equal bytes, exact pixels, a budget, and a name for what is left out."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from clc.errors import InputError
from clc.evaluation.coders import CodecUnderTest, find_baselines
from clc.evaluation.measure import PictureUnderTest, evaluate
from clc.evaluation.report.viewer import (
    WINDOW_PX,
    Window,
    busiest_window,
    match_bytes,
    thumbnails,
    view,
    view_picture,
)
from clc.pictures.formats import WEBP_SIDE_PX

QUALITIES = (20.0, 50.0, 80.0)


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


@pytest.fixture(scope="module")
def jpeg():
    return find_baselines(["jpeg"]).available[0]


@pytest.fixture(scope="module")
def coder(webp_codec):
    return CodecUnderTest(webp_codec, "clc", "bundle of a test", QUALITIES)


@pytest.fixture(scope="module")
def picture(make_scene_HW3):
    return PictureUnderTest("one", "one.png", lambda: make_scene_HW3(1))


@pytest.fixture(scope="module")
def rows(coder, jpeg, picture):
    return evaluate([coder, jpeg], [picture])


def test_each_step_has_every_codec_at_about_the_same_bytes_with_exact_pixels(coder, jpeg, picture, rows) -> None:
    viewed = view_picture(picture, rows, coder, [jpeg])
    assert (pixels(viewed.original) == picture.load()).all()
    assert [step[0].quality for step in viewed.steps] == list(QUALITIES)
    for ours, theirs in viewed.steps:
        assert (ours.codec, theirs.codec) == ("clc", "jpeg")
        assert theirs.bytes == pytest.approx(ours.bytes, rel=0.1)
        assert (pixels(ours.uri) == coder.decode(coder.encode(picture.load(), ours.quality))).all()
        assert base64.b64decode(theirs.uri.partition(",")[2]) == jpeg.encode(picture.load(), theirs.quality)


def test_the_quality_whose_file_is_nearest_is_found_whether_or_not_others_were_measured(jpeg, scene_HW3) -> None:
    target_bytes = len(jpeg.encode(scene_HW3, 37))
    known = {float(quality): len(jpeg.encode(scene_HW3, quality)) for quality in (10, 30, 45, 90)}
    for measured in ({}, known):
        quality, data = match_bytes(jpeg, scene_HW3, target_bytes, measured)
        assert (len(data), data) == (target_bytes, jpeg.encode(scene_HW3, quality))
    assert match_bytes(jpeg, scene_HW3, 1, known)[0] == 10
    assert match_bytes(jpeg, scene_HW3, 10**9, known)[0] == 90


def test_a_picture_beyond_the_budget_and_one_that_cannot_be_read_are_named(coder, jpeg, picture, rows) -> None:
    def broken():
        raise InputError("it is gone")

    small = view_picture(picture, rows, coder, [jpeg]).size_bytes
    viewed = view(
        [picture, replace(picture, name="two"), PictureUnderTest("x", "x", broken)], rows, coder, [jpeg], small
    )
    assert [one.name for one in viewed.pictures] == ["one.png"]
    (second, reason), gone = viewed.left_out
    assert second == "two"
    assert "would exceed the" in reason
    assert gone == ("x", "it is gone")


def test_of_a_large_picture_the_busiest_part_is_shown_and_bytes_are_those_of_the_whole(coder, jpeg) -> None:
    wide_HW3 = np.full((32, 2 * WINDOW_PX, 3), 90, np.uint8)
    wide_HW3[:, WINDOW_PX:] = np.random.default_rng(0).integers(0, 255, (32, WINDOW_PX, 3))
    assert busiest_window(wide_HW3) == Window(WINDOW_PX, 0, WINDOW_PX, 32)
    wide = PictureUnderTest("wide", "wide", lambda: wide_HW3)
    viewed = view_picture(wide, evaluate([replace(coder, qualities=(50.0,))], [wide]), coder, [jpeg])
    assert not viewed.is_whole
    assert pixels(viewed.original).shape == (32, WINDOW_PX, 3)
    assert viewed.steps[0][0].bytes == len(coder.encode(wide_HW3, 50))
    assert pixels(viewed.steps[0][1].uri).shape == (32, WINDOW_PX, 3)


def test_a_panorama_is_shown_without_the_codecs_that_end_before_it(jpeg) -> None:
    wide_HW3 = np.tile(np.linspace(0, 255, WEBP_SIDE_PX + 1).astype(np.uint8)[None, :, None], (3, 1, 3))
    ours, webp = replace(jpeg, name="clc", qualities=(40,)), find_baselines(["webp"]).available[0]
    wide = PictureUnderTest("panorama", "panorama", lambda: wide_HW3)
    viewed = view_picture(wide, evaluate([ours], [wide]), ours, [jpeg, webp])
    assert [shot.codec for shot in viewed.steps[0]] == ["clc", "jpeg"]
    assert viewed.left_out["webp"].startswith(f"webp ends at {WEBP_SIDE_PX} px a side")


def test_a_picture_of_one_pixel_is_shown(jpeg) -> None:
    ours = replace(jpeg, name="clc", qualities=(40,))
    dot = PictureUnderTest("dot", "dot", lambda: np.zeros((1, 1, 3), np.uint8))
    (step,) = view_picture(dot, evaluate([ours], [dot]), ours, [jpeg]).steps
    assert [shot.codec for shot in step] == ["clc", "jpeg"]


def test_thumbnails_are_small_and_none_is_made_of_what_cannot_be_read(picture) -> None:
    def broken():
        raise InputError("it is gone")

    found = thumbnails([picture, PictureUnderTest("x", "x", broken)])
    assert list(found) == ["one"]
    assert max(pixels(found["one"]).shape) <= 240
