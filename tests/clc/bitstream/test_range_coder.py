"""The range coder returns what it was given, near the entropy, whatever the symbols are."""

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clc.bitstream import range_coder as rangecoder
from clc.bitstream.range_coder import CdfTable, Decoder, Encoder
from clc.errors import InputError, LimitError
from clc.limits import MAX_SYMBOL, MAX_SYMBOLS

# Three tables of the values -1..1, 0..1 and -2..2, written by hand.
TABLE = CdfTable(
    cdf=np.array(
        [
            [0, 100, 65000, 65536, 65536, 0, 0],
            [0, 65535, 65536, 65536, 0, 0, 0],
            [0, 1, 20000, 40000, 65535, 65536, 65536],
        ],
        dtype=np.int32,
    ),
    lengths=np.array([5, 4, 7], dtype=np.int32),
    offsets=np.array([-1, 0, -2], dtype=np.int32),
)

symbols_and_tables = st.lists(
    st.tuples(st.integers(-3, 3) | st.integers(-MAX_SYMBOL, MAX_SYMBOL), st.integers(0, 2)), max_size=200
)


def encode(symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.int32], n_pushes: int = 1) -> bytes:
    encoder = Encoder(TABLE)
    for some, their_tables in zip(np.array_split(symbols, n_pushes), np.array_split(tables, n_pushes), strict=True):
        encoder.push(some, their_tables)
    return encoder.finish()


