"""A bundle is what its manifest names, to the byte, or it is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clc.bundle.bundle import SHIPPED, Bundle, exact_layers
from clc.bundle.export import _stored_transforms, export_bundle
from clc.codec import Codec
from clc.errors import ClcError, InputError, StorageError
from clc.exact.layers import MANTISSA_BITS, GridConv2d, sum_bound_bits
from clc.model.config import BEFORE
from clc.model.model import Model
from storage.arrays import read_arrays, write_arrays
from storage.digest import sha256_file
from tests.conftest import SMALL, Picture


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))


def test_the_shipped_bundle_is_under_22_mb() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*")) < 22e6


def test_every_exact_layer_of_the_shipped_bundle_is_proven() -> None:
    layers = [layer for layer in exact_layers(Bundle.load().prior).values() if isinstance(layer, GridConv2d)]
    assert len(layers) > 40
    assert all(sum_bound_bits(**layer.export()) <= MANTISSA_BITS for layer in layers)


def test_the_float_prior_holds_the_same_integers_as_the_exact_one() -> None:
    bundle = Bundle.load()
    floats = exact_layers(bundle.model.prior)
    for name, layer in exact_layers(bundle.prior).items():
        for part, value in layer.export().items():
            assert torch.equal(value, floats[name].export()[part]), name


def test_all_but_the_prior_is_kept_as_floats_and_the_prior_of_z_in_full() -> None:
    model = Bundle.load().model
    kept = read_arrays(SHIPPED / "transforms.safetensors")
    assert kept.keys() == {name for name in model.state_dict() if not name.startswith("prior.")}
    wide = {name for name, array in kept.items() if array.dtype == np.float32}
    assert wide == {f"{z}.{part}" for z in ("z_prior", "z_prior_aligned") for part in ("weight", "mean", "log_scale")}
    assert {name: array.dtype for name, array in _stored_transforms(model).items()} == {
        name: array.dtype for name, array in kept.items()
    }


@pytest.mark.parametrize("name", ["transforms.safetensors", "prior.safetensors"])
def test_a_parameter_that_is_not_in_its_file_is_told(copied: Path, name: str) -> None:
    arrays = read_arrays(copied / name)
    write_arrays(copied / name, {key: array for key, array in arrays.items() if key != min(arrays)}, None)
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["files"][name]["sha256"] = sha256_file(copied / name)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=r"lack compress_tokens|malformed"):
        Bundle.load(copied)


@pytest.mark.parametrize(
    "name",
    ["transforms.safetensors", "prior.safetensors", "tables.safetensors", "dictionary.safetensors", "entries.json"],
)
def test_one_flipped_bit_in_any_file_is_noticed(copied: Path, name: str) -> None:
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 4
    (copied / name).write_bytes(data)
    with pytest.raises(StorageError):
        Bundle.load(copied)


@pytest.mark.parametrize("name", ["prior.safetensors", "entries.json"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(StorageError, match=name):
        Bundle.load(copied)


def test_a_folder_without_a_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no bundle in"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 99},
        {"format": "else"},
        {"model": {"slices": [1]}},
        {"model": {"slices": "no"}},
        {"model": 5},
        {"files": {}},
    ],
)
def test_a_manifest_that_says_something_else_is_refused(copied: Path, change: dict[str, object]) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ClcError):
        Bundle.load(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "clc-bundle"}'])
def test_a_damaged_manifest_is_refused(copied: Path, text: str) -> None:
    (copied / "manifest.json").write_text(text)
    with pytest.raises(StorageError):
        Bundle.load(copied)


def test_a_bundle_of_version_2_is_read_and_codes(tmp_path: Path, photo: Picture) -> None:
    torch.manual_seed(0)
    config = replace(SMALL, **BEFORE)
    entries = [np.ascontiguousarray(photo[:256, left : left + 256]) for left in (0, 90, 180)]
    export_bundle(tmp_path, config, Model(config).state_dict(), entries, [{"name": str(i)} for i in range(3)])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    model = {name: value for name, value in manifest["model"].items() if name not in BEFORE}
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "version": 2, "model": model}))
    codec = Codec.load(tmp_path)
    assert codec.bundle.config == config
    image = np.ascontiguousarray(photo[:64, :64])
    assert codec.decode(codec.encode(image)).shape == image.shape
