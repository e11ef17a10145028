"""Where a run keeps its state: one folder, the workspace, that holds everything and can be removed as a whole.

Every flow asks `Workspace.from_environment()` for its places; tests name a temporary folder there. The commands ask
`writable()` of it before they start anything.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from clc.bundle.service import SERVICE_FOLDER, workspace_root
from clc.errors import InputError
from storage.blobs import BlobStore
from storage.names import shown_name

VARIABLE = "CLC_WORKSPACE"
"""The variable of the environment that names the workspace."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one workspace; `root` is absolute. Nothing is made until something is written."""

    root: Path

    @classmethod
    def from_environment(cls) -> "Workspace":
        """Return the workspace that `CLC_WORKSPACE` names, by default `workspace` below the current folder.

        An empty variable is none. Raises `InputError` for a path that is a file or no UTF-8, which databases want.
        """
        try:
            root = workspace_root()
        except OSError as error:
            raise InputError(f"the current folder is gone ({error.strerror}); go to another one") from error
        shown = shown_name(str(root))
        if os.path.lexists(root) and not root.is_dir():
            raise InputError(f"{VARIABLE}: {shown} is no folder; name one, or a new one")
        try:
            str(root).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{VARIABLE}: the path {shown} is not UTF-8; name another folder") from error
        return cls(root)

    def writable(self) -> "Workspace":
        """Return the workspace itself, its folder made; `InputError` where nothing can be written into it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise InputError(
                f"{VARIABLE}: cannot write into {self.root} ({error.strerror}); name a folder that can be written"
            ) from error
        return self

    @property
    def blobs(self) -> BlobStore:
        """The files of pictures, byte by byte, by their SHA-256."""
        return BlobStore(self.root / "blobs")

    @property
    def intake(self) -> Path:
        """The folder with the journal of what was brought from archives, stores and the web."""
        return self.root / "intake"

    @property
    def stages(self) -> Path:
        """The folder of finished stages: `stages/STAGE/KEY/`."""
        return self.root / "stages"

    @property
    def resumable(self) -> Path:
        """The folder of what unfinished stages have got so far: `resumable/STAGE/KEY/` (`flows.runtime.resumable`)."""
        return self.root / "resumable"

    @property
    def locks(self) -> Path:
        """The folder of leases that keep copies of a stage from working twice."""
        return self.root / "locks"

    @property
    def in_use(self) -> Path:
        """The file whose lock says that a run is at work."""
        return self.locks / "in-use"

    @property
    def service(self) -> Path:
        """The folder with `current.json`, which names the bundle in service."""
        return self.root / SERVICE_FOLDER

    @property
    def prefect_home(self) -> Path:
        """The folder that holds Prefect's own state."""
        return self.root / "prefect"

    @property
    def mlflow_database(self) -> Path:
        """The file of MLflow's database."""
        return self.root / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        """The address of the MLflow database."""
        return sqlite_uri(self.mlflow_database)

    @property
    def services_file(self) -> Path:
        """The file in which `flows.serve` says, while it runs, where its services listen."""
        return self.root / "services.json"


def sqlite_uri(database: Path, driver: str = "") -> str:
    """Return the address of a SQLite database as SQLAlchemy, MLflow and Prefect want it.

    `database` is absolute, `driver` the name of SQLAlchemy's, where it is to be another than its own choice.
    """
    path = str(database).replace("%", "%25").replace("?", "%3F")
    if path != str(database) and not driver:
        driver = "pysqlite"  # without a name, MLflow would make folders for what it takes to be a path
    return f"sqlite{f'+{driver}' if driver else ''}:///{path}"
