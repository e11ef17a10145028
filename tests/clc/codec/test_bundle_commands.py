"""The commands and bundles: several at once, one inside a folder of streams, broken ones, and what is told of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.bundle.bundle import SHIPPED
from clc.bundle.extend import add_pictures
from clc.bundle.identity import id_of, read_manifest_bytes
from clc.codec import Codec
from clc.codec.cli.main import main
from clc.codec.selftest import write_vectors
from storage.atomic import leftovers_of, staging_directory, temporary_beside

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of its own, whole, with a key picture and a self-test."""
    folder = tmp_path_factory.mktemp("made") / "extended"
    add_pictures(SHIPPED, folder, [NOISE], [{"name": "noise", "source": "noise", "licence": "CC0-1.0"}])
    write_vectors(folder)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CLC_BUNDLES", raising=False)
    monkeypatch.setenv("CLC_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.chdir(tmp_path)


def id_in(folder: Path) -> str:
    return id_of(read_manifest_bytes(folder))


def picture(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(NOISE).save(path)
    return str(path)


def test_the_self_test_of_every_bundle_that_is_named_is_replayed(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "without").mkdir()
    for path in SHIPPED.iterdir():
        if not path.name.startswith("selftest"):
            (tmp_path / "without" / path.name).symlink_to(path)
    given = [str(extended), str(SHIPPED), str(extended), id_in(extended)]
    assert main(["selftest", *(word for one in given for word in ("--bundle", one))]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[2].rstrip(",") for line in said if line.startswith("selftest: bundle ")] == [
        id_in(extended),
        id_in(SHIPPED),
    ]
    assert main(["selftest", "--bundle", "without", "--bundle", str(extended)]) == 1
    said, errors = capsys.readouterr()
    assert "the bundle in without has no self-test vectors" in errors
    assert f"bundle {id_in(extended)}, " in said


def test_a_self_test_that_differs_costs_no_other_its_turn(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = Path(shutil.copytree(extended, tmp_path / "changed"))
    steps = json.loads((changed / "selftest.json").read_text())
    steps[3]["sha256"] = "0" * 64
    (changed / "selftest.json").write_text(json.dumps(steps))
    assert main(["selftest", "--bundle", "changed", "--bundle", str(SHIPPED)]) == 1
    said, errors = capsys.readouterr()
    assert errors.startswith("error: changed: this machine differs from the exporter first in 'selftest.clc: ")
    assert f"bundle {id_in(SHIPPED)}, " in said


def test_streams_of_two_bundles_decode_beside_their_bundle_whose_own_streams_are_left(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "coded"
    shutil.copytree(extended, folder / "bundles" / "extended")
    for name, codec in (("a", Codec.load(extended)), ("b", Codec.shipped())):
        (folder / f"{name}.clc").write_bytes(codec.encode(NOISE, 30, "none", effort=0))
    (folder / "bundles" / "selftest.clc").write_bytes((folder / "b.clc").read_bytes())  # in no bundle: a user's own
    (folder / "bundles" / "extended" / "mine.clc").write_bytes((folder / "b.clc").read_bytes())
    assert main(["decode", "coded", "--out", "back", "--bundle", "coded/bundles"]) == 0
    said = capsys.readouterr().out
    assert "decoded 4 of 4 files" in said
    assert "3 of a bundle" in said
    assert sorted(path.relative_to("back").as_posix() for path in Path("back").rglob("*.png")) == [
        "a.png",
        "b.png",
        "bundles/extended/mine.png",
        "bundles/selftest.png",
    ]


def test_key_pictures_of_a_bundle_are_neither_coded_nor_collected_again(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "photos" / "a.png")
    shutil.copytree(extended, tmp_path / "photos" / "bundle")
    assert main(["encode", "photos", "--out", "coded", "--effort", "0", "--references", "none"]) == 0
    said = capsys.readouterr().out
    assert "encoded 1 of 1 file" in said
    assert "3 of a bundle" in said
    assert main(["collect", "photos", "--out", "made", "--keys", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 key pictures of 1" in said
    assert "3 of a bundle" in said


def test_that_nothing_was_promoted_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        picture(tmp_path / "photos" / f"{name}.png")
    arguments = ["encode", "photos", "--out", "coded", "--bundle", "service", "--effort", "0", "--references", "none"]
    assert main(arguments) == 0
    assert capsys.readouterr().err == (
        f"warning: nothing was promoted in the workspace {tmp_path / 'workspace'}: the shipped bundle serves\n"
    )


def test_what_was_passed_over_on_the_way_to_a_bundle_is_said(
    extended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shelf" / "broken").mkdir(parents=True)
    (tmp_path / "shelf" / "broken" / "manifest.json").write_text("{")
    (tmp_path / "shelf" / "sound").symlink_to(extended)
    monkeypatch.setenv("CLC_BUNDLES", "gone\n:shelf")
    (tmp_path / "a.clc").write_bytes(Codec.load(extended).encode(NOISE, 30, "none", effort=0))
    assert main(["decode", "a.clc", "a.png"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "warning: gone : No such file or directory; it was not searched for bundles",
        "warning: shelf/broken/manifest.json: is no JSON, so that the bundle's id is not known; passed over",
    ]


def test_the_bundle_of_collect_is_asked_for_before_the_pictures_are_read(
    extended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[object] = []
    monkeypatch.setattr("clc.codec.cli.collect.read_collection", read.append)
    broken = Path(shutil.copytree(extended, tmp_path / "broken"))
    (broken / "prior.safetensors").unlink()
    for bundle in ("nowhere", "0123456789abcdef", "broken"):
        assert main(["collect", picture(tmp_path / "a.png"), "--out", "made", "--bundle", bundle]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert read == []


def test_what_a_killed_collect_left_is_said_and_left_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, other = temporary_beside(tmp_path / "made"), tmp_path / ".made.partial"
    for folder in (left, other):
        folder.mkdir()
        (folder / "file").write_text("x")
    assert main(["collect", picture(tmp_path / "a.png"), "--out", "made", "--keys", "1"]) == 0
    errors = capsys.readouterr().err
    assert errors.startswith(f"warning: {left}: left by a collect that was killed, unless one is still at work; ")
    assert errors.count("\n") == 1
    assert (left / "file").exists()
    assert (other / "file").exists()


def test_leftovers_are_those_of_that_very_name(tmp_path: Path) -> None:
    final = tmp_path / "made"
    assert leftovers_of(final) == []
    (tmp_path / ".made.partial").mkdir()
    temporary_beside(tmp_path / "other").mkdir()
    with staging_directory(final) as folder:
        assert leftovers_of(final) == [folder]
    assert leftovers_of(final) == []
    assert leftovers_of(tmp_path / "no" / "folder") == []


def test_info_of_a_bundle_summarises_its_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(SHIPPED)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[0] == "model")
    assert line.split()[2] == "parameters,"
    assert main(["info", str(SHIPPED), "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert line.split()[1] == f"{fields['parameters']:,}"
    assert line.split()[3] == f"{fields['model_bytes']:,}"
    assert fields["parameters"] > 10**6


def test_info_names_what_is_broken_once_and_shows_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"format": "clc-bundle", "version": 7}')
    assert main(["info", "broken"]) == 1
    assert capsys.readouterr().err == (
        "error: broken: its manifest.json is damaged: it lacks 'model'; get the bundle again\n"
    )
    (broken / "manifest.json").write_text("[")
    (broken / "a.clc").write_bytes(Codec.shipped().encode(NOISE, 30, "none", effort=0))
    assert main(["info", "broken", str(SHIPPED)]) == 1
    said, errors = capsys.readouterr()
    assert errors.startswith("error: broken: its manifest.json is damaged: it is no JSON: ")
    assert errors.count("\n") == 1
    assert "broken/a.clc:" in said
    assert f"{SHIPPED}:" in said
