"""Content-addressed blobs: equal bytes once, altered bytes never."""

import errno
import io
import os
import random
import tempfile
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.digest import sha256_bytes
from storage.errors import StorageError, StorageFull

DATA = bytes(range(256)) * 4


def only_file(root: Path) -> Path:
    (path,) = (path for path in root.rglob("*") if path.is_file())
    return path


def test_put_then_get_returns_the_bytes_under_their_digest(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha = store.put(DATA)
    assert sha == sha256_bytes(DATA)
    assert store.has(sha)
    assert store.get(sha) == DATA


def test_equal_bytes_are_stored_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert store.put(DATA) == store.put(DATA)
    only_file(tmp_path)


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha = store.put(DATA)
    generator = random.Random(0)  # noqa: S311
    for _ in range(100):
        altered = bytearray(DATA)
        altered[generator.randrange(len(DATA))] ^= 1 << generator.randrange(8)
        only_file(tmp_path).write_bytes(altered)
        with pytest.raises(StorageError, match="altered"):
            store.get(sha)


def test_putting_again_repairs_an_altered_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha = store.put(DATA)
    only_file(tmp_path).write_bytes(b"x" * len(DATA))
    store.put(DATA)
    assert store.get(sha) == DATA


@pytest.mark.parametrize("kept_bytes", [10, 2**20])
def test_a_file_is_put_from_its_beginning_as_its_bytes_would_be(tmp_path: Path, kept_bytes: int) -> None:
    store = BlobStore(tmp_path)
    with tempfile.SpooledTemporaryFile(kept_bytes) as file:
        file.write(DATA)
        sha = store.put_file(file)  # type: ignore[arg-type]
    assert (sha, store.get(sha)) == (sha256_bytes(DATA), DATA)
    inode = only_file(tmp_path).stat().st_ino
    assert store.put_file(io.BytesIO(DATA)) == store.put(DATA) == sha
    assert only_file(tmp_path).stat().st_ino == inode, "an intact blob is not written again"


def test_putting_a_file_again_repairs_an_altered_blob(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    sha = store.put(DATA)
    only_file(tmp_path).write_bytes(b"x" * len(DATA))
    store.put_file(io.BytesIO(DATA))
    assert store.get(sha) == DATA


def test_missing_blob_names_what_to_run(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    with pytest.raises(StorageError, match="run ingest-images"):
        store.get("0" * 64)
    assert not store.has("0" * 64)


@pytest.mark.parametrize("name", ["", "../secret", "0" * 63, "G" * 64, "/etc/passwd", "0" * 64 + "\n"])
def test_a_name_that_is_no_digest_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="no blob name"):
        BlobStore(tmp_path).get(name)


def test_many_are_put_as_each_would_be_and_equal_ones_once(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    kept, altered = store.put(b"kept"), store.put(b"altered")
    before = store.path(kept).stat().st_ino
    store.path(altered).write_bytes(b"another")
    many = [DATA, b"kept", b"altered", DATA, b""]
    assert store.put_many(many) == [sha256_bytes(data) for data in many]
    assert [store.get(sha256_bytes(data)) for data in many] == many
    assert store.path(kept).stat().st_ino == before, "an intact blob is not written again"
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == 4, "no temporary is left"


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_batch_that_fails_in_the_middle_leaves_whole_blobs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    many = [b"%d" % number * 1000 for number in range(8)]
    real, calls = getattr(Path, step), []

    def fails(path: Path, *arguments: object) -> object:
        calls.append(path)
        if len(calls) == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, *arguments)

    monkeypatch.setattr(Path, step, fails)
    with pytest.raises(StorageFull, match="make room on the disk"):
        BlobStore(tmp_path).put_many(many)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or path.read_bytes() in many
        assert path.is_dir() or sha256_bytes(path.read_bytes()) == path.name


def test_without_a_call_for_file_systems_files_are_synced_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.batches._sync_file_system", lambda handle: False)
    store = BlobStore(tmp_path)
    (sha,) = store.put_many([DATA])
    assert store.get(sha) == DATA
