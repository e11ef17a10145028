"""A table as a stage: measured once, shown on Prefect's pages, told to MLflow, and written as JSON where that is asked.

`flows.reproduction.ablate` and `flows.reproduction.perturb` run tables through `run_table`.
"""

import json
import math
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from clc.codec.files import refuse_existing
from clc.errors import InputError
from clc.evaluation.measure import FAILED, rows_to_table
from clc.evaluation.summary import versions
from clc.machine import flush_denormals, keep_freed_memory
from clc.version import version
from flows.codec_modules import CODEC_MODULES
from flows.reproduction.dictionaries import Described, described
from flows.reproduction.grid import Grid
from flows.reproduction.subject import Subject
from flows.reproduction.tables import Measured
from flows.runtime.artifacts import publish_table
from flows.runtime.mlflow_session import Server
from flows.runtime.names import collection_name
from flows.runtime.stage import StageResult, run_stage, stage_key
from flows.runtime.tracking import log_totals
from flows.runtime.workspace import Workspace
from storage.atomic import write_bytes
from storage.tables import write_table

MODULES = (
    *CODEC_MODULES,
    "clc.bundle.calibration",
    "clc.bundle.entries",
    "clc.bundle.export",
    "clc.bundle.extend",
    "clc.collection.patches",
    "clc.dictionary",
    "clc.evaluation.ablation",
    "clc.evaluation.baselines",
    "clc.evaluation.bd_rate",
    "clc.evaluation.coders",
    "clc.evaluation.curves",
    "clc.evaluation.measure",
    "clc.evaluation.metrics",
    "clc.evaluation.peak_memory",
    "clc.evaluation.perceptual",
    "clc.evaluation.scales",
    "clc.evaluation.summary",
    "clc.training",
    "clc.version",
    "flows.evaluation.picture_sets",
    "flows.evaluation_subject",
    "flows.items",
    "flows.leakage",
    "flows.reproduction",
    "storage.blobs",
    "storage.names",
    "storage.tables",
)
"""The source text that decides what a table says."""
FIGURES, ROWS = "figures.json", "rows.parquet"
EXPERIMENT = "reproduction"
_PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Table:
    """A table by name: the part of the grid that decides it, and what measures it into a scratch folder.

    `measure` takes the described windows, the grid, the scratch folder and one that is kept for an interrupted run.
    Where pictures `overlap` on purpose, those that are coded may resemble known ones.
    """

    name: str
    part: str
    title: str
    measure: Callable[[Described, Grid, Path, Path], Measured]
    overlap: bool = False


