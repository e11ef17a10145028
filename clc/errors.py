"""The one tree of errors that this project raises on purpose.

Every error that a caller may want to catch descends from `ClcError`; a command line turns it into one line and a
non-zero exit. A message says what happened, where, and what to do about it. `ClcError`, `MissingExtra` and
`StorageError` live in `storage.errors`, because storage imports nothing from here.
"""

from storage.errors import ClcError, MissingExtra, StorageError

__all__ = [
    "BitstreamError",
    "ClcError",
    "CorruptStream",
    "DecodeMismatch",
    "DictionaryMismatch",
    "InputError",
    "LimitError",
    "LossWarning",
    "MissingExtra",
    "StorageError",
    "TruncatedStream",
    "UnknownVersion",
]


class InputError(ClcError):
    """An argument cannot be used: a missing file, a broken picture, a parameter out of range."""


class LimitError(InputError):
    """The input may be well formed, but exceeds a cap of `clc.limits`."""


class BitstreamError(ClcError):
    """A `.clc` stream cannot be decoded; the subclasses say why."""


class TruncatedStream(BitstreamError):
    """The stream ends before its header says it should."""


class CorruptStream(BitstreamError):
    """A checksum, a field or the length of the stream is wrong."""


class UnknownVersion(BitstreamError):
    """The stream is of a version or profile that this release does not read, or is no `.clc` stream at all."""


class DictionaryMismatch(BitstreamError):
    """The stream needs another bundle than the one that is loaded, or an entry that this one lacks."""


class MissingReference(BitstreamError):
    """The stream refers to another stream, which is not at hand."""


class DecodeMismatch(BitstreamError):
    """The CRC-32 of the decoded latents is not that which the encoder wrote, so no picture is made of them."""


class LossWarning(UserWarning):
    """What of a picture its stream, or what of a stream its picture does not keep; one sentence a loss."""
