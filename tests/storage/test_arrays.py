"""safetensors files with a digest of their content inside."""

import random
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from storage.arrays import read_arrays, read_metadata, write_arrays
from storage.digest import sha256_file
from storage.errors import StorageError

ARRAYS = {
    "weights": np.arange(60, dtype=np.float32).reshape(3, 20),
    "table": np.arange(33, dtype=np.int16),
    "scalar": np.array(7, dtype=np.int64),
    "empty": np.zeros((0, 4), np.uint8),
}


def test_arrays_and_metadata_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_arrays(path, ARRAYS, {"who": "tests"})
    back = read_arrays(path, sha256=sha256_file(path))
    assert back.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array, strict=True)
    assert read_metadata(path) == {"who": "tests"}


def test_strided_arrays_are_written_as_they_look(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_arrays(path, {"turned": ARRAYS["weights"].T[::2]})
    np.testing.assert_array_equal(read_arrays(path)["turned"], ARRAYS["weights"].T[::2])


def test_every_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_arrays(path, ARRAYS, {"who": "tests"})
    intact = path.read_bytes()
    generator = random.Random(3)  # noqa: S311
    for _ in range(300):
        altered = bytearray(intact)
        altered[generator.randrange(len(intact))] ^= 1 << generator.randrange(8)
        path.write_bytes(altered)
        with pytest.raises(StorageError):
            read_arrays(path)


def test_file_digest_is_compared_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_arrays(path, ARRAYS)
    with pytest.raises(StorageError, match="was altered"):
        read_arrays(path, sha256="0" * 64)


def test_file_without_any_checksum_is_read_only_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    path.write_bytes(safetensors.numpy.save({"a": ARRAYS["table"]}))
    with pytest.raises(StorageError, match="no checksum"):
        read_arrays(path)
    np.testing.assert_array_equal(read_arrays(path, sha256_file(path))["a"], ARRAYS["table"])


def test_missing_file_and_foreign_types_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        read_arrays(tmp_path / "none.safetensors")
    with pytest.raises(StorageError, match="cannot write"):
        write_arrays(tmp_path / "file.safetensors", {"texts": np.array(["a", "b"])})
    assert list(tmp_path.iterdir()) == []
