"""The HEVC peer of bench/: colours, units of the stream, and real codings where x265 is installed."""

import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from clc.errors import InputError

BENCH = Path(__file__).parents[2] / "bench"
needs_x265 = pytest.mark.skipif(shutil.which("x265") is None, reason="x265 is not installed (apt install x265)")


@pytest.fixture
def hevc(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("hevc")


@pytest.fixture
def coder(hevc):
    return hevc.Hevc.find()


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_colours_come_back_within_rounding(hevc, photo, matrix) -> None:
    planes = hevc.to_planes(photo, matrix)
    assert planes.shape == (3, *photo.shape[:2])
    assert np.abs(hevc.to_rgb(planes, matrix).astype(int) - photo).max() <= 2


def test_grey_has_no_chroma(hevc) -> None:
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert hevc.to_planes(grey)[:, 0, 0].tolist() == [77, 128, 128]


def test_units_are_counted_whole(hevc) -> None:
    stream = b"\0\0\0\1\x40\1abc" + b"\0\0\1\x44\1d" + b"\0\0\0\1\x26\1slice" + b"\0\0\1\x02\1second"
    assert [unit.kind for unit in hevc.nal_units(stream)] == [32, 34, 19, 1]
    assert sum(unit.size_bytes for unit in hevc.nal_units(stream)) == len(stream)
    assert hevc.split_frames(stream) == ([11, 11], 15)


def test_bytes_that_would_be_counted_nowhere_are_refused(hevc) -> None:
    with pytest.raises(InputError, match="neither slices nor parameter sets"):
        hevc.split_frames(b"\0\0\1\x4e\1message")
    with pytest.raises(InputError, match="no HEVC byte stream"):
        hevc.split_frames(b"something else")


def test_another_qp_than_asked_is_refused(hevc) -> None:
    log = "Encode Order, Type, POC, QP\n0, I-SLICE, 0, 10.00\n1, P-SLICE, 1, 33.00\n"
    hevc._check_frames(log, [10, 33])
    with pytest.raises(InputError, match="asked for were"):
        hevc._check_frames(log, [10, 30])


def test_a_missing_program_is_one_sentence(hevc, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="x265 is not installed"):
        hevc.Hevc.find()


@needs_x265
def test_a_reference_saves_bytes_and_a_higher_qp_too(coder, photo) -> None:
    target, shifted = photo[8:136, 10:202], photo[10:138, 14:206]
    alone = coder.code(target, 32)
    with_reference = coder.code(target, 32, shifted)
    assert with_reference.size_bytes < 0.7 * alone.size_bytes
    assert with_reference.psnr_db > alone.psnr_db - 0.5
    assert coder.code(target, 40).size_bytes < alone.size_bytes
    assert 0 < alone.header_bytes < 100


@needs_x265
def test_a_reference_of_another_size_is_refused(coder, photo) -> None:
    with pytest.raises(InputError, match="another size"):
        coder.code(photo[:64, :64], 32, photo[:64, :72])
