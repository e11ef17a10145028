"""`bench/models`: a new model is shipped only together with the former one's decoder's bundle; packages of models."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.models import model_packages, ship_model
from bench.models.ship_model import GOLDENS, Places, ship
from clc.bundle.bundle import Bundle
from clc.bundle.extend import add_pictures
from clc.bundle.identity import SHIPPED, id_of, is_bundle, is_decoder_bundle, read_manifest_bytes
from clc.bundle.released import PACKAGES, Register, read_register, write_register
from clc.codec import Codec
from clc.codec.selftest import write_vectors
from clc.errors import ClcError, InputError
from tests.conftest import Picture
from tests.tiny_release import RELEASE, TinyRelease

NEXT = "10.0.0"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> TinyRelease:
    return TinyRelease(tmp_path_factory.mktemp("release"), photo)


@pytest.fixture(scope="module")
def new(tiny: TinyRelease, tmp_path_factory: pytest.TempPathFactory, photo: Picture) -> Path:
    """The model of the next release: that of the former one, with another entry."""
    folder = tmp_path_factory.mktemp("new") / "bundle"
    add_pictures(tiny.whole, folder, [np.ascontiguousarray(photo[100:180, :90])], [{"name": "more"}])
    write_vectors(folder)
    return folder


@pytest.fixture
def places(tiny: TinyRelease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A checkout that ships the small release, and carries no former one."""
    found = Places(tmp_path / "assets", tmp_path / "goldens")
    shutil.copytree(tiny.whole, found.shipped)
    shutil.copytree(tiny.goldens, found.goldens / tiny.bundle_id)
    found.released.mkdir()
    shutil.copyfile(tiny.released / "models.json", found.register)
    monkeypatch.setattr("clc.bundle.released.REGISTER", found.register)
    return found


