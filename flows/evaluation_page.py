"""What Prefect's pages show of an evaluation: its table, its plot, what failed, and where everything else is."""

import json
import math

from clc.bundle.identity import ID_DIGITS
from clc.evaluation.measure import FAILED, rows_from_table
from clc.evaluation.scales import PSNR, SCALES
from flows.runtime.artifacts import publish_png, publish_table, publish_text
from flows.runtime.stage import StageResult
from flows.runtime.workspace import Workspace
from storage.regular import read_regular
from storage.tables import read_table

RESULTS, PLOT, FAILURES, LINKS = (f"evaluation-{name}" for name in ("results", "plot", "failures", "links"))
"""Keys of the artifacts."""
_MOST_BYTES = 2**20


def show_evaluation(workspace: Workspace, result: StageResult) -> None:
    """Publish a finished evaluate-codec, made by this run or used again; without a run there is nothing to show."""
    summary = result.manifest.summary
    title = f"Bundle {str(summary.get('bundle_id', ''))[:ID_DIGITS]} on {summary.get('dataset', '')}"
    table = [
        {name: _figure(value) for name, value in one.items() if name != "references"}
        for one in summary.get("table", ())
    ]
    rates = "".join(
        f"\n- BD-rate at equal {SCALES[one.get('measure', PSNR.key)].label} against {one['anchor']}: "
        + (f"{one['percent']:+.1f} %" if one["percent"] is not None else f"none, {one['reason']}")
        for one in (*summary.get("bd_rates", ()), *summary.get("published_bd_rates", ()))
    )
    publish_table(RESULTS, table, f"{title}: means over the pictures.\n{rates}")
    plot = result.directory / "rd.png"
    if plot.is_file():
        publish_png(PLOT, plot.read_bytes(), f"{title}: rate and PSNR.")
    rows = rows_from_table(read_table(result.directory / "rows.parquet"))
    failures = [
        {"picture": row.name, "codec": row.codec, "quality": row.quality, "reason": row.reason}
        for row in rows
        if row.status == FAILED
    ]
    missing = [
        {"picture": "all", "codec": name, "quality": "all", "reason": reason}
        for name, reason in summary.get("missing_baselines", {}).items()
    ]
    publish_table(
        FAILURES, [*missing, *failures], f"{title}: {len(failures)} files failed, {len(missing)} codecs lack."
    )
    publish_text(LINKS, _links(workspace, result), title)


def _links(workspace: Workspace, result: StageResult) -> str:
    report = (result.directory / "report.html").as_uri()
    lines = [
        f"- [report]({report}): `{result.directory / 'report.html'}`",
        f"- rows: `{result.directory}/rows.parquet`",
    ]
    address = _mlflow_address(workspace)
    lines.append(f"- [MLflow]({address})" if address else "- MLflow: `make serve` shows it")
    return "\n".join(lines)


def _mlflow_address(workspace: Workspace) -> str:
    """Where MLflow listens, "" where nothing says so."""
    try:
        return str(json.loads(read_regular(workspace.services_file, _MOST_BYTES))["mlflow"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _figure(value: object) -> object:
    """A figure as a page shows it: four digits, none where it is none."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None
