"""Content-addressed blobs: equal bytes once, altered bytes never."""

import io
import random
import tempfile
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.digest import sha256_bytes
from storage.errors import StorageError

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
