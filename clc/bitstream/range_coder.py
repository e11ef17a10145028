"""Range coding of integer symbols under stored integer tables: exactly invertible, and safe on bad bytes.

`clc.codec.latent_coding` codes symbols here; `clc.bitstream.cdf_tables` makes the tables. No other module touches
`compressai.ans`, a 64-bit rANS coder written in C++. That coder is fast but trusts its input: an escape symbol or the
end of the data sends it out of bounds. This module guards it:

- every table gives the escape symbol no mass, so that no bytes can select it (`CdfTable` refuses other tables);
- short payloads are filled up with symbols that cost nothing: the encoder's buffer has one word a symbol, and its final
  state alone takes two words, so that one or two symbols would overrun it;
- the decoder works on a copy of the data, with zeros behind it for the worst case of a word for each two symbols;
- `check_capacity`, which callers run first, refuses data that are too short for the number of symbols;
- counts, table indexes and the coder's initial state are checked before the C++ code sees them.

It cannot detect a payload whose symbols are wrong but valid; the checksums of `clc.bitstream.container` do.

A table of the values lo..hi codes any symbol: `lo` means "at most lo" and `hi` "at least hi". The distance from that
edge is the next number of a side list of varints.

Payload:

    ======================  ==============================================================================
    varint                  length of the side list in bytes
    varints                 side list: for each symbol at an edge of its table, in coding order, |symbol - edge|
    8 + 4 k bytes           rANS words, little-endian; none at all where there are no symbols
    ======================  ==============================================================================
"""

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from clc.bitstream.varints import read_varint, read_varints, write_varint, write_varints
from clc.errors import CorruptStream, InputError, LimitError, TruncatedStream
from clc.limits import MAX_STREAM_BYTES, MAX_SYMBOL, MAX_SYMBOLS

PRECISION_BITS = 16
TOTAL_MASS = 1 << PRECISION_BITS
"""The sum of a table's masses, which stands for a probability of 1."""

_CHUNK = 1 << 18  # symbols that exist as Python integers at one time: bounds the memory beside the arrays
_MAX_LENGTH_VARINT_BYTES = 5
_LEAST_SYMBOLS = 8  # symbols of 16 bits need 2 + n / 2 words of the encoder's n: enough from 4 on
_FILL_ROW = [0, TOTAL_MASS - 1, TOTAL_MASS, TOTAL_MASS]  # its value 0 costs 2e-5 bits
_STATE_BYTES = 8
_LEAST_STATE = 1 << 31  # of a rANS64 coder; decoding a symbol of 16 bits leaves 2**15, and the next word lifts it
_STATE_LEAST_BITS = 32  # bits of the final state's 64 that carry no symbols
_ROUNDING = 1e-3  # share by which rANS may fall below the information of its symbols: less than 2**-14, by rounding

