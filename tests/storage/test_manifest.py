"""The manifest is the only commit mark, and it knows every byte that it vouches for."""

import json
from pathlib import Path

import pytest

from storage.digest import canonical_json, digest_json, sha256_bytes
from storage.errors import StorageError
from storage.manifest import MANIFEST_NAME, FileEntry, Manifest, describe_files, read_manifest, write_manifest


def committed(directory: Path) -> Manifest:
    (directory / "bundle").mkdir(parents=True)
    (directory / "rows").write_bytes(b"rows")
    (directory / "bundle" / MANIFEST_NAME).write_bytes(b"of the bundle")
    manifest = Manifest(
        stage="stage",
        key="key",
        inputs={"ingest": "abc"},
        config={"size_px": 256, "shares": [0.4, 0.6]},
        files=describe_files(directory),
        summary={"count": 2},
        created_utc="2030-01-02T03:04:05.000006+00:00",
    )
    write_manifest(directory, manifest)
    return manifest


def test_manifest_round_trips_and_names_nested_files(tmp_path: Path) -> None:
    manifest = committed(tmp_path / "stage")
    assert read_manifest(tmp_path / "stage") == manifest
    assert manifest.files["rows"] == FileEntry(sha256_bytes(b"rows"), 4)
    assert manifest.files.keys() == {"rows", f"bundle/{MANIFEST_NAME}"}


def test_folder_without_a_manifest_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="never finished"):
        read_manifest(tmp_path)


def test_altered_and_missing_files_are_refused_unless_verification_is_off(tmp_path: Path) -> None:
    committed(tmp_path / "stage")
    (tmp_path / "stage" / "rows").write_bytes(b"rowz")
    with pytest.raises(StorageError, match="rows was altered"):
        read_manifest(tmp_path / "stage")
    (tmp_path / "stage" / "rows").unlink()
    with pytest.raises(StorageError, match="rows is missing"):
        read_manifest(tmp_path / "stage")
    assert read_manifest(tmp_path / "stage", verify=False).key == "key"


def test_every_altered_byte_of_the_manifest_is_refused_or_means_the_same(tmp_path: Path) -> None:
    manifest = committed(tmp_path / "stage")
    path = tmp_path / "stage" / MANIFEST_NAME
    intact = path.read_bytes()
    for position in range(len(intact)):
        altered = bytearray(intact)
        altered[position] ^= 1
        path.write_bytes(altered)
        try:
            assert read_manifest(tmp_path / "stage") == manifest
        except StorageError:
            continue


def test_manifest_that_points_outside_its_folder_is_refused(tmp_path: Path) -> None:
    committed(tmp_path / "stage")
    path = tmp_path / "stage" / MANIFEST_NAME
    document = json.loads(path.read_bytes())
    del document["sha256"]
    document["files"] = {"../outside": {"sha256": "0" * 64, "bytes": 1}}
    path.write_text(json.dumps({**document, "sha256": digest_json(document)}))
    with pytest.raises(StorageError, match="outside"):
        read_manifest(tmp_path / "stage")


def test_canonical_json_has_one_spelling_and_refuses_what_json_cannot_hold() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "ä"]}) == '{"a":[1.5,"ä"],"b":1}'.encode()
    for value in (float("nan"), {1, 2}, b"bytes"):
        with pytest.raises(StorageError, match="JSON"):
            canonical_json(value)
