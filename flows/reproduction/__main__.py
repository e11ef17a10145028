"""`python -m flows.reproduction ablate` and `perturb`: the flows as commands, with a Prefect server of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.runtime import options
from flows.runtime.command import log_to_terminal, run_command
from flows.runtime.prefect_server import api_from_environment, saying_when_gone, wait_until_healthy
from flows.runtime.settled import is_settled, run_settled
from flows.runtime.stage import resolve
from flows.runtime.workspace import Workspace
from flows.sources import read_source

_HEALTH_S = 20.0
Evaluation = Annotated[str, typer.Option(help="Pictures to code: a folder or a set; else part of the source.")]
GridFile = Annotated[str, typer.Option("--grid", help="YAML file of what is varied.")]
BundleName = Annotated[str, typer.Option(help='"shipped", a key of train-codec, or a bundle folder.')]
Most = Annotated[int, typer.Option(help="Code no more pictures.", min=1)]
Out = Annotated[str, typer.Option(help="Folder for the figures as JSON.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace figures that exist.")]


def ablate(
    source: options.Source = "builtin",
    evaluation: Evaluation = "",
    tables: Annotated[
        str, typer.Option(help="references, dictionary, components, alignment, with commas between.")
    ] = "references,dictionary",
    grid: GridFile = "",
    bundle: BundleName = "shipped",
    most_pictures: Most = 12,
    out: Out = "",
    overwrite: Overwrite = False,
) -> int:
    """Measure the paper's tables of references, dictionaries and components with this codec."""
    parameters = dict(locals())  # must stay first: here the parameters, and nothing else, are local
    names = tuple(filter(None, tables.split(",")))

    def run() -> list[str]:
        from flows.reproduction import ablate as module

        module.ablate(**{**parameters, "tables": names})
        return [f"reproduction-{name}" for name in names]

    return _run(source, grid, run)


def perturb(
    source: options.Source = "builtin",
    evaluation: Evaluation = "",
    grid: GridFile = "",
    bundle: BundleName = "shipped",
    most_pictures: Most = 12,
    out: Out = "",
    overwrite: Overwrite = False,
) -> int:
    """Measure what random matches cost, with probabilities of 0 to 0.5."""
    parameters = dict(locals())  # must stay first: here the parameters, and nothing else, are local

    def run() -> list[str]:
        from flows.reproduction import perturb as module

        module.perturb(**parameters)
        return ["reproduction-perturbation"]

    return _run(source, grid, run)


def _run(source: str, grid: str, run: Callable[[], list[str]]) -> int:
    """Run a flow with a server to talk to, and show its tables; what is wrong is said before a server starts."""
    from flows.reproduction.grid import read_grid

    workspace = Workspace.from_environment()
    address = api_from_environment()
    if address is None or not is_settled(workspace):
        read_grid(grid)
        read_source(source)
        return run_settled(workspace.writable(), "flows.reproduction")
    log_to_terminal()
    wait_until_healthy(address, _HEALTH_S)
    with saying_when_gone(address):
        stages = run()
    for stage in stages:
        _show(workspace, stage)
    return 0


def _show(workspace: Workspace, stage: str) -> None:
    import json

    result = resolve(workspace, stage)
    told = json.loads((result.directory / "figures.json").read_bytes())
    columns = [name for name in dict.fromkeys(name for one in told["values"] for name in one) if name != "switches"]
    table = Table(*columns, title=f"{stage}: {len(told['pictures'])} pictures of {Path(told['evaluation']).name}")
    for one in told["values"]:
        table.add_row(*(_text(one.get(name)) for name in columns))
    Console(width=200).print(table)
    Console().print(str(result.directory), highlight=False, markup=False, soft_wrap=True)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_command(ablate, perturb)
