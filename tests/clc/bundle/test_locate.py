"""Bundles are found by their ids wherever they lie, and what is no bundle is told apart."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import clc
from clc.bundle.bundle import Bundle
from clc.bundle.description import bundle_info
from clc.bundle.extend import add_pictures
from clc.bundle.identity import SHIPPED, id_of, is_bundle, is_id, origin_lines, read_manifest_bytes
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
    with pytest.raises(InputError, match="is a pipe"):
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


def test_an_id_is_looked_for_among_the_other_bundles_that_are_named(made: tuple[Path, Path]) -> None:
    for given in ([id_in(made[1]), str(made[0].parent)], [id_in(made[1])[:9], made[0], made[1]]):
        assert Shelf(given).first() == made[1]
    assert Codecs([id_in(made[1]), str(made[0].parent)]).for_encoding().bundle.bundle_id == id_in(made[1])


def test_an_id_of_a_loaded_bundle_is_that_bundle(made: tuple[Path, Path]) -> None:
    loaded = Bundle.load(made[1])
    assert Codecs([loaded.bundle_id[:8], made[0], loaded]).for_encoding().bundle is loaded


def test_a_path_is_a_folder_and_never_an_id_nor_the_service(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("service", id_in(SHIPPED)):
        with pytest.raises(InputError, match="no folder; name that of a bundle"):
            clc.encode(picture(1), bundle=Path(name))
        (tmp_path / name).symlink_to(made[0])
        assert Shelf([Path(name)]).first() == Path(name)
    assert Shelf(["service"], tell=lambda line: None).first() == SHIPPED


@pytest.mark.parametrize("kind", ["folder", "dead link", "pipe", "device", "huge"])
def test_what_stands_in_place_of_the_record_never_lets_the_shipped_bundle_serve(tmp_path: Path, kind: str) -> None:
    record = tmp_path / "workspace" / "service" / "current.json"
    record.parent.mkdir(parents=True)
    if kind == "folder":
        record.mkdir()
    elif kind == "pipe":
        os.mkfifo(record)
    elif kind == "huge":
        with record.open("wb") as file:
            file.truncate(10 * 2**30)
    else:
        record.symlink_to("/dev/zero" if kind == "device" else "gone")
    with pytest.raises(StorageError, match=r"current\.json cannot be read: .*return to the shipped bundle"):
        Shelf(["service"])
    told: list[str] = []
    assert Shelf(tell=told.append).find(id_in(SHIPPED)) == SHIPPED
    with pytest.raises(DictionaryMismatch):
        Shelf(tell=told.append).find("0123456789abcdef")
    assert any(line.startswith("the bundle in service is passed over: ") for line in told)


@pytest.mark.parametrize("name", ["workspace", "workspace/service"])
def test_a_workspace_that_is_a_link_to_nothing_never_lets_the_shipped_bundle_serve(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to("not mounted")
    with pytest.raises(StorageError, match=rf"{name} cannot be read: is a link to nothing"):
        Shelf(["service"])


def test_that_nothing_was_promoted_is_told_once_and_a_record_of_the_shipped_bundle_is_not(tmp_path: Path) -> None:
    told: list[str] = []
    shelf = Shelf(["service", "service"], told.append)
    assert shelf.first() == SHIPPED
    assert told == [f"nothing was promoted in the workspace {tmp_path / 'workspace'}: the shipped bundle serves"]
    serve(tmp_path / "workspace", "shipped")
    assert Shelf(["service"], told.append).first() == SHIPPED
    assert len(told) == 1


def test_what_is_missing_along_the_variable_is_told_once_and_hides_nothing(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setenv("CLC_BUNDLES", os.pathsep.join(["/nowhere", str(made[0].parent)]))
    shelf = Shelf(tell=told.append)
    assert [shelf.find(id_in(folder)) for folder in made] == list(made)
    assert told == ["/nowhere: No such file or directory; it was not searched for bundles"]


def test_of_several_copies_the_first_sound_one_is_taken_and_the_others_are_told(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Codec.load(made[0]).encode(picture(9), 30, "none")
    for name in ("a", "b", "c", "d"):
        shutil.copytree(made[0], tmp_path / "copies" / name)
    (tmp_path / "copies" / "a" / "prior.safetensors").write_bytes(b"damaged")
    next((tmp_path / "copies" / "b" / "pictures").iterdir()).unlink()
    monkeypatch.setenv("CLC_BUNDLES", str(tmp_path / "copies"))
    told: list[str] = []
    codec = Codecs(device="cpu", tell=told.append, given=["service"]).for_stream(data)
    assert codec.bundle.directory == tmp_path / "copies" / "c"
    about = [line for line in told if "trying the copy" in line]
    assert [line.rpartition("/")[2] for line in about] == ["b", "c"]
    assert "copies/a/prior.safetensors was altered" in about[0]
    assert "key picture" in about[1]
    for name in ("c", "d"):
        shutil.rmtree(tmp_path / "copies" / name)
    codec = Codecs([str(tmp_path / "copies" / "a")], tell=told.append).for_stream(data)  # b does for this stream
    assert codec.bundle.directory == tmp_path / "copies" / "b"
    shutil.rmtree(tmp_path / "copies" / "b")
    with pytest.raises(StorageError, match="was altered"):
        Codecs([str(tmp_path / "copies")], tell=told.append).for_stream(data)


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
