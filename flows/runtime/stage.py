"""A stage runs once: the same inputs, parameters and code give the same key, and a finished key is used again.

Every flow wraps its work in `run_stage`. The contract: a stage is finished when its manifest is written, which is the
last act; copies started at once do the work once; a crash leaves no manifest, and the next run begins afresh, but for
what the stage keeps for it elsewhere (`flows.runtime.resumable`).
"""

import importlib.util
import logging
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clc.errors import InputError
from flows.runtime.artifacts import publish_summary
from flows.runtime.workspace import Workspace
from storage.atomic import remove_leftovers, staging_directory
from storage.digest import digest_json, sha256_bytes
from storage.errors import StorageError
from storage.locks import Lease, in_use
from storage.manifest import MANIFEST_NAME, Manifest, describe_files, read_manifest, write_manifest

logger = logging.getLogger(__name__)

STAGES = ("ingest-images", "extract-features", "build-dictionary", "train-codec", "evaluate-codec")
"""The stages in the order in which `retrain` runs them; a stage has the name of its flow."""

_DRY_RUN = ContextVar("dry_run", default=False)
KEY = re.compile(r"[0-9a-f]{16}")
"""The name of a stage's folder."""


@dataclass(frozen=True)
class StageResult:
    """A finished stage: its key (16 hex digits), its folder, its manifest, and whether this call found it finished."""

    stage: str
    key: str
    directory: Path
    manifest: Manifest
    reused: bool


class Stale(Exception):
    """A stage would have to be made, but this is a dry run; `pending` says what there would be to do."""

    def __init__(self, stage: str, pending: str, *, inputs: dict[str, str], config: dict[str, Any]) -> None:
        super().__init__(f"{stage} is to be made")
        self.stage, self.pending = stage, pending
        self.inputs, self.config = inputs, config


@contextmanager
def dry_run() -> Iterator[None]:
    """Make nothing within this block: what would have to be made raises `Stale`."""
    token = _DRY_RUN.set(True)
    try:
        yield
    finally:
        _DRY_RUN.reset(token)


def is_dry_run() -> bool:
    """Whether this is within `dry_run`."""
    return _DRY_RUN.get()


def run_stage(
    workspace: Workspace,
    stage: str,
    *,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    modules: Sequence[str],
    body: Callable[[Path], dict[str, Any]],
    pending: Callable[[], str] = lambda: "",
    is_shown: bool = True,
) -> StageResult:
    """Run `body` unless this stage was finished before with the same inputs, config and code.

    `inputs` names what the stage reads by key or digest; `config` holds its parameters (JSON values). `modules` are the
    modules whose source text decides what it makes; a package stands for all modules below it. `body` writes files into
    the folder it is given and returns a JSON summary. Its exceptions go through, and leave nothing. Prefect's pages
    show the summary if `is_shown`, and the log tells of it: not of stages of which a run has many.

    Raises `StorageError` when a finished stage was altered on disk, and `Stale` within `dry_run`, with what `pending`
    says of the work.
    """
    level = logging.INFO if is_shown else logging.DEBUG
    result = _run(workspace, stage, inputs, config, modules, body, pending, level)
    if is_shown and not is_dry_run():
        publish_summary(stage, result.key, str(result.directory), result.manifest.summary, is_reused=result.reused)
    return result


def _run(
    workspace: Workspace,
    stage: str,
    inputs: Mapping[str, str],
    config: Mapping[str, Any],
    modules: Sequence[str],
    body: Callable[[Path], dict[str, Any]],
    pending: Callable[[], str],
    level: int,
) -> StageResult:
    key = stage_key(stage, inputs=inputs, config=config, modules=modules)
    directory = workspace.stages / stage / key
    finished = _finished(stage, key, directory, level)
    if finished is not None:
        return finished
    if is_dry_run():
        raise Stale(stage, pending(), inputs=dict(inputs), config=dict(config))
    begun = time.monotonic()
    with in_use(workspace.in_use), Lease(workspace.locks / f"{stage}-{key}") as lease:
        finished = _finished(stage, key, directory, level)
        if finished is not None:
            return finished
        _clear(directory)
        logger.log(level, "stage_started stage=%s key=%s", stage, key)
        with staging_directory(directory) as staged:
            summary = body(staged)
            files = describe_files(staged)
            lease.confirm()
        manifest = Manifest(
            stage,
            key,
            dict(inputs),
            dict(config),
            files,
            summary,
            datetime.now(UTC).isoformat(timespec="microseconds"),
            round(time.monotonic() - begun, 1),
        )
        write_manifest(directory, manifest)
        # What is left of it, where this is killed or may not, is for `clc gc`.
        shutil.rmtree(workspace.resumable / stage / key, ignore_errors=True)
    logger.log(level, "stage_finished stage=%s key=%s directory=%s", stage, key, directory)
    return StageResult(stage, key, directory, manifest, reused=False)


def stage_key(stage: str, *, inputs: Mapping[str, str], config: Mapping[str, Any], modules: Sequence[str]) -> str:
    """Return the key of a stage: 16 hex digits of the digest of its name, inputs, config and source text."""
    code = {name: source_digest(name) for name in modules}
    return digest_json({"stage": stage, "inputs": dict(inputs), "config": dict(config), "code": code})[:16]


def resolve(workspace: Workspace, stage: str, key: str = "latest") -> StageResult:
    """Return a finished stage by key, or the newest one for "latest", after verifying its files.

    Raises `InputError` that names the flow to run first when there is none, `StorageError` when it was altered.
    """
    if key != "latest" and not KEY.fullmatch(key):
        raise InputError(f'{key!r} is no key of {stage}: 16 hex digits or "latest" are wanted')
    folder = workspace.stages / stage
    keys = finished_keys(workspace, stage)
    if key == "latest" and keys:
        key = max(keys, key=lambda name: read_manifest(folder / name, verify=False).created_utc)
    if key not in keys:
        wanted = "" if key == "latest" else f" {key}"
        raise InputError(f"there is no finished {stage}{wanted} in {workspace.root}; run the flow {stage} first")
    return StageResult(stage, key, folder / key, read_manifest(folder / key), reused=True)


def finished_keys(workspace: Workspace, stage: str) -> list[str]:
    """Return the keys of a stage's finished runs, in no order; their files are not verified."""
    found = (workspace.stages / stage).glob(f"*/{MANIFEST_NAME}")
    return [path.parent.name for path in found if KEY.fullmatch(path.parent.name)]


def _finished(stage: str, key: str, directory: Path, level: int) -> StageResult | None:
    if not (directory / MANIFEST_NAME).is_file():
        return None
    manifest = read_manifest(directory)
    logger.log(level, "stage_reused stage=%s key=%s directory=%s", stage, key, directory)
    return StageResult(stage, key, directory, manifest, reused=True)


def _clear(directory: Path) -> None:
    """Remove what a killed run left; only the holder of the lease may."""
    remove_leftovers(directory)
    if directory.exists():
        try:
            shutil.rmtree(directory)
        except OSError as error:
            raise StorageError(f"cannot remove the unfinished {directory}: {error.strerror}") from error


def source_digest(module: str) -> str:
    """Return the digest of a module's source text; of all modules below it when it is a package."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(f"no module {module!r}, whose source text is part of a stage's key")
    origin = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return sha256_bytes(origin.read_bytes())
    folder = origin.parent
    sources = ((str(path.relative_to(folder)), path) for path in folder.rglob("*.py"))
    return digest_json({name: sha256_bytes(path.read_bytes()) for name, path in sources})
