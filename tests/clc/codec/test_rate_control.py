"""Rate control on stand-ins whose size is known, and once on the real codec."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.codec import Codec
from clc.codec.info import stream_info
from clc.codec.rate_control import Controlled, encode_to_size, target_bytes_of
from clc.errors import InputError
from tests.conftest import Picture


def coder(size_of: Callable[[float], float]) -> Callable[[float], bytes]:
    """An encoder whose streams say their quality and have the size that a function gives."""

    def encode(quality: float) -> bytes:
        assert 0 <= quality <= 100
        assert quality * 64 == round(quality * 64)
        return f"{quality:012.6f}".encode().ljust(round(size_of(quality)), b".")

    return encode


def quality_in(found: Controlled) -> float:
    return float(found.data[:12])


@given(st.floats(400, 2e6), st.floats(0.012, 0.03), st.floats(0.02, 0.98), st.floats(-0.006, 0.006))
def test_a_reachable_target_is_met_within_two_percent_in_few_encodes(
    smallest: float, slope: float, share: float, bend: float
) -> None:
    def size_of(quality: float) -> float:
        return smallest * math.exp(slope * quality + bend * quality * (quality - 100) / 100)

    target = size_of(0) ** (1 - share) * size_of(100) ** share
    found = encode_to_size(coder(size_of), target)
    assert found.is_met
    assert abs(len(found.data) / target - 1) <= 0.02
    assert found.quality == quality_in(found)
    assert found.n_encodes <= 5


def test_a_straight_line_takes_three_encodes_and_the_start_itself_one() -> None:
    encode = coder(lambda quality: 5000 * math.exp(0.025 * quality))
    assert encode_to_size(encode, 5000 * math.exp(0.025 * 50)).n_encodes == 1
    assert encode_to_size(encode, 5000 * math.exp(0.025 * 93)).n_encodes == 3
    assert encode_to_size(encode, 5000 * math.exp(0.025 * 8)).n_encodes == 3


@pytest.mark.parametrize("knee", [5, 40, 99])
def test_a_curve_with_a_knee_still_ends(knee: int) -> None:
    encode = coder(lambda quality: 1000 + 40 * quality + 5000 * (quality > knee) + 3000 * max(0, quality - knee))
    target = 1000 + 40 * knee + 6000
    found = encode_to_size(encode, target)
    assert found.n_encodes <= 16
    assert abs(len(found.data) / target - 1) <= 0.02


def test_a_jump_over_the_target_gives_the_nearer_side() -> None:
    encode = coder(lambda quality: 100 if quality < 30.5 else 120)
    for target, size in ((107, 100), (114, 120)):
        found = encode_to_size(encode, target)
        assert not found.is_met
        assert len(found.data) == size
        assert found.quality == quality_in(found)
        assert found.n_encodes < 20


def test_the_ends_of_the_range_are_reachable() -> None:
    encode = coder(lambda quality: 1000 * math.exp(0.02 * quality))
    assert encode_to_size(encode, 985).quality == pytest.approx(0, abs=1)
    assert encode_to_size(encode, 1000 * math.exp(2) * 1.015).quality == pytest.approx(100, abs=1)


def test_a_target_out_of_reach_says_what_is_in_reach() -> None:
    encode = coder(lambda quality: 1000 * math.exp(0.02 * quality))
    with pytest.raises(InputError, match=r"500 bytes lie below what quality 0 gives.* 1000 bytes.*scale"):
        encode_to_size(encode, 500)
    with pytest.raises(InputError, match=r"90000 bytes lie above what quality 100 gives.* 7389 bytes"):
        encode_to_size(encode, 90_000)


def test_a_target_that_metadata_fill_names_the_way_to_leave_them_out() -> None:
    encode = coder(lambda quality: 900 + 100 * math.exp(0.02 * quality))
    with pytest.raises(InputError, match=r"500 bytes lie below .* 1000 bytes, 880 of them EXIF and XMP: .*--strip"):
        encode_to_size(encode, 500, metadata_bytes=880)
    with pytest.raises(InputError, match="above") as above:
        encode_to_size(encode, 90_000, metadata_bytes=880)
    assert "--strip" not in str(above.value)


def test_a_size_that_never_changes_is_refused_not_searched_for_ever() -> None:
    with pytest.raises(InputError, match="lie above what quality 100 gives"):
        encode_to_size(coder(lambda _: 300), 700)


@pytest.mark.parametrize("target", [0.0, -5.0, math.nan, math.inf])
def test_a_target_that_is_no_size_is_refused(target: float) -> None:
    with pytest.raises(InputError, match="above 0"):
        encode_to_size(coder(lambda quality: 100 + quality), target)


def test_bits_a_pixel_become_bytes() -> None:
    assert target_bytes_of(0.5, 768, 512) == 24_576


@pytest.mark.parametrize("bpp", [0.4, 1.2])
def test_real_streams_meet_a_target(shipped: Codec, photo: Picture, bpp: float) -> None:
    image = np.ascontiguousarray(photo[60:188, 100:260])
    target = target_bytes_of(bpp, 160, 128)
    found = encode_to_size(lambda quality: shipped.encode(image, quality, "none"), target)
    assert found.is_met
    assert found.n_encodes <= 6
    assert abs(len(found.data) / target - 1) <= 0.02
    assert stream_info(found.data).quality == found.quality
