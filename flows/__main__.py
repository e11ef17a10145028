"""`python -m flows`, which `clc plan` and `clc gc` start: what a run would do, and what runs have left."""

from typing import Annotated

import typer

from clc.console import say
from flows.runtime import options
from flows.runtime.command import run_command
from flows.runtime.workspace import Workspace


def plan(
    source: options.Source = "builtin",
    patch_px: options.PatchSide = None,
    backbone: options.Backbone = "codec",
    entries: options.Entries = 64,
    components: options.Components = 256,
    candidates: options.Candidates = None,
    fold: options.Fold = False,
    minutes: options.Minutes = 1.0,
    start: options.Start = "shipped",
    key_pictures: options.KeyPictures = 0,
    device: options.Device = "cpu",
    processes: options.Processes = 1,
) -> int:
    """Show which stages a run of the pipeline (make run) would make, why, and how long the last ones took.

    Makes and fetches nothing. The options are those of the run.
    """
    parameters = dict(locals())  # must stay first: here the parameters, and nothing else, are local
    from flows.upkeep import planning

    return 0 if say("\n".join(planning.as_lines(planning.plan(Workspace.from_environment(), parameters)))) else 1


def gc(dry_run: Annotated[bool, typer.Option("--dry-run", help="List it only.")] = False) -> int:
    """List and remove what nobody needs in the workspace: what killed runs left, blobs that no finished stage names."""
    from flows.upkeep.cleaning import clean

    garbage = clean(Workspace.from_environment(), is_dry=dry_run)
    what = "to remove" if dry_run else "removed"
    count = f"{what}: {len(garbage.paths)} with {garbage.n_bytes} bytes"
    return 0 if say("\n".join([*(f"{what}: {path}" for path in garbage.paths), count])) else 1


if __name__ == "__main__":
    run_command(plan, gc)