Int32Array = npt.NDArray[np.int32]
IntegerArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class CdfTable:
    """Cumulative distributions in 1/65536, in compressai's layout, without mass for its escape symbol.

    - `cdf` int32 (n_tables, max_length): row t holds 0 = c_0 < c_1 < ... < c_n = 65536, then 65536 again (the empty
      escape), then zeros up to max_length. n >= 2 values a table.
    - `lengths` int32 (n_tables,): used entries of each row, n + 2.
    - `offsets` int32 (n_tables,): the value that symbol 0 of each row stands for.

    Raises `InputError` on construction where a table breaks these rules. The arrays are copied and read-only.
    """

    cdf: Int32Array
    lengths: Int32Array
    offsets: Int32Array
    least_bits: npt.NDArray[np.float64] = field(init=False, repr=False)
    """Cost of the likeliest value of each table in bits, float64 (n_tables,)."""
    _lists: tuple[list[list[int]], list[int], list[int]] = field(init=False, repr=False)
    """Rows, lengths and offsets as the C++ coder takes them; made once, because each call needs them."""

    def __post_init__(self) -> None:
        for name, dimensions in (("cdf", 2), ("lengths", 1), ("offsets", 1)):
            given = np.asarray(getattr(self, name))
            if given.ndim != dimensions or given.dtype.kind not in "iu":
                raise InputError(f"CDF table: {name} must be an integer array of {dimensions} dimension(s)")
            array = np.array(given, dtype=np.int32, order="C")
            if not np.array_equal(array, given):
                raise InputError(f"CDF table: {name} does not fit into 32 bits")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check_shapes()
        self._check_masses()
        # Not on first use: Python 3.11 locks there, and a process that is forked meanwhile would wait for ever.
        masses = np.diff(self.cdf.astype(np.int64), axis=1).max(axis=1)
        object.__setattr__(self, "least_bits", PRECISION_BITS - np.log2(masses))
        rows = [self.cdf[t, : self.lengths[t]].tolist() for t in range(self.n_tables)]
        object.__setattr__(self, "_lists", (rows, self.lengths.tolist(), self.offsets.tolist()))

    def _check_shapes(self) -> None:
        n_tables, max_length = self.cdf.shape
        if n_tables == 0 or self.lengths.shape != (n_tables,) or self.offsets.shape != (n_tables,):
            raise InputError("CDF table: cdf, lengths and offsets must hold the same number of tables, one at least")
        if self.lengths.min() < 4 or self.lengths.max() != max_length:
            raise InputError("CDF table: lengths must be from 4 (two values) to the width of cdf, and fill it once")
        if self.offsets.min() < -MAX_SYMBOL or self.offsets.max() > MAX_SYMBOL or self.highest.max() > MAX_SYMBOL:
            raise InputError(f"CDF table: values must lie within -{MAX_SYMBOL}..{MAX_SYMBOL}")

    def _check_masses(self) -> None:
        rows = np.arange(self.n_tables)
        columns = np.arange(self.cdf.shape[1])
        if np.any(self.cdf[:, 0] != 0):
            raise InputError("CDF table: a row does not start at 0")
        if np.any(self.cdf[rows, self.lengths - 2] != TOTAL_MASS) or np.any(
            self.cdf[rows, self.lengths - 1] != TOTAL_MASS
        ):
            raise InputError(f"CDF table: a row does not end with {TOTAL_MASS} twice (an escape without mass)")
        is_symbol = columns[:-1] < self.lengths[:, None] - 2
        # int64: differences of arbitrary int32 entries overflow
        if np.any(np.diff(self.cdf.astype(np.int64), axis=1)[is_symbol] < 1):
            raise InputError("CDF table: a value has no mass (a row does not rise)")
        if np.any(self.cdf[columns >= self.lengths[:, None]] != 0):
            raise InputError("CDF table: the unused end of a row is not zero")

    @property
    def n_tables(self) -> int:
        """Number of tables (rows)."""
        return int(self.cdf.shape[0])

    @property
    def highest(self) -> Int32Array:
        """The largest value of each table, int32 (n_tables,); the smallest is `offsets`."""
        return (self.offsets + (self.lengths - 3)).astype(np.int32)

    def for_coder(self, indexes: npt.NDArray[np.int64]) -> Iterator[tuple[slice, tuple[Any, ...]]]:
        """Yield chunks of `indexes` (n,): where each lies in them, and the C++ coder's arguments for it.

        The coder copies all tables that it is given, so a chunk gets only those from its least index to its greatest.
        """
        for start in range(0, indexes.size, _CHUNK):
            chunk = indexes[start : start + _CHUNK]
            first = int(chunk.min())
            tables = [part[first : int(chunk.max()) + 1] for part in self._lists]
            yield slice(start, start + _CHUNK), ((chunk - first).tolist(), *tables)