def run_table(workspace: Workspace, subject: Subject, grid: Grid, table: Table, out: str, *, overwrite: bool) -> str:
    """Measure a table of a subject unless that is kept; show it, tell it, and write it. Returns the stage's key."""
    keep_freed_memory()
    stage = f"{EXPERIMENT}-{table.name}"
    inputs = subject.inputs
    part = getattr(grid, table.part)
    windows = getattr(part, "windows", grid.windows)
    config = {
        "qualities": list(grid.qualities),
        "crop_px": grid.crop_px,
        "seed": grid.seed,
        "grid_windows": windows.model_dump(mode="json"),
        table.part: part.model_dump(mode="json"),
        "versions": versions(),
    }
    state = workspace.resumable / stage / stage_key(stage, inputs=inputs, config=config, modules=MODULES)

    def body(folder: Path) -> dict[str, Any]:
        if not table.overlap:
            _refuse_leaks(workspace, subject)
        found = described(workspace, subject, windows)
        with tempfile.TemporaryDirectory(prefix="clc-reproduction-") as scratch:
            measured = table.measure(found, grid, Path(scratch), state)
        if measured.rows and all(row.status == FAILED for row in measured.rows):
            raise InputError(f"no picture could be coded, the first because: {measured.rows[0].reason}")
        write_table(folder / ROWS, rows_to_table(measured.rows))
        told = _finite({**_scale(subject, found, config), "notes": measured.notes, "values": measured.figures})
        write_bytes(folder / FIGURES, json.dumps(told, indent=1, allow_nan=False).encode())
        return {"variants": len(measured.figures), **measured.notes}

    with _flushed_denormals():
        result = run_stage(workspace, stage, inputs=inputs, config=config, modules=MODULES, body=body)
    show(workspace, result, table)
    if out:
        data = (result.directory / FIGURES).read_bytes()
        write_bytes(figures_file(out, table), data + b"\n", replace=overwrite)
    return result.key


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Flush denormals while this lasts, and not after it: the thread goes on with work that may need them."""
    flush_denormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _refuse_leaks(workspace: Workspace, subject: Subject) -> None:
    """Raise `Leak` where the dictionary knows what is coded; what was found to be none is not compared again."""

    def body(folder: Path) -> dict[str, Any]:
        subject.check()
        return {"evaluated": len(subject.evaluated), "known": len(subject.known)}

    pictures = {name: subject.inputs[name] for name in ("evaluated", "known")}
    run_stage(workspace, "refuse-leaks", inputs=pictures, config={}, modules=MODULES, body=body, is_shown=False)


def figures_file(out: str, table: Table) -> Path:
    """Where the figures of a table go below a folder that the user names."""
    return Path(out).expanduser() / f"ablation-{table.name}.json"


def check_out(out: str, tables: Sequence[Table], *, overwrite: bool) -> None:
    """Raise `InputError` before anything is measured where the folder is none, or holds figures that must stay."""
    if not out:
        return
    if not Path(out).expanduser().is_dir():
        raise InputError(f"no folder {out} for the figures; make it, or name another one")
    refuse_existing([figures_file(out, table) for table in tables], overwrite=overwrite)


def show(workspace: Workspace, result: StageResult, table: Table) -> None:
    """Publish a table that was made by this run or before, and tell MLflow of it."""
    told = json.loads((result.directory / FIGURES).read_bytes())
    values: list[dict[str, Any]] = told["values"]
    flat = [{name: value for name, value in one.items() if not isinstance(value, dict | list)} for one in values]
    scale = ", ".join(f"{name} {value}" for name, value in told["notes"].items())
    description = f"{table.title}: {len(told['pictures'])} pictures of {told['evaluation']}; {scale}."
    publish_table(f"ablation-{table.name}", flat, description)
    totals = {
        f"{name}/{one['variant']}": value
        for one in values
        for name, value in one.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    params = {name: told[name] for name in ("bundle", "evaluation", "dictionary", "qualities", "commit")}
    files = [result.directory / FIGURES, result.directory / ROWS]
    name = f"{table.name} on {Path(str(told['evaluation'])).name}"
    log_totals(Server.of(workspace), EXPERIMENT, name, {**params, **told["notes"]}, totals, result.key, files)


def _scale(subject: Subject, found: Described, config: Mapping[str, Any]) -> dict[str, Any]:
    """What figures are worth nothing without: of which release, on what machine, of which pictures."""
    return {
        "version": version(),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores of {platform.machine()}, {platform.system()}",
        "date": datetime.now(UTC).date().isoformat(),
        "bundle": subject.bundle_id,
        "dictionary": collection_name(subject.origin),
        "photos": len(subject.known),
        "windows": len(found.windows),
        "evaluation": Path(subject.evaluation).name,
        "pictures": [item.name for item in subject.evaluated],
        "left_out": subject.left_out,
        **{name: value for name, value in config.items() if name != "versions"},
    }


def _commit() -> str:
    """The commit of the source tree, with a plus where files differ from it; "" where this is no checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--exclude=*", "--dirty=+"],  # noqa: S607 - the user's git
            cwd=_PROJECT,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def _finite(value: Any) -> Any:
    """A value for JSON, which knows no infinity: None for what is no finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
