"""What stands in a file's place is told and never waited for; what is too large is not read."""

import os
import socket
from pathlib import Path

import pytest

from storage.arrays import read_arrays, read_metadata, write_arrays
from storage.blobs import BlobStore
from storage.digest import sha256_bytes, sha256_file
from storage.errors import StorageError
from storage.manifest import read_manifest
from storage.regular import open_regular, read_regular

PLACES = {
    "folder": "is a folder, no file",
    "pipe": "is a pipe, no file",
    "socket": "is a socket, no file",
    "device": "is a device, no file",
    "gone": "is a link to nothing",
    "missing": "No such file or directory",
    "linked": "is a pipe, no file",
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind("socket")
    for name, target in (("device", "/dev/zero"), ("gone", "nowhere"), ("linked", "pipe")):
        (tmp_path / name).symlink_to(target)
    return tmp_path


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_regular_file_is_refused_at_once_by_what_it_is(places: Path, name: str) -> None:
    for opened in (open_regular, read_regular):
        with pytest.raises(OSError, match=PLACES[name]) as caught:
            opened(places / name)
        assert caught.value.filename == str(places / name)


@pytest.mark.parametrize("name", PLACES)
def test_every_reader_of_storage_refuses_it_in_one_sentence(places: Path, name: str) -> None:
    for read in (read_arrays, read_metadata, sha256_file):
        with pytest.raises(StorageError, match=PLACES[name]):
            read(places / name)
    (places / "stage").mkdir()
    if name != "missing":
        (places / "stage" / "manifest.json").symlink_to(places / name)
    with pytest.raises(StorageError, match=r"manifest\.json"):
        read_manifest(places / "stage")


def test_a_pipe_in_place_of_a_blob_is_not_waited_for(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha = store.put(b"a picture")
    (tmp_path / sha[:2] / sha).unlink()
    os.mkfifo(tmp_path / sha[:2] / sha)
    with pytest.raises(StorageError, match="blob"):
        store.get(sha)


def test_a_file_that_turns_into_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    regular = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda self: regular)
    with pytest.raises(OSError, match="is a pipe"):
        open_regular(path)


def test_a_file_is_read_up_to_its_limit_and_refused_above_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path) == read_regular(path, 5) == read_regular(path, 1 << 40) == b"12345"
    with pytest.raises(OSError, match="has 5 bytes and may have 4"):
        read_regular(path, 4)
    with path.open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: it takes no room on the disk, and would take 10 GiB of memory
    with pytest.raises(OSError, match="has 10737418240 bytes and may have 4"):
        read_regular(path, 4)


def test_a_file_of_a_size_that_the_system_does_not_know_is_bounded_too() -> None:
    path = Path("/proc/self/status")
    if not path.exists():
        pytest.skip("no /proc on this machine")
    assert path.stat().st_size == 0
    assert b"Pid:" in read_regular(path, 1 << 20)
    with pytest.raises(OSError, match="has more and may have 10"):
        read_regular(path, 10)


def test_a_nul_in_a_name_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="null"):
        read_regular(Path("a\0b"))


def test_arrays_larger_than_is_said_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, {}, None)
    data = path.read_bytes()
    assert read_arrays(path, sha256_bytes(data), len(data)) == {}
    with pytest.raises(StorageError, match=f"has {len(data)} bytes and may have {len(data) - 1}"):
        read_arrays(path, None, len(data) - 1)
