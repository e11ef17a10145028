"""One conversation with MLflow, and the only module that imports it.

`tracking` and `registry` beside it say what is told. The contract: tracking can never cost a result, so a server that
is gone or refuses makes a warning and no error; and no run stays "running" whose process has failed or is gone.
"""

import json
import logging
import math
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clc.pictures.picture import Picture
from flows.runtime.workspace import Workspace, sqlite_uri
from storage.atomic import write_bytes
from storage.errors import AlreadyExists, StorageError
from storage.locks import is_gone, this_process

if TYPE_CHECKING:
    import sqlite3

    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

PROCESS = "clc.process"
"""Tag of a run: the process that writes it."""
NOTE = "mlflow.note.content"
"""Tag of a run or an experiment: what its page says of it, in Markdown."""
PAGES = "workflowType=machine_learning"
"""Query of an address of MLflow's pages: without it they show what language models are watched by, and no runs."""
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_BATCH = 900  # MLflow takes 1000 metrics a request
_MOST_PARAM, _MOST_TAG = 500, 5000
_REFUSED = re.compile(r"[^\w\-. /]+")
_FAILED, _KILLED = "FAILED", "KILLED"


@dataclass(frozen=True)
class Server:
    """An MLflow database and the folder for the files of its runs; `database` is its file, where it is one of ours."""

    uri: str
    artifacts: Path
    database: Path | None = None

    @classmethod
    def of(cls, workspace: Workspace) -> "Server":
        """Return the server of a workspace; its artifacts lie in the workspace too."""
        return cls(workspace.mlflow_uri, workspace.root / "mlflow-artifacts", workspace.mlflow_database)

    @property
    def is_made(self) -> bool:
        """Whether there is a database, as far as can be seen without a word to it."""
        return self.database is None or self.database.exists()

    def make(self) -> None:
        """Make the database where there is none yet; raises what MLflow does, or `OSError`.

        MLflow makes its tables one after the other, and never takes up again what was cut short. So they are made
        elsewhere, and come to their place at once.
        """
        if self.is_made or self.database is None:
            return
        data = fresh_database(self.artifacts)
        try:
            write_bytes(self.database, data, replace=False)
        except AlreadyExists:
            logger.debug("made_by_another database=%s", self.database)
        except StorageError as error:
            raise OSError(str(error)) from error


