"""What an output path may lead to: links, devices, pipes, private and read-only files, long names, other writers."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.atomic import leftovers_of, remove_leftovers, staging_directory, temporary_beside, write_bytes
from storage.errors import AlreadyExists, StorageError, StorageFull
from storage.target import find_target, keep_access


def only_name(folder: Path) -> str:
    (path,) = folder.iterdir()
    return path.name


@pytest.mark.parametrize("name", ["x" * 251 + ".clc", "\u7d75" * 83 + ".png", "[a]*?.clc"])
def test_every_legal_name_can_be_written_and_staged(tmp_path: Path, name: str) -> None:
    for replace in (False, True):
        write_bytes(tmp_path / name, b"data", replace=replace)
    assert (tmp_path / name).read_bytes() == b"data"
    (tmp_path / name).unlink()
    with staging_directory(tmp_path / name) as staged:
        (staged / "file").write_bytes(b"data")
    assert only_name(tmp_path) == name


def test_name_that_is_too_long_is_a_storage_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="name too long; give a shorter name"):
        write_bytes(tmp_path / ("x" * 256), b"data")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_those_of_one_file_alone(tmp_path: Path) -> None:
    final, other = tmp_path / ("[x]" * 80), tmp_path / "other"
    temporary_beside(final).write_bytes(b"half")
    temporary_beside(final).mkdir()
    (tmp_path / f".{final.name[:80]}.abcdefgh.partial").write_bytes(b"of another file")
    kept = temporary_beside(other)
    kept.write_bytes(b"half")
    remove_leftovers(final)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [kept.name, f".{final.name[:80]}.abcdefgh.partial"]
    )


def test_leftovers_of_former_releases_are_found(tmp_path: Path) -> None:
    (tmp_path / ".final.ab_cd3f8.partial").mkdir()
    (tmp_path / ".final.a.ab_cd3f8.partial").mkdir()
    remove_leftovers(tmp_path / "final")
    assert only_name(tmp_path) == ".final.a.ab_cd3f8.partial"


def test_leftovers_of_many_are_removed_and_no_others(tmp_path: Path) -> None:
    finals = [tmp_path / "a" / "one", tmp_path / "b" / "two", tmp_path / "a" / "three", tmp_path / "none" / "four"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    own = temporary_beside(tmp_path / "b" / "one")
    for path in (own, *(temporary_beside(final) for final in finals[:3])):
        path.write_bytes(b"half")
    assert [path.parent.name for path in leftovers_of(*finals)] == ["a", "a", "b"]
    remove_leftovers(*finals)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [own]


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755, 0o2644])
def test_mode_of_a_replaced_file_stays_and_a_new_one_has_that_of_the_umask(tmp_path: Path, mode: int) -> None:
    private = tmp_path / "private"
    private.write_bytes(b"old")
    private.chmod(mode)
    former = os.umask(0o027)
    try:
        write_bytes(private, b"new")
        write_bytes(tmp_path / "fresh", b"new", replace=False)
    finally:
        os.umask(former)
    assert private.read_bytes() == b"new"
    assert stat.S_IMODE(private.stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_group_that_cannot_be_kept_gives_its_rights_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, new = tmp_path / "former", tmp_path / "new"
    former.write_bytes(b"")
    former.chmod(0o664)
    new.write_bytes(b"")
    target = find_target(former)
    other = os.stat_result((*target.status[:5], target.status.st_gid + 1, *target.status[6:]))  # type: ignore[index,union-attr]

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.fchown", refuse)
    with new.open("wb") as file:
        keep_access(file.fileno(), target._replace(status=other))
    assert stat.S_IMODE(new.stat().st_mode) == 0o644


def test_link_stays_a_link_and_its_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real/x")
    (tmp_path / "twice").symlink_to("link")
    write_bytes(tmp_path / "twice", b"new")
    assert (tmp_path / "twice").is_symlink()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real/x").read_bytes() == b"new"
    assert only_name(tmp_path / "real") == "x"


def test_link_to_nothing_yet_makes_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("fresh")
    write_bytes(tmp_path / "link", b"data", replace=False)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "fresh").read_bytes() == b"data"


def test_links_in_a_circle_are_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StorageError, match="links that lead in a circle; name the file itself"):
        write_bytes(tmp_path / "a", b"data")


def test_file_that_may_not_be_replaced_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with pytest.raises(AlreadyExists, match="exists already"):
            write_bytes(tmp_path / name, b"new", replace=False)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_file_that_appears_between_check_and_write_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "file"
    fsync = os.fsync

    def appear(handle: int) -> None:
        fsync(handle)
        if not final.exists():
            final.write_bytes(b"of another process")

    monkeypatch.setattr("os.fsync", appear)
    with pytest.raises(AlreadyExists):
        write_bytes(final, b"mine", replace=False)
    assert final.read_bytes() == b"of another process"
    assert only_name(tmp_path) == "file"


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_writers_one_wins(tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_links:

        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        try:
            write_bytes(tmp_path / "file", bytes([number]) * 10_000, replace=False)
            outcomes.append("won")
        except AlreadyExists:
            outcomes.append("lost")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    assert len(set((tmp_path / "file").read_bytes())) == 1
    assert only_name(tmp_path) == "file"


def test_other_names_of_a_replaced_file_keep_the_old_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "backup").hardlink_to(tmp_path / "file")
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "backup").read_bytes() == b"old"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_read_only_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(0o444)
    with pytest.raises(StorageError, match="is read-only; make it writable or remove it first"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_device_is_written_into_and_stays_a_device() -> None:
    for replace in (False, True):
        write_bytes(Path(os.devnull), b"data", replace=replace)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_full_device_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(StorageFull, match="No space left on device; make room on the disk"):
        write_bytes(Path("/dev/full"), b"data")


def test_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_bytes(tmp_path / "pipe", b"data" * 50_000, replace=False)
    reader.join(30)
    assert read == [b"data" * 50_000]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_socket_and_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="is a folder; name a file"):
        write_bytes(tmp_path / "folder", b"data")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(StorageError, match="is a socket"):
            write_bytes(tmp_path / "socket", b"data")
    assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_by_name_is_written_behind_what_was_said(tmp_path: Path, name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name} here")
    program = (
        "import os; from pathlib import Path; from storage.atomic import write_bytes;"
        f"os.write(1, b'a'); write_bytes(Path({name!r}), b'b')"
    )
    with (tmp_path / "said").open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True, timeout=100)
    assert (tmp_path / "said").read_bytes() == b"ab"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True, timeout=100)
    assert done.stdout == b"ab"


def test_full_disk_leaves_nothing_and_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFull, match="make room on the disk"):
        write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert only_name(tmp_path) == "file"


def test_folder_whose_names_cannot_be_synced_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr("os.fsync", refuse_folders)
    write_bytes(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_file_where_a_folder_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file is no folder"):
        write_bytes(tmp_path / "file" / "below", b"data", replace=False)
