"""MLflow's registry of models made to agree with what serves: versions that point at bundles, and three aliases.

`service/` in the workspace decides and this only tells: `retrain` calls it after its verdict, `make serve` when a
person changed what serves, and `python -m flows.service.registry` at any time. A version holds no pickle, and no copy:
its source is the bundle's folder. The alias `champion` is the bundle that serves, `previous` the one before it, and
`challenger` the one that was judged last, where it does not serve.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clc.bundle.identity import SHIPPED
from clc.bundle.service import SHIPPED_NAME
from clc.bundle.serving import Served, Verdict, candidates, in_service, read_verdicts, served_before
from clc.console import say
from flows.runtime.command import run_command
from flows.runtime.mlflow_session import Server, Session, tolerant
from flows.runtime.tracking import BUNDLE, EVALUATION, TRAINING
from flows.runtime.workspace import Workspace

MODEL = "clc-bundle"
CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
"""The name of the registered model, and its aliases."""
_ABOUT = (
    "Bundles of this workspace. A version points at a bundle's folder; its tags say what the gate found. `champion` "
    "serves, `previous` served before it, `challenger` was judged last and does not serve. The folder `service/` "
    "of the workspace decides; `clc serve-bundle list | use | rollback` changes it."
)


@dataclass(frozen=True)
class Known:
    """A bundle to be registered: its id, its folder, and what was found of it."""

    bundle_id: str
    folder: Path
    verdict: Verdict | None


def mirror(workspace: Workspace) -> bool:
    """Make the registry agree with the workspace. Returns False, after a warning, when the server could not take it.

    Raises `StorageError` where the workspace's own records are damaged.
    """
    serving, before = in_service(workspace.root), served_before(workspace.root)
    verdicts = read_verdicts(workspace.root)
    known = _known(workspace, [serving, *before], verdicts)
    newest = max(verdicts.values(), key=lambda one: one.judged_utc, default=None)
    wanted = {CHAMPION: serving.bundle_id, PREVIOUS: before[0].bundle_id if before else None}
    wanted[CHALLENGER] = newest.bundle_id if newest and newest.bundle_id != serving.bundle_id else None
    with tolerant(Server.of(workspace), EVALUATION) as session:
        session.open()
        client = session.client
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(MODEL, description=_ABOUT)
        versions = _versions(client)
        for one in known:
            versions[one.bundle_id] = _registered(session, client, one, versions.get(one.bundle_id))
        _point(client, {alias: versions.get(bundle_id or "") for alias, bundle_id in wanted.items()})
    return session.is_logged


def _known(workspace: Workspace, served: list[Served], verdicts: Mapping[str, Verdict]) -> list[Known]:
    """The bundles that served or were judged and are there, in the order in which versions are to be numbered."""
    folders = {
        one.bundle_id: SHIPPED if one.folder == SHIPPED_NAME else Path(one.folder)
        for one in candidates(workspace.root, lambda line: None)
        if one.folder
    }
    judged = [one.bundle_id for one in sorted(verdicts.values(), key=lambda one: one.judged_utc)]
    wanted = dict.fromkeys([*(one.bundle_id for one in reversed(served)), *judged])
    return [Known(one, folders[one], verdicts.get(one)) for one in wanted if one in folders]


def _versions(client: Any) -> dict[str, str]:
    """The versions by bundle id."""
    found = client.search_model_versions(f"name = '{MODEL}'", max_results=10_000)
    return {str(one.tags[BUNDLE]): str(one.version) for one in found if BUNDLE in one.tags}


def _registered(session: Session, client: Any, one: Known, version: str | None) -> str:
    """Make or refresh the version of a bundle; return its number."""
    tags = _tags(one)
    if version is None:
        run_id = session.find(TRAINING, BUNDLE, one.bundle_id) or session.find(EVALUATION, BUNDLE, one.bundle_id)
        made = client.create_model_version(
            MODEL, one.folder.resolve().as_uri(), run_id, tags=tags, await_creation_for=0, description=_sentence(one)
        )
        return str(made.version)
    for key, value in tags.items():
        client.set_model_version_tag(MODEL, version, key, value)
    client.update_model_version(MODEL, version, description=_sentence(one))
    return version


def _tags(one: Known) -> dict[str, str]:
    tags = {BUNDLE: one.bundle_id, "folder": str(one.folder)}
    if one.verdict is None:
        return tags
    verdict: dict[str, Any] = {
        "verdict": "promoted" if one.verdict.is_promoted else "not promoted",
        "judged_utc": one.verdict.judged_utc,
        "against": one.verdict.against,
        "evaluation": one.verdict.evaluation,
        "photos": one.verdict.photos,
        "bd_rate_percent": one.verdict.percent,
        "bd_rate_percent_low": one.verdict.low_percent,
        "bd_rate_percent_high": one.verdict.high_percent,
        **{f"bd_rate_percent_vs {name}": percent for name, percent in one.verdict.bd_rates_percent.items()},
    }
    shown = {key: f"{value:.2f}" if isinstance(value, float) else str(value) for key, value in verdict.items()}
    return tags | {key.replace(",", ""): value for key, value in shown.items() if value != "None"}


def _sentence(one: Known) -> str:
    return one.verdict.sentence if one.verdict else "It served without having been judged."


def _point(client: Any, aliases: Mapping[str, str | None]) -> None:
    present = client.get_registered_model(MODEL).aliases
    for alias, version in aliases.items():
        if version is not None:
            client.set_registered_model_alias(MODEL, alias, version)
        elif alias in present:
            client.delete_registered_model_alias(MODEL, alias)


def command() -> int:
    """Make MLflow's registry of models agree with what serves in the workspace."""
    workspace = Workspace.from_environment()
    is_told = mirror(workspace)
    served = in_service(workspace.root)
    if is_told:
        say(json.dumps({"model": MODEL, CHAMPION: served.bundle_id}))
    return 0 if is_told else 1


if __name__ == "__main__":
    run_command(command)
