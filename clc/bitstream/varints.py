"""Minimal variable-length unsigned integers (LEB128: 7 bits a byte, least significant first, high bit "more follows").

Headers and lengths use the scalar pair, the side list of `clc.bitstream.range_coder` the array pair. The contract: each
value has exactly one encoding, and a longer one is refused as corrupt.
"""

import numpy as np
import numpy.typing as npt

from clc.errors import CorruptStream, InputError, TruncatedStream

MAX_ARRAY_VARINT_BYTES = 3
"""Bytes of the longest varint in an array: values below 2**21."""


def write_varint(value: int) -> bytes:
    """Encode one integer >= 0. Raises `InputError` for a negative one."""
    if value < 0:
        raise InputError(f"a varint holds integers from 0 on, not {value}")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varint(data: bytes, position: int, max_bytes: int, field: str) -> tuple[int, int]:
    """Decode the varint at `data[position:]` and return it with the position behind it.

    Raises `TruncatedStream` where the data end inside it, and `CorruptStream` where it is longer than `max_bytes` or
    not minimal; `field` names it in the message.
    """
    value = 0
    for i in range(max_bytes):
        if position + i >= len(data):
            raise TruncatedStream(f"the data end inside the {field}, after {len(data)} bytes: get the whole file")
        byte = data[position + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 and i > 0:
                raise CorruptStream(f"the {field} is not written in its shortest form: the stream is damaged")
            return value, position + i + 1
    raise CorruptStream(f"the {field} is longer than {max_bytes} bytes: the stream is damaged")


def zigzag(number: int) -> int:
    """Return the integer >= 0 that stands for any integer: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return 2 * number if number >= 0 else -2 * number - 1


def unzigzag(number: int) -> int:
    """The inverse of `zigzag`."""
    return number >> 1 if number & 1 == 0 else -(number >> 1) - 1


def write_varints(values: npt.NDArray[np.int64]) -> bytes:
    """Encode int64 (n,) within 0..2**21 - 1, one varint after the other. Raises `InputError` for other values."""
    if values.size and (values.min() < 0 or values.max() >= 1 << 7 * MAX_ARRAY_VARINT_BYTES):
        raise InputError("a varint of an array holds integers from 0 to 2**21 - 1")
    shifts = 7 * np.arange(MAX_ARRAY_VARINT_BYTES)
    groups = (values[:, None] >> shifts) & 0x7F
    sizes = 1 + (values[:, None] >= 1 << shifts[1:]).sum(axis=1)
    columns = np.arange(MAX_ARRAY_VARINT_BYTES)
    groups |= np.where(columns < sizes[:, None] - 1, 0x80, 0)
    octets: npt.NDArray[np.uint8] = groups[columns < sizes[:, None]].astype(np.uint8)
    return octets.tobytes()


def read_varints(data: bytes, name: str) -> npt.NDArray[np.int64]:
    """Decode all of `data` as varints into int64 (n,), n <= len(data).

    Raises `TruncatedStream` where the last one is cut, `CorruptStream` where one is too long or not minimal; `name`
    names the data in the message.
    """
    octets = np.frombuffer(data, dtype=np.uint8)
    if octets.size == 0:
        return np.zeros(0, dtype=np.int64)
    if octets[-1] >= 0x80:
        raise TruncatedStream(f"the {name} ends inside a number: get the whole file again")
    ends = np.flatnonzero(octets < 0x80)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > MAX_ARRAY_VARINT_BYTES or bool(np.any((octets[ends] == 0) & (sizes > 1))):
        raise CorruptStream(f"the {name} holds a malformed number: the stream is damaged")
    values = np.zeros(ends.size, dtype=np.int64)
    for i in range(MAX_ARRAY_VARINT_BYTES):
        present = sizes > i
        values[present] |= (octets[starts[present] + i].astype(np.int64) & 0x7F) << (7 * i)
    return values
