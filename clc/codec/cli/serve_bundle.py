"""`clc serve-bundle list | use | rollback`: which bundle `--bundle service` means, shown and changed by hand.

What is changed is the same record that `retrain` writes; see `clc.bundle.serving` for what is kept.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from clc.console import DONE, FAILED, complain, say, shown
from clc.errors import InputError


def add_serve_bundle(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser of `clc`."""
    command = commands.add_parser(
        "serve-bundle",
        help="show or change which bundle serves",
        description="Show or change which bundle `--bundle service` means in the workspace (CLC_WORKSPACE).",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="list|use|rollback")
    listing = actions.add_parser(
        "list",
        help="show the bundles that could serve",
        description="Show the bundles of the workspace: which one serves, which did, and what was found of each.",
    )
    listing.add_argument("--json", action="store_true", help="as one JSON object a line")
    use = actions.add_parser(
        "use",
        help="put a bundle in service",
        description="Put a bundle in service, after every file of it was checked. One from outside the workspace is "
        "copied into it.",
    )
    use.add_argument("bundle", metavar="FOLDER|ID|shipped", help="the bundle: its folder, its id, or the shipped one")
    rollback = actions.add_parser(
        "rollback",
        help="go back to the bundle before",
        description="Put the bundle in service that served before this one; again, and it goes back further.",
    )
    for action, run in ((listing, _list), (use, _use), (rollback, _rollback)):
        action.set_defaults(run=run, parser=action)


def _list(options: argparse.Namespace) -> int:
    from clc.bundle.service import workspace_root
    from clc.bundle.serving import candidates

    found = candidates(workspace_root(), lambda line: complain(f"warning: {line}"))
    if options.json:
        return DONE if all(say(json.dumps(asdict(one))) for one in found) else FAILED
    for one in found:
        lines = [f"{one.bundle_id:16}  {one.state:10}  {shown(one.folder)}", f"{'':30}{one.note}"]
        if not say("\n".join(line.rstrip() for line in lines if line.strip())):
            return FAILED
    return DONE


def _use(options: argparse.Namespace) -> int:
    from clc.bundle.service import SHIPPED_NAME, workspace_root
    from clc.bundle.serving import changing, in_service, put_in_service

    workspace = workspace_root()
    folder = _folder_of(options.bundle)
    with changing(workspace):
        before = in_service(workspace)
        if _id_of(folder) == before.bundle_id:
            return _told(f"{before.bundle_id} serves already; nothing is changed")
        served = put_in_service(workspace, folder, "chosen by serve-bundle use")
    where = "the shipped bundle" if served.bundle == SHIPPED_NAME else str(workspace / served.bundle)
    return _told(f"{served.bundle_id} serves now, {shown(where)}; before it {before.bundle_id}")


def _rollback(options: argparse.Namespace) -> int:
    from clc.bundle.service import workspace_root
    from clc.bundle.serving import changing, in_service, roll_back

    workspace = workspace_root()
    with changing(workspace):
        left = in_service(workspace)
        served = roll_back(workspace)
    return _told(f"{served.bundle_id} serves again; {left.bundle_id} is kept, and `clc serve-bundle use` takes it back")


def _folder_of(value: str) -> Path | None:
    """The folder of the bundle that a user names; None for the shipped one. `InputError` unless it is just one."""
    from clc.bundle.locate import SERVICE, Shelf
    from clc.bundle.service import SHIPPED_NAME

    if value == SHIPPED_NAME:
        return None
    if value == SERVICE:
        raise InputError('"service" is the bundle that serves already; name another one: its folder, its id or shipped')
    return Shelf([value], lambda line: complain(f"warning: {line}")).first()


def _id_of(folder: Path | None) -> str:
    from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes

    return id_of(read_manifest_bytes(folder or SHIPPED))


def _told(line: str) -> int:
    return DONE if say(line) else FAILED
