"""A disk that is full at any write: no file under its name is cut, what was there stays, and the next run ends well."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from clc.archive.change import AddOptions, add, remove
from clc.archive.layout import Archive
from clc.archive.manifest import NAME as MANIFEST
from clc.archive.pack import PackOptions, pack
from clc.archive.unpack import verify
from clc.codec.codec import Codec
from clc.pictures.images import png_bytes
from flows.ingest import ingest_images
from flows.runtime.stage import finished_keys, resolve
from flows.runtime.workspace import Workspace
from flows.upkeep.cleaning import clean
from storage import atomic
from storage.atomic import is_temporary
from storage.digest import sha256_file
from storage.errors import StorageFull

MOMENTS = range(1, 51)


class FullDisk:
    """Counts the writes of the storage; the one numbered `at` brings half of its bytes down and then fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at, self.writes = 0, 0
        plain = Path.write_bytes

        def write_bytes(path: Path, data: bytes) -> int:
            self.count(lambda: plain(path, data[: len(data) // 2]))
            return plain(path, data)

        def opened(handle: int, mode: str) -> Any:
            return _Writing(os.fdopen(handle, mode), self)

        monkeypatch.setattr(atomic, "open", opened, raising=False)
        monkeypatch.setattr(Path, "write_bytes", write_bytes)

    def count(self, write_half: Callable[[], Any]) -> None:
        """Fail if this is the write that does not fit."""
        self.writes += 1
        if self.writes == self.at:
            write_half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fills_at(self, number: int) -> None:
        """Fail at the write of that number from here on; 0 for none."""
        self.at, self.writes = number, 0


class _Writing:
    def __init__(self, file: IO[Any], disk: FullDisk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> "_Writing":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def writelines(self, pieces: Iterator[bytes]) -> None:
        data = b"".join(pieces)
        self.disk.count(lambda: self.file.write(data[: len(data) // 2]))
        self.file.write(data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


def photos(folder: Path, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        samples = np.random.default_rng(number).integers(0, 256, (160, 160, 3), dtype=np.uint8)
        (folder / f"{number}.png").write_bytes(png_bytes(samples))
    return folder


def contents(root: Path) -> dict[str, str]:
    """Return the digests of files under their final names; not those of manifests and journals, which hold times."""
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".db")
    return {
        path.relative_to(root).as_posix(): "" if path.name == "manifest.json" else sha256_file(path)
        for path in files
        if not any(is_temporary(part) for part in path.relative_to(root).parts) and "locks" not in path.parts
    }


def test_an_ingest_keeps_the_old_version_and_leaves_nothing_cut(
    tmp_path: Path, disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.ingest.publish", lambda *_: None)
    first, second = photos(tmp_path / "first", range(3)), photos(tmp_path / "second", range(7))

    def run(root: Path, source: Path) -> None:
        monkeypatch.setenv("CLC_WORKSPACE", str(root))
        ingest_images.fn(str(source), patch_px=32, workers=1)

    run(tmp_path / "before", first)
    old = contents(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "undisturbed")
    disk.fills_at(0)
    run(tmp_path / "undisturbed", second)
    writes, wanted = disk.writes, contents(tmp_path / "undisturbed")
    failed = []
    moments = MOMENTS[: writes + 1]
    for moment in moments:
        root = tmp_path / f"full-{moment}"
        shutil.copytree(tmp_path / "before", root)
        disk.fills_at(moment)
        try:
            run(root, second)
        except StorageFull as error:
            assert "No space left on device" in str(error)  # noqa: PT017 - where the disk is full or not, by moment
            failed.append(moment)
        disk.fills_at(0)
        found = contents(root)
        assert {name: found.get(name) for name in old} == old
        for name, digest in found.items():
            assert "/blobs/" not in f"/{name}" or Path(name).name == digest
        for key in finished_keys(Workspace(root), "ingest-images"):
            resolve(Workspace(root), "ingest-images", key)
        run(root, second)
        clean(Workspace(root))
        assert contents(root) == wanted
        shutil.rmtree(root)
    assert failed == [moment for moment in moments if moment <= writes]
    assert len(failed) > 5


def decoded(folder: Path, codec: Codec) -> int:
    """Return how many pictures an archive lists; all of them decode."""
    archive = Archive(folder)
    assert list(verify(archive, codec)) == []
    return len(archive.manifest.pictures)


def test_an_archive_is_sound_whichever_write_of_a_change_fails(tmp_path: Path, disk: FullDisk, shipped: Codec) -> None:
    pictures = photos(tmp_path / "pictures", range(1))
    archive, further = tmp_path / "archive", photos(tmp_path / "further", range(1, 2))
    options = PackOptions(quality=0.0, keys=1, levels=1, effort=0)

    def until_it_succeeds(change: Callable[[], object], after_failure: Callable[[], bool]) -> int:
        for moment in MOMENTS:
            disk.fills_at(moment)
            try:
                change()
            except StorageFull:
                disk.fills_at(0)
                assert after_failure()
            else:
                return moment - 1
        raise AssertionError("more writes than were tried")

    assert until_it_succeeds(
        lambda: pack(pictures, archive, shipped, options),
        lambda: not (archive / MANIFEST).exists() or decoded(archive, shipped) == 1,
    )
    assert decoded(archive, shipped) == 1
    before = contents(archive)

    def is_sound() -> bool:
        assert {name: contents(archive).get(name) for name in before if name.endswith(".clc")}.items() <= before.items()
        return decoded(archive, shipped) in (1, 2)

    assert until_it_succeeds(lambda: add(archive, [further], shipped, AddOptions(effort=0)), is_sound)
    assert decoded(archive, shipped) == 2
    name = Archive(archive).manifest.pictures[-1].name
    assert until_it_succeeds(lambda: remove(archive, [name]), is_sound)
    assert decoded(archive, shipped) == 1
