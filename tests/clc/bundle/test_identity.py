"""A broken bundle is refused by what is broken in it, at once, whatever stands in place of its files."""

import json
import os
import shutil
from pathlib import Path

import pytest

from clc.bundle.bundle import Bundle
from clc.bundle.description import bundle_info
from clc.bundle.identity import (
    KEY_PICTURES,
    SHIPPED,
    manifest_problem,
    own_names,
    parse_manifest,
    read_manifest_bytes,
    training_of,
)
from clc.errors import ClcError, StorageError
from clc.model.model import Model
from clc.references.key_pictures import FOLDER
from storage.arrays import read_shapes

FILES = [*json.loads((SHIPPED / "manifest.json").read_bytes())["files"], "manifest.json"]


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """The shipped bundle, its files links: one of them is soon replaced."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    for path in SHIPPED.iterdir():
        (folder / path.name).symlink_to(path)
    shutil.copy(SHIPPED / "manifest.json", tmp_path / "manifest.json")
    return folder


def put(path: Path, kind: str) -> None:
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "dead link":
        path.symlink_to("gone")
    else:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dead link", "sparse file of 10 GiB"])
@pytest.mark.parametrize("name", FILES)
def test_what_stands_in_place_of_a_file_is_refused_at_once_by_name(linked: Path, name: str, kind: str) -> None:
    put(linked / name, kind)
    with pytest.raises(ClcError, match=name) as caught:
        Bundle.load(linked)
    assert "\n" not in str(caught.value)
    assert ("is a" in str(caught.value)) == ("sparse" not in kind)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "dead link", "sparse file of 10 GiB"])
@pytest.mark.parametrize("name", ["manifest.json", "entries.json"])
def test_info_refuses_it_too(linked: Path, name: str, kind: str) -> None:
    put(linked / name, kind)
    with pytest.raises(ClcError, match=name):
        bundle_info(linked)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (b"", "it is no JSON: Expecting value"),
        (b"\xff\xfe", "it is no JSON: "),
        (b"[" * 100_000, "it is no JSON: "),
        (b"[]", "it holds no JSON object"),
        ({"format": None}, "it lacks 'format'"),
        ({"version": None}, "it lacks 'version'"),
        ({"model": None}, "it lacks 'model'"),
        ({"files": []}, "'files' is of another kind"),
        ({"pictures": {}}, "'pictures' is of another kind"),
        ({"files": {}}, "it does not say the size and SHA-256 of transforms.safetensors"),
    ],
)
def test_what_is_broken_in_a_manifest_is_named(tmp_path: Path, change: bytes | dict[str, object], problem: str) -> None:
    if isinstance(change, dict):
        fields = {**json.loads(read_manifest_bytes(SHIPPED)), **change}
        change = json.dumps({name: value for name, value in fields.items() if value is not None}).encode()
    with pytest.raises(StorageError) as caught:
        parse_manifest(change, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: its manifest.json is damaged: {problem}")
    assert str(caught.value).endswith("; get the bundle again")


@pytest.mark.parametrize("size", [None, -1, "5", 1.5])
def test_a_size_that_no_file_has_is_refused(tmp_path: Path, size: object) -> None:
    fields = json.loads(read_manifest_bytes(SHIPPED))
    fields["files"]["prior.safetensors"]["bytes"] = size
    with pytest.raises(StorageError, match=r"does not say the size and SHA-256 of prior\.safetensors"):
        parse_manifest(json.dumps(fields).encode(), tmp_path)


def test_a_manifest_that_claims_a_huge_file_does_not_let_it_be_read(linked: Path) -> None:
    fields = json.loads(read_manifest_bytes(SHIPPED))
    fields["files"]["prior.safetensors"]["bytes"] = 10 * 2**30
    put(linked / "prior.safetensors", "sparse file")
    (linked / "manifest.json").unlink()
    (linked / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(StorageError, match="has 10737418240 bytes and may have 1073741824"):
        Bundle.load(linked)


def test_a_problem_is_one_of_a_bundle_or_of_a_broken_file(tmp_path: Path) -> None:
    assert manifest_problem(tmp_path) == manifest_problem(SHIPPED) == ""
    path = tmp_path / "manifest.json"
    for text, is_problem in (
        ('{"stage": "train-codec"}', False),
        ('{"format": "clc-bundle"}', True),
        ('{"format": "clc-bundle", "version": 99}', True),
        ("{", True),
        ("5", True),
    ):
        path.write_text(text)
        assert bool(manifest_problem(tmp_path)) is is_problem, text
    path.unlink()
    path.symlink_to("gone")
    assert "is a link to nothing" in manifest_problem(tmp_path)


def test_the_summary_of_the_model_counts_what_was_learned() -> None:
    info, model = bundle_info(SHIPPED), Model(Bundle.load().config)
    learned = sum(parameter.numel() for parameter in model.parameters())
    assert abs(info.parameters - learned) < 0.01 * learned
    named = ("transforms.safetensors", "prior.safetensors")
    assert info.model_bytes == sum((SHIPPED / name).stat().st_size for name in named)
    assert read_shapes(SHIPPED / "dictionary.safetensors")["tokens"][0] == info.entries


def test_provenance_that_is_no_list_of_objects_is_named(linked: Path) -> None:
    from storage.digest import sha256_bytes

    for data in (b"{}", b"[1]", b"["):
        fields = json.loads(read_manifest_bytes(SHIPPED))
        fields["files"]["entries.json"] = {"sha256": sha256_bytes(data), "bytes": len(data)}
        for name, content in (("entries.json", data), ("manifest.json", json.dumps(fields).encode())):
            (linked / name).unlink()
            (linked / name).write_bytes(content)
        with pytest.raises(StorageError, match=r"its entries\.json is damaged"):
            bundle_info(linked)


def test_lines_about_training_that_are_none_count_as_not_recorded() -> None:
    assert training_of({"training": ["12 x survey, CC0-1.0"]}) == ("12 x survey, CC0-1.0",)
    assert training_of({}) == training_of({"training": "text"}) == training_of({"training": 5}) == ()


def test_own_names_are_those_of_a_bundle_alone(tmp_path: Path) -> None:
    assert own_names(tmp_path) == ()
    assert set(own_names(SHIPPED)) == {"selftest.clc", "selftest-aligned.clc", KEY_PICTURES}
    assert KEY_PICTURES == FOLDER