def fresh_database(artifacts: Path) -> bytes:
    """Return a database of MLflow without runs, made in a temporary folder."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def hurry(connection: "sqlite3.Connection", _: object) -> None:
        [(_, _, opened)] = connection.execute("PRAGMA database_list").fetchall()
        if Path(opened) == made:  # where MLflow commits hundreds of times, and nothing is lost with the machine
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_mode = MEMORY")

    with tempfile.TemporaryDirectory(prefix="clc-mlflow-") as folder:
        made = Path(folder).resolve() / "mlflow.db"
        event.listen(Engine, "connect", hurry)
        try:
            SqlAlchemyStore(sqlite_uri(made), artifacts.as_uri()).engine.dispose()
        finally:
            event.remove(Engine, "connect", hurry)
        return made.read_bytes()


@dataclass(frozen=True)
class Data:
    """Pictures that a run used: what they are called, the digest of their blobs, where they are from, how many."""

    name: str
    digest: str
    source: str
    pictures: int


class Session:
    """One server while it is spoken to, and one of its experiments where runs are written."""

    def __init__(self, server: Server, experiment: str) -> None:
        self._server, self._experiment = server, experiment
        self._open: list[str] = []
        self.is_logged = False

    @property
    def client(self) -> "MlflowClient":
        """MLflow's own client, for tracking and for the registry of models."""
        from mlflow import MlflowClient  # here and below, because it takes seconds to import

        return MlflowClient(tracking_uri=self._server.uri, registry_uri=self._server.uri)

    def open(self) -> None:
        """Finds the experiment, or makes it; raises what MLflow does where the server does not answer.

        Ends what processes have left running that are gone, in whichever experiment.
        """
        self._server.make()
        self._client = self.client
        self._end_abandoned()
        known = self._client.get_experiment_by_name(self._experiment)
        if known is not None:
            self._experiment_id = str(known.experiment_id)
            return
        location = (self._server.artifacts / self._experiment).as_uri()
        self._experiment_id = str(self._client.create_experiment(self._experiment, location, _KIND))

    def start(
        self, name: str, params: Mapping[str, str], tags: Mapping[str, str] | None = None, *, goes_on: bool = False
    ) -> str:
        """Begins a run; returns its id. Values are cut at 500 characters, those of tags at 5,000.

        A run that `goes_on` is not ended as failed where the session fails.
        """
        from mlflow.entities import Param

        told = {"mlflow.runName": name, PROCESS: json.dumps(this_process()), **(tags or {})}
        told = {key: value[:_MOST_TAG] for key, value in told.items()}
        run = self._client.create_run(self._experiment_id, tags=told)
        run_id = str(run.info.run_id)
        if not goes_on:
            self._open.append(run_id)
        self._client.log_batch(run_id, params=[Param(key, value[:_MOST_PARAM]) for key, value in params.items()])
        return run_id

    def metrics(self, run_id: str, points: Sequence[tuple[str, float, int]]) -> None:
        """Writes points (name, value, step); values that are not finite are left out, for MLflow refuses them."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        found = [Metric(key, value, now_ms, step) for key, value, step in points if math.isfinite(value)]
        for start in range(0, len(found), _BATCH):
            self._client.log_batch(run_id, metrics=found[start : start + _BATCH])

    def data(self, run_id: str, data: Data, context: str) -> None:
        """Says which pictures a run used, and for what."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source, profile = json.dumps({"uri": data.source}), json.dumps({"pictures": data.pictures})
        entity = Dataset(data.name[:_MOST_PARAM], data.digest[:36], "local", source, profile=profile)
        self._client.log_inputs(run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

    def picture(self, run_id: str, key: str, picture: Picture, step: int) -> None:
        """Stores a picture, uint8 (H, W, 3), in a series, which pages show across runs by key and step."""
        self._client.log_image(run_id, picture, key=key, step=step)

    def tag(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Adds tags to a run, or changes them."""
        for key, value in tags.items():
            self._client.set_tag(run_id, key, value[:_MOST_TAG])

    def find(self, experiment: str, tag: str, value: str) -> str | None:
        """Return the id of the newest run of an experiment with this tag, or None."""
        known = self._client.get_experiment_by_name(experiment)
        if known is None:
            return None
        runs = self._client.search_runs([known.experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def has(self, tag: str, value: str, params: Mapping[str, str]) -> bool:
        """Whether the experiment has a finished run with this tag and these parameters; deleted ones count."""
        from mlflow.entities import ViewType

        wanted = f"attributes.status = 'FINISHED' and tags.`{tag}` = '{value}'"
        found = self._client.search_runs([self._experiment_id], wanted, ViewType.ALL)
        told = {key: param[:_MOST_PARAM] for key, param in params.items()}
        return any(run.data.params.items() >= told.items() for run in found)

    def link(self, run_id: str, text: str) -> str:
        """Return a link in Markdown to a run, as MLflow's pages have it."""
        experiment_id = self._client.get_run(run_id).info.experiment_id
        return f"[{text}](#/experiments/{experiment_id}/runs/{run_id}?{PAGES})"

    def finish(self, run_id: str, files: Sequence[Path] = (), status: str = "FINISHED") -> None:
        """Stores files with a run and ends it."""
        for path in files:
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, status=status)
        if run_id in self._open:
            self._open.remove(run_id)

    def fail(self) -> None:
        """Ends as failed what was begun here and not finished; says nothing where the server is gone."""
        for run_id in self._open:
            with suppress(*_lost()):
                self._client.set_terminated(run_id, status=_FAILED)

    def _end_abandoned(self) -> None:
        """Ends the runs of processes of this machine that are gone, as where one was killed."""
        experiments = [one.experiment_id for one in self._client.search_experiments()]
        for run in self._client.search_runs(experiments, "attributes.status = 'RUNNING'"):
            try:
                process = json.loads(run.data.tags.get(PROCESS, "{}"))
            except ValueError:
                continue
            if isinstance(process, dict) and is_gone(process):
                self._client.set_terminated(run.info.run_id, status=_KILLED)


@contextmanager
def tolerant(server: Server, experiment: str) -> Iterator[Session]:
    """Yield a session whose failures of tracking, and no others, end the block with a warning."""
    session = Session(server, experiment)
    try:
        yield session
        session.is_logged = True
    except _lost() as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        logger.warning("tracking_lost uri=%s experiment=%s reason=%r", server.uri, experiment, reason)
    finally:
        session.fail()


def experiments_page(address: str) -> str:
    """Return where the experiments are, on the pages of an MLflow at `address`."""
    return f"{address}/#/experiments?{PAGES}"


def name_of_metric(text: str) -> str:
    """Return a text with nothing in it that MLflow refuses in the name of a metric."""
    return _REFUSED.sub("", text)


def _lost() -> tuple[type[Exception], ...]:
    """What MLflow and its database raise where they are gone or refuse."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, OSError


def numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a line by name; a list of them becomes a number for each place, `name/0` and so on."""
    for key, value in line.items():
        values = {f"{key}/{place}": one for place, one in enumerate(value)} if isinstance(value, list) else {key: value}
        for name, one in values.items():
            if isinstance(one, int | float) and not isinstance(one, bool):
                yield name, float(one)
