"""Which bundle is in service, and the one place that changes it.

`service/current.json` names it; without that file the shipped bundle serves. `retrain` compares a candidate with it and
promotes the candidate, in one atomic write, only if its BD-rate is better; else everything stays as it was.
"""

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clc.bundle.service import CURRENT, SHIPPED_NAME, service_bundle
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.manifest import Manifest

SHIPPED = SHIPPED_NAME


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate; BD-rates are against JPEG in percent (less is better), None where there is none."""

    is_promoted: bool
    reason: str
    candidate_percent: float | None
    service_percent: float | None


def bundle_in_service(workspace: Workspace) -> str:
    """Return "shipped" or the absolute path of the bundle folder in service.

    Raises `StorageError` when `current.json` is damaged or names a bundle that is gone.
    """
    folder = service_bundle(workspace.root)
    return SHIPPED if folder is None else str(folder)


def judge(candidate: Manifest, service: Manifest) -> Verdict:
    """Compare the evaluations of the candidate and of the bundle in service, over the same pictures."""
    new, serving = _bd_rate(candidate), _bd_rate(service)
    if candidate.key == service.key:
        return Verdict(False, "it is in service already", new, serving)
    if new is None:
        return Verdict(False, "it has no BD-rate: its curve and JPEG's do not overlap", new, serving)
    if serving is None or new < serving:
        return Verdict(True, "its BD-rate is better than that of the bundle in service", new, serving)
    return Verdict(False, "its BD-rate is not better than that of the bundle in service", new, serving)


def promote(workspace: Workspace, bundle: Path, evaluation: Manifest) -> None:
    """Put a bundle folder of this workspace in service; a crash leaves the former one there."""
    record = {
        "bundle": bundle.relative_to(workspace.root).as_posix(),
        "bd_rate": _bd_rate(evaluation),
        "evaluation": evaluation.key,
        "former": bundle_in_service(workspace),
        "promoted_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_bytes(workspace.service / CURRENT, json.dumps(record, indent=1).encode())


def _bd_rate(evaluation: Manifest) -> float | None:
    value = evaluation.summary.get("bd_rate_vs_jpeg_percent")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
