"""Malformed range-coded payloads: nothing crashes the C++ coder, whatever the bytes are.

A crash would end the whole test run, which is how these tests fail.
"""

import contextlib
import random

import numpy as np
import pytest

from clc.bitstream.cdf_tables import gaussian_table, merge, table_from_pmf
from clc.bitstream.range_coder import CdfTable, Decoder, Encoder
from clc.bitstream.varints import write_varint
from clc.errors import BitstreamError, CorruptStream, TruncatedStream

N_SYMBOLS = 400
INDEXES = np.arange(N_SYMBOLS) % 5
STATE = (1 << 40).to_bytes(8, "little")


@pytest.fixture(scope="module")
def table() -> CdfTable:
    return merge(gaussian_table(np.array([0.11, 1.0, 20.0, 128.0])), table_from_pmf([np.array([1.0, 3.0])], [0]))


@pytest.fixture(scope="module")
def payload(table: CdfTable) -> bytes:
    symbols = np.round(np.random.default_rng(0).standard_normal(N_SYMBOLS) * 40).astype(np.int32)
    encoder = Encoder(table)
    encoder.push(symbols, INDEXES)
    return encoder.finish()


def decode(table: CdfTable, data: bytes, n_symbols: int = N_SYMBOLS) -> None:
    decoder = Decoder(table, data, n_symbols)
    decoder.pop(INDEXES[: n_symbols // 2])
    decoder.pop(INDEXES[n_symbols // 2 : n_symbols])


def test_every_prefix_is_refused_or_decodes_to_something(table: CdfTable, payload: bytes) -> None:
    for length in range(len(payload)):
        try:
            decode(table, payload[:length])
        except BitstreamError:
            continue
        assert length % 4 == len(payload) % 4  # only whole words can go missing unseen; the container counts them


def test_mutations_never_crash(table: CdfTable, payload: bytes) -> None:
    generator = random.Random(2)  # noqa: S311 - no secret
    refused = 0
    for _ in range(1_000):
        data = bytearray(payload)
        for _ in range(generator.choice((1, 3, 20))):
            data[generator.randrange(generator.choice((40, len(data))))] = generator.choice(
                (0, 255, generator.randrange(256))
            )
        try:
            decode(table, bytes(data))
        except BitstreamError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "words", [STATE, STATE + b"\xff" * 400, STATE + bytes(400), b"\xff" * 7 + b"\x7f" + b"\xff" * 4000]
)
def test_words_that_no_encoder_wrote_never_crash(table: CdfTable, words: bytes) -> None:
    side = b"\x00" * N_SYMBOLS
    with contextlib.suppress(CorruptStream):
        decode(table, write_varint(len(side)) + side + words)


def test_symbols_beyond_the_words_read_zeros_and_no_foreign_memory(table: CdfTable) -> None:
    n_symbols = 20_000
    side = write_varint(n_symbols) + bytes(n_symbols)
    indexes = np.full(n_symbols - 1, 3)  # all but one, because some of the side list is left over
    cut = Decoder(table, side + STATE, n_symbols).pop(indexes)
    whole = Decoder(table, side + STATE + bytes(4 * n_symbols), n_symbols).pop(indexes)
    assert cut.tolist() == whole.tolist()


@pytest.mark.parametrize("words", [b"", b"\x00" * 4, b"\xff" * 4, STATE + b"\x00", STATE[:7]])
def test_words_that_are_cut_are_truncated(table: CdfTable, words: bytes) -> None:
    with pytest.raises(TruncatedStream):
        decode(table, b"\x00" + words)


@pytest.mark.parametrize("words", [bytes(8), b"\xff" * 8, b"\xff" * 800, (2**31 - 1).to_bytes(8, "little")])
def test_an_impossible_state_is_refused(table: CdfTable, words: bytes) -> None:
    with pytest.raises(CorruptStream, match="state"):
        decode(table, b"\x00" + words)


def test_an_empty_payload_is_truncated(table: CdfTable) -> None:
    with pytest.raises(TruncatedStream, match="side list's length"):
        decode(table, b"")


def test_a_side_list_longer_than_the_payload_is_truncated(table: CdfTable) -> None:
    with pytest.raises(TruncatedStream, match="side list"):
        decode(table, b"\xff\xff\xff\xff\x0f" + STATE)


def test_a_side_list_that_is_too_long_is_refused(table: CdfTable) -> None:
    encoder = Encoder(table)
    encoder.push(np.array([1000, 0, 0]), np.array([0, 0, 0]))
    data = encoder.finish()
    with pytest.raises(CorruptStream, match="longer than its symbols need"):
        Decoder(table, b"\x03" + data[1:3] + b"\x00" + data[3:], 3).pop(np.array([0, 0, 0]))


def test_a_side_list_that_is_too_short_is_refused(table: CdfTable) -> None:
    encoder = Encoder(table)
    encoder.push(np.array([1000, 0, 0]), np.array([0, 0, 0]))
    data = encoder.finish()
    assert data[:3] == b"\x02\xde\x07"
    with pytest.raises(CorruptStream, match="shorter than its symbols need"):
        Decoder(table, b"\x00" + data[3:], 3).pop(np.array([0, 0, 0]))


def test_a_remainder_that_leaves_the_range_of_symbols_is_refused(table: CdfTable) -> None:
    encoder = Encoder(table)
    encoder.push(np.array([1000, 0, 0]), np.array([0, 0, 0]))
    data = encoder.finish()
    with pytest.raises(CorruptStream, match="outside"):
        Decoder(table, b"\x03\xff\xff\x7f" + data[3:], 3).pop(np.array([0, 0, 0]))


def test_words_behind_no_symbols_are_refused(table: CdfTable, payload: bytes) -> None:
    with pytest.raises(CorruptStream, match="left over"):
        Decoder(table, b"\x00" + STATE, 0)
    with pytest.raises(CorruptStream, match="longer"):
        Decoder(table, b"\x01\x00", 0)
