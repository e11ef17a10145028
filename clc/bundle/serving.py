"""Which bundle serves, changed: put one in service, go back to the one before, and the list of all that could serve.

`flows.service.promotion` and the command `clc serve-bundle` call it; `clc.bundle.service` reads what it writes. One
file, `service/current.json`, says which bundle serves and which ones served before it, newest first, so that one atomic
write changes both. The contract: no bundle that ever served is lost by a change. Those of the workspace stay where they
are; any other, the shipped one too, which the next release replaces, is copied to `service/bundles/ID` first, where
every decoder looks.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clc.bundle.identity import (
    SHIPPED,
    checked_bytes,
    id_of,
    is_bundle,
    is_decoder_bundle,
    only_decodes,
    parse_manifest,
    read_manifest_bytes,
)
from clc.bundle.search import Tell, find_bundles
from clc.bundle.service import CURRENT, KEPT, SERVICE_FOLDER, SHIPPED_NAME, TRAINED, record_of, service_bundle
from clc.errors import InputError, StorageError
from storage.atomic import staging_directory, write_bytes
from storage.errors import LeaseHeld
from storage.locks import Lease
from storage.regular import read_regular

VERDICTS = "verdicts"
"""Folder in `service/` with a file for each bundle that was judged, by its id."""
_LOCKS = "locks"
_MOST_BYTES = 2**20
_PATIENCE_S = 2.0


@dataclass(frozen=True)
class Served:
    """A bundle that serves or served: "shipped" or its folder within the workspace, its id, since when and why."""

    bundle: str
    bundle_id: str
    since_utc: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What became of a bundle that was held against the one in service.

    `sentence` says it in full. `percent` is its BD-rate against the bundle then in service, negative where it needs
    fewer bytes at equal PSNR, `low_percent` and `high_percent` the interval in which that lies with 95 % certainty;
    None where there is none. `photos` is how many photographs they were compared on. `bd_rates_percent` are those
    against other formats, by name.
    """

    bundle_id: str
    against: str
    is_promoted: bool
    sentence: str
    percent: float | None
    low_percent: float | None
    high_percent: float | None
    photos: int
    bd_rates_percent: Mapping[str, float]
    evaluation: str
    judged_utc: str


@dataclass(frozen=True)
class Candidate:
    """A bundle that could serve, its folder and id, and what is known of it."""

    bundle_id: str
    folder: str
    state: str
    note: str


def in_service(workspace: Path) -> Served:
    """Return what serves. Raises `StorageError` as `service_bundle` does."""
    folder = service_bundle(workspace)
    record = record_of(workspace)
    name = SHIPPED_NAME if folder is None else _within(workspace, folder)
    since = str(record.get("since_utc", record.get("promoted_utc", "")))
    return Served(name, _id_in(folder or SHIPPED), since, str(record.get("why", "")))


def served_before(workspace: Path) -> list[Served]:
    """Return what served before, newest first. Raises `StorageError` where the record is damaged."""
    service_bundle(workspace)  # raises where the record is damaged
    record = record_of(workspace)
    if "before" not in record:
        return _former(workspace, record.get("former"))
    try:
        return [Served(**{name: str(value) for name, value in one.items()}) for one in record["before"]]
    except (TypeError, AttributeError) as error:
        raise StorageError(f"{_current(workspace)} is damaged: what served before cannot be read") from error


def put_in_service(workspace: Path, folder: Path | None, why: str, facts: Mapping[str, Any] | None = None) -> Served:
    """Put a bundle in service, None the shipped one; what served until now stands first among those before.

    Every file of the bundle is read and compared with its manifest first. `why` is kept beside it, `facts` are further
    fields of the record. Whoever calls holds `changing`. Raises `StorageError` for a bundle that is not whole.
    """
    check_files(folder or SHIPPED)
    now = in_service(workspace)
    if now.bundle == SHIPPED_NAME:
        now = Served(_keep(workspace, SHIPPED), now.bundle_id, now.since_utc, now.why)
    name = SHIPPED_NAME if folder is None or _is_shipped(folder) else _keep(workspace, folder)
    served = Served(name, _id_in(folder or SHIPPED), _now(), why)
    _write(workspace, served, [now, *served_before(workspace)], facts or {})
    return served


def roll_back(workspace: Path) -> Served:
    """Put the bundle in service that served before the present one; called again, it goes back further.

    Raises `InputError` where none did, `StorageError` where that bundle is gone or not whole.
    """
    before = served_before(workspace)
    if not before:
        raise InputError("no other bundle served before this one; `clc serve-bundle list` shows which ones could")
    former, *rest = before
    is_shipped = former.bundle == SHIPPED_NAME or former.bundle_id == _id_in(SHIPPED)
    folder = SHIPPED if is_shipped else workspace / former.bundle
    if not is_bundle(folder) or _id_in(folder) != former.bundle_id:
        raise StorageError(
            f"the bundle {former.bundle_id or former.bundle}, which served before, is no longer in {folder}; "
            "bring it back there, or name another one: clc serve-bundle use ID"
        )
    check_files(folder)
    name = SHIPPED_NAME if is_shipped else former.bundle
    served = Served(name, former.bundle_id, _now(), f"rolled back from {in_service(workspace).bundle_id}")
    _write(workspace, served, rest, {})
    return served


