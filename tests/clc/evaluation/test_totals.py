"""Totals of many pictures: bytes of all files, PSNR of all pixels, and what lies between two measured qualities."""

import math

import numpy as np
import pytest

from clc.evaluation.coders import find_baselines
from clc.evaluation.metrics import psnr_db
from clc.evaluation.totals import SquaredError, Total, bytes_at_psnr, total


class Ladder:
    """A coder whose file at quality q has 100 * 2**q bytes, and whose pictures are off by 64 / 2**q."""

    name, settings, references = "ladder", "", "-"

    def __init__(self, *qualities: float) -> None:
        self.qualities = qualities
        self.asked: list[float] = []

    def encode(self, image_HW3, quality):
        self.asked.append(quality)
        return bytes([int(quality)]) * (100 << int(quality))

    def decode(self, data):
        return np.full((4, 4, 3), 64 >> data[0], np.uint8)


SOURCE = np.zeros((4, 4, 3), np.uint8)


def at(quality: float) -> float:
    """PSNR in dB of `Ladder` at a quality."""
    return 20 * math.log10(255 / (64 / 2**quality))


def test_total_is_of_all_bytes_and_of_all_pixels() -> None:
    (jpeg,) = find_baselines(["jpeg"]).available
    noise = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    flat = np.full((80, 16, 3), 99, np.uint8)
    files = [jpeg.encode(one, 30) for one in (noise, flat)]
    found = total(jpeg, 30, [noise, flat], workers=2)
    assert found.bytes == sum(map(len, files))
    ours = np.concatenate([noise.ravel(), flat.ravel()])
    theirs = np.concatenate([jpeg.decode(one).ravel() for one in files])
    assert found.psnr_db == pytest.approx(psnr_db(ours.reshape(-1, 1, 3), theirs.reshape(-1, 1, 3)))


def test_pictures_without_an_error_have_infinite_psnr() -> None:
    errors = SquaredError()
    errors.add(SOURCE, SOURCE)
    assert errors.psnr_db == math.inf


@pytest.mark.parametrize("quality", [0.5, 1.5, 2.25, 4.75])
def test_bytes_between_two_qualities_are_interpolated_in_the_logarithm(quality: float) -> None:
    ladder = Ladder(0, 1, 2, 3, 4, 5)
    assert bytes_at_psnr(ladder, [SOURCE, SOURCE], at(quality)) == pytest.approx(2 * 100 * 2**quality)


@pytest.mark.parametrize("psnr", [at(-0.1), at(5.1), math.inf])
def test_psnr_beyond_the_ladder_has_no_bytes(psnr: float) -> None:
    assert bytes_at_psnr(Ladder(0, 1, 2, 3, 4, 5), [SOURCE], psnr) is None


def test_what_is_known_is_not_measured_again_and_little_else_is() -> None:
    ladder = Ladder(0, 1, 2, 3, 4, 5)
    known = {1: Total(200, at(1))}
    assert bytes_at_psnr(ladder, [SOURCE], at(1.5), known) == pytest.approx(100 * 2**1.5)
    assert 1 not in ladder.asked
    assert len(ladder.asked) <= 3
    assert known == {1: Total(200, at(1))}
