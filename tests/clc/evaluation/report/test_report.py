"""The report: one self-contained file that escapes what users named and says what it rests on."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve, bd_rate
from clc.evaluation.coders import CodecUnderTest, find_baselines
from clc.evaluation.curves import compare
from clc.evaluation.measure import PAIR, PictureUnderTest, evaluate
from clc.evaluation.plot import DARK, LIGHT, draw_rd
from clc.evaluation.report.report import Report, render, telling_pictures, with_verdict
from clc.evaluation.report.viewer import Viewed, view
from clc.evaluation.summary import summarise, versions
from clc.pictures.formats import WEBP_SIDE_PX

EVIL = '<script>alert(1)</script> & "x".png'
QUALITIES = (10.0, 30.0, 60.0, 90.0)
PUBLISHED = RateCurve.of("vtm-9.1, published", [0.1, 0.5, 1.5, 4.0], [22.0, 26.0, 31.0, 38.0])


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
        subject="All figures are of bundle 0011.",
        settings={jpeg.name: jpeg.settings},
        missing={"avif": "this build of Pillow has no AVIF"},
        unmeasured={"ssimulacra2": "it was not asked for"},
        facts=versions(),
        viewed=view([PictureUnderTest("one", EVIL, lambda: make_scene_HW3(1))], rows, coders[0], [jpeg]),
        published={"psnr_db": [PUBLISHED]},
        published_rates=[bd_rate(PUBLISHED, comparisons[0].find("clc").curve)],
    )


class Tags(HTMLParser):
    """Collects opening tags and checks that they close."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "input"}:
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
    assert "<script>alert" not in page
    assert "<b>broken" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert r"\u003cscript\u003ealert(1)\u003c/script\u003e" in page


def test_every_tag_closes_and_nothing_is_fetched(report) -> None:
    page = render(report)
    for tag, attributes in parse(page).seen:
        assert tag not in {"link", "iframe", "object"}
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)


def test_the_policy_names_every_script_of_the_page_by_its_digest_and_no_other(report) -> None:
    page = render(report)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'; img-src data:")
    allowed = set(re.findall(r"'(sha256-[^']+)'", policy.replace("&#39;", "'")))
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = {"sha256-" + base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts}
    assert allowed == digests
    assert len(scripts) == 5


def test_the_verdict_and_which_bundle_it_is_of_stand_on_top(report) -> None:
    page = with_verdict(render(report), "Not promoted: <b> serves")
    top = page[page.index("<main>") : page.index("<section")]
    assert "Not promoted: &lt;b&gt; serves" in top
    assert "All figures are of bundle 0011." in top
    assert re.search(r"its files are \d+ % (smaller|larger) than jpeg, on average over 2 pictures", top)


def test_the_report_names_anchor_interpolation_and_range(report) -> None:
    rate = report.comparisons[0].bd_rate("clc", "jpeg")
    page = render(report)
    assert "pchip, log rate" in page
    assert rate.range_text in page
    assert f"+{rate.gain:.2f} dB" in page or f"−{-rate.gain:.2f} dB" in page
    assert "vtm-9.1, published" in page
    assert f"{rate.percent:+.1f} %".replace("-", "−") in page


def test_the_report_says_what_failed_what_is_missing_and_which_versions(report) -> None:
    page = render(report)
    assert "bad.png: cannot be read: &lt;b&gt;broken&lt;/b&gt;" in page
    assert "SSIMULACRA2: not measured, it was not asked for" in page
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
    empty = Report(**{**vars(report), "rows": (), "comparisons": (), "viewed": Viewed()})
    assert "No picture could be evaluated" in render(empty)


def test_the_plot_is_a_png_in_both_themes(report) -> None:
    light, dark = (draw_rd(report.comparisons, "clc", theme) for theme in (LIGHT, DARK))
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark


def test_panoramas_alone_are_compared_without_webp_and_the_report_says_so(jpeg, report) -> None:
    wide_HW3 = np.tile(np.linspace(0, 255, WEBP_SIDE_PX + 1).astype(np.uint8)[None, :, None], (3, 1, 3))
    webp = replace(find_baselines(["webp"]).available[0], qualities=(50,))
    rows = evaluate([replace(jpeg, name="clc"), jpeg, webp], [PictureUnderTest("p", "panorama", lambda: wide_HW3)])
    comparison = compare(rows)
    assert [curve.codec for curve in comparison.curves] == ["clc", "jpeg"]
    page = render(replace(report, rows=rows, comparisons=[comparison]))
    assert "not compared on natural pictures: it coded no picture; panorama: webp ends at" in page
    assert summarise(rows, [comparison])["codecs_left_out"] == dict(comparison.without)


def test_two_pictures_of_one_name_that_fail_are_two_lines(report, coders) -> None:
    rows = evaluate(coders[:1], [PictureUnderTest(item_id, "image.png", broken) for item_id in ("one", "two")])
    page = render(replace(report, rows=rows, comparisons=[]))
    assert page.count("<dt>failed</dt>") == 2


def test_the_pictures_shown_are_the_best_the_middling_and_the_worst(rows) -> None:
    shown = telling_pictures(rows, "clc", "jpeg")
    assert set(shown) == {"one", "two"}
    assert telling_pictures(rows, "clc", "none") == ["one", "two"]


def test_the_summary_holds_json_figures_only(rows) -> None:
    summary = summarise(rows, [compare(rows), compare(rows, PAIR)])
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["bd_rate_vs_jpeg_percent"] == compare(rows).bd_rate("clc", "jpeg").percent
    assert summary["pair"]["references_bd_rate_percent"] < -10
    assert summary["pictures"] == {"natural": 2, "pair": 1}
    assert {rate["measure"] for rate in summary["bd_rates"]} == {"psnr_db", "psnr_ycbcr_db", "ms_ssim", "ssim"}
    assert {line["codec"] for line in summary["table"]} == {"clc", "jpeg", "clc, no references"}
