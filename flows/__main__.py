"""`python -m flows`, which `clc plan` and `clc gc` start: what a run would do, and what runs have left."""

from typing import Annotated

import typer

from clc.console import say
from flows.runtime.command import run_command
from flows.runtime.workspace import Workspace


def plan(
    source: Annotated[
        str, typer.Option(help='"builtin", a folder, a list of paths or URLs, an archive, a table or a store.')
    ] = "builtin",
    patch_px: Annotated[
        int | None, typer.Option(help="Cut what is not evaluated into patches of this side.", min=16)
    ] = None,
    backbone: Annotated[str, typer.Option(help='"codec", "resnet50" or the path of an .onnx file.')] = "codec",
    entries: Annotated[int, typer.Option(help="Pictures in the dictionary.", min=1)] = 64,
    components: Annotated[int, typer.Option(help="Length of a dictionary key.", min=1)] = 256,
    minutes: Annotated[float, typer.Option(help="How long to train.", min=0.0)] = 1.0,
    start: Annotated[str, typer.Option(help='"shipped", a key of train-codec, or a bundle folder.')] = "shipped",
    key_pictures: Annotated[int, typer.Option(help="Pictures kept whole for overlapping ones.", min=0)] = 0,
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
