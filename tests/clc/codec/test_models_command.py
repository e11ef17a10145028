"""`clc models`, and streams of former releases: found, decoded, told, and never encoded by half a model."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive import pack
from clc.bundle import released
from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.bundle.released import PACKAGES, ReleasedModel, package_folders, read_register, write_register
from clc.codec import Codec, codecs
from clc.codec.__main__ import main
from clc.codec.codecs import Codecs
from clc.errors import DictionaryMismatch, InputError, StorageError
from tests.conftest import Picture
from tests.tiny_release import RELEASE, TinyRelease

SHIPPED_ID = id_of(read_manifest_bytes(SHIPPED))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> TinyRelease:
    return TinyRelease(tmp_path_factory.mktemp("release"), photo)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLC_BUNDLES", raising=False)
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)
    codecs._loaded.cache_clear()  # of models that another test had within reach


@pytest.fixture
def installed(tiny: TinyRelease, monkeypatch: pytest.MonkeyPatch) -> TinyRelease:
    """The package carries the small release as a former one."""
    tiny.install(monkeypatch)
    return tiny


@pytest.fixture
def absent(tiny: TinyRelease, monkeypatch: pytest.MonkeyPatch) -> TinyRelease:
    """The package knows the small release, and carries nothing of it."""
    tiny.install(monkeypatch, is_carried=False)
    return tiny


def listed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["models", "--json"]) == 0
    said, errors = capsys.readouterr()
    assert not errors
    return [json.loads(line) for line in said.splitlines()]


def golden(tiny: TinyRelease, tmp_path: Path, name: str = "plain.clc") -> str:
    return str(shutil.copy(tiny.goldens / name, tmp_path / name))


def test_in_an_empty_environment_the_shipped_model_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    said, errors = capsys.readouterr()
    size = sum(path.stat().st_size for path in SHIPPED.iterdir() if "selftest" not in path.name)
    assert said.splitlines()[0].split() == [
        *(SHIPPED_ID, read_register().release_of(SHIPPED_ID), "encodes", "and", "decodes", f"{size / 1e6:.1f}", "MB"),
        *("Apache-2.0,", "see", "NOTICE"),
    ]
    assert said.splitlines()[1].strip() == str(SHIPPED)
    assert not errors


def test_a_former_model_that_is_carried_is_listed_and_decodes(
    installed: TinyRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, former = listed(capsys)
    assert (shipped["bundle_id"], shipped["release"], shipped["use"]) == (SHIPPED_ID, "", "encodes and decodes")
    assert former == {
        "bundle_id": installed.bundle_id,
        "release": RELEASE,
        "folder": str(installed.decoder),
        "use": "decodes only",
        "licence": "Apache-2.0, see NOTICE",
        "note": "",
        "left_out": {name: list(parts) for name, parts in installed.model.left_out.items()},
        "bytes": sum(
            p.stat().st_size for p in installed.decoder.rglob("*") if "selftest" not in p.name and p.is_file()
        ),
    }
    assert main(["decode", golden(installed, tmp_path), "out.png"]) == 0
    expected = Codec.load(installed.whole).decode((tmp_path / "plain.clc").read_bytes())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), expected)


def test_info_names_the_release_of_a_streams_model(
    installed: TinyRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", golden(installed, tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"] == RELEASE
    assert main(["info", str(installed.decoder)]) == 0
    fields = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line[:3] == "   ")
    assert (fields["release"], fields["encodes"]) == (RELEASE, "False")
    assert main(["info", str(SHIPPED / "selftest.clc")]) == 0  # of no release that this register knows
    assert "none that is known" in capsys.readouterr().out


def test_a_stream_whose_model_is_not_here_is_told_who_has_it(
    absent: TinyRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", golden(absent, tmp_path), "out.png"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"It is the model of release {RELEASE}: the package clc-codec-model-{absent.bundle_id} carries it" in error
    assert not (tmp_path / "out.png").exists()
    assert [(one["bundle_id"], one["use"], one["folder"], one["bytes"]) for one in listed(capsys)][1:] == [
        (absent.bundle_id, "not here", "", 0)
    ]
    with pytest.raises(DictionaryMismatch, match=r"model of release 0\.0\.1, which no later one carries"):
        Shelf().find("0123456789abcdef")
    with pytest.raises(DictionaryMismatch, match=r"Looked in: the shipped bundle\. Name its folder"):
        Shelf().find("0" * 16)


def test_encoding_with_a_former_model_is_one_sentence_and_no_file(
    installed: TinyRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    for command in (
        ["encode", "a.png", "a.clc", "--bundle", installed.bundle_id],
        ["encode", "a.png", "a.clc", "--bundle", str(installed.decoder)],
        ["encode", "a.png", "--out", "coded", "--bundle", installed.bundle_id[:10]],
        ["collect", "a.png", "--out", "made", "--bundle", installed.bundle_id],
        ["pack", "a.png", "archive", "--bundle", installed.bundle_id],
        ["serve-bundle", "use", installed.bundle_id],
    ):
        assert main(command) == 1, command
        error = capsys.readouterr().err
        assert f"bundle {installed.bundle_id} in {installed.decoder} only decodes: " in error, command
        assert error.count("\n") == 1, command
    assert sorted(path.name for path in tmp_path.rglob("*.clc")) == []
    assert not (tmp_path / "made").exists()


def test_whoever_encodes_gets_the_whole_copy_wherever_it_lies(
    installed: TinyRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLC_BUNDLES", str(installed.whole))
    assert Shelf([installed.bundle_id]).first() == installed.whole
    assert Shelf([installed.bundle_id[:9]]).first() == installed.whole
    assert Shelf().find(installed.bundle_id) == installed.decoder
    for given in (installed.bundle_id, installed.decoder):
        assert Codecs([given]).for_encoding().bundle.directory == installed.whole
    assert Codecs().with_id(installed.bundle_id).bundle.directory == installed.decoder
    assert Codecs().with_id(installed.bundle_id, is_encoding=True).bundle.encodes


def test_a_folder_with_both_kinds_of_one_bundle_encodes_with_the_whole_one(
    installed: TinyRelease, tmp_path: Path
) -> None:
    for name, folder in (("a", installed.decoder), ("b", installed.whole)):
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / "both" / name).symlink_to(folder)
    assert Shelf([tmp_path / "both"]).first() == tmp_path / "both" / "b"


def test_of_two_places_with_the_same_id_the_first_sound_one_decodes(
    installed: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Path(shutil.copytree(installed.decoder, tmp_path / "broken"))
    data = bytearray((broken / "transforms.decoder.safetensors").read_bytes())
    data[-1] ^= 1
    (broken / "transforms.decoder.safetensors").write_bytes(data)
    told: list[str] = []
    codec = Codecs([broken], tell=told.append).with_id(installed.bundle_id)
    assert codec.bundle.directory == installed.decoder
    assert len(told) == 1
    assert "transforms.decoder.safetensors was altered" in told[0]
    monkeypatch.setenv("CLC_BUNDLES", str(broken))
    assert [one["folder"] for one in listed(capsys)][1:] == [str(installed.decoder), str(broken)]


def test_a_model_that_lacks_a_file_cannot_be_used_and_says_which(
    installed: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lacking = Path(shutil.copytree(installed.decoder, tmp_path / "lacking"))
    (lacking / "tables.safetensors").unlink()
    short = Path(shutil.copytree(installed.decoder, tmp_path / "short"))
    os.truncate(short / "prior.safetensors", 100)
    other = Path(shutil.copytree(installed.decoder, tmp_path / "other"))
    fields = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**fields, "training": []}))
    malformed = Path(shutil.copytree(installed.whole, tmp_path / "malformed"))
    (malformed / "manifest.json").write_text(json.dumps({**fields, "pictures": [5]}))
    folders = lacking, short, other, malformed
    monkeypatch.setenv("CLC_BUNDLES", os.pathsep.join(map(str, folders)))
    found = {one["folder"]: one for one in listed(capsys)}
    for folder, note in zip(
        folders,
        ("tables.safetensors: No such file", "is not the file of", "of no release that this one knows", "malformed"),
        strict=True,
    ):
        assert found[str(folder)]["use"] == "cannot be used"
        assert note in str(found[str(folder)]["note"])


def test_a_folder_that_cannot_be_read_is_told_and_hides_no_other(
    installed: TinyRelease, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLC_BUNDLES", os.pathsep.join(["x" * 300, str(installed.whole)]))
    assert main(["models"]) == 0
    said, errors = capsys.readouterr()
    assert errors == f"warning: {'x' * 300}: File name too long; it was not searched for bundles\n"
    assert [line.split()[0] for line in said.splitlines() if not line.startswith(" ")].count(installed.bundle_id) == 2


def test_keep_writes_a_bundle_that_decodes(
    installed: TinyRelease, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "keep", str(installed.whole), "kept"]) == 0
    assert capsys.readouterr().out.startswith(f"{installed.bundle_id}: decoder's bundle in kept")
    files = {path.relative_to(tmp_path / "kept"): path.read_bytes() for path in (tmp_path / "kept").rglob("*.*")}
    assert files == {p.relative_to(installed.decoder): p.read_bytes() for p in installed.decoder.rglob("*.*")}
    assert main(["decode", golden(installed, tmp_path), "out.png", "--bundle", "kept"]) == 0
    assert main(["models", "keep", str(installed.whole), "kept"]) == 1
    for what, sentence in (
        ("shipped", "is of no release that this one knows"),
        (str(installed.decoder), "is a decoder's bundle already"),
        ("service", "may be another bundle tomorrow"),
        ("nowhere", "nowhere: no folder, no id"),
    ):
        capsys.readouterr()
        assert main(["models", "keep", what, "other"]) == 1
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert not (tmp_path / "other").exists()


def test_a_package_of_models_is_searched_and_none_of_its_code_is_run(
    absent: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert package_folders() == []
    site = tmp_path / "site"
    shutil.copytree(absent.decoder, site / PACKAGES / absent.bundle_id)
    monkeypatch.syspath_prepend(str(site))
    assert package_folders() == [site / PACKAGES]
    assert Shelf().find(absent.bundle_id) == site / PACKAGES / absent.bundle_id
    (site / PACKAGES / "__init__.py").write_text("raise SystemExit('run')")
    (site / PACKAGES / absent.bundle_id / "__init__.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(str(site))  # forgets what was found
    assert package_folders() == [site / PACKAGES]
    data = (absent.goldens / "plain.clc").read_bytes()
    assert np.array_equal(Codecs().for_stream(data).decode(data), Codec.load(absent.whole).decode(data))
    assert PACKAGES not in sys.modules


def test_the_register_is_read_as_it_was_written(tiny: TinyRelease, tmp_path: Path) -> None:
    write_register(tmp_path / "models.json", tiny.register)
    assert read_register(tmp_path / "models.json") == tiny.register
    assert ReleasedModel.from_json(tiny.model.to_json()) == tiny.model


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 5000, "5", "{}", '{"models": [{}], "earlier": {}}', '{"models": [], "earlier": []}']
)
def test_a_register_that_is_damaged_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models.json"
    monkeypatch.setattr(released, "REGISTER", path)
    with pytest.raises(StorageError, match="No such file or directory; install the package again"):
        read_register()
    path.write_text(text)
    with pytest.raises(StorageError, match=r"is damaged: .*; install the package again"):
        read_register()
    assert main(["models"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_model_that_the_register_names_twice_is_damage(tiny: TinyRelease, tmp_path: Path) -> None:
    row = tiny.model.to_json()
    (tmp_path / "models.json").write_text(json.dumps({"models": [row, row], "earlier": {}}))
    with pytest.raises(StorageError, match="names a model twice"):
        read_register(tmp_path / "models.json")


def test_adding_to_an_archive_of_a_former_model_is_refused_before_anything_is_written(
    installed: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pack, "SHIPPED", installed.whole)  # of which an archive carries no copy
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (32, 24)).save(tmp_path / "pictures" / "a.png")
    assert main(["pack", "pictures", "archive", "--bundle", str(installed.whole)]) == 0
    codecs._loaded.cache_clear()
    before = {path: path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file()}
    Image.new("RGB", (40, 24)).save(tmp_path / "b.png")
    capsys.readouterr()
    assert main(["unpack", "archive", "out"]) == 0  # the package carries what decodes it
    assert main(["add", "archive", "b.png"]) == 1
    assert "only decodes" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "archive").rglob("*") if path.is_file()} == before


def test_a_bundle_in_memory_that_only_decodes_does_not_encode(installed: TinyRelease, photo: Picture) -> None:
    import clc
    from clc.bundle.bundle import Bundle

    bundle = Bundle.load(installed.decoder)
    with pytest.raises(InputError, match="only decodes"):
        clc.encode(photo[:32, :32], bundle=bundle)
    data = (installed.goldens / "tokens.clc").read_bytes()
    assert clc.decode(data, bundle=bundle).shape == (150, 170, 3)