def id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [".shipped.former", "shipped"])
def test_a_run_that_ended_between_two_renamings_is_started_again(
    new: Path, places: Places, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        found = rename(self, target)
        if target.name == name:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ship(new, NEXT, places)
    monkeypatch.setattr(Path, "rename", rename)
    ship(new, NEXT, places)
    assert everything(places.shipped) == everything(new)
    assert [path.name for path in places.assets.iterdir() if path.name.startswith(".")] == []


def test_one_command_ships_a_model_and_keeps_the_former_one(tiny: TinyRelease, new: Path, places: Places) -> None:
    lines = ship(new, NEXT, places)
    assert everything(places.shipped) == everything(new)
    assert everything(places.released / tiny.bundle_id) == everything(tiny.decoder)
    assert [path.name for path in places.assets.iterdir() if path.name.startswith(".")] == []
    register = read_register(places.register)
    assert [(model.bundle_id, model.release) for model in register.models] == [
        (tiny.bundle_id, RELEASE),
        (id_in(new), NEXT),
    ]
    assert register.earlier == tiny.register.earlier
    assert set(register.models[-1].golden) == set(GOLDENS) == {p.name for p in (places.goldens / id_in(new)).iterdir()}
    assert [line.split(":")[0] for line in lines] == [tiny.bundle_id, id_in(new), id_in(new), "by hand"]
    # The former one decodes from what is kept, the new one from what its row says of it.
    former = Codec.load(places.released / tiny.bundle_id)
    data = (places.goldens / tiny.bundle_id / "tokens.clc").read_bytes()
    assert np.array_equal(former.decode(data), Codec.load(tiny.whole).decode(data))
    assert not Bundle.load(places.released / tiny.bundle_id).encodes
    before = everything(places.assets)
    ship(new, NEXT, places)
    assert everything(places.assets) == before


@pytest.mark.parametrize("step", ["registered", "_replace"])
def test_a_run_that_was_interrupted_is_started_again(
    tiny: TinyRelease, new: Path, places: Places, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ship_model, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            ship(new, NEXT, places)
    assert everything(places.shipped) == everything(tiny.whole)
    ship(new, NEXT, places)
    assert everything(places.shipped) == everything(new)
    assert is_decoder_bundle(places.released / tiny.bundle_id)
    assert len(read_register(places.register).models) == 2


def test_what_is_unfit_is_refused_before_anything_is_changed(
    tiny: TinyRelease, new: Path, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = Path(shutil.copytree(new, tmp_path / "damaged"))
    (damaged / "entries.json").write_text("[]")
    untested = Path(shutil.copytree(new, tmp_path / "untested"))
    (untested / "selftest.json").unlink()
    before = everything(places.assets), everything(places.goldens)
    for folder, sentence in (
        (tiny.decoder, "only decodes"),
        (damaged, r"entries\.json"),
        (untested, "no self-test vectors"),
        (tmp_path / "nowhere", "no bundle in"),
    ):
        with pytest.raises(ClcError, match=sentence):
            ship(folder, NEXT, places)
    with monkeypatch.context() as patch:
        patch.setattr(ship_model, "LARGEST_BYTES", 1000)
        with pytest.raises(InputError, match="larger than"):
            ship(new, NEXT, places)
    assert (everything(places.assets), everything(places.goldens)) == before
    write_register(places.register, Register((), {}))
    with pytest.raises(InputError, match="is not in"):
        ship(new, NEXT, places)


def test_the_oldest_of_too_many_former_models_is_to_be_moved_by_hand(
    tiny: TinyRelease, new: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship_model, "MOST_FORMER", 1)
    assert "git rm" not in "".join(ship(new, NEXT, places))
    monkeypatch.setattr(ship_model, "MOST_FORMER", 0)
    (line,) = (line for line in ship(new, NEXT, places) if "git rm" in line)
    assert line.startswith(f"by hand: git rm -r clc/assets/released/{tiny.bundle_id}, once ")


def test_the_package_of_a_model_holds_its_decoders_bundle_and_no_code(tmp_path: Path) -> None:
    assert model_packages.main([id_in(SHIPPED), "--out", str(tmp_path / "dist")]) == 0
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert not list((tmp_path / "site").rglob("*.py"))
    bundle = Bundle.load(tmp_path / "site" / PACKAGES / id_in(SHIPPED))
    assert (bundle.bundle_id, bundle.encodes) == (id_in(SHIPPED), False)
    assert wheel.stat().st_size < sum(path.stat().st_size for path in SHIPPED.iterdir())
    assert list((tmp_path / "site").glob("*.dist-info/licenses/NOTICE"))


def test_only_released_models_have_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert model_packages.main(["0" * 16, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {'0' * 16} is no released model; `clc models` lists them\n"
    assert id_in(SHIPPED) not in model_packages.not_carried()
    monkeypatch.setattr(model_packages, "not_carried", list)
    assert model_packages.main(["--out", str(tmp_path / "dist")]) == 0
    assert "carries every released model" in capsys.readouterr().out
    assert not (tmp_path / "dist").exists()


def test_a_model_that_was_replaced_is_taken_from_history(tiny: TinyRelease, new: Path, tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    place = root / "clc" / "assets" / "shipped"

    def commit() -> None:
        for command in (["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "a"]):
            subprocess.run(["git", *command], cwd=root, check=True)

    root.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    for folder in (tiny.whole, new):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        commit()
    found = model_packages.out_of_history(tiny.bundle_id, tmp_path / "a", root)
    assert everything(found) == everything(tiny.whole)
    shutil.copytree(tiny.decoder, root / "clc/assets/released" / tiny.bundle_id)
    commit()
    shutil.rmtree(root / "clc/assets/released")
    commit()
    found = model_packages.out_of_history(tiny.bundle_id, tmp_path / "b", root)
    assert is_bundle(found)
    assert everything(found) == everything(tiny.decoder)
    with pytest.raises(InputError, match="no commit here has bundle 00000000"):
        model_packages.out_of_history("0" * 16, tmp_path / "c", root)
