"""The report: one self-contained file that escapes what users named and says what it rests on."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from clc.errors import InputError
from clc.evaluation.coders import CodecUnderTest, find_baselines
from clc.evaluation.curves import compare
from clc.evaluation.measure import PAIR, PictureUnderTest, evaluate
from clc.evaluation.plot import DARK, LIGHT, draw_rd
from clc.evaluation.report import Report, quality_near, render, telling_pictures
from clc.evaluation.side_by_side import match_bytes, side_by_side
from clc.evaluation.summary import summarise, versions
from clc.pictures.formats import WEBP_SIDE_PX

EVIL = '<script>alert(1)</script> & "x".png'
QUALITIES = (10.0, 30.0, 60.0, 90.0)


def broken():
    raise InputError("<b>broken</b>")


@pytest.fixture(scope="module")
def jpeg():
    return find_baselines(["jpeg"]).available[0]


@pytest.fixture(scope="module")
def coders(webp_codec):
    return (
        CodecUnderTest(webp_codec, "clc", "bundle of a test", QUALITIES),
        CodecUnderTest(webp_codec, "clc, no references", "bundle of a test", QUALITIES, "none"),
    )


@pytest.fixture(scope="module")
def rows(coders, jpeg, make_scene_HW3):
    natural = [
        PictureUnderTest("one", EVIL, lambda: make_scene_HW3(1)),
        PictureUnderTest("two", "two", lambda: make_scene_HW3(2)),
        PictureUnderTest("bad", "bad.png", broken),
    ]
    pair = [PictureUnderTest("pair", "pair", lambda: make_scene_HW3(3), PAIR)]
    return [*evaluate([coders[0], jpeg], natural), *evaluate([*coders, jpeg], pair)]


@pytest.fixture(scope="module")
def report(rows, coders, jpeg, make_scene_HW3):
    comparisons = [compare(rows), compare(rows, PAIR)]
    return Report(
        title=f"clc on {EVIL}",
        test="clc",
        without_references="clc, no references",
        rows=rows,
        comparisons=comparisons,
        plot_light=draw_rd(comparisons, "clc", LIGHT),
        plot_dark=draw_rd(comparisons, "clc", DARK),
        settings={jpeg.name: jpeg.settings},
        missing={"avif": "this build of Pillow has no AVIF"},
        facts=versions(),
        side_by_sides=[side_by_side(EVIL, make_scene_HW3(1, 300, 260), coders[0], 50, [jpeg])],
    )


class Tags(HTMLParser):
    """Collects opening tags and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


def test_names_are_escaped_wherever_they_stand(report) -> None:
    page = render(report)
    assert "<script" not in page
    assert "<b>broken" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_every_tag_closes_and_nothing_is_fetched(report) -> None:
    page = render(report)
    for tag, attributes in parse(page).seen:
        assert tag not in {"script", "link", "iframe"}
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?://", page)


def test_the_report_names_anchor_interpolation_and_range(report) -> None:
    rate = report.comparisons[0].bd_rate("clc", "jpeg")
    page = render(report)
    assert "pchip, log rate" in page
    assert f"{rate.low_db:.1f} to {rate.high_db:.1f}" in page
    assert f"{rate.percent:+.1f} %".replace("-", "−") in page


def test_the_report_says_what_failed_what_is_missing_and_which_versions(report) -> None:
    page = render(report)
    assert "bad.png: cannot be read: &lt;b&gt;broken&lt;/b&gt;" in page
    assert "not measured: this build of Pillow has no AVIF" in page
    for version in versions().values():
        assert version in page


def test_the_pair_stands_apart_with_and_without_references(report) -> None:
    page = render(report)
    assert "With and without references" in page
    rate = report.comparisons[1].bd_rate("clc", "clc, no references")
    assert rate.percent < -10


def test_a_report_is_small(report) -> None:
    assert len(render(report)) < 4_000_000


def test_a_report_without_any_picture_still_renders(report) -> None:
    empty = Report(**{**vars(report), "rows": (), "comparisons": (), "side_by_sides": ()})
    assert "No picture could be evaluated" in render(empty)


def test_the_plot_is_a_png_in_both_themes(report) -> None:
    light, dark = (draw_rd(report.comparisons, "clc", theme) for theme in (LIGHT, DARK))
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark


def test_bisection_finds_the_quality_whose_file_is_nearest(jpeg, scene_HW3) -> None:
    target_bytes = len(jpeg.encode(scene_HW3, 37))
    assert len(match_bytes(jpeg, scene_HW3, target_bytes)[1]) == target_bytes
    assert len(match_bytes(jpeg, scene_HW3, 1)[1]) == len(jpeg.encode(scene_HW3, 0))
    assert len(match_bytes(jpeg, scene_HW3, 10**9)[1]) == len(jpeg.encode(scene_HW3, 100))


