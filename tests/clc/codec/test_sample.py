"""Graphics that the transform is sure to lose are told by a sample of windows, and are then not coded by it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clc.bitstream.container import pack, parse
from clc.bitstream.embedding import Reason
from clc.bitstream.stream import PROFILE, Stream
from clc.codec.ways.choice import Choice, Way
from clc.codec.ways.sample import WINDOW_PX, sample_of
from clc.pictures.picture import Picture

SIZE = 640, 704


def screen() -> Picture:
    """Text-like specks on flat ground, of about 0.45 megapixels."""
    picture = np.full((*SIZE, 3), 244, np.uint8)
    specks = np.random.default_rng(5).random(SIZE) < 0.02
    picture[specks] = (20, 20, 60)
    return picture


class Transform:
    """Stands in for an `Encoding`, which costs so many bits a pixel at so many dB, whatever it is given."""

    def __init__(self, image_HW3: Picture, bpp: float, squared_error: float, log: list[tuple[int, ...]]) -> None:
        self.image_HW3, self._bpp, self._error, self.log = image_HW3, bpp, squared_error, log

    def of_part(self, part_HW3: Picture) -> "Transform":
        return Transform(part_HW3, self._bpp, self._error, self.log)

    def code(self, quality_q6: int, choice: object) -> Any:
        self.log.append(self.image_HW3.shape)
        height, width, _ = self.image_HW3.shape
        payload = bytes(round(self._bpp * height * width / 8))
        data = pack(Stream(PROFILE, width, height, quality_q6, bytes(8), (), 0, payload))
        return SimpleNamespace(bpp=self._bpp, data=data)

    def squared_error(self, attempt: object) -> float:
        return self._error

    def check_decodes(self, attempt: object) -> None:
        self.log.append(())


def choice_of(transform: Transform, most_saved: float = 1.0) -> Choice:
    def learned(quality_q6: int) -> Any:
        return transform.code(quality_q6, None)

    return Choice(transform, learned, 0, most_saved=most_saved)  # type: ignore[arg-type]  # a stand-in


def test_windows_are_spread_over_the_picture_and_none_is_taken_of_small_ones() -> None:
    rows, columns = np.indices((700, 1200))
    picture = np.stack((rows // 8, columns // 8, rows % 8), axis=2).astype(np.uint8)
    sample = sample_of(picture)
    assert sample is not None
    assert sample.shape == (2 * WINDOW_PX, 4 * WINDOW_PX, 3)
    tops = sample[::WINDOW_PX, 0, 0].astype(int) * 8
    lefts = sample[0, ::WINDOW_PX, 1].astype(int) * 8
    assert np.allclose(tops + WINDOW_PX / 2, (175, 525), atol=8)
    assert np.allclose(lefts + WINDOW_PX / 2, (150, 450, 750, 1050), atol=8)
    upright = sample_of(np.ascontiguousarray(picture.swapaxes(0, 1)))
    assert upright is not None
    assert upright.shape == (4 * WINDOW_PX, 2 * WINDOW_PX, 3)
    assert sample_of(picture[:300]) is None
    assert sample_of(np.zeros((200, 9000, 3), np.uint8)) is None


@pytest.mark.parametrize(("squared_error", "reason"), [(5.0, Reason.CHEAPER), (900.0, Reason.FALLS_SHORT)])
def test_what_is_sure_to_lose_is_not_coded_whole(squared_error: float, reason: Reason) -> None:
    transform = Transform(screen(), 9.0, squared_error, [])
    found = choice_of(transform).best_at(2880)
    assert isinstance(found, Way)
    embedding = parse(found.data).embedding
    assert embedding is not None
    assert embedding.reason is reason
    assert [shape[:2] for shape in transform.log] == [(256, 512)]


def test_what_may_win_is_coded_whole_and_decoded_again_before_it_is_kept() -> None:
    transform = Transform(screen(), 0.01, 5.0, [])
    assert not isinstance(choice_of(transform).best_at(2880), Way)
    assert [shape[:2] for shape in transform.log] == [(256, 512), SIZE, ()]
    transform.log.clear()
    assert not isinstance(choice_of(transform, most_saved=1.4).best_at(2880), Way)
    assert [shape[:2] for shape in transform.log] == [(256, 512), SIZE, SIZE]  # refined, which decodes by itself


def test_a_graphic_that_lost_at_a_lower_quality_is_not_tried_at_a_higher_one() -> None:
    transform = Transform(screen(), 0.01, 5.0, [])
    found = choice_of(transform).best_at(4160, Reason.FALLS_SHORT)
    assert isinstance(found, Way)
    assert transform.log == []
    embedding = parse(found.data).embedding
    assert embedding is not None
    assert (embedding.reason, embedding.value) == (Reason.FALLS_SHORT, 4160)
