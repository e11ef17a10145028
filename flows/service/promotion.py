"""Which bundle is in service, and the place where the pipeline changes it.

`retrain` holds a candidate against it (`flows.service.gate`) and promotes the candidate, in one atomic write, only if
the verdict says so; else everything stays as it was. What is written, and how a person changes it:
`clc.bundle.serving`.
"""

from pathlib import Path

from clc.bundle.service import SHIPPED_NAME, service_bundle
from clc.bundle.serving import Verdict, put_in_service, write_verdict
from flows.runtime.workspace import Workspace

SHIPPED = SHIPPED_NAME


def bundle_in_service(workspace: Workspace) -> str:
    """Return "shipped" or the absolute path of the bundle folder in service.

    Raises `StorageError` when `current.json` is damaged or names a bundle that is gone.
    """
    folder = service_bundle(workspace.root)
    return SHIPPED if folder is None else str(folder)


def settle(workspace: Workspace, bundle: Path, verdict: Verdict) -> None:
    """Keep a verdict, and put its bundle, a folder of this workspace, in service where it says so.

    A crash leaves the former one there. Whoever calls holds the lease `service`.
    """
    if verdict.bundle_id != verdict.against:  # what serves already keeps the verdict that brought it there
        write_verdict(workspace.root, verdict)
    if verdict.is_promoted:
        facts = {"evaluation": verdict.evaluation, "bd_rates_percent": dict(verdict.bd_rates_percent)}
        put_in_service(workspace.root, bundle, verdict.sentence, facts)
