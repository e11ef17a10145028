"""The root of the project's error tree, and the one error that storage raises.

They stand here because storage is the lowest layer; `clc.errors` re-exports both beside the rest of the tree.
"""


class ClcError(Exception):
    """Base of every error that `clc`, `storage` and `flows` raise on purpose."""


class StorageError(ClcError):
    """Bytes on disk are missing, altered, or cannot be written."""