@contextmanager
def changing(workspace: Path, timeout_s: float | None = _PATIENCE_S) -> Iterator[None]:
    """Hold the lease of what serves while it is changed. `LeaseHeld` says who has it, after `timeout_s`."""
    lease = Lease(workspace / _LOCKS / SERVICE_FOLDER, timeout_s=timeout_s)
    try:
        lease.__enter__()
    except LeaseHeld as error:
        raise LeaseHeld(
            f"a run of retrain is at work in {workspace} and will decide itself what serves; "
            "wait for its end, or stop it, and try again"
        ) from error
    try:
        yield
    finally:
        lease.__exit__(None, None, None)


def candidates(workspace: Path, tell: Tell) -> list[Candidate]:
    """Return the bundles that could serve, each once: the one that does first, then those before, then the others."""
    serving, before = in_service(workspace), served_before(workspace)
    verdicts = read_verdicts(workspace)
    places = [SHIPPED, workspace / TRAINED, workspace / SERVICE_FOLDER / KEPT]
    found: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            for one in find_bundles(place, tell):
                found.setdefault(one.bundle_id, one.folder)
    for served in (serving, *before):
        if served.bundle != SHIPPED_NAME and (workspace / served.bundle).is_dir():
            found.setdefault(served.bundle_id, workspace / served.bundle)
    newest = max(verdicts.values(), key=lambda one: one.judged_utc, default=None)
    shown = []
    for bundle_id in dict.fromkeys([serving.bundle_id, *(one.bundle_id for one in before), *found]):
        if bundle_id not in found:
            shown.append(Candidate(bundle_id, "", "gone", "it served before, and its folder is gone"))
            continue
        state = _state(bundle_id, serving, before, newest)
        verdict = verdicts.get(bundle_id)
        note = verdict.sentence if verdict else _why(bundle_id, [serving, *before])
        folder = SHIPPED_NAME if found[bundle_id] == SHIPPED else str(found[bundle_id])
        shown.append(Candidate(bundle_id, folder, state, note))
    return shown


def write_verdict(workspace: Path, verdict: Verdict) -> None:
    """Keep what became of a bundle; the newest verdict about a bundle replaces an older one."""
    path = workspace / SERVICE_FOLDER / VERDICTS / f"{verdict.bundle_id}.json"
    write_bytes(path, json.dumps(asdict(verdict), indent=1).encode())


def read_verdicts(workspace: Path) -> dict[str, Verdict]:
    """Return the verdicts by bundle id. `StorageError` names a file that is none."""
    found = {}
    for path in sorted((workspace / SERVICE_FOLDER / VERDICTS).glob("*.json")):
        try:
            verdict = Verdict(**json.loads(read_regular(path, _MOST_BYTES)))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"{path} is no verdict about a bundle; remove it") from error
        found[verdict.bundle_id] = verdict
    return found


def check_files(folder: Path) -> None:
    """Read every file of a bundle and compare it with the manifest. `StorageError` names the first that differs.

    Raises `InputError` for a bundle that only decodes: one that serves encodes.
    """
    if is_decoder_bundle(folder):
        raise only_decodes(_id_in(folder), folder)
    manifest = parse_manifest(read_manifest_bytes(folder), folder)
    for name in manifest["files"]:
        checked_bytes(folder, name, manifest)


def _state(bundle_id: str, serving: Served, before: Sequence[Served], newest: Verdict | None) -> str:
    if bundle_id == serving.bundle_id:
        return "serves"
    if any(one.bundle_id == bundle_id for one in before):
        return "served"
    return "challenger" if newest is not None and newest.bundle_id == bundle_id else "-"


def _why(bundle_id: str, served: Sequence[Served]) -> str:
    return next((one.why for one in served if one.bundle_id == bundle_id), "")


def _write(workspace: Path, served: Served, before: Sequence[Served], facts: Mapping[str, Any]) -> None:
    record = {**facts, **asdict(served), "before": [asdict(one) for one in before]}
    write_bytes(_current(workspace), json.dumps(record, indent=1).encode())


def _former(workspace: Path, former: object) -> list[Served]:
    """What served before by a record of release 0.16 and earlier, which names its folder, or "shipped", alone."""
    if former is None:
        return []
    folder = SHIPPED if former == SHIPPED_NAME else Path(str(former))
    if former != SHIPPED_NAME and not folder.is_relative_to(workspace):
        return []
    bundle_id = _id_in(folder) if is_bundle(folder) else ""
    return [Served(SHIPPED_NAME if folder == SHIPPED else _within(workspace, folder), bundle_id, "", "")]


def _keep(workspace: Path, folder: Path) -> str:
    """Return a folder within the workspace that holds the bundle: its own, or a copy that is made."""
    real, root = Path(os.path.realpath(folder)), Path(os.path.realpath(workspace))
    if real.is_relative_to(root):
        return real.relative_to(root).as_posix()
    bundle_id = _id_in(folder)
    kept = workspace / SERVICE_FOLDER / KEPT / bundle_id
    if not is_bundle(kept) or _id_in(kept) != bundle_id:
        try:
            with staging_directory(kept) as staged:
                shutil.copytree(real, staged, dirs_exist_ok=True, copy_function=shutil.copyfile)
        except OSError as error:
            raise StorageError(f"cannot keep a copy of the bundle in {kept}: {error.strerror or error}") from error
    return kept.relative_to(workspace).as_posix()


def _within(workspace: Path, folder: Path) -> str:
    return Path(os.path.relpath(os.path.realpath(folder), os.path.realpath(workspace))).as_posix()


def _is_shipped(folder: Path) -> bool:
    return _id_in(folder) == _id_in(SHIPPED)


def _id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


def _current(workspace: Path) -> Path:
    return workspace / SERVICE_FOLDER / CURRENT


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
