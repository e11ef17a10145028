"""What a run of `retrain` would do, without doing it: which stages are to be made, why, and what they cost.

`clc plan` shows it. The functions of the flows are called in a dry run (`flows.runtime.stage`), in which a stage that
is not finished raises `Stale` instead of being made; so the plan asks for the same keys as the run. Stages behind the
first stale one wait for its result, and what they will find is not known.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flows.runtime.stage import STAGES, Stale, dry_run
from flows.runtime.workspace import Workspace
from storage.errors import StorageError
from storage.manifest import MANIFEST_NAME, Manifest, read_manifest

TRAINING = ("start", "minutes", "key_pictures", "device", "processes")
"""The parameters of `train-codec` among those of `retrain`."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage: its key where it is finished, or why it is to be made; and the seconds of the last time, if any."""

    stage: str
    key: str
    why: str
    last_seconds: float | None


def plan(workspace: Workspace, parameters: Mapping[str, Any]) -> list[PlannedStage]:
    """Return what `retrain` would do with these of its parameters. Raises what its flows refuse, as they do.

    Fetches nothing, reads no archive, decodes nothing; files of a folder are read for their digests.
    """
    keys: dict[str, str] = {}
    planned: list[PlannedStage] = []
    for stage, call in zip(STAGES, _calls(parameters), strict=True):
        last = _newest(workspace, stage)
        seconds = last.seconds if last is not None and last.seconds else None
        if len(keys) < len(planned):
            planned.append(PlannedStage(stage, "", f"waits for {planned[len(keys)].stage}", seconds))
            continue
        try:
            with dry_run():
                keys[stage] = call(keys)
        except Stale as stale:
            planned.append(PlannedStage(stage, "", _why(stale, last), seconds))
        else:
            planned.append(PlannedStage(stage, keys[stage], "", seconds))
    return planned


def as_lines(planned: list[PlannedStage]) -> list[str]:
    """Return a plan as a table for a terminal."""
    wide = max(len(one.stage) for one in planned)
    lines = []
    for one in planned:
        state = f"finished ({one.key})" if one.key else f"to do: {one.why}"
        cost = "" if one.key else _cost(one.last_seconds)
        lines.append(f"{one.stage:{wide}}  {state}{cost}")
    return lines


def _cost(seconds: float | None) -> str:
    return "; it was never timed here" if seconds is None else f"; the last one took {seconds:.0f} s"


def _calls(given: Mapping[str, Any]) -> list[Callable[[Mapping[str, str]], str]]:
    """Return the functions of the five flows, each of the keys that the former ones gave."""
    from flows.dictionary import build_dictionary
    from flows.evaluate import evaluate_codec
    from flows.features import extract_features
    from flows.ingest import ingest_images
    from flows.train import train_codec

    ingest, features, dictionary, training, _ = STAGES

    def some(*names: str) -> dict[str, Any]:
        return {name: given[name] for name in names if name in given}

    former = "latest" if given.get("fold") else None
    return [
        lambda keys: ingest_images.fn(**some("source", "patch_px", "retry_failed", "success_rate")),
        lambda keys: extract_features.fn(ingest=keys[ingest], part="dictionary", **some("backbone")),
        lambda keys: build_dictionary.fn(
            features=keys[features], former=former, **some("entries", "components", "candidates")
        ),
        lambda keys: train_codec.fn(ingest=keys[ingest], dictionary=keys[dictionary], **some(*TRAINING)),
        lambda keys: evaluate_codec.fn(ingest=keys[ingest], bundle=keys[training]),
    ]


def _newest(workspace: Workspace, stage: str) -> Manifest | None:
    """Return the manifest of the stage that was finished last; damaged ones do not count."""
    found = []
    for path in (workspace.stages / stage).glob(f"*/{MANIFEST_NAME}"):
        try:
            found.append(read_manifest(path.parent, verify=False))
        except StorageError:
            continue
    return max(found, key=lambda manifest: manifest.created_utc, default=None)


def _why(stale: Stale, last: Manifest | None) -> str:
    """Return in words why a stage is to be made, from what the last one of its name was made of."""
    behind = f" ({stale.pending})" if stale.pending else ""
    if not stale.inputs:
        return stale.pending
    if last is None:
        return f"it was never made here{behind}"
    changed = [name for name in stale.inputs if stale.inputs[name] != last.inputs.get(name)]
    changed += [
        f"{name} (was {last.config.get(name)}, is {value})"
        for name, value in stale.config.items()
        if value != last.config.get(name)
    ]
    if not changed:
        return f"the code that makes it changed since{behind}"
    return f"changed since the last one: {', '.join(changed)}{behind}"
