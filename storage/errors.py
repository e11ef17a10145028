"""The root of the project's error tree, and the errors that storage raises.

They stand here because storage is the lowest layer; `clc.errors` re-exports them beside the rest of the tree.
"""


class ClcError(Exception):
    """Base of every error that `clc`, `storage` and `flows` raise on purpose."""


class StorageError(ClcError):
    """Bytes on disk are missing, altered, or cannot be written."""


class MissingExtra(ClcError, ImportError):
    """A package is not installed; the message names the extra of the distribution that brings it."""