class Encoder:
    """Codes symbols in the order in which they are pushed; `Decoder` pops them in the same order."""

    def __init__(self, table: CdfTable) -> None:
        self._table = table
        self._coder = _load_ans().BufferedRansEncoder()
        self._remainders: list[npt.NDArray[np.int64]] = []
        self._n_symbols = 0
        self._is_finished = False

    def push(self, symbols: IntegerArray, table_indexes: IntegerArray) -> None:
        """Append integer symbols (n,), each under the table that its index (n,) names.

        Raises `InputError` for other shapes or types, an index without a table, or |symbol| > `MAX_SYMBOL`.
        """
        if self._is_finished:
            raise InputError("range coder: push after finish; make a new Encoder")
        indexes = _checked_indexes(table_indexes, self._table)
        given = np.asarray(symbols)
        if given.dtype.kind not in "iu" or given.shape != indexes.shape:
            raise InputError(f"range coder: {given.dtype} symbols {given.shape} for indexes {indexes.shape}")
        if given.size and (given.min() < -MAX_SYMBOL or given.max() > MAX_SYMBOL):
            raise InputError(f"range coder: a symbol lies outside -{MAX_SYMBOL}..{MAX_SYMBOL}")
        values = given.astype(np.int64)
        low, high = self._table.offsets[indexes], self._table.highest[indexes]
        coded = np.clip(values, low, high)
        is_edge = (coded == low) | (coded == high)
        self._remainders.append(np.abs(values - coded)[is_edge])
        for chunk, indexed in self._table.for_coder(indexes):
            self._coder.encode_with_indexes(coded[chunk].tolist(), *indexed)
        self._n_symbols += values.size

    def finish(self) -> bytes:
        """Return the payload, in the module's layout. No more symbols can be pushed: that is an `InputError`."""
        if self._is_finished:
            raise InputError("range coder: finish was called twice; make a new Encoder")
        self._is_finished = True
        side = write_varints(np.concatenate([np.zeros(0, dtype=np.int64), *self._remainders]))
        return write_varint(len(side)) + side + self._flush()

    def _flush(self) -> bytes:
        if self._n_symbols == 0:
            return b""
        n_fill = max(0, _LEAST_SYMBOLS - self._n_symbols)
        self._coder.encode_with_indexes([0] * n_fill, [0] * n_fill, [_FILL_ROW], [len(_FILL_ROW)], [0])
        words: bytes = self._coder.flush()
        return words


