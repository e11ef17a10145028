"""Bundles are found by their ids wherever they lie, and what is no bundle is told apart."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clc.bundle.bundle import Bundle
from clc.bundle.extend import add_pictures
from clc.bundle.identity import SHIPPED, bundle_info, id_of, is_bundle, is_id, origin_lines, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.bundle.service import service_bundle
from clc.codec import Codec
from clc.codec.codecs import Codecs
from clc.errors import BitstreamError, DictionaryMismatch, InputError, StorageError


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles that continue the shipped one, in a folder of their own."""
    folder = tmp_path_factory.mktemp("bundles")
    for name, seed in (("dunes", 1), ("statue", 2)):
        add_pictures(SHIPPED, folder / name, [picture(seed)], [{"name": name, "source": name, "licence": "CC0-1.0"}])
    return folder / "dunes", folder / "statue"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLC_BUNDLES", raising=False)
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))


def id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


def serve(workspace: Path, bundle: str) -> None:
    (workspace / "service").mkdir(parents=True, exist_ok=True)
    (workspace / "service" / "current.json").write_text(json.dumps({"bundle": bundle}))


def test_the_id_is_that_of_the_loaded_bundle(made: tuple[Path, Path]) -> None:
    assert id_in(made[0]) == Bundle.load(made[0]).bundle_id != id_in(made[1])


def test_without_anything_named_the_shipped_bundle_encodes_and_is_found() -> None:
    assert Shelf().first() == SHIPPED
    assert Shelf().find(id_in(SHIPPED)) == SHIPPED


def test_several_bundles_may_be_named_and_the_first_encodes(made: tuple[Path, Path]) -> None:
    shelf = Shelf([made[1], made[0]])
    assert shelf.first() == made[1]
    assert [shelf.find(id_in(folder)) for folder in (*made, SHIPPED)] == [*made, SHIPPED]


def test_a_folder_of_bundles_serves_decoding_and_not_encoding(made: tuple[Path, Path]) -> None:
    shelf = Shelf([made[0].parent])
    assert shelf.find(id_in(made[1])) == made[1]
    with pytest.raises(InputError, match="holds 2 bundles"):
        shelf.first()


