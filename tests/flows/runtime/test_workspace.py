"""The workspace: one that cannot be written is said in one line, before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clc.errors import InputError
from flows.runtime.workspace import Workspace

ROOT = Path(__file__).parents[3]


def test_empty_variable_means_the_folder_workspace_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in ("", " "):
        monkeypatch.setenv("CLC_WORKSPACE", value)
        assert Workspace.from_environment().root == tmp_path / "workspace"
    monkeypatch.delenv("CLC_WORKSPACE")
    assert Workspace.from_environment().root == tmp_path / "workspace"
    assert not list(tmp_path.iterdir())


def test_file_and_link_to_nothing_are_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("-")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / name))
        with pytest.raises(InputError, match=f"CLC_WORKSPACE: .*{name} is no folder"):
            Workspace.from_environment()


def test_path_that_is_no_utf_8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / os.fsdecode(b"caf\xe9")))
    with pytest.raises(InputError, match=r"CLC_WORKSPACE: the path .*caf\\xe9 is not UTF-8"):
        Workspace.from_environment()


def test_folder_is_made_where_it_can_be_and_refused_elsewhere(tmp_path: Path) -> None:
    assert Workspace(tmp_path / "new/deep").writable().root.is_dir()
    (tmp_path / "file").write_text("-")
    for root in (tmp_path / "file" / "below", Path("/proc/nothing-here")):
        with pytest.raises(InputError, match="CLC_WORKSPACE: cannot write into "):
            Workspace(root).writable()


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("flows.retrain", "PREFECT_API_URL", "http://localhost:port/api"),
        ("flows.retrain", "PREFECT_API_URL", "localhost:4200/api"),
        ("flows.retrain", "CLC_WORKSPACE", "file"),
        ("flows.retrain", "CLC_WORKSPACE", "file/below"),
        ("flows.serve", "CLC_WORKSPACE", "file/below"),
    ],
)
def test_wrong_variable_ends_a_command_with_one_line(tmp_path: Path, module: str, variable: str, value: str) -> None:
    (tmp_path / "file").write_text("-")
    environment = {**os.environ, "CLC_WORKSPACE": "workspace", variable: value, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {variable}")
    assert done.stderr.count("\n") == 1
