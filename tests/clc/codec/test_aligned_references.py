"""Aligned references end to end: a key picture in the bundle, registration, the stream, the same picture back."""

import dataclasses
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from clc.bitstream.alignment import Alignment
from clc.bitstream.container import pack, parse
from clc.bundle.bundle import SHIPPED, Bundle
from clc.bundle.extend import add_pictures
from clc.codec import Codec
from clc.codec.effort import Effort
from clc.codec.encoding import Attempt, Encoding
from clc.codec.info import stream_info
from clc.codec.search.contest import Choice
from clc.errors import BitstreamError, DictionaryMismatch, InputError, StorageError
from clc.evaluation.metrics import psnr_db
from clc.pictures.images import read_image
from tests.conftest import Picture, cost

KEY = 512
SHIFT = (24, 40)


@pytest.fixture(scope="module")
def scene() -> Picture:
    image = read_image((files("skimage") / "data" / "astronaut.png").read_bytes())
    return np.ascontiguousarray(image[:320, :384])


@pytest.fixture(scope="module")
def view(scene: Picture) -> Picture:
    """A part of the scene, a little brighter."""
    part = scene[SHIFT[0] : SHIFT[0] + 192, SHIFT[1] : SHIFT[1] + 256]
    return np.clip(part.astype(np.int16) + 6, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def bundle(scene: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "with-key-picture"
    add_pictures(SHIPPED, out, [scene], [{"name": "scene", "photo": "scene", "source": "test", "licence": "CC0"}])
    return out


@pytest.fixture(scope="module")
def codec(bundle: Path) -> Codec:
    return Codec.load(bundle)


@pytest.fixture(scope="module")
def aligned(codec: Codec, view: Picture) -> bytes:
    return codec.encode(view, 40, "aligned")


def exact_choice(view: Picture) -> Choice:
    height, width = view.shape[:2]
    top, left = SHIFT[0] * 16, SHIFT[1] * 16
    right, bottom = left + width * 16, top + height * 16
    return Choice((KEY,), (Alignment((left, top, right, top, left, bottom, right, bottom), offset=(6, 6, 6)),))


def test_the_key_picture_is_found_and_saves_most_of_the_bytes(codec: Codec, view: Picture, aligned: bytes) -> None:
    alone = codec.encode(view, 40, "none")
    assert stream_info(aligned).aligned == (KEY,)
    assert len(aligned) < 0.6 * len(alone)
    assert psnr_db(view, codec.decode(aligned)) > psnr_db(view, codec.decode(alone)) - 0.1


def test_refinement_beside_an_aligned_picture_never_costs_more(codec: Codec, view: Picture, aligned: bytes) -> None:
    for quality, refined in ((40, aligned), (90, codec.encode(view, 90, "aligned"))):
        plain = codec.encode(view, quality, "aligned", effort=4)
        assert stream_info(plain).aligned == stream_info(refined).aligned == (KEY,)
        assert cost(view, codec, refined) <= cost(view, codec, plain)


def test_beside_key_pictures_all_ways_are_compared_unrefined_and_the_best_is_refined(
    codec: Codec, view: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded: list[tuple[Choice, int]] = []
    code = Encoding.code

    def watched(encoding: Encoding, quality_q6: int, choice: Choice, level: Effort) -> Attempt:
        coded.append((choice, level.down))
        return code(encoding, quality_q6, choice, level)

    monkeypatch.setattr(Encoding, "code", watched)
    best = parse(codec.encode(view, 40, "auto"))
    *compared, (refined, steps) = coded
    assert refined.alignments == best.alignments
    assert steps == 1
    assert {down for _, down in compared} == {0}


def test_another_codec_of_the_same_bundle_decodes_it(bundle: Path, codec: Codec, aligned: bytes) -> None:
    assert np.array_equal(Codec.load(bundle).decode(aligned), codec.decode(aligned))


def test_a_picture_that_fits_no_key_picture_is_coded_without(codec: Codec) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert stream_info(codec.encode(noise, 30, "aligned")).aligned == ()


@pytest.mark.parametrize("size", [(1, 1), (17, 33), (63, 65)])
def test_small_pictures_can_be_aligned(codec: Codec, scene: Picture, size: tuple[int, int]) -> None:
    view = np.ascontiguousarray(scene[SHIFT[0] : SHIFT[0] + size[0], SHIFT[1] : SHIFT[1] + size[1]])
    data = codec.encoding(view).code(4000, exact_choice(view)).data
    assert codec.decode(data).shape == view.shape


def test_a_number_bounds_the_aligned_references_too(codec: Codec, view: Picture) -> None:
    info = stream_info(codec.encode(view, 40, 1))
    assert len(info.aligned) + len(info.references) <= 1


def test_the_shipped_bundle_refuses_the_stream_by_name(shipped: Codec, aligned: bytes) -> None:
    with pytest.raises(DictionaryMismatch, match="bundle"):
        shipped.decode(aligned)


def test_a_bundle_without_the_key_picture_refuses_the_stream(codec: Codec, aligned: bytes) -> None:
    entries = dataclasses.replace(codec.bundle.entries, pictures={})
    with pytest.raises(DictionaryMismatch, match="no key picture"):
        Codec(dataclasses.replace(codec.bundle, entries=entries)).decode(aligned)


def test_another_alignment_is_a_mismatch_and_never_a_picture(codec: Codec, view: Picture) -> None:
    choice = exact_choice(view)
    stream = parse(codec.encoding(view).code(2600, choice).data)
    moved = dataclasses.replace(choice.alignments[0], offset=(7, 6, 6))
    with pytest.raises(BitstreamError):
        codec.decode(pack(dataclasses.replace(stream, alignments=(moved,))))


def test_a_key_picture_with_other_pixels_is_refused(bundle: Path, tmp_path: Path, aligned: bytes) -> None:
    bad = Bundle.load(bundle)
    path = tmp_path / "0512.webp"
    data = bytearray(bad.entries.pictures[KEY].path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    pictures = {KEY: dataclasses.replace(bad.entries.pictures[KEY], path=path)}
    codec = Codec(dataclasses.replace(bad, entries=dataclasses.replace(bad.entries, pictures=pictures)))
    with pytest.raises(StorageError, match="key picture"):
        codec.decode(aligned)


def test_a_missing_key_picture_is_named(bundle: Path, tmp_path: Path, aligned: bytes) -> None:
    bad = Bundle.load(bundle)
    pictures = {KEY: dataclasses.replace(bad.entries.pictures[KEY], path=tmp_path / "0512.webp")}
    codec = Codec(dataclasses.replace(bad, entries=dataclasses.replace(bad.entries, pictures=pictures)))
    with pytest.raises(StorageError, match=r"0512\.webp"):
        codec.decode(aligned)


@pytest.mark.parametrize("picture_format", ["webp-80", "webp-lossless"])
def test_key_pictures_are_the_pixels_that_they_decode_to(scene: Picture, tmp_path: Path, picture_format: str) -> None:
    made = [{"name": "a", "photo": "a", "source": "test", "licence": "CC0"}]
    add_pictures(SHIPPED, tmp_path / "b", [scene], made, picture_format)
    stored = Bundle.load(tmp_path / "b").entries.pictures[KEY]
    assert (stored.read() == scene).all() == (picture_format == "webp-lossless")
    assert stored.file_bytes == stored.path.stat().st_size


@pytest.mark.parametrize("picture_format", ["webp-101", "webp-", "png", "webp--1", ""])
def test_an_unknown_picture_format_is_refused(scene: Picture, tmp_path: Path, picture_format: str) -> None:
    with pytest.raises(InputError, match="format"):
        add_pictures(SHIPPED, tmp_path / "b", [scene], [{"name": "a"}], picture_format)


def test_a_folder_with_files_is_not_overwritten(scene: Picture, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        add_pictures(SHIPPED, tmp_path, [scene], [{"name": "a"}])
