"""What the project tells MLflow, and the only module that imports it.

`flows.evaluate` and `flows.archive` log here after their work is finished, `flows.runtime.live_tracking` beside a
training, so that tracking can never cost a result: a server that is gone or refuses makes a warning, and what sends
returns False. Series are logged with steps that make sense on an axis: MLflow draws a rate-distortion curve from a
metric whose step is the rate.
"""

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clc.evaluation.curves import CodecCurve, Comparison, OperatingPoint
from clc.pictures.picture import Picture
from flows.runtime.workspace import Workspace

logger = logging.getLogger(__name__)

RD_CURVE = "rd_psnr_db_at_millibpp"
"""PSNR logged at the step 1000 * bpp: MLflow's own line chart of it is the rate-distortion curve."""

_METRICS = ("bpp", "psnr_db", "ms_ssim", "encode_s", "decode_s")
_BATCH = 900  # MLflow takes 1000 metrics a request


@dataclass(frozen=True)
class Server:
    """An MLflow database and the folder for the files of its runs."""

    uri: str
    artifacts: Path

    @classmethod
    def of(cls, workspace: Workspace) -> "Server":
        """Return the server of a workspace; its artifacts lie in the workspace too."""
        return cls(workspace.mlflow_uri, workspace.root / "mlflow-artifacts")


@dataclass(frozen=True)
class Evaluation:
    """What `log_evaluation` logs: the curves over one data set, and files for the run of the codec under test."""

    dataset: str
    test: str
    comparison: Comparison
    params: Mapping[str, str]
    files: Sequence[Path] = field(default_factory=tuple)


def log_evaluation(server: Server, evaluation: Evaluation) -> bool:
    """Log one parent run for each codec with its curve, and in it one child run for each quality.

    BD-rates go to the parent of the codec under test, and so do the files. Returns False, after a warning, when the
    server could not take it.
    """
    with _tolerant(server, "evaluate-codec") as session:
        session.open()
        for curve in evaluation.comparison.curves:
            _log_curve(session, evaluation, curve)
    return session.is_logged


def log_totals(
    server: Server,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    totals: Mapping[str, float],
    files: Sequence[Path] = (),
) -> bool:
    """Log one run with its parameters, figures and files. Returns False, after a warning, when the server could not."""
    with _tolerant(server, experiment) as session:
        session.open()
        run_id = session.start(name, {key: str(value) for key, value in params.items()})
        session.metrics(run_id, [(key, float(value), 0) for key, value in totals.items()])
        session.finish(run_id, files)
    return session.is_logged


class TrainingRun:
    """One training run as MLflow sees it, sent bit by bit while it goes on; `flows.runtime.live_tracking` does so from
    a thread.

    `params` are its parameters. The run is made by the first `send` that the server takes.
    """

    def __init__(self, server: Server, name: str, params: Mapping[str, Any]) -> None:
        self._server, self._name, self._params = server, name, params
        self._run_id: str | None = None

    def send(
        self,
        series: Sequence[Mapping[str, Any]],
        pictures: Sequence[tuple[int, Picture]] = (),
        *,
        status: str | None = None,
    ) -> bool:
        """Log every number of `series` as a metric at the entry's "step", and pictures, uint8 (H, W, 3), by their step.

        `series` are lines of a training log; entries without a "step" are numbered. A list of numbers becomes a metric
        for each place in it, `name/0` and so on; values that are no finite numbers are passed over. `status`, FINISHED
        or FAILED, ends the run. Returns False, after a warning, when the server could not take it: send it again.
        """
        with _tolerant(self._server, "train-codec") as session:
            session.open()
            if self._run_id is None:
                self._run_id = session.start(self._name, {key: str(value) for key, value in self._params.items()})
            points = [
                (key, value, int(line.get("step", index)))
                for index, line in enumerate(series)
                for key, value in _numbers(line)
                if key != "step"
            ]
            session.metrics(self._run_id, points)
            for step, picture in pictures:
                session.picture(self._run_id, f"reconstructions/step-{step:07d}.png", picture)
            if status is not None:
                session.finish(self._run_id, status=status)
        return session.is_logged


