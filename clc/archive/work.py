"""The work folder of an archive that is being packed or changed: what was done so far, for a run that goes on.

It lies in the archive as `.packing/` until packing is finished, or while pictures are added or removed. One process at
a time holds it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clc.archive.coding import Coded
from clc.archive.manifest import NAME, PARQUET_NAME, WORK_FOLDER
from clc.bitstream.container import parse
from clc.errors import InputError, StorageError
from storage.atomic import is_temporary, leftovers_of, write_bytes
from storage.digest import digest_json
from storage.errors import LeaseHeld
from storage.locks import Lease

RECORD = "settings.json"
"""What is packed, and how, as a digest."""

PENDING = "pending.json"
"""Streams that a change writes or removes while the table does not say so yet: their paths, each with its `check`."""

_LEASE = "lease"
_WAIT_S = 0.5


@dataclass(frozen=True)
class Remembered:
    """A coded picture whose stream lies in a work folder, with what `Coded` tells of it.

    `size` is in bytes, `pixels` how many there are; `streams` are the ids of those that it refers to.
    """

    path: Path
    size: int
    pixels: int
    id: bytes
    streams: tuple[bytes, ...]
    quality_q6: int
    psnr_db: float
    cost: float
    pixels_sha256: str = ""

    @classmethod
    def of(cls, coded: Coded, path: Path) -> Remembered:
        """What is remembered of a picture whose stream goes to a file."""
        stream = parse(coded.data)
        told = (coded.quality_q6, coded.psnr_db, coded.cost, coded.pixels_sha256)
        return cls(path, len(coded.data), stream.width * stream.height, coded.id, tuple(stream.streams), *told)

    def coded(self) -> Coded:
        """The picture with its stream, read again."""
        return Coded(self.path.read_bytes(), self.quality_q6, self.psnr_db, self.cost, self.pixels_sha256)

    def to_json(self) -> dict[str, Any]:
        """All but the path as JSON values."""
        told = {key: value for key, value in asdict(self).items() if key != "path"}
        return {**told, "id": self.id.hex(), "streams": [one.hex() for one in self.streams]}

    @classmethod
    def from_json(cls, path: Path, told: dict[str, Any]) -> Remembered:
        """The inverse of `to_json`."""
        streams = tuple(bytes.fromhex(one) for one in told["streams"])
        return cls(path, **{**told, "id": bytes.fromhex(told["id"]), "streams": streams})


class WorkFolder:
    """The work folder of the archive in `out`; `path` is where it lies."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / WORK_FOLDER

    @classmethod
    def at(cls, path: Path) -> WorkFolder:
        """The work folder that lies at a path."""
        return cls(path.parent)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps other processes out of it.

        Raises `InputError` where `out` holds anything else than an archive that is being packed, or where another
        process packs into it; `StorageError` where nothing can be written. A run that ends before anything is coded
        leaves no folder behind.
        """
        self._make()
        with self._lease():
            try:
                yield
            finally:
                if all(path.name == RECORD or path.name.startswith(_LEASE) for path in self.path.iterdir()):
                    self.remove()

    @contextlib.contextmanager
    def held_for_change(self) -> Iterator[Lease]:
        """Keeps other processes out of an archive that is changed; nothing of the folder is left at the end.

        Raises `InputError` where packing the archive is not finished, where something else lies in the folder's place,
        or where another process packs or changes the archive.
        """
        if self.path.is_symlink() or (self.path.exists() and not self._is_ours()):
            raise InputError(f"{self.path}: is in the way, and not from packing; move it away")
        self.path.mkdir(exist_ok=True)
        with self._lease() as lease:
            if (self.path / RECORD).exists():
                raise InputError(f"{self.out}: packing it is not finished; run the same `clc pack` again first")
            yield lease

    @contextlib.contextmanager
    def _lease(self) -> Iterator[Lease]:
        with contextlib.ExitStack() as held:
            try:
                lease = held.enter_context(Lease(self.path / _LEASE, timeout_s=_WAIT_S, clears=True))
            except LeaseHeld as error:
                raise InputError(
                    f"{self.out}: another process packs into it or changes it; wait, or name another folder"
                ) from error
            yield lease

    def note(self, pending: dict[str, str]) -> None:
        """Notes what a change is about to write or to remove (see `PENDING`); nothing of it is left to do if empty."""
        if pending:
            write_bytes(self.path / PENDING, json.dumps(pending).encode())
        else:
            (self.path / PENDING).unlink(missing_ok=True)

    def pending(self) -> dict[str, str]:
        """What a change that was killed noted. Raises `StorageError` where the note is damaged."""
        try:
            told = json.loads((self.path / PENDING).read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError:
            told = None
        if isinstance(told, dict) and all(isinstance(digest, str) for digest in told.values()):
            return told
        raise StorageError(f"{self.path / PENDING}: is damaged; remove it")

    def begin(self, settings: dict[str, Any]) -> None:
        """Records the settings of a run. Raises `InputError` where an interrupted run had others."""
        told, record = json.dumps({"digest": digest_json(settings)}).encode(), self.path / RECORD
        if not record.exists():
            write_bytes(record, told)
        elif record.read_bytes() != told:
            raise InputError(
                f"{self.out}: packing it was interrupted, with other pictures or options than now; run that "
                "command again, or name another folder"
            )

    def remembered(self, step: str, index: int, code: Callable[[], Coded]) -> Remembered:
        """What `code` gives for a picture in a step, as an earlier run left it here if there was one.

        One that was killed while it cleared the folder may have left half of it.
        """
        record = self.path / step / f"{index}.json"
        stream = record.with_suffix(".clc")
        if record.exists() and stream.exists():
            return Remembered.from_json(stream, json.loads(record.read_bytes()))
        coded = code()
        remembered = Remembered.of(coded, stream)
        write_bytes(stream, coded.data)
        write_bytes(record, json.dumps(remembered.to_json()).encode())
        return remembered

    def remove(self) -> None:
        """Removes what lies in the folder, once the archive is finished; the folder goes with the lease."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != RECORD and not path.name.startswith(_LEASE):
                path.unlink()
        # Last, for by it the folder is known as one that packing made.
        (self.path / RECORD).unlink(missing_ok=True)

    def _make(self) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self._is_ours()):
            raise InputError(f"{self.path}: is in the way, and not from packing; remove it, or name another folder")
        others = [path for path in self.out.iterdir() if path != self.path] if self.out.exists() else []
        if others and not (self.path / RECORD).exists():
            self._clear()
            is_archive = any((self.out / name).exists() for name in (NAME, PARQUET_NAME))
            what = "is an archive already" if is_archive else "is not empty"
            raise InputError(f"{self.out}: {what}; name a new folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {self.path}: {error.strerror}; check the folder and the disk") from error

    def _clear(self) -> None:
        """Clears what is left where a run was killed after everything but its lease was removed."""
        if not (self.path.is_dir() and self._is_new()):
            return
        with contextlib.suppress(InputError), self._lease():
            for path in leftovers_of(self.path / _LEASE):
                path.unlink(missing_ok=True)

    def _is_new(self) -> bool:
        """Whether the folder holds a lease at most."""
        return all(path.name.startswith(_LEASE) or is_temporary(path.name) for path in self.path.iterdir())

    def _is_ours(self) -> bool:
        """Whether the folder was begun by packing, or holds nothing of anybody's yet."""
        if not self.path.is_dir():
            return False
        return self._is_new() or any((self.path / name).is_file() for name in (RECORD, PENDING))
