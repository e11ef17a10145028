"""What the project tells MLflow of its runs: trainings, evaluations, archives.

`flows.evaluate` and `flows.archive` log here after their work is finished, `flows.runtime.live_tracking` beside a
training, so that tracking can never cost a result: a server that is gone or refuses makes a warning, and what sends
returns False. Series are logged with steps that make sense on an axis: MLflow draws a rate-distortion curve from a
metric whose step is the rate, and lays those of several runs over one another. A run is named by what it is about.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from clc.evaluation.curves import CodecCurve, Comparison, OperatingPoint
from clc.pictures.picture import Picture
from flows.runtime.mlflow_session import NOTE, Data, Server, Session, name_of_metric, numbers, tolerant

TRAINING, EVALUATION = "train-codec", "evaluate-codec"
"""Experiments."""
RD_CURVE = "rd_psnr_db_at_millibpp"
"""PSNR logged at the step 1000 * bpp: MLflow's own line chart of it is the rate-distortion curve."""
BUNDLE, STAGE_KEY = "clc.bundle_id", "clc.stage_key"
TRAINING_RUN, EVALUATION_RUN = "clc.training_run", "clc.evaluation_run"
"""Tags of runs: the bundle that one made or measured, the key of its stage, and the run that belongs to it."""

_FIGURES = tuple(one.name for one in fields(OperatingPoint) if one.name != "quality")


@dataclass(frozen=True)
class Evaluation:
    """What `log_evaluation` logs: the curves of a bundle and of other codecs over one data set, pictures and files.

    `test` names the codec of the bundle among the curves, `params` are shown beside the run. `pictures` makes
    what is shown, uint8 (H, W, 3), each with the name of its series and its step: MLflow lays those of several runs
    side by side. `note`, Markdown, is the first that a reader of the run's page sees.
    """

    bundle_id: str
    stage_key: str
    data: Data
    test: str
    comparison: Comparison
    params: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Path] = field(default_factory=tuple)
    pictures: Callable[[], Sequence[tuple[str, int, Picture]]] = tuple
    note: str = ""


def log_evaluation(server: Server, evaluation: Evaluation) -> bool:
    """Log one run for a bundle and a data set, named by both, with every codec's curve and the BD-rates.

    Every figure of a codec is a metric `FIGURE/CODEC` at the step of the quality, its rate-distortion curve
    `RD_CURVE/CODEC` at the rate. The run links to the training that made the bundle, where that is known, and back.
    An evaluation that was logged before is not logged again. Returns False, after a warning, when the server could
    not take it.
    """
    with tolerant(server, EVALUATION) as session:
        session.open()
        params = _params(evaluation)
        if not session.has(STAGE_KEY, evaluation.stage_key, params):
            _write_evaluation(session, evaluation, params)
    return session.is_logged


def _write_evaluation(session: Session, evaluation: Evaluation, params: Mapping[str, str]) -> None:
    tags = {BUNDLE: evaluation.bundle_id, STAGE_KEY: evaluation.stage_key}
    notes = [evaluation.note] if evaluation.note else []
    training = session.find(TRAINING, BUNDLE, evaluation.bundle_id)
    if training is not None:
        tags[TRAINING_RUN] = training
        notes.insert(0, f"Bundle of {session.link(training, 'this training')}.")
    if notes:
        tags[NOTE] = "\n\n".join(notes)
    run_id = session.start(f"{evaluation.bundle_id} on {evaluation.data.name}", params, tags)
    session.data(run_id, evaluation.data, "evaluation")
    points = [point for curve in evaluation.comparison.curves for point in _series(curve)]
    session.metrics(run_id, [*points, *_bd_rates(evaluation)])
    for name, step, picture in evaluation.pictures():
        session.picture(run_id, name_of_metric(name), picture, step)
    if training is not None:
        note = f"Its bundle was measured in {session.link(run_id, 'this evaluation')}."
        session.tag(training, {EVALUATION_RUN: run_id, NOTE: note})
    session.finish(run_id, evaluation.files)


def log_totals(
    server: Server,
    experiment: str,
    name: str,
    params: Mapping[str, Any],
    totals: Mapping[str, float],
    stage_key: str,
    files: Sequence[Path] = (),
) -> bool:
    """Log one run with its parameters, figures and files, unless one of this `stage_key` was logged before.

    Returns False, after a warning, when the server could not take it.
    """
    with tolerant(server, experiment) as session:
        session.open()
        told = {key: str(value) for key, value in params.items()}
        if not session.has(STAGE_KEY, stage_key, told):
            run_id = session.start(name, told, {STAGE_KEY: stage_key})
            session.metrics(run_id, [(key, float(value), 0) for key, value in totals.items()])
            session.finish(run_id, files)
    return session.is_logged


class TrainingRun:
    """One training run as MLflow sees it, sent bit by bit while it goes on; `flows.runtime.live_tracking` does so from
    a thread.

    `params` are its parameters, `data` the pictures that it trains on. The run is made by the first `send` that the
    server takes.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        params: Mapping[str, Any],
        *,
        data: Data | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._server, self._name, self._params = server, name, params
        self._data, self._tags = data, tags
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
        with tolerant(self._server, TRAINING) as session:
            session.open()
            if self._run_id is None:
                self._run_id = self._start(session)
            points = [
                (key, value, int(line.get("step", index)))
                for index, line in enumerate(series)
                for key, value in numbers(line)
                if key != "step"
            ]
            session.metrics(self._run_id, points)
            for step, picture in pictures:
                session.picture(self._run_id, "reconstructions", picture, step)
            if status is not None:
                session.finish(self._run_id, status=status)
        return session.is_logged

    def made(self, bundle_id: str) -> bool:
        """Say which bundle came of the run, or of the one that a former process sent.

        Returns False where there is no such run, and after a warning when the server could not take it.
        """
        key = (self._tags or {}).get(STAGE_KEY)
        if self._run_id is None and (key is None or not self._server.is_made):
            return False
        with tolerant(self._server, TRAINING) as session:
            session.open()
            run_id = self._run_id or session.find(TRAINING, STAGE_KEY, str(key))
            if run_id is None:
                return False
            session.tag(run_id, {BUNDLE: bundle_id})
        return session.is_logged

    def _start(self, session: Session) -> str:
        params = {key: str(value) for key, value in self._params.items()}
        run_id = session.start(self._name, params, self._tags, goes_on=True)
        if self._data is not None:
            session.data(run_id, self._data, "training")
        return run_id


def _params(evaluation: Evaluation) -> dict[str, str]:
    comparison = evaluation.comparison
    found = {"bundle": evaluation.bundle_id, "dataset": evaluation.data.name, "row": comparison.row}
    found |= {"pictures": str(len(comparison.pictures)), "codecs": ", ".join(one.codec for one in comparison.curves)}
    return found | dict(evaluation.params)


def _series(curve: CodecCurve) -> list[tuple[str, float, int]]:
    name = name_of_metric(curve.codec)
    by_quality = [
        (f"{figure}/{name}", float(getattr(point, figure)), round(point.quality))
        for point in curve.points
        for figure in _FIGURES
        if isinstance(getattr(point, figure), int | float)
    ]
    return [*by_quality, *((f"{RD_CURVE}/{name}", point.psnr_db, round(1000 * point.bpp)) for point in curve.points)]


def _bd_rates(evaluation: Evaluation) -> list[tuple[str, float, int]]:
    rates = evaluation.comparison.bd_rates(evaluation.test)
    return [
        (f"bd_rate_percent/vs {name_of_metric(rate.anchor)}", rate.percent, 0)
        for rate in rates
        if rate.percent is not None
    ]
