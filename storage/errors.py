"""The root of the project's error tree, and the errors that storage raises.

They stand here because storage is the lowest layer; `clc.errors` re-exports those that a caller may want to tell apart.
"""


class ClcError(Exception):
    """Base of every error that `clc`, `storage` and `flows` raise on purpose."""


class StorageError(ClcError):
    """Bytes on disk are missing, altered, or cannot be written."""


class AlreadyExists(StorageError):
    """A file that may not be replaced stands where one was to be written."""


class StorageFull(StorageError):
    """The disk, or the share of it that the user has, is full or read-only: the next write will fail as well."""


class LeaseHeld(StorageError):
    """Another process holds a lease, and kept it for as long as was to be waited."""


class MissingExtra(ClcError, ImportError):
    """A package is not installed; the message names the extra of the distribution that brings it."""
