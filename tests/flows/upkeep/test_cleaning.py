"""`clc gc` removes what no manifest names and nothing else: never beside a run, never where it cannot know."""

from pathlib import Path

import pyarrow as pa
import pytest

from clc.codec.__main__ import main
from clc.errors import InputError
from flows.intake.journal import Journal, JournalLine
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean
from storage.errors import StorageError
from storage.tables import write_table


def finished(workspace: Workspace, stage: str, blobs: list[str | None]) -> Path:
    """Finish a stage with a table that names blobs."""

    def body(folder: Path) -> dict[str, object]:
        write_table(
            folder / "items.parquet", pa.table({"name": ["a"] * len(blobs), "blob": pa.array(blobs, pa.string())})
        )
        write_table(folder / "others.parquet", pa.table({"name": ["a"]}))
        return {}

    return run_stage(workspace, stage, inputs={"n": str(blobs)}, config={}, modules=(), body=body).directory


def filled(workspace: Workspace) -> tuple[list[Path], list[Path]]:
    """Return what is needed of a workspace, and what is not."""
    put = workspace.blobs.put
    named, entry, brought, orphan = (put(name) for name in (b"named", b"entry", b"brought", b"orphan"))
    ingest = finished(workspace, "ingest-images", [named, None])
    finished(workspace, "build-dictionary", [entry])
    with Journal(workspace.intake / "journal.db") as journal:
        journal.put("web", JournalLine(name="a", sha256=brought))
        journal.put("web", JournalLine(name="b", reason="http_404"))
    unfinished = workspace.stages / "train-codec" / "0123456789abcdef"
    unfinished.mkdir(parents=True)
    (unfinished / "bundle").write_bytes(b"half")
    staged = workspace.stages / "ingest-images" / ".0123456789abcdef.01234567.partial"
    staged.mkdir()
    temporary = workspace.blobs.path(named).parent / ".0123456789abcdef.89abcdef.partial"
    temporary.write_bytes(b"half")
    mine = workspace.blobs.path(named).parent / "notes.txt"
    mine.write_text("mine")
    own_folder = workspace.stages / "train-codec" / "my-bundle"
    own_folder.mkdir()
    (own_folder / "notes.txt").write_text("mine, too")
    blobs = workspace.blobs.path
    return [blobs(named), blobs(entry), blobs(brought), mine, own_folder / "notes.txt", ingest], [
        blobs(orphan),
        unfinished,
        staged,
        temporary,
    ]


def test_what_nobody_needs_is_listed_then_removed_and_the_rest_stays(workspace: Workspace) -> None:
    needed, needless = filled(workspace)
    listed = clean(workspace, is_dry=True)
    assert list(listed.paths) == sorted(needless)
    assert listed.n_bytes == len(b"orphan" + b"half" + b"half")
    assert all(path.exists() for path in (*needed, *needless))
    assert clean(workspace) == listed
    assert all(path.exists() for path in needed)
    assert not any(path.exists() for path in needless)
    assert clean(workspace).paths == ()


def test_nothing_is_removed_while_a_run_is_at_work(workspace: Workspace) -> None:
    _, needless = filled(workspace)

    def body(folder: Path) -> dict[str, object]:
        with pytest.raises(InputError, match=r"a run is at work in .*; wait for its end"):
            clean(workspace)
        return {}

    run_stage(workspace, "ingest-images", inputs={}, config={}, modules=(), body=body)
    assert all(path.exists() for path in needless)


def test_nothing_is_removed_where_a_table_or_a_manifest_is_damaged(workspace: Workspace) -> None:
    needed, needless = filled(workspace)
    table = needed[-1] / "items.parquet"
    data = table.read_bytes()
    for path, broken in ((table, data[: len(data) // 2]), (table, b""), (needed[-1] / "manifest.json", b"{}")):
        before = path.read_bytes()
        path.write_bytes(broken)
        with pytest.raises(StorageError):
            clean(workspace)
        path.write_bytes(before)
    assert all(path.exists() for path in needless)


def test_the_command_says_what_it_does(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    _, needless = filled(workspace)
    assert main(["gc", "--dry-run"]) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[-1] == "to remove: 4 with 14 bytes"
    assert said[0] == f"to remove: {sorted(needless)[0]}"
    assert main(["gc"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "removed: 4 with 14 bytes"


def test_without_a_workspace_there_is_one_line(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["gc"]) == 1
    assert "there is no workspace at" in capfd.readouterr().err