def test_crops_show_the_same_window_of_every_codec(coders, jpeg, make_scene_HW3) -> None:
    shown = side_by_side("scene", make_scene_HW3(1, 300, 260), coders[0], 60, [jpeg])
    assert shown.original_HW3.shape == (208, 208, 3)
    assert [crop.codec for crop in shown.crops] == ["clc", "jpeg"]
    assert {crop.crop_HW3.shape for crop in shown.crops} == {(208, 208, 3)}
    assert shown.crops[1].bytes == pytest.approx(shown.crops[0].bytes, rel=0.1)


def test_a_panorama_is_shown_without_the_codecs_that_end_before_it(coders, jpeg, report) -> None:
    wide_HW3 = np.tile(np.linspace(0, 255, WEBP_SIDE_PX + 1).astype(np.uint8)[None, :, None], (24, 1, 3))
    webp = find_baselines(["webp"]).available[0]
    shown = side_by_side("panorama", wide_HW3, replace(jpeg, name="clc"), 40, [jpeg, webp])
    assert [crop.codec for crop in shown.crops] == ["clc", "jpeg"]
    assert shown.left_out.keys() == {"webp"}
    page = render(replace(report, side_by_sides=[shown]))
    assert f"webp is not shown: webp ends at {WEBP_SIDE_PX} px a side" in page
    parse(page)


def test_panoramas_alone_are_compared_without_webp_and_the_report_says_so(jpeg, report) -> None:
    wide_HW3 = np.tile(np.linspace(0, 255, WEBP_SIDE_PX + 1).astype(np.uint8)[None, :, None], (3, 1, 3))
    webp = replace(find_baselines(["webp"]).available[0], qualities=(50,))
    rows = evaluate([replace(jpeg, name="clc"), jpeg, webp], [PictureUnderTest("p", "panorama", lambda: wide_HW3)])
    comparison = compare(rows)
    assert [curve.codec for curve in comparison.curves] == ["clc", "jpeg"]
    page = render(replace(report, rows=rows, comparisons=[comparison], side_by_sides=[]))
    assert "not compared on natural pictures: it coded no picture; panorama: webp ends at" in page
    assert summarise(rows, [comparison])["codecs_left_out"] == dict(comparison.without)


def test_two_pictures_of_one_name_that_fail_are_two_lines(report, coders) -> None:
    rows = evaluate(coders[:1], [PictureUnderTest(item_id, "image.png", broken) for item_id in ("one", "two")])
    page = render(replace(report, rows=rows, comparisons=[], side_by_sides=[]))
    assert page.count("<dt>failed</dt>") == 2


def test_a_picture_of_one_pixel_is_shown(jpeg) -> None:
    baselines = find_baselines().available
    shown = side_by_side("dot", np.zeros((1, 1, 3), np.uint8), replace(jpeg, name="clc"), 40, baselines)
    assert [crop.codec for crop in shown.crops] == ["clc", *(one.name for one in baselines)]


def test_a_picture_smaller_than_the_crop_is_shown_whole(coders, make_scene_HW3) -> None:
    assert side_by_side("s", make_scene_HW3(1, 20, 300), coders[0], 60, []).original_HW3.shape == (20, 208, 3)


def test_the_pictures_shown_are_the_best_the_middling_and_the_worst(rows) -> None:
    shown = telling_pictures(rows, "clc", "jpeg")
    assert set(shown) == {"one", "two"}
    assert telling_pictures(rows, "clc", "none") == ["one", "two"]


def test_the_quality_shown_is_the_measured_one_nearest_in_rate(rows) -> None:
    own = [row for row in rows if row.codec == "clc" and row.item_id == "one"]
    assert quality_near(rows, "clc", "one", own[2].bpp * 1.01) == own[2].quality
    assert quality_near(rows, "clc", "bad", 0.5) is None


def test_the_summary_holds_json_figures_only(rows) -> None:
    summary = summarise(rows, [compare(rows), compare(rows, PAIR)])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["bd_rate_vs_jpeg_percent"] == compare(rows).bd_rate("clc", "jpeg").percent
    assert summary["pair"]["references_bd_rate_percent"] < -10
    assert summary["pictures"] == {"natural": 2, "pair": 1}
    assert {line["codec"] for line in summary["table"]} == {"clc", "jpeg", "clc, no references"}
