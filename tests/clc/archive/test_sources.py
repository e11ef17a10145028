"""Which pictures go into an archive under which names; what cannot is told before anything is coded."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.archive.layout import WORK_FOLDER, Archive
from clc.archive.manifest import NAME
from clc.archive.pack import PackOptions, pack
from clc.archive.packed import Progress
from clc.archive.sources import Sources, model_folder
from clc.archive.unpack import ArchiveReader, verify
from clc.codec.codec import Codec
from clc.errors import InputError
from storage import atomic
from storage.digest import sha256_bytes
from storage.errors import StorageFull
from tests.conftest import Picture

OPTIONS = PackOptions(effort=0, keys=0)


def save(path: Path, photo: Picture, left: int = 0, size: tuple[int, int] = (48, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(photo[: size[0], left : left + size[1]])).save(path, "PNG")


def names_of(archive: Path, codec: Codec) -> list[str]:
    opened = Archive(archive)
    assert list(verify(opened, codec)) == []
    return [picture.name for picture in opened.manifest.pictures]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["b\\c.png"], r"b\\c.png: a name in an archive goes without backslash"),
        (["C:x.png"], "C:x.png: a name in an archive goes without backslash, and without colon in its first part"),
        (["a.png", "a.PNG"], "a.png: would become a.clc, as a.PNG does; rename one of them"),
        ([f"{NAME}/a.png"], f"{NAME}/a.png: its folder would stand where the table {NAME} does"),
        (["a.png", "a.clc/b.png"], "a.clc/b.png: its folder would stand where the stream of a.png does"),
        (["x" * 251 + ".jpg"], "the name of its output, which ends in .clc, would have 259 bytes, but 255 are allowed"),
        ([], "no file to read there"),
    ],
    ids=["backslash", "drive", "same stream", "table", "stream as folder", "long", "empty"],
)
def test_what_an_archive_cannot_hold_is_refused_at_once(
    files: list[str], message: str, tmp_path: Path, photo: Picture, shipped: Codec
) -> None:
    (tmp_path / "in").mkdir()
    for name in files:
        save(tmp_path / "in" / name, photo)
    with pytest.raises(InputError, match=message):
        pack(tmp_path / "in", tmp_path / "out", shipped, OPTIONS)
    assert not (tmp_path / "out").exists()


def test_only_a_folder_is_packed(tmp_path: Path, photo: Picture, shipped: Codec) -> None:
    save(tmp_path / "a.png", photo)
    for path in (tmp_path / "a.png", tmp_path / "missing"):
        with pytest.raises(InputError, match="is no folder; name the folder of the pictures"):
            pack(path, tmp_path / "out", shipped, OPTIONS)
    assert not (tmp_path / "out").exists()


def test_names_of_any_bytes_that_are_allowed_come_back(tmp_path: Path, photo: Picture, shipped: Codec) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "new\nline.png", "-x.png", "d/b:c.png", "x" * 251 + ".png", "A.png", "a.png"]
    for name in names:
        save(tmp_path / "in" / name, photo)
    pack(tmp_path / "in", tmp_path / "out", shipped, OPTIONS)
    assert names_of(tmp_path / "out", shipped) == sorted(names)


def test_pictures_of_any_size_share_an_archive(tmp_path: Path, photo: Picture, shipped: Codec) -> None:
    sizes = {"a.png": (1, 1), "b.png": (5, 200), "c.png": (96, 80), "d.png": (80, 96)}
    for name, size in sizes.items():
        save(tmp_path / "in" / name, photo, size=size)
    pack(tmp_path / "in", tmp_path / "out", shipped, replace(OPTIONS, keys=2))
    archive = Archive(tmp_path / "out")
    reader = ArchiveReader(archive, shipped)
    found = {one.name: reader.decode(one).image_HW3.shape[:2] for one in archive.manifest.pictures}
    assert found == sizes


def test_an_archive_inside_of_its_own_sources_holds_them_alone(
    tmp_path: Path, photo: Picture, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", photo)
    monkeypatch.chdir(tmp_path)
    told = pack(Path(), Path("archive"), shipped, replace(OPTIONS, with_model=True))
    assert told.passed_over == {}
    assert names_of(Path("archive"), shipped) == ["a.png"]
    pack(Path(), Path("second"), shipped, OPTIONS)
    assert names_of(Path("second"), shipped) == ["a.png"]
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        pack(Path(), Path(), shipped, OPTIONS)


def test_a_folder_with_the_models_name_does_not_take_its_place(tmp_path: Path, photo: Picture, shipped: Codec) -> None:
    save(tmp_path / "in" / "model" / "a.png", photo)
    pack(tmp_path / "in", tmp_path / "out", shipped, replace(OPTIONS, with_model=True))
    assert Archive(tmp_path / "out").manifest.model_folder == "model-2"
    assert Archive(tmp_path / "out").codec().bundle.directory == tmp_path / "out" / "model-2"
    assert names_of(tmp_path / "out", shipped) == ["model/a.png"]
    assert model_folder(["MODEL/a.clc", "model-2/a.clc"]) == "model-3"
    assert model_folder(["models/a.clc"]) == "model"


@pytest.mark.parametrize("at", range(1, 6))
@pytest.mark.parametrize("change", ["changed", "removed"])
def test_a_source_that_changes_meanwhile_is_never_taken_for_what_was_packed(
    at: int, change: str, tmp_path: Path, strip: Path, photo: Picture, shipped: Codec
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(strip, folder)
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == at:
            (folder / "strip" / "2.png").unlink()
            if change == "changed":
                save(folder / "strip" / "2.png", photo, 200)

    failed: list[str] = []
    try:
        failed = [name for name, _ in pack(folder, out, shipped, replace(OPTIONS, levels=1), watch).failed]
    except InputError:
        failed = ["strip/2.png"]
    packed = {one.name: one for one in Archive(out).manifest.pictures} if (out / NAME).exists() else {}
    assert failed == ["strip/2.png"] or "strip/2.png" in packed
    if "strip/2.png" in packed:
        original = (strip / "strip" / "2.png").read_bytes()
        assert packed["strip/2.png"].source_sha256 == sha256_bytes(original)


def test_nothing_is_left_where_nothing_could_be_coded(tmp_path: Path, shipped: Codec) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n, cut short")
    with pytest.raises(InputError, match="none of 1 pictures could be read"):
        pack(tmp_path / "in", tmp_path / "out", shipped, OPTIONS)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, photo: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in" / "a.png", photo)
    (tmp_path / "in" / "locked").mkdir()
    scandir: Callable[[Path], object] = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match=r"locked: Permission denied; make it readable, or pack a folder without it"):
        Sources(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("writes", range(0, 10, 3))
def test_a_full_disk_is_told_and_packing_goes_on_when_there_is_room(
    writes: int, tmp_path: Path, photo: Picture, shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save(tmp_path / "in" / f"{number}.png", photo, 40 * number)
    pack(tmp_path / "in", tmp_path / "whole", shipped, OPTIONS)
    left, write_file = [writes], atomic._write_file

    def filling(*arguments: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_file(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as full:
        full.setattr(atomic, "_write_file", filling)
        with pytest.raises(StorageFull, match="No space left on device; make room on the disk"):
            pack(tmp_path / "in", tmp_path / "out", shipped, OPTIONS)
    pack(tmp_path / "in", tmp_path / "out", shipped, OPTIONS)
    files = [path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*") if path.is_file()]
    assert all((tmp_path / "out" / one).read_bytes() == (tmp_path / "whole" / one).read_bytes() for one in files)
    assert not (tmp_path / "out" / WORK_FOLDER).exists()
