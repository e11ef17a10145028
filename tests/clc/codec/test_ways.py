"""Which way a picture is coded: goals, exact samples, and the choice between the transform, AVIF and no loss."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import clc
from clc.bitstream.container import pack, parse
from clc.bitstream.embedding import AV1_PROFILE, EXACT_PROFILES, Reason
from clc.bitstream.stream import PROFILE, Stream
from clc.codec import Codec
from clc.codec.__main__ import main
from clc.codec.embedded import EmbeddedCodec
from clc.codec.info import stream_info
from clc.codec.ways import avif_search, payload_check
from clc.codec.ways import choice as choosing
from clc.codec.ways.choice import Choice, searched
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.goal import Goal
from clc.codec.ways.payload_check import check_payloads
from clc.codec.ways.psnr_control import reach
from clc.codec.ways.suitability import is_photograph, least_psnr, photographs_psnr, psnr_of
from clc.errors import DecodeMismatch, DictionaryMismatch, InputError
from clc.payloads import avif, pixels
from clc.payloads.png import png_payload
from clc.pictures import losses
from clc.pictures.metadata import Metadata

Array = NDArray[np.uint8]


def squares(side: int = 32) -> Array:
    """Yellow and blue squares of 4 px."""
    is_blue = np.indices((side, side)).sum(axis=0) // 4 % 2
    return np.where(is_blue[..., None] > 0, np.uint8((0, 0, 255)), np.uint8((255, 255, 0))).astype(np.uint8)


def chart(height: int = 90, width: int = 120) -> Array:
    picture = np.full((height, width, 3), 255, np.uint8)
    for at in range(5):
        picture[80 - 13 * at : 80, 8 + 22 * at : 22 + 22 * at] = (40 * at, 200 - 30 * at, 90)
    picture[80:82, 4:-4] = 0
    return picture


class StubEncoding:
    """Stands in for an `Encoding`: a stream of so many bytes at so many dB, more with each quality."""

    def __init__(self, image: Array, n_bytes: int, psnr: float) -> None:
        self.image_HW3, self._n_bytes, self._psnr = image, n_bytes, psnr
        self.n_encodes = self.n_syntheses = 0

    def proposals(self, *_: object) -> list[object]:
        return []

    def best_of(self, choices: object, quality_q6: int, effort: object) -> Any:
        self.n_encodes += 1
        size = self.image_HW3.shape[1], self.image_HW3.shape[0]
        data = pack(Stream(PROFILE, *size, quality_q6, bytes(8), (), 0, bytes(self._n_bytes + quality_q6)))
        return SimpleNamespace(data=data, quality_q6=quality_q6)

    def code(self, quality_q6: int, choice: object) -> Any:
        return self.best_of([choice], quality_q6, None)

    def squared_error(self, attempt: Any) -> float:
        self.n_syntheses += 1
        return float(255**2 / 10 ** ((self._psnr + attempt.quality_q6 / 640) / 10))

    def estimated_error(self, attempt: Any) -> float:
        return self.squared_error(attempt) * 1.02


def choice_of(encoding: StubEncoding, alpha: Array | None = None) -> Choice:
    learned = searched(encoding, "none", 0)  # type: ignore[arg-type]  # a stand-in
    return Choice(encoding, learned, 0, alpha, Metadata())  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def grainy(make_scene_HW3: Any) -> Array:
    """Grain and shading, as photographs have; nothing in it is flat."""
    scene: Array = make_scene_HW3(3, 96, 96)
    return scene


def test_photographs_and_graphics_are_told_apart(grainy: Array) -> None:
    assert is_photograph(grainy)
    assert not is_photograph(chart())
    assert not is_photograph(grainy[:64, :64])  # a thumbnail: headers count there
    assert not is_photograph(np.zeros((1, 5000, 3), np.uint8))


def test_more_is_asked_of_a_higher_quality() -> None:
    qualities = np.linspace(0, 100, 41)
    for least in (least_psnr, photographs_psnr):
        assert all(np.diff([least(quality) for quality in qualities]) > 0)
        assert least(100.0) >= 35.0
    assert all(photographs_psnr(quality) <= least_psnr(quality) for quality in qualities)


def test_a_photograph_that_suits_keeps_its_stream_and_nothing_else_is_tried(
    grainy: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "exact_payload", None)
    monkeypatch.setattr(choosing, "AvifSearch", None)
    for quality in (0, 50, 95):
        encoding = StubEncoding(grainy, 900, 27.0)
        data = choice_of(encoding).at_quality(quality)
        assert parse(data).profile == PROFILE
        assert encoding.n_encodes == 1


def test_a_picture_on_which_the_transform_collapses_goes_another_way(grainy: Array) -> None:
    data = choice_of(StubEncoding(grainy, 900, 14.0)).encode(Goal(quality=50))
    embedding = parse(data).embedding
    assert embedding is not None
    assert (embedding.reason, embedding.value) == (Reason.FALLS_SHORT, 3200)
    error = np.square(EmbeddedCodec().decode(data).astype(float) - grainy).mean()
    assert psnr_of(error) >= least_psnr(50)


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_graphics_take_what_costs_least(quality: float) -> None:
    data = choice_of(StubEncoding(chart(), 4000, 38.0)).at_quality(quality)
    embedding = parse(data).embedding
    assert embedding is not None
    assert embedding.reason is Reason.CHEAPER
    assert len(data) < 1000
    assert choice_of(StubEncoding(chart(), 10, 60.0)).at_quality(0)[5] == PROFILE


def test_alpha_goes_into_an_exact_payload_and_stays_a_section_beside_others(grainy: Array) -> None:
    alpha = np.where(np.arange(96) < 30, 9, 255).astype(np.uint8) * np.ones((96, 1), np.uint8)
    exact = choice_of(StubEncoding(chart(96, 96), 9000, 20.0), alpha).at_quality(100)
    lossy = choice_of(StubEncoding(grainy, 9000, 10.0), alpha).at_quality(20)
    assert parse(exact).profile in EXACT_PROFILES
    assert parse(lossy).profile == AV1_PROFILE
    for data in (exact, lossy):
        decoded = EmbeddedCodec().decode_picture(data).alpha_HW
        assert decoded is not None
        assert (decoded == alpha).all()
    assert stream_info(exact).sections == {}
    assert set(stream_info(lossy).sections) == {"alpha"}


@pytest.mark.parametrize("psnr", [30.0, 42.0, 49.0, 70.0])
def test_a_psnr_is_reached_with_any_picture(grainy: Array, psnr: float) -> None:
    encoding = StubEncoding(grainy, 100, 28.0)  # 28 to 38 dB
    data = choice_of(encoding).encode(Goal(target_psnr=psnr))
    stream = parse(data)
    if psnr == 30.0:
        assert stream.profile == PROFILE
        assert 30.0 <= psnr_of(encoding.squared_error(SimpleNamespace(quality_q6=stream.quality_q6))) <= 30.1
        return
    assert stream.embedding is not None
    assert stream.embedding.target_psnr == psnr
    error = np.square(EmbeddedCodec().decode(data).astype(float) - grainy).mean()
    assert psnr_of(error) >= psnr
    assert len(data) < len(encode_exact(grainy)) or psnr == 70.0


def test_the_lowest_quality_with_a_psnr_is_found_in_a_few_encodes() -> None:
    for psnr in (28.0, 33.3, 37.9):
        tried: list[int] = []

        def coded(quality_q6: int, tried: list[int] = tried) -> Any:
            tried.append(quality_q6)
            return SimpleNamespace(psnr=27 + 11 * (quality_q6 / 6400) ** 1.1)

        found = reach(coded, psnr)
        assert found is not None
        assert psnr <= found.psnr <= psnr + 0.1
        assert len(tried) <= 6
        assert reach(coded, 38.5) is None


def test_a_picture_without_loss_needs_no_bundle_and_no_more_bytes_than_webp(tmp_path: Path) -> None:
    for picture in (squares(), chart()):
        data = clc.encode(picture, lossless=True)
        assert (clc.decode(data) == picture).all()
        Image.fromarray(picture).save(tmp_path / "a.webp", lossless=True, quality=100, method=6)
        assert len(data) <= (tmp_path / "a.webp").stat().st_size
        info = clc.info(data)
        assert (info.mode, info.quality, info.bundle_id, info.version) == ("lossless", None, None, 5)
        assert info.why == "no loss was asked for"


@pytest.mark.parametrize("error", [0, 1, 4, 127])
def test_no_sample_is_further_off_than_was_asked(grainy: Array, error: int) -> None:
    alpha = grainy[..., 1]
    metadata = Metadata(b"II*\0\x08\0\0\0\0\0", b"<x:xmpmeta/>")
    data = clc.encode(grainy, max_error=error, alpha_HW=alpha, metadata=metadata)
    decoded = clc.decode_picture(data)
    assert np.abs(decoded.image_HW3.astype(int) - grainy).max() <= error
    assert decoded.alpha_HW is not None
    assert (decoded.alpha_HW == alpha).all()
    assert decoded.metadata == metadata
    if error:
        assert len(data) < len(clc.encode(grainy, lossless=True, alpha_HW=alpha, metadata=metadata))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lossless": True, "max_error": 2}, "lossless and max_error do not go together"),
        ({"lossless": True, "quality": 80}, "lossless and quality do not go together"),
        ({"lossless": 1}, "lossless is True or False"),
        ({"max_error": 128}, "whole number from 0 to 127"),
        ({"max_error": 1.5}, "whole number from 0 to 127"),
        ({"max_error": True}, "whole number from 0 to 127"),
        ({"target_psnr": 0}, "must lie above 0"),
        ({"target_psnr": float("nan")}, "must lie above 0"),
        ({"target_psnr": "46"}, "must be a number of dB"),
        ({"mode": "fast"}, "the mode must be auto or learned"),
        ({"lossless": True, "mode": "learned"}, "does not go with mode learned"),
        ({"lossless": True, "bundle": "service"}, "needs no bundle"),
        ({"lossless": True, "references": "aligned"}, "needs no bundle and has no references"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        clc.encode(squares(), **options)


def test_a_stream_of_a_bundle_is_none_of_this(grainy: Array) -> None:
    data = pack(Stream(PROFILE, 96, 96, 0, bytes(8), (), 0, b"payload"))
    with pytest.raises(DictionaryMismatch, match="needs a bundle"):
        EmbeddedCodec().decode(data)


def test_pillow_saves_and_opens_without_loss(tmp_path: Path, grainy: Array) -> None:
    picture = Image.fromarray(np.dstack((grainy, grainy[..., 0])))
    picture.save(tmp_path / "a.clc", lossless=True)
    with Image.open(tmp_path / "a.clc") as opened:
        assert (opened.mode, opened.info["quality"], opened.info["bundle_id"]) == ("RGBA", None, None)
        assert (np.asarray(opened) == np.asarray(picture)).all()
    with pytest.raises(OSError, match="do not go together"):
        picture.save(tmp_path / "b.clc", lossless=True, max_error=3)


def test_the_command_keeps_every_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, stream, back = (str(tmp_path / name) for name in ("a.png", "a.clc", "b.png"))
    Image.fromarray(chart()).save(source)
    assert main(["encode", source, stream, "--lossless"]) == 0
    assert "WebP lossless" in capsys.readouterr().out
    assert main(["info", stream]) == 0
    said = capsys.readouterr().out
    assert "no loss was asked for" in said
    assert "none is needed" in said
    assert main(["decode", stream, back]) == 0
    with Image.open(back) as decoded:
        assert (np.asarray(decoded) == chart()).all()
    assert main(["encode", source, "--out", str(tmp_path / "coded"), "--max-error", "3"]) == 0
    error = clc.decode(tmp_path / "coded" / "a.clc").astype(int) - chart()
    assert np.abs(error).max() <= 3


def test_depth_and_profiles_are_told_where_no_loss_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16).save(tmp_path / "deep.png")
    with pytest.warns(clc.LossWarning, match=losses.DEPTH):
        clc.encode(tmp_path / "deep.png", lossless=True)
    assert main(["encode", str(tmp_path / "deep.png"), str(tmp_path / "deep.clc"), "--lossless"]) == 0
    assert losses.DEPTH in capsys.readouterr().err


def test_the_self_test_names_formats_that_pillow_lacks_and_finds_wrong_decoders(
    grainy: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_payloads(grainy) == (["PNG", "WebP lossless", "AVIF"], [])
    monkeypatch.setattr(avif, "can_write", lambda: False)
    assert check_payloads(grainy) == (["PNG", "WebP lossless"], ["AVIF"])
    with monkeypatch.context() as changed:
        changed.setattr(pixels, "rgb_of", lambda planes_HW3: planes_HW3)
        with pytest.raises(DecodeMismatch, match="gives other pixels than other machines have"):
            check_payloads(grainy)
    monkeypatch.setattr(payload_check, "png_payload", lambda image: png_payload(image.rotate(180)))
    with pytest.raises(DecodeMismatch, match="does not code pictures as it should"):
        check_payloads(grainy)


def test_without_avif_in_pillow_a_picture_goes_the_ways_that_are_left(
    grainy: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing.avif, "can_write", lambda: False)
    assert parse(choice_of(StubEncoding(grainy, 900, 14.0)).encode(Goal(quality=50))).profile in EXACT_PROFILES
    assert parse(choice_of(StubEncoding(chart(), 10, 60.0)).encode(Goal(quality=0))).profile == PROFILE


def test_the_shipped_codec_keeps_photographs_as_they_were_and_no_graphic_collapses(
    shipped: Codec, photo: Array
) -> None:
    cut = np.ascontiguousarray(photo[:128, :160])
    for quality in (10, 60):
        assert shipped.encode_to(Goal(quality=quality), cut, "none", effort=0) == shipped.encode(
            cut, quality, "none", effort=0
        )
    ramps = np.indices((32, 32)).sum(axis=0)[..., None] * np.array((4, -3, 2)) % 256
    for graphic in (squares(), chart(), ramps.astype(np.uint8)):
        error = shipped.decode(shipped.encode_to(Goal(quality=100), graphic, "none", effort=0)).astype(float) - graphic
        assert psnr_of(float(np.square(error).mean())) >= 35


def test_a_size_is_met_by_whichever_way_has_it(shipped: Codec) -> None:
    at_quality = shipped.at_qualities(chart(), "none", effort=0)
    sizes = [len(at_quality(quality)) for quality in (0, 50, 100)]
    assert sizes == sorted(sizes)
    assert parse(at_quality(100)).embedding is not None


def test_a_picture_that_the_encoder_of_avif_refuses_goes_the_ways_that_are_left(
    grainy: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise InputError("Pillow cannot write AVIF here")

    monkeypatch.setattr(avif_search, "avif_payload", refuse)
    for goal in (Goal(quality=50), Goal(target_psnr=45.0)):
        assert parse(choice_of(StubEncoding(grainy, 900, 14.0)).encode(goal)).profile in EXACT_PROFILES


@pytest.mark.parametrize("size", [(1, 9000), (9000, 1), (2, 3)])
def test_long_and_tiny_pictures_have_a_way(size: tuple[int, int]) -> None:
    picture = (np.arange(size[0] * size[1] * 3) * 37 % 251).astype(np.uint8).reshape(*size, 3)
    data = choice_of(StubEncoding(picture, 90_000, 14.0)).encode(Goal(quality=90))
    error = np.square(EmbeddedCodec().decode(data).astype(float) - picture).mean()
    assert psnr_of(error) >= least_psnr(90)