def columns(pairs: list[tuple[int, int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    array = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    return array[:, 0], array[:, 1]


@settings(deadline=None, max_examples=100)
@given(symbols_and_tables, st.integers(1, 5), st.integers(1, 5))
def test_any_symbols_round_trip_however_they_are_divided(
    pairs: list[tuple[int, int]], n_pushes: int, n_pops: int
) -> None:
    symbols, tables = columns(pairs)
    data = encode(symbols, tables, n_pushes)
    decoder = Decoder(TABLE, data, symbols.size)
    decoded = np.concatenate([decoder.pop(some) for some in np.array_split(tables, n_pops)])
    assert decoded.dtype == np.int32
    assert decoded.tolist() == symbols.tolist()


@settings(deadline=None, max_examples=30)
@given(symbols_and_tables, st.integers(2, 9))
def test_the_bytes_do_not_depend_on_how_symbols_are_pushed(pairs: list[tuple[int, int]], n_pushes: int) -> None:
    symbols, tables = columns(pairs)
    assert encode(symbols, tables, n_pushes) == encode(symbols, tables)


def test_chunks_do_not_change_the_bytes_or_the_symbols(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    symbols = generator.integers(-9, 10, 100, dtype=np.int32)
    tables = generator.integers(0, 3, 100, dtype=np.int32)
    in_one_chunk = encode(symbols, tables)
    monkeypatch.setattr(rangecoder, "_CHUNK", 7)
    assert encode(symbols, tables) == in_one_chunk
    assert Decoder(TABLE, in_one_chunk, 100).pop(tables).tolist() == symbols.tolist()


def test_no_symbols_take_one_byte() -> None:
    data = Encoder(TABLE).finish()
    assert data == b"\x00"
    assert Decoder(TABLE, data, 0).pop(np.zeros(0, dtype=np.int32)).size == 0


@pytest.mark.parametrize("n_symbols", range(1, 12))
def test_a_few_symbols_of_16_bits_do_not_overrun_the_encoder(n_symbols: int) -> None:
    symbols, tables = np.full(n_symbols, -2, dtype=np.int32), np.full(n_symbols, 2, dtype=np.int32)
    for _ in range(50):  # an overrun corrupts the heap and shows later
        data = encode(symbols, tables)
        assert Decoder(TABLE, data, n_symbols).pop(tables).tolist() == symbols.tolist()


def test_likely_symbols_cost_their_entropy() -> None:
    symbols = np.random.default_rng(0).choice([-1, 0, 1], size=50_000, p=[0.02, 0.96, 0.02]).astype(np.int32)
    masses = np.array([1311, 62914, 1311])
    row = np.concatenate(([0], np.cumsum(masses), [65536])).astype(np.int32)
    table = CdfTable(row[None], np.array([5], dtype=np.int32), np.array([-1], dtype=np.int32))
    encoder = Encoder(table)
    encoder.push(symbols, np.zeros(50_000, dtype=np.int32))
    ideal_bits = -np.log2(masses[symbols + 1] / 65536).sum()
    at_edges_bits = 8 * np.count_nonzero(symbols)  # an edge symbol has a remainder, here 0, in the side list
    assert 8 * len(encoder.finish()) <= ideal_bits * 1.001 + at_edges_bits + 128


@pytest.mark.parametrize(
    ("symbols", "tables", "message"),
    [
        (np.array([0.5]), np.array([0]), "float64"),
        (np.array([[0]]), np.array([0]), "shape|indexes"),
        (np.array([0, 1]), np.array([0]), "indexes"),
        (np.array([0]), np.array([3]), "outside 0..2"),
        (np.array([0]), np.array([-1]), "outside 0..2"),
        (np.array([0]), np.array([0.0]), "integers"),
        (np.array([MAX_SYMBOL + 1]), np.array([0]), "outside"),
        (np.array([-(2**31)]), np.array([0]), "outside"),
    ],
)
def test_push_refuses(symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.int32], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Encoder(TABLE).push(symbols, tables)


def test_an_encoder_is_used_up_by_finish() -> None:
    encoder = Encoder(TABLE)
    encoder.finish()
    with pytest.raises(InputError, match="twice"):
        encoder.finish()
    with pytest.raises(InputError, match="after finish"):
        encoder.push(np.array([0]), np.array([0]))


def test_pop_refuses_more_symbols_than_were_announced() -> None:
    data = encode(np.zeros(3, dtype=np.int32), np.zeros(3, dtype=np.int32))
    with pytest.raises(InputError, match="3 are left"):
        Decoder(TABLE, data, 3).pop(np.zeros(4, dtype=np.int32))


def test_pop_refuses_an_index_without_a_table() -> None:
    data = encode(np.zeros(3, dtype=np.int32), np.zeros(3, dtype=np.int32))
    with pytest.raises(InputError, match=r"outside 0\.\.2"):
        Decoder(TABLE, data, 3).pop(np.array([0, 0, 3]))


@pytest.mark.parametrize("n_symbols", [-1, MAX_SYMBOLS + 1])
def test_a_decoder_refuses_a_count_over_the_cap(n_symbols: int) -> None:
    with pytest.raises(LimitError, match="symbols"):
        Decoder(TABLE, b"\x00", n_symbols)


def table_of(row: list[int], length: int | None = None, offset: int = 0) -> CdfTable:
    return CdfTable(np.array([row]), np.array([length or len(row)]), np.array([offset]))


@pytest.mark.parametrize(
    ("row", "length", "offset", "message"),
    [
        ([1, 9, 65536, 65536], None, 0, "start at 0"),
        ([0, 9, 65535, 65536], None, 0, "escape without mass"),
        ([0, 9, 65536, 65535], None, 0, "escape without mass"),
        ([0, 9, 9, 65536, 65536], None, 0, "no mass"),
        ([0, 9, 8, 65536, 65536], None, 0, "no mass"),
        ([0, -(2**31), 2**31 - 1, 65536, 65536], None, 0, "no mass"),
        ([0, 65536, 65536], None, 0, "two values"),
        ([0, 9, 65536, 65536, 0], 4, 0, "fill it once"),
        ([0, 9, 65536, 65536], None, 2**20, "values must lie"),
        ([0, 9, 65536, 65536], None, 2**20 - 1, "values must lie"),
        ([0, 9, 65536, 65536], None, -(2**31), "values must lie"),
        ([0, 9, 2**32, 65536], None, 0, "32 bits"),
    ],
)
def test_a_table_that_could_mislead_the_coder_is_refused(
    row: list[int], length: int | None, offset: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        table_of(row, length, offset)


def test_a_table_with_bytes_behind_a_row_is_refused() -> None:
    cdf = TABLE.cdf.copy()
    cdf[1, 6] = 1
    with pytest.raises(InputError, match="unused end"):
        CdfTable(cdf, TABLE.lengths, TABLE.offsets)


def test_a_table_with_other_shapes_or_types_is_refused() -> None:
    with pytest.raises(InputError, match="same number"):
        CdfTable(TABLE.cdf, TABLE.lengths[:2], TABLE.offsets)
    with pytest.raises(InputError, match="integer array"):
        CdfTable(TABLE.cdf.astype(np.float32), TABLE.lengths, TABLE.offsets)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="one at least"):
        CdfTable(TABLE.cdf[:0], TABLE.lengths[:0], TABLE.offsets[:0])


def test_a_table_cannot_be_changed_after_its_checks() -> None:
    with pytest.raises(ValueError, match="read-only"):
        TABLE.cdf[0, 1] = 0


def test_coding_imports_neither_torchvision_nor_the_rest_of_compressai() -> None:
    program = (
        "import sys; from clc.bitstream import range_coder; range_coder._load_ans();"
        "sys.exit(','.join(m for m in ('torchvision', 'compressai') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert done.stderr.strip() == ""
