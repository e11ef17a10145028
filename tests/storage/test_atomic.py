"""Writes are whole or not there, also when the writer is killed or the disk says no."""

import errno
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from storage.atomic import remove_leftovers, staging_directory, write_bytes
from storage.errors import StorageError


def test_written_bytes_are_read_back_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    write_bytes(target, b"first")
    write_bytes(target, b"second")
    assert target.read_bytes() == b"second"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_written_file_has_the_mode_of_an_ordinary_file(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"data")
    (tmp_path / "ordinary").write_bytes(b"data")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_unwritable_target_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes(tmp_path / "file" / "below", b"data")


def test_failed_rename_leaves_no_temporary(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot write"):
        write_bytes(tmp_path / "taken", b"data")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_staged_folder_appears_whole(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "final"
    with staging_directory(final) as staged:
        (staged / "sub").mkdir()
        (staged / "sub" / "file").write_bytes(b"data")
        assert not final.exists()
    assert (final / "sub" / "file").read_bytes() == b"data"
    assert [path.name for path in final.parent.iterdir()] == ["final"]


def write_half_and_fail(folder: Path) -> None:
    (folder / "half").mkdir()
    (folder / "half").write_bytes(b"a folder is no file")


def test_exception_inside_a_staged_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), staging_directory(tmp_path / "final") as staged:
        write_half_and_fail(staged)
    assert list(tmp_path.iterdir()) == []


def test_staged_folder_never_replaces_a_finished_one(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    with pytest.raises(StorageError, match="exists already"), staging_directory(tmp_path / "final"):
        pass
    assert list((tmp_path / "final").iterdir()) == []


KILLED_WRITER = """
    import os, signal, sys
    from pathlib import Path
    from storage.atomic import staging_directory
    with staging_directory(Path(sys.argv[1])) as staged:
        (staged / "half").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "final"
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED_WRITER), str(final)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not final.exists()
    remove_leftovers(final)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_moved", [False, True])
def test_without_hard_links_a_signal_leaves_the_whole_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_moved: bool
) -> None:
    move = Path.replace

    def no_links(final: Path, temporary: Path) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    def interrupted(temporary: Path, final: Path) -> Path:
        if is_moved:
            move(temporary, final)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", no_links)
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes(tmp_path / "a", b"data", replace=False)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == ([("a", b"data")] if is_moved else [])
