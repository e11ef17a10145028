"""The one tree of errors that this project raises on purpose.

Its root and `StorageError` live in `storage.errors`, because storage imports nothing from here. Everything that a
caller may want to catch descends from `ClcError`; a command line turns any of them into one line and a non-zero exit. A
message says what happened, where, and what to do about it.
"""

from storage.errors import ClcError, StorageError

__all__ = [
    "BitstreamError",
    "ClcError",
    "CorruptStream",
    "DecodeMismatch",
    "DictionaryMismatch",
    "InputError",
    "LimitError",
    "StorageError",
    "TruncatedStream",
    "UnknownVersion",
]


class InputError(ClcError):
    """What the caller handed over cannot be used: a missing file, a broken picture, a parameter out of range."""


class LimitError(InputError):
    """The input is well formed but larger than the caps in `clc.limits` allow."""


class BitstreamError(ClcError):
    """A `.clc` stream cannot be decoded; the subclasses say why."""


class TruncatedStream(BitstreamError):
    """The stream ends before its header says it should."""


class CorruptStream(BitstreamError):
    """A checksum, a field or the length of the stream is wrong."""


class UnknownVersion(BitstreamError):
    """The stream is of a version or profile that this release does not read, or is no `.clc` stream at all."""


class DictionaryMismatch(BitstreamError):
    """The stream was written with another bundle than the one that is loaded; the message names both ids."""


class DecodeMismatch(BitstreamError):
    """The decoded latents are not those that the encoder wrote (their CRC differs), so no picture is made of them."""
