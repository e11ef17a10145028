"""Evaluation and its curves: every measurement is a row, failures too, and means are over the same pictures."""

import math
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from clc.errors import CorruptStream, DecodeMismatch, InputError
from clc.evaluation.coders import CodecUnderTest, find_baselines
from clc.evaluation.curves import compare, picture_bd_rates
from clc.evaluation.measure import FAILED, OK, PAIR, PictureUnderTest, Row, evaluate, rows_from_table, rows_to_table
from clc.evaluation.metrics import ms_ssim, psnr_db, psnr_ycbcr_db, ssim

QUALITIES = (10.0, 30.0, 60.0, 90.0)


@pytest.fixture
def coder(webp_codec):
    return CodecUnderTest(webp_codec, "clc", "bundle of a test", QUALITIES)


@pytest.fixture
def items(make_scene_HW3):
    return [PictureUnderTest(f"id{seed}", f"scene {seed}", lambda seed=seed: make_scene_HW3(seed)) for seed in range(3)]


@dataclass(frozen=True)
class Lossless:
    """Gives back what it was given."""

    name: str = "lossless"
    settings: str = ""
    qualities: tuple[float, ...] = (1.0,)
    references: str = "-"

    def encode(self, image_HW3, quality):
        return np.array(image_HW3.shape, np.int32).tobytes() + image_HW3.tobytes()

    def decode(self, data):
        return np.frombuffer(data[12:], np.uint8).reshape(np.frombuffer(data[:12], np.int32))


def broken_picture():
    raise InputError("broken.png: the file is empty")


def test_every_codec_quality_and_picture_is_a_row(coder, items) -> None:
    jpeg = find_baselines(["jpeg"]).available[0]
    rows = evaluate([coder, jpeg], items)
    assert len(rows) == 3 * (len(QUALITIES) + len(jpeg.qualities))
    assert all(row.status == OK for row in rows)
    assert [row.item_id for row in rows] == sorted(row.item_id for row in rows)


def test_a_row_counts_the_whole_file_and_measures_what_was_decoded(coder, items) -> None:
    row = evaluate([coder], items[:1])[1]
    image_HW3 = items[0].load()
    data = coder.encode(image_HW3, row.quality)
    assert (row.width, row.height, row.bytes) == (192, 176, len(data))
    assert row.bpp == 8 * len(data) / (192 * 176)
    assert row.psnr_db == psnr_db(image_HW3, coder.decode(data))
    assert row.ms_ssim == ms_ssim(image_HW3, coder.decode(data))
    assert row.ssim == ssim(image_HW3, coder.decode(data))
    assert row.psnr_ycbcr_db == psnr_ycbcr_db(image_HW3, coder.decode(data))
    assert math.isnan(row.ssimulacra2)
    assert row.encode_s > 0
    assert row.decode_s > 0


def test_several_workers_give_the_same_rows_in_the_same_order(coder, items) -> None:
    def without_timings(rows):
        # A nan of its own would not equal another.
        return [replace(row, encode_s=0.0, decode_s=0.0, peak_mb=0.0, ssimulacra2=0.0, st_lpips=0.0) for row in rows]

    assert without_timings(evaluate([coder], items, workers=3)) == without_timings(evaluate([coder], items))


def test_a_picture_that_cannot_be_read_costs_its_own_rows_and_nothing_else(coder, items) -> None:
    rows = evaluate([coder], [items[0], PictureUnderTest("bad", "broken.png", broken_picture), items[1]])
    failed = [row for row in rows if row.status == FAILED]
    assert {row.item_id for row in failed} == {"bad"}
    assert len(failed) == len(QUALITIES)
    assert failed[0].reason == "cannot be read: broken.png: the file is empty"
    assert math.isnan(failed[0].psnr_db)
    assert len(rows) == 3 * len(QUALITIES)


