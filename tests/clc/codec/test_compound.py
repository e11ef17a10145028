"""Pages with photographs in them: where these are found, and that a compound of ways is taken where it costs less."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clc
from clc.archive.pictures import ReferredPictures, nothing_stored
from clc.bitstream.container import parse, with_sections
from clc.bitstream.embedding import Embedding, Reason
from clc.codec import Codec
from clc.codec.__main__ import main
from clc.codec.info import WAY_BYTES, promise_of, way_of
from clc.codec.search.contest import UNALIGNED
from clc.codec.ways import choice as choosing
from clc.codec.ways import compound as making
from clc.codec.ways.choice import Choice, searched
from clc.codec.ways.compound import blanked
from clc.codec.ways.goal import Goal
from clc.codec.ways.photographs import MAX_FOUND, photographs_in
from clc.codec.ways.suitability import is_photograph, squared_error_of
from clc.errors import InputError
from clc.pictures.metadata import Metadata
from clc.quality import rate_distortion_lambda
from tests.compound_pages import Place, compound_stream, insets_of, page_with
from tests.conftest import Picture

PLACE = (101, 43, 160, 131)


def found_in(page_HW3: Picture) -> set[Place]:
    found = photographs_in(page_HW3)
    return {(one.left, one.top, one.right - one.left, one.bottom - one.top) for one in found}


@pytest.fixture(scope="module")
def page(photo: Picture) -> Picture:
    return page_with(photo, [PLACE])


@pytest.fixture(scope="module")
def coded(shipped: Codec, page: Picture) -> bytes:
    """The page as `clc.encode` codes it."""
    return shipped.encode_to(Goal(quality=40), page, "none", effort=0)


@pytest.mark.parametrize(
    "places", [[PLACE], [(0, 0, 64, 64)], [(288, 150, 64, 74)], [(17, 30, 128, 100), (151, 30, 140, 100)]]
)
def test_photographs_are_found_to_the_pixel(photo: Picture, places: list[Place]) -> None:
    page = page_with(photo, places)
    assert found_in(page) == set(places)


def test_photographs_that_nearly_touch_are_cut_apart(photo: Picture) -> None:
    page = page_with(photo, [(16, 30, 211, 131)])
    page[30:161, 120:123] = 255
    assert found_in(page) == {(16, 30, 104, 131), (123, 30, 104, 131)}


def test_calm_parts_of_a_photograph_stay_in_it(photo: Picture) -> None:
    page = page_with(photo, [PLACE])
    page[80:90, 150:200] = 200
    assert found_in(page) == {PLACE}


@pytest.mark.parametrize("kind", ["words", "pattern", "small", "ramp", "tiny"])
def test_pages_without_photographs_have_none(photo: Picture, kind: str) -> None:
    page = page_with(photo, [(40, 60, 60, 60)] if kind == "small" else [])
    if kind == "pattern":
        page[40:200, 40:300] = np.random.default_rng(3).integers(0, 2, (160, 260, 1), np.uint8) * 255
    if kind == "ramp":
        page[:] = np.linspace(0, 255, 352).astype(np.uint8)[:, None]
    assert photographs_in(page[:8] if kind == "tiny" else page) == ()


def test_no_more_are_found_than_a_stream_has_room_for_and_the_largest_are(photo: Picture) -> None:
    places = [(8 + 72 * column, 8 + 80 * row, 64, 64 + row) for row in range(4) for column in range(4)]
    page = page_with(photo, [], height=340, width=300)
    page[:] = 240
    for left, top, width, height in places:
        page[top : top + height, left : left + width] = photo[100 : 100 + height, 200 : 200 + width]
    found = found_in(page)
    assert len(found) == MAX_FOUND
    assert found == {place for place in places if place[3] >= 66}


def test_a_page_with_a_photograph_becomes_a_compound_that_costs_less(
    coded: bytes, page: Picture, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_photograph(page)
    info = clc.info(coded)
    assert (info.version, info.mode, info.quality) == (7, "compound", 40.0)
    assert info.bundle_id == shipped.bundle.bundle_id
    assert [tuple(inset)[:5] for inset in info.insets] == [(*PLACE, 40.0)]
    assert info.why.startswith("photographs in a page")
    assert info.total_bytes == info.payload_bytes + info.overhead_bytes == len(coded)
    assert (way_of(coded[:WAY_BYTES]), promise_of(coded[:WAY_BYTES])) == ("compound", None)
    monkeypatch.setattr(making, "photographs_in", lambda image_HW3: ())
    whole = shipped.encode_to(Goal(quality=40), page, "none", effort=0)
    assert clc.info(whole).version == 5
    trade, pixels = rate_distortion_lambda(40.0), page.shape[0] * page.shape[1]
    costs = [8 * len(data) / pixels + trade * squared_error_of(shipped.decode(data), page) for data in (coded, whole)]
    assert costs[0] < costs[1]


def test_what_is_decoded_is_what_was_measured(coded: bytes, page: Picture, shipped: Codec) -> None:
    decoded = shipped.decode(coded)
    assert (decoded == clc.decode(coded)).all()
    assert (decoded == shipped.decode_picture(coded).image_HW3).all()
    left, top, width, height = PLACE
    inside = decoded[top : top + height, left : left + width]
    alone = shipped.encoding(page[top : top + height, left : left + width].copy())
    assert (inside == alone.picture(alone.code(40 * 64, UNALIGNED))).all()


def test_a_compound_is_kept_only_where_it_costs_less(
    page: Picture, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    def dearer(self: Any, *given: Any) -> Any:
        found.append(given)
        return choosing.Way(bytes(10**6), 0.0)

    monkeypatch.setattr(making.Compound, "best_at", dearer)
    assert clc.info(shipped.encode_to(Goal(quality=40), page, "none", effort=0)).version == 5
    assert len(found) == 1


def test_transparency_and_metadata_stand_beside_it(shipped: Codec, page: Picture, tmp_path: Path) -> None:
    alpha = np.where(np.arange(352) < 50, 90, 255).astype(np.uint8) * np.ones((224, 1), np.uint8)
    metadata = Metadata(b"", b"<x:xmpmeta/>")
    encoding = shipped.encoding(page)
    choice = Choice(encoding, searched(encoding, "none", 0), 0, alpha, metadata)
    data = choice.at_quality(40.0)
    assert clc.info(data).mode == "compound"
    decoded = clc.decode_picture(data)
    assert decoded.alpha_HW is not None
    assert (decoded.alpha_HW == alpha).all()
    assert decoded.metadata == metadata
    assert (decoded.image_HW3 == clc.decode(with_sections(data, ()))).all()
    (tmp_path / "a.clc").write_bytes(data)
    with Image.open(tmp_path / "a.clc") as opened:
        assert (opened.mode, opened.info["quality"]) == ("RGBA", 40.0)
        assert opened.info["bundle_id"] == shipped.bundle.bundle_id
        assert (np.asarray(opened)[..., :3] == decoded.image_HW3).all()


def test_an_exact_page_under_insets_keeps_its_samples(shipped: Codec, page: Picture) -> None:
    data = compound_stream(shipped, page, insets_of(shipped, page, [PLACE]))
    decoded = shipped.decode(data)
    left, top, width, height = PLACE
    outside = np.ones(page.shape[:2], bool)
    outside[top : top + height, left : left + width] = False
    assert (decoded[outside] == page[outside]).all()
    assert squared_error_of(decoded, page) > 0


def test_where_pillow_writes_no_avif_the_page_is_exact(
    shipped: Codec, page: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing.avif, "can_write", lambda: False)
    data = shipped.encode_to(Goal(quality=40), page, "none", effort=0)
    assert clc.info(data).mode == "compound"
    assert parse(data).profile != 3


def test_what_lies_below_insets_has_the_colour_around_them(page: Picture, shipped: Codec) -> None:
    (inset,) = insets_of(shipped, page, [PLACE])
    below = blanked(page, [inset])
    assert (below[inset.rows, inset.columns] == (250, 250, 245)).all()
    below[inset.rows, inset.columns] = page[inset.rows, inset.columns]
    assert (below == page).all()


def test_an_archive_has_pixels_that_are_the_same_everywhere(coded: bytes, shipped: Codec) -> None:
    exactly = ReferredPictures(shipped.decoder, nothing_stored, lambda reference: "").exactly(coded)
    assert 0 < exactly.clearance < 0.5
    assert np.abs(exactly.image_HW3.astype(int) - shipped.decode(coded)).max() <= 1


def test_a_promise_of_samples_or_of_a_psnr_makes_no_compound(page: Picture) -> None:
    assert clc.info(clc.encode(page, lossless=True)).version == 5
    with pytest.raises(InputError):
        Embedding(Reason.LOSSLESS, 40)


def test_the_command_shows_the_rectangles(coded: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.clc").write_bytes(coded)
    assert main(["info", str(tmp_path / "a.clc")]) == 0
    said = capsys.readouterr().out
    assert "160x131 px at 101,43: " in said
    assert "photographs in a page" in said
    assert main(["decode", str(tmp_path / "a.clc"), str(tmp_path / "a.png")]) == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert (np.asarray(picture) == clc.decode(coded)).all()
