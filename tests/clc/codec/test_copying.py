"""Parts of a graphic that are copied from other pictures: what is found, what it costs, and what is promised."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clc.bitstream.alignment import identity
from clc.bitstream.container import parse
from clc.bitstream.embedding import AV1_PROFILE, Reason
from clc.bitstream.regions import Regions
from clc.codec.embedded import embedded_pixels
from clc.codec.search.contest import Choice
from clc.codec.ways.avif_search import AvifSearch
from clc.codec.ways.copying import Anew, Copying, _largest, _moved, _squared_sums, _whole_blocks
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.suitability import psnr_of
from clc.errors import MissingReference
from clc.pictures.picture import Picture
from clc.references.key_pictures import WarpedKeyPictures
from clc.references.warp import warp

SIZE = 256, 224
ID, OTHER = bytes(range(8)), bytes(range(8, 16))


def window(panel_at: tuple[int, int], line: str, seed: int = 4) -> Picture:
    """A window with grain at the left, a panel of other grain that stands anywhere, and a line of text."""
    image = Image.new("RGB", SIZE, (240, 241, 245))
    draw = ImageDraw.Draw(image)
    noise = np.random.default_rng(seed).integers(60, 200, (96, 80, 3)).astype(np.uint8)
    image.paste(Image.fromarray(noise), (0, 0))
    draw.text((4, 204), line, (10, 10, 20))
    panel = Image.fromarray(np.random.default_rng(9).integers(90, 250, (96, 112, 3)).astype(np.uint8))
    image.paste(panel, panel_at)
    return np.asarray(image)


class Pictures:
    """Two windows as references: one like the target but for a line and its panel's place, one with nothing of it."""

    def __init__(self) -> None:
        self._by_id = {ID: window((128, 0), "line 1 of 40"), OTHER: window((128, 100), "nothing", seed=5)[::-1]}

    def read(self, reference: int | bytes, /) -> Picture:
        if not isinstance(reference, bytes) or reference not in self._by_id:
            raise MissingReference("no such stream")
        return np.ascontiguousarray(self._by_id[reference])


@pytest.fixture(scope="module")
def target() -> Picture:
    return window((112, 48), "line 17 of 40")


def test_a_part_that_stands_still_and_one_that_moved_are_copied_exactly(target: Picture) -> None:
    whole = encode_exact(target)
    copying = Copying(target, Pictures(), 2)
    way = copying.best_of((OTHER, ID), 6400, Anew(len(whole), target), 60.0, is_exact=True)
    assert way is not None
    assert way.squared_error == 0
    assert len(way.data) < 0.5 * len(whole)
    stream = parse(way.data)
    assert stream.streams == (ID,)
    assert stream.embedding is not None
    assert stream.embedding.reason is Reason.CHEAPER
    assert stream.alignments[0].regions is not None
    assert stream.alignments[0].regions.offsets_q2 == ((64, -192),)  # the panel came from 16 px right, 48 px above
    assert (embedded_pixels(stream, Pictures()).image_HW3 == target).all()


def test_avif_takes_what_is_left(target: Picture) -> None:
    anew = AvifSearch(target, 8).cheapest(0.02, 60)
    copying = Copying(target, Pictures(), 2)
    way = copying.best_of((ID,), 3200, Anew(len(anew.payload.data), target), anew.psnr - 0.5, is_exact=False)
    assert way is not None
    stream = parse(way.data)
    assert stream.profile == AV1_PROFILE
    assert len(way.data) < 0.7 * len(anew.payload.data)
    decoded = embedded_pixels(stream, Pictures()).image_HW3
    error = np.square(decoded.astype(float) - target).mean()
    assert way.squared_error == pytest.approx(error, rel=1e-4)
    assert psnr_of(error) >= anew.psnr - 0.5


@pytest.mark.parametrize("most", [0, 3])
def test_no_sample_is_further_off_than_was_promised(most: int, target: Picture) -> None:
    near = np.clip(target.astype(int) + np.random.default_rng(2).integers(-3, 4, target.shape), 0, 255)
    picture = near.astype(np.uint8)
    whole = encode_exact(picture, most)
    way = Copying(picture, Pictures(), 2, most).best_of((ID,), 6400, Anew(len(whole), picture), 0.0, is_exact=True)
    if most:
        assert way is not None
        assert len(way.data) < len(whole)
        decoded = embedded_pixels(parse(way.data), Pictures()).image_HW3
        assert np.abs(decoded.astype(int) - picture).max() == most
    else:
        assert way is None  # noise leaves nothing that is equal


def test_nothing_is_copied_where_nothing_is_alike(target: Picture) -> None:
    copying = Copying(target, Pictures(), 2)
    assert copying.best_of((OTHER,), 6400, Anew(9000, target), 40.0, is_exact=True) is None
    assert copying.best_of((), 3200, Anew(9000, target), 40.0, is_exact=False) is None


@pytest.mark.parametrize("offset_q2", [(0, 0), (64, -192), (-40, 12)])
def test_what_moves_by_whole_pixels_is_what_a_decoder_copies(offset_q2: tuple[int, int]) -> None:
    reference = window((120, 90), "a line")[:200, :240]
    size = SIZE[1], SIZE[0]
    blocks = np.full((-(-size[0] // 16), -(-size[1] // 16)), 2 if any(offset_q2) else 1, np.uint8)
    regions = Regions(16, (offset_q2,) if any(offset_q2) else (), blocks)
    alignment = identity(*size)
    warped = warp(np.ascontiguousarray(reference), size, type(alignment)(alignment.corners_q4, regions=regions))
    moved, (rows, columns) = _moved(reference, size, offset_q2)
    inside = np.zeros(size, np.bool_)
    inside[rows, columns] = True
    assert (warped.inside == inside).all()
    assert (warped.pixels == moved).all()
    whole = [
        [inside[top : top + 16, left : left + 16].all() for left in range(0, 256, 16)] for top in range(0, 224, 16)
    ]
    assert (_whole_blocks((rows, columns), size) == np.array(whole)).all()


@pytest.mark.parametrize("size", [(40, 56), (32, 48), (9, 7)])
def test_errors_of_blocks_are_those_of_their_pixels(size: tuple[int, int]) -> None:
    differences = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    sums, largest = _squared_sums(differences), _largest(differences)
    for row, column in np.ndindex(sums.shape):
        block = differences[16 * row : 16 * row + 16, 16 * column : 16 * column + 16].astype(float)
        assert sums[row, column] == pytest.approx(np.square(block).sum() / 3, rel=1e-5)
        assert largest[row, column] == block.max()


def test_what_streams_show_is_told_as_a_share_of_the_bits(target: Picture) -> None:
    whole = encode_exact(target)
    copying = Copying(target, Pictures(), 2)
    way = copying.best_of((ID,), 6400, Anew(len(whole), target), 60.0, is_exact=True)
    assert way is not None
    shares = [copying.least_share_in_place(of, data) for of, data in (((), whole), ((OTHER,), whole), ((ID,), whole))]
    assert shares[0] == 1.0
    assert 1.0 >= shares[1] > shares[2]
    assert copying.least_share_in_place((ID,), way.data) < 0.5 * shares[2]  # with the panel from where it stood
    still = Choice(streams=(ID,), alignments=(identity(SIZE[1], SIZE[0]),))
    assert copying.least_share([still], WarpedKeyPictures(Pictures())) == pytest.approx(shares[2], rel=0.02)
    assert copying.least_share([], WarpedKeyPictures(Pictures())) == 1.0