def test_a_codec_that_fails_on_a_picture_leaves_a_row_with_a_reason(webp_codec, items, monkeypatch) -> None:
    def decode(data):
        raise CorruptStream("the checksum differs")

    monkeypatch.setattr(webp_codec, "decode", decode)
    rows = evaluate([CodecUnderTest(webp_codec, "clc", "", (50.0,))], items)
    assert {row.reason for row in rows} == {"the checksum differs"}


def test_a_stream_that_decodes_to_something_else_ends_the_measurement(webp_codec, items, monkeypatch) -> None:
    def decode(data):
        raise DecodeMismatch("the latents differ")

    monkeypatch.setattr(webp_codec, "decode", decode)
    with pytest.raises(DecodeMismatch, match="clc at quality 50 does not decode what it coded of scene 0: the latents"):
        evaluate([CodecUnderTest(webp_codec, "clc", "", (50.0,))], items)


def test_measures_that_were_asked_for_stand_in_the_row_of_their_name(coder, items) -> None:
    def distance(a_HW3, b_HW3):
        return float(np.abs(a_HW3.astype(float) - b_HW3).mean())

    row = evaluate([coder], items[:1], perceptual={"st_lpips": distance})[0]
    assert row.st_lpips == distance(items[0].load(), coder.decode(coder.encode(items[0].load(), row.quality)))
    tiny = PictureUnderTest("tiny", "tiny", lambda: np.zeros((16, 16, 3), np.uint8))
    assert math.isnan(evaluate([coder], [tiny], perceptual={"st_lpips": distance})[0].st_lpips)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts a peak anew")
def test_the_peak_of_memory_is_that_of_one_picture_and_unknown_where_several_are_in_work(items) -> None:
    class Hungry(Lossless):
        def encode(self, image_HW3, quality):
            np.ones(int(quality * 1e6), np.uint8).sum()
            return super().encode(image_HW3, quality)

    hungry = Hungry(qualities=(150.0, 1.0))
    much, little = evaluate([hungry], items[:1])
    assert much.peak_mb > little.peak_mb + 100
    assert all(math.isnan(row.peak_mb) for row in evaluate([hungry], items[:1], workers=2))


def test_a_table_from_before_a_column_was_added_is_read(coder, items) -> None:
    table = rows_to_table(evaluate([coder], items[:1])).drop_columns(["ssim", "peak_mb"])
    assert math.isnan(rows_from_table(table)[0].ssim)


def test_a_picture_that_comes_back_in_another_size_is_a_failure(webp_codec, items, monkeypatch) -> None:
    monkeypatch.setattr(webp_codec, "decode", lambda data: np.zeros((5, 5, 3), np.uint8))
    rows = evaluate([CodecUnderTest(webp_codec, "clc", "", (50.0,))], items[:1])
    assert "different size" in rows[0].reason


def test_a_mistake_in_the_program_is_not_taken_for_a_bad_picture(coder) -> None:
    def wrong():
        raise TypeError("no picture's fault")

    with pytest.raises(TypeError):
        evaluate([coder], [PictureUnderTest("id", "name", wrong)])


def test_two_codecs_of_one_name_are_refused(coder, items) -> None:
    with pytest.raises(InputError, match="different names"):
        evaluate([coder, coder], items)


def test_no_workers_are_refused(coder, items) -> None:
    with pytest.raises(InputError, match="workers"):
        evaluate([coder], items, workers=0)


def test_on_picture_is_called_after_each_picture_in_order(coder, items) -> None:
    seen = []
    evaluate([coder], items, workers=2, on_picture=lambda picture: seen.append(picture.item_id))
    assert seen == ["id0", "id1", "id2"]


def test_rows_survive_the_table(coder, items) -> None:
    rows = evaluate([coder], [*items, PictureUnderTest("bad", "broken.png", broken_picture)])
    back = rows_from_table(rows_to_table(rows))
    assert [str(astuple(row)) for row in back[:-4]] == [str(astuple(row)) for row in rows[:-4]]  # nan is not nan
    assert [row.reason for row in back[-4:]] == [row.reason for row in rows[-4:]]


