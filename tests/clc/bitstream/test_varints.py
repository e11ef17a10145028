"""Varints: one encoding for each number, arrays and scalars alike."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream.varints import read_varint, read_varints, write_varint, write_varints
from clc.errors import CorruptStream, InputError, TruncatedStream


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**35 - 1), st.binary(max_size=3))
def test_a_varint_round_trips_and_leaves_what_follows(value: int, rest: bytes) -> None:
    encoded = write_varint(value)
    assert read_varint(encoded + rest, 0, 5, "number") == (value, len(encoded))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 2**21 - 1)))
def test_an_array_is_coded_as_its_numbers_one_after_the_other(values: list[int]) -> None:
    encoded = write_varints(np.array(values, dtype=np.int64))
    assert encoded == b"".join(write_varint(value) for value in values)
    assert read_varints(encoded, "list").tolist() == values


@pytest.mark.parametrize("value", [-1, 2**21])
def test_an_array_refuses_numbers_that_do_not_fit(value: int) -> None:
    with pytest.raises(InputError, match="2\\*\\*21"):
        write_varints(np.array([0, value]))


def test_a_negative_varint_is_refused() -> None:
    with pytest.raises(InputError, match="-1"):
        write_varint(-1)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedStream),
        (b"\x80", TruncatedStream),
        (b"\x80\x00", CorruptStream),
        (b"\x80\x80\x80\x01", CorruptStream),
    ],
)
def test_a_malformed_varint_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match="width"):
        read_varint(data, 0, 3, "width")


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"\x01\x80", TruncatedStream), (b"\x01\x80\x00", CorruptStream), (b"\x80\x80\x80\x01", CorruptStream)],
)
def test_a_malformed_array_is_refused(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match="side list"):
        read_varints(data, "side list")