class _Session:
    """One experiment of a server while it is written to."""

    def __init__(self, server: Server, experiment: str) -> None:
        self._server, self._experiment = server, experiment
        self.is_logged = False

    def open(self) -> None:
        """Finds the experiment, or makes it; raises what MLflow does where the server does not answer."""
        from mlflow import MlflowClient  # here and below, because it takes seconds to import

        self._client: MlflowClient = MlflowClient(tracking_uri=self._server.uri)
        known = self._client.get_experiment_by_name(self._experiment)
        if known is not None:
            self._experiment_id = known.experiment_id
            return
        location = (self._server.artifacts / self._experiment).as_uri()
        self._experiment_id = self._client.create_experiment(self._experiment, artifact_location=location)

    def start(self, name: str, params: Mapping[str, str], parent: str | None = None) -> str:
        """Begins a run, below another one if `parent` is its id; returns its id. Values are cut at 500 characters."""
        from mlflow.entities import Param

        tags = {"mlflow.runName": name} | ({} if parent is None else {"mlflow.parentRunId": parent})
        run = self._client.create_run(self._experiment_id, tags=tags)
        run_id = str(run.info.run_id)
        self._client.log_batch(run_id, params=[Param(key, value[:500]) for key, value in params.items()])
        return run_id

    def metrics(self, run_id: str, points: Sequence[tuple[str, float, int]]) -> None:
        """Writes points (name, value, step); values that are not finite are left out, for MLflow refuses them."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        found = [Metric(key, value, now_ms, step) for key, value, step in points if math.isfinite(value)]
        for start in range(0, len(found), _BATCH):
            self._client.log_batch(run_id, metrics=found[start : start + _BATCH])

    def picture(self, run_id: str, name: str, picture: Picture) -> None:
        """Stores a picture, uint8 (H, W, 3), under a name that ends in .png."""
        self._client.log_image(run_id, picture, artifact_file=name)

    def finish(self, run_id: str, files: Sequence[Path] = (), status: str = "FINISHED") -> None:
        for path in files:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, status=status)


@contextmanager
def _tolerant(server: Server, experiment: str) -> Iterator[_Session]:
    """Yield a session whose failures of tracking, and no others, end the block with a warning."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    session = _Session(server, experiment)
    try:
        yield session
        session.is_logged = True
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning("tracking_lost uri=%s experiment=%s reason=%r", server.uri, experiment, reason)


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in line.items():
        values = {f"{key}/{place}": one for place, one in enumerate(value)} if isinstance(value, list) else {key: value}
        for name, one in values.items():
            if isinstance(one, int | float) and not isinstance(one, bool):
                yield name, float(one)


def _log_curve(session: _Session, evaluation: Evaluation, curve: CodecCurve) -> None:
    params = {"codec": curve.codec, "dataset": evaluation.dataset, "row": evaluation.comparison.row}
    params |= {"references": curve.references, "pictures": str(len(evaluation.comparison.pictures))}
    is_test = curve.codec == evaluation.test
    parent = session.start(
        f"{curve.codec} on {evaluation.dataset}", params | (dict(evaluation.params) if is_test else {})
    )
    for point in curve.points:
        child = session.start(f"quality {point.quality:g}", params | {"quality": f"{point.quality:g}"}, parent)
        session.metrics(child, [(name, getattr(point, name), 0) for name in _METRICS])
        session.finish(child)
    session.metrics(parent, [*_series(curve.points), *(_bd_rates(evaluation) if is_test else ())])
    session.finish(parent, evaluation.files if is_test else ())


def _series(points: Sequence[OperatingPoint]) -> list[tuple[str, float, int]]:
    by_quality = [(name, getattr(point, name), round(point.quality)) for point in points for name in _METRICS]
    return [*by_quality, *((RD_CURVE, point.psnr_db, round(1000 * point.bpp)) for point in points)]


def _bd_rates(evaluation: Evaluation) -> list[tuple[str, float, int]]:
    rates = evaluation.comparison.bd_rates(evaluation.test)
    return [
        (f"bd_rate_vs_{rate.anchor.replace(',', '').replace(' ', '_')}_percent", rate.percent, 0)
        for rate in rates
        if rate.percent is not None
    ]