def make_row(codec: str, quality: float, item: str, bpp: float, psnr: float, **other) -> Row:
    fields = {"row": "natural", "references": "-", "bpp": bpp, "psnr_db": psnr, "ms_ssim": 0.9, **other}
    return Row(codec, quality, item, item, encode_s=0.1, decode_s=0.1, **fields)


def test_curves_are_means_over_pictures_at_each_quality() -> None:
    rows = [make_row("a", q, item, bpp * q, 30.0 + q + bpp) for q in (1, 2) for item, bpp in (("x", 0.1), ("y", 0.3))]
    curve = compare(rows).find("a")
    assert curve is not None
    assert [(one.quality, one.bpp, one.psnr_db) for one in curve.points] == [
        (1, pytest.approx(0.2), pytest.approx(31.2)),
        (2, pytest.approx(0.4), pytest.approx(32.2)),
    ]


def test_a_picture_that_failed_with_one_codec_is_left_out_for_all() -> None:
    rows = [make_row(codec, 1, item, 0.1, 30.0) for codec in ("a", "b") for item in ("x", "y")]
    rows[3] = replace(rows[3], status=FAILED, reason="it broke")
    comparison = compare(rows)
    assert comparison.pictures == ("x",)
    assert comparison.left_out == {"y": "y: b at quality 1 failed, it broke"}


def test_a_picture_that_one_codec_returns_unchanged_is_left_out_for_all(coder, items) -> None:
    comparison = compare(evaluate([coder, Lossless()], items))
    assert comparison.pictures == ()
    assert all("PSNR is infinite" in reason for reason in comparison.left_out.values())


def test_a_codec_that_coded_no_picture_is_left_out_and_the_pictures_are_not() -> None:
    rows = [make_row(codec, 1, item, 0.1, 30.0) for codec in ("a", "b") for item in ("x", "y")]
    rows = [replace(row, status=FAILED, reason="too wide") if row.codec == "b" else row for row in rows]
    comparison = compare(rows)
    assert comparison.pictures == ("x", "y")
    assert [curve.codec for curve in comparison.curves] == ["a"]
    assert comparison.left_out == {}
    assert comparison.without == {"b": "it coded no picture; x: too wide"}


def test_where_every_codec_failed_the_pictures_say_why() -> None:
    rows = [replace(make_row("a", 1, "x", 0.1, 30.0), status=FAILED, reason="it broke")]
    comparison = compare(rows)
    assert (comparison.curves, comparison.without) == ((), {})
    assert comparison.left_out == {"x": "x: a at quality 1 failed, it broke"}


def test_reasons_can_be_written_into_the_table_whatever_bytes_a_name_has(coder) -> None:
    def missing():
        raise InputError("caf\udce9\n.png: does not exist")

    rows = evaluate([coder], [PictureUnderTest("id", r"caf\xe9.png", missing)])
    assert rows_from_table(rows_to_table(rows))[0].reason == r"cannot be read: caf\xe9 .png: does not exist"


def test_natural_rows_and_pair_rows_never_mix() -> None:
    rows = [make_row("a", 1, "x", 0.1, 30.0), make_row("a", 1, "y", 0.3, 40.0, row=PAIR)]
    assert compare(rows).pictures == ("x",)
    assert compare(rows, PAIR).pictures == ("y",)


def test_bd_rates_of_a_comparison_are_against_every_other_codec() -> None:
    points = [(1, 0.1, 28.0), (2, 0.3, 31.0), (3, 0.6, 34.0), (4, 1.2, 38.0)]
    rows = [make_row(codec, q, "x", bpp * f, db) for codec, f in (("a", 1.0), ("b", 2.0)) for q, bpp, db in points]
    (rate,) = compare(rows).bd_rates("a")
    assert (rate.anchor, rate.percent) == ("b", pytest.approx(-50.0))
    assert compare(rows).bd_rate("a", "none") is None
    assert picture_bd_rates(rows, "a", ["b"])["x"]["b"].percent == pytest.approx(-50.0)
