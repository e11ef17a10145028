"""The work folder of an archive that is being packed: what was done so far, for a run that goes on after another.

It lies in the archive as `.packing/` until the archive is finished. One process at a time holds it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clc.archive.coding import Coded
from clc.archive.layout import WORK_FOLDER
from clc.archive.manifest import NAME
from clc.errors import InputError, StorageError
from storage.atomic import is_temporary, write_bytes
from storage.digest import digest_json
from storage.locks import Lease

RECORD = "settings.json"
"""What is packed, and how, as a digest."""

_LEASE = "lease"
_WAIT_S = 0.5


class WorkFolder:
    """The work folder of the archive in `out`; `path` is where it lies."""

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out / WORK_FOLDER

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder and keeps other processes out of it.

        Raises `InputError` where `out` holds anything else than an archive that is being packed, or where another
        process packs into it.
        """
        self._make()
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(Lease(self.path / _LEASE, timeout_s=_WAIT_S))
            except StorageError as error:
                raise InputError(f"{self.out}: another process packs into it; wait, or name another folder") from error
            yield

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

    def remembered(self, step: str, index: int, code: Callable[[], Coded]) -> Coded:
        """What `code` gives for a picture in a step, as an earlier run left it here if there was one."""
        record = self.path / step / f"{index}.json"
        stream = record.with_suffix(".clc")
        if record.exists():
            told: dict[str, Any] = json.loads(record.read_bytes())
            return Coded(stream.read_bytes(), **told)
        coded = code()
        record.parent.mkdir(exist_ok=True)
        write_bytes(stream, coded.data)
        told = {key: value for key, value in asdict(coded).items() if key != "data"}
        write_bytes(record, json.dumps(told).encode())
        return coded

    def remove(self) -> None:
        """Removes the folder, once the archive is finished."""
        shutil.rmtree(self.path)

    def _make(self) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self._is_ours()):
            raise InputError(f"{self.path}: is in the way, and not from packing; remove it, or name another folder")
        others = [path for path in self.out.iterdir() if path != self.path] if self.out.exists() else []
        if others and not (self.path / RECORD).exists():
            what = "is an archive already" if (self.out / NAME).exists() else "is not empty"
            raise InputError(f"{self.out}: {what}; name a new folder")
        self.path.mkdir(parents=True, exist_ok=True)

    def _is_ours(self) -> bool:
        """Whether the folder was begun by packing, or holds nothing of anybody's yet."""
        if not self.path.is_dir():
            return False
        is_new = all(path.name.startswith(_LEASE) or is_temporary(path.name) for path in self.path.iterdir())
        return is_new or (self.path / RECORD).is_file()
