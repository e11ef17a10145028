"""Damaged and forged bundles: loading ends in a `StorageError` or an `InputError`, or gives a codec that still decodes.

A flipped bit is noticed by a checksum. Whoever forges a file can put the manifest right, too: then what the file holds
is checked, and only values that an export might have written are taken.
"""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from clc.bundle.bundle import SHIPPED, Bundle
from clc.errors import InputError, StorageError
from storage.digest import canonical_json, sha256_bytes

NAMED = sorted(json.loads((SHIPPED / "manifest.json").read_bytes())["files"])
FLIPS = 8


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def flipped(data: bytes, position: int, bit: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def put_right(bundle: Path, name: str, data: bytes) -> None:
    """Write a file and name its size and sha256 in the manifest."""
    (bundle / name).write_bytes(data)
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": sha256_bytes(data), "bytes": len(data)}
    (bundle / "manifest.json").write_bytes(canonical_json(manifest))


@pytest.mark.parametrize("name", NAMED)
def test_any_flipped_bit_of_a_file_is_noticed(bundle: Path, name: str) -> None:
    data, rng = (bundle / name).read_bytes(), random.Random(name)  # noqa: S311 - no secret
    positions = [0, rng.randrange(len(data)), len(data) - 1]
    for position in positions:
        (bundle / name).write_bytes(flipped(data, position, rng.randrange(8)))
        with pytest.raises(StorageError, match=name.partition(".")[0]):
            Bundle.load(bundle)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("place", ["cut in half", "length", "noise"])
def test_a_forged_file_with_a_right_manifest_is_refused(bundle: Path, name: str, place: str) -> None:
    data, rng = (bundle / name).read_bytes(), random.Random(name + place)  # noqa: S311 - no secret
    forged = {
        "cut in half": data[: len(data) // 2],
        "length": b"\xff" * 8 + data[8:],
        "noise": rng.randbytes(len(data)),
    }[place]
    put_right(bundle, name, forged)
    with pytest.raises((StorageError, InputError)):
        Bundle.load(bundle)


def test_flipped_bits_of_the_manifest_are_refused_or_make_another_bundle(bundle: Path) -> None:
    data, rng = (bundle / "manifest.json").read_bytes(), random.Random(4)  # noqa: S311 - no secret
    own, refused = Bundle.load(bundle).bundle_id, 0
    for _ in range(FLIPS):
        (bundle / "manifest.json").write_bytes(flipped(data, rng.randrange(len(data)), rng.randrange(8)))
        try:
            assert Bundle.load(bundle).bundle_id != own
        except (StorageError, InputError):
            refused += 1
    assert refused > FLIPS // 2


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b"null", b"{}", b'{"format": "clc-bundle"}', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(bundle: Path, manifest: bytes) -> None:
    (bundle / "manifest.json").write_bytes(manifest)
    with pytest.raises(StorageError):
        Bundle.load(bundle)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {}},
        {"files": None},
        {"model": {}},
        {"model": None},
        {"pictures": None},
        {"pictures": [{"entry": -1, "width": 8, "height": 8, "bytes": 1, "pixels_sha256": ""}]},
        {"pictures": [{"entry": 0, "width": 1 << 20, "height": 8, "bytes": 1, "pixels_sha256": ""}]},
        {"pictures": [{"entry": 0}]},
        {"format": "zip"},
        {"version": 99},
    ],
    ids=lambda change: str(change)[:40],
)
def test_a_manifest_with_another_value_is_refused(bundle: Path, change: dict[str, Any]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").write_bytes(canonical_json({**manifest, **change}))
    with pytest.raises((StorageError, InputError)):
        Bundle.load(bundle)


@pytest.mark.parametrize("width", ["narrow", "knots", "hyper"])
@pytest.mark.parametrize("value", [7, "x"])
def test_a_width_that_the_files_do_not_have_is_refused(bundle: Path, width: str, value: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["model"][width] = value
    (bundle / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises((StorageError, InputError)):
        Bundle.load(bundle)


@pytest.mark.parametrize("width", ["narrow", "wide", "hyper", "features", "context", "aligned", "token"])
@pytest.mark.parametrize("value", [0, -1, 1 << 30, "64", 64.5, None])
def test_a_width_that_no_model_can_have_is_refused_before_memory(bundle: Path, width: str, value: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["model"][width] = value
    (bundle / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises(InputError, match="whole number"):
        Bundle.load(bundle)


@pytest.mark.parametrize("slices", [[], [0], [1 << 20], ["16"]])
def test_slices_that_no_model_can_have_are_refused(bundle: Path, slices: list[object]) -> None:
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    manifest["model"]["slices"] = slices
    (bundle / "manifest.json").write_bytes(canonical_json(manifest))
    with pytest.raises(InputError, match="whole number"):
        Bundle.load(bundle)