class Decoder:
    """Reads the payload of an `Encoder` that had the same tables and was given `n_symbols` symbols."""

    def __init__(self, table: CdfTable, data: bytes, n_symbols: int) -> None:
        """Check the frame of the payload.

        Raises `LimitError` over a cap, `TruncatedStream` where bytes are missing, and `CorruptStream` where they
        cannot come from an encoder.
        """
        if not 0 <= n_symbols <= MAX_SYMBOLS:
            raise LimitError(f"range coder: {n_symbols} symbols asked for, from 0 to {MAX_SYMBOLS} are allowed")
        if len(data) > MAX_STREAM_BYTES:
            raise LimitError(f"range coder: {len(data)} bytes, at most {MAX_STREAM_BYTES} are allowed")
        side_bytes, start = read_varint(data, 0, _MAX_LENGTH_VARINT_BYTES, "side list's length")
        if side_bytes > len(data) - start:
            raise TruncatedStream(f"the payload ends inside its {side_bytes}-byte side list: get the whole file again")
        words = data[start + side_bytes :]
        _check_words(words, n_symbols)
        self._table = table
        self._remainders = read_varints(data[start : start + side_bytes], "side list")
        self._n_left = n_symbols
        self._coder = _load_ans().RansDecoder()
        self._coder.set_stream(words + bytes(max(0, _STATE_BYTES + 2 * (n_symbols + 1) - len(words))))
        self._check_end()

    def pop(self, table_indexes: IntegerArray) -> Int32Array:
        """Return the next symbols, int32 (n,), one for each table index (n,).

        Raises `InputError` for bad indexes or more symbols than are left, `CorruptStream` where the side list does
        not match the symbols.
        """
        indexes = _checked_indexes(table_indexes, self._table)
        if indexes.size > self._n_left:
            raise InputError(f"range coder: {indexes.size} symbols asked for, {self._n_left} are left")
        values = np.empty(indexes.size, dtype=np.int64)
        for chunk, indexed in self._table.for_coder(indexes):
            values[chunk] = self._coder.decode_stream(*indexed)
        self._n_left -= indexes.size
        self._extend_edges(values, indexes)
        self._check_end()
        return values.astype(np.int32)

    def _extend_edges(self, values: npt.NDArray[np.int64], indexes: npt.NDArray[np.int64]) -> None:
        """Add the remainders of the side list to the symbols at an edge of their table, in place."""
        is_low = values == self._table.offsets[indexes]
        edges = np.flatnonzero(is_low | (values == self._table.highest[indexes]))
        if edges.size > self._remainders.size:
            raise CorruptStream("the payload's side list is shorter than its symbols need: the stream is damaged")
        remainders, self._remainders = self._remainders[: edges.size], self._remainders[edges.size :]
        values[edges] += np.where(is_low[edges], -remainders, remainders)
        if edges.size and np.abs(values[edges]).max() > MAX_SYMBOL:
            raise CorruptStream(f"a symbol of the payload lies outside -{MAX_SYMBOL}..{MAX_SYMBOL}")

    def _check_end(self) -> None:
        if self._n_left == 0 and self._remainders.size:
            raise CorruptStream("the payload's side list is longer than its symbols need: the stream is damaged")


def check_capacity(payload_bytes: int, least_bits: float) -> None:
    """Raise `CorruptStream` for a payload too short for symbols of `least_bits` bits in all.

    `least_bits` is a sum of `CdfTable.least_bits`. Call it before spending time or memory on a size that only a header
    claims.
    """
    if 8 * payload_bytes - _STATE_LEAST_BITS < least_bits * (1.0 - _ROUNDING):
        raise CorruptStream(
            f"a payload of {payload_bytes} bytes cannot hold a picture of the size that the header claims, which takes "
            f"{least_bits / 8:.0f} bytes at least: the stream is damaged"
        )


def _check_words(words: bytes, n_symbols: int) -> None:
    if n_symbols == 0:
        if words:
            raise CorruptStream(f"{len(words)} bytes are left over behind an empty payload: the stream is damaged")
        return
    if len(words) < _STATE_BYTES or len(words) % 4:
        raise TruncatedStream(f"the payload's {len(words)} bytes of words are cut short: get the whole file again")
    if not _LEAST_STATE <= int.from_bytes(words[:_STATE_BYTES], "little") < _LEAST_STATE << 32:
        raise CorruptStream("the payload starts with a state that no encoder writes: the stream is damaged")


def _checked_indexes(table_indexes: IntegerArray, table: CdfTable) -> npt.NDArray[np.int64]:
    given = np.asarray(table_indexes)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise InputError(f"range coder: table indexes must be integers (n,), not {given.dtype} {given.shape}")
    if given.size and (given.min() < 0 or given.max() >= table.n_tables):
        raise InputError(f"range coder: a table index lies outside 0..{table.n_tables - 1}")
    return given.astype(np.int64)


def _load_ans() -> ModuleType:
    """Return `compressai.ans` without running compressai's `__init__`.

    The package's `__init__` imports torchvision, which costs seconds and fails beside a CPU build of torch. The
    extension itself needs neither. It is registered under its own name, so that a later `import compressai` shares it.
    """
    name = "compressai.ans"
    if name in sys.modules:
        return sys.modules[name]
    package = importlib.util.find_spec("compressai")
    spec = PathFinder.find_spec(name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        raise InputError("the range coder of compressai is missing: install `compressai>=1.2.8,<1.3`")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = module
    return module
