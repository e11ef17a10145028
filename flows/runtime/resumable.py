"""What a stage that takes hours has got so far: a folder under the stage's key, from which the next run goes on.

    resumable/STAGE/KEY/    beside `stages/STAGE/KEY/`, which appears when the stage is finished

The contract: the folder belongs to who holds the lease of the stage; a finished stage removes it
(`flows.runtime.stage`); and what lies in it alone says whether anybody can ever go on from it, so that `clc gc` knows.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from clc.errors import ClcError
from flows.runtime.stage import source_digest
from storage.atomic import write_bytes
from storage.errors import StorageError

RECORD = "resumable.json"


def begin(folder: Path, modules: Sequence[str], holds: str) -> None:
    """Make the folder of an unfinished stage, or take over the one that is there.

    `modules` are those of the stage's key. `holds` is the file below `folder` without which there is nothing to go on
    from. Raises `StorageError` where it cannot be written.
    """
    record = {"holds": holds, "code": {name: source_digest(name) for name in modules}}
    write_bytes(folder / RECORD, json.dumps(record, indent=1).encode())


def can_go_on(folder: Path) -> bool:
    """Whether a run of the code that there is now would go on from this folder.

    Another code gives the stage another key, under which nothing of this one is found.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
        return (folder / record["holds"]).is_file() and all(
            source_digest(name) == digest for name, digest in record["code"].items()
        )
    # The last two: a module that there is no more.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, ClcError):
        return False


def discard(folder: Path) -> None:
    """Remove a part of it, if it is there. Raises `StorageError` where that cannot be done."""
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise StorageError(f"cannot remove {folder}: {error.strerror}; check its permissions") from error