def test_bundles_are_found_along_the_variable(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_BUNDLES", os.pathsep.join(["/nowhere", "", str(made[0].parent)]))
    assert Shelf().find(id_in(made[1])) == made[1]
    assert Shelf([id_in(made[0])]).first() == made[0]
    assert Shelf([id_in(made[0])[:8]]).first() == made[0]


def test_what_the_pipeline_trained_is_found(made: tuple[Path, Path], tmp_path: Path) -> None:
    stage = tmp_path / "workspace" / "stages" / "train-codec" / "abc"
    stage.mkdir(parents=True)
    (stage / "manifest.json").write_text('{"stage": "train-codec"}')  # a stage's own manifest is no bundle's
    (stage / "bundle").symlink_to(made[0])
    assert Shelf().find(id_in(made[0])) == stage / "bundle"


def test_the_bundle_in_service_is_the_one_that_was_promoted(made: tuple[Path, Path], tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    assert service_bundle(workspace) is None
    assert Shelf(["service"]).first() == SHIPPED
    (workspace / "bundles").mkdir(parents=True)
    shutil.copytree(made[0], workspace / "bundles" / "promoted")
    serve(workspace, "bundles/promoted")
    assert Shelf(["service"]).first() == (workspace / "bundles" / "promoted").resolve()
    assert Shelf().find(id_in(made[0])) == (workspace / "bundles" / "promoted").resolve()
    serve(workspace, "shipped")
    assert Shelf(["service"]).first() == SHIPPED


@pytest.mark.parametrize(
    "record",
    [
        *("no json", "{}", '{"bundle": "../outside"}', '{"bundle": "gone"}', "[" * 5000),
        *('{"bundle": "a\\u0000b"}', '{"bundle": "service/circle"}'),
    ],
)
def test_a_damaged_record_is_told_by_service_and_hides_no_other_bundle(tmp_path: Path, record: str) -> None:
    workspace = tmp_path / "workspace"
    (workspace / "service").mkdir(parents=True)
    (workspace / "service" / "current.json").write_text(record)
    (tmp_path / "outside").mkdir()
    (workspace / "service" / "circle").symlink_to("circle")
    with pytest.raises(StorageError, match="return to the shipped bundle"):
        Shelf(["service"])
    assert Shelf().find(id_in(SHIPPED)) == SHIPPED


def test_a_workspace_out_of_reach_hides_no_other_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLC_WORKSPACE", "x" * 300)  # which no file system looks up
    assert Shelf().find(id_in(SHIPPED)) == SHIPPED
    with pytest.raises(StorageError, match="cannot be read"):
        Shelf(["service"])
    with pytest.raises(InputError, match="no folder, no id"):
        Shelf(["x" * 300])
    monkeypatch.delenv("CLC_WORKSPACE")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Shelf().find(id_in(SHIPPED)) == SHIPPED


def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert not is_bundle(tmp_path)
    with pytest.raises(InputError, match="no regular file"):
        bundle_info(tmp_path)


def test_a_missing_bundle_is_told_with_every_place(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLC_BUNDLES", "/mnt/bundles")
    with pytest.raises(DictionaryMismatch) as caught:
        Shelf([made[0]]).find("0123456789abcdef")
    for word in ("0123456789abcdef", str(made[0]), "the shipped bundle", "/mnt/bundles (CLC_BUNDLES)", "info FOLDER"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no-such-folder", "no folder, no id"),
        ("0123456789abcdef", "no bundle 0123456789abcdef"),
        (".", "no bundle there"),
    ],
)
def test_a_wrong_name_is_told(value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        Shelf([value])


def test_broken_bundles_and_links_in_circles_are_passed_over(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = tmp_path / "shelf"
    (shelf / "broken").mkdir(parents=True)
    (shelf / "broken" / "manifest.json").write_bytes(b"\xff{")
    (shelf / "circle").symlink_to(shelf)
    (shelf / "zz").symlink_to(made[1])
    monkeypatch.setenv("CLC_BUNDLES", str(shelf))
    assert Shelf().find(id_in(made[1])).resolve() == made[1]
    assert not is_bundle(shelf / "broken")


def test_ids() -> None:
    assert is_id("de3449ba54d8c6e8")
    assert is_id("de3449ba")
    assert not is_id("de3449b")
    assert not is_id("DE3449BA54D8C6E8")
    assert not is_id("de3449ba54d8c6e80")


def test_a_bundle_says_what_it_is(made: tuple[Path, Path]) -> None:
    shipped, dunes = bundle_info(SHIPPED), bundle_info(made[0])
    assert dunes.parent == shipped.bundle_id == id_in(SHIPPED)
    assert shipped.parent == ""
    assert (dunes.entries, dunes.key_pictures) == (shipped.entries + 1, 1)
    assert min(dunes.total_bytes, shipped.total_bytes) > 10**7
    assert "1 x dunes, CC0-1.0" in dunes.sources
    assert sum(int(line.split(" x ")[0]) for line in shipped.sources) == shipped.entries
    assert json.loads(json.dumps(dunes.to_json()))["bundle_id"] == dunes.bundle_id


def test_origins_are_counted_and_gaps_are_named() -> None:
    counted = origin_lines([("survey", "CC0-1.0"), ("", ""), ("survey", "CC0-1.0")])
    assert counted == ("2 x survey, CC0-1.0", "1 x source not stated, licence not stated")


def test_the_same_command_makes_the_same_bundle(made: tuple[Path, Path], tmp_path: Path) -> None:
    add_pictures(
        SHIPPED, tmp_path / "again", [picture(1)], [{"name": "dunes", "source": "dunes", "licence": "CC0-1.0"}]
    )
    assert id_in(tmp_path / "again") == id_in(made[0])


def test_streams_of_two_bundles_decode_side_by_side(made: tuple[Path, Path]) -> None:
    codecs = Codecs(list(made))
    streams = [Codec.load(folder).encode(picture(9), 30, "none") for folder in made]
    streams.append(Codec.shipped().encode(picture(9), 30, "none"))
    for data in streams:
        codec = codecs.for_stream(data)
        assert codec is codecs.for_stream(data)
        assert codec.decode(data).shape == (40, 48, 3)
    assert codecs.for_encoding().bundle.bundle_id == id_in(made[0])
    assert codecs.for_stream(streams[2]) is Codec.shipped()
    with pytest.raises(DictionaryMismatch, match="was not found"):
        Codecs().for_stream(streams[0])
    with pytest.raises(BitstreamError):
        codecs.for_stream(b"no stream")
