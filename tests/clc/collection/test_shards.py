"""A shard: files of good pictures become blobs as they are; what this machine cannot see is no fault of a picture."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clc.collection import shards
from clc.collection.examination import CHANGED, NOT_A_PICTURE, UNREADABLE, Refused
from clc.collection.patches import PatchReader
from clc.collection.shards import FileToExamine, ShardOfFiles, close_walls, examine_shard
from clc.errors import InputError
from clc.pictures.images import png_bytes
from clc.pictures.picture import Rectangle
from storage.blobs import BlobStore
from storage.digest import sha256_bytes
from storage.errors import StorageError, StorageFull


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_walls()


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def files(folder: Path, *contents: bytes) -> tuple[FileToExamine, ...]:
    folder.mkdir()
    made = []
    for number, data in enumerate(contents):
        path = folder / f"{number}.png"
        path.write_bytes(data)
        made.append(FileToExamine(name=path.name, sha256=sha256_bytes(data), path=path))
    return tuple(made)


def test_good_files_are_blobs_and_others_have_reasons(tmp_path: Path) -> None:
    good = [png_bytes(picture(seed)) for seed in range(4)]
    given = files(tmp_path / "in", *good, b"no picture")
    (tmp_path / "in" / "2.png").write_bytes(good[0])
    (tmp_path / "in" / "3.png").unlink()
    blobs = BlobStore(tmp_path / "blobs")
    brought = FileToExamine(name="brought", sha256=blobs.put(good[2]), path=None)
    outcomes = examine_shard(ShardOfFiles(name="a", files=(*given, brought), blobs_root=blobs.root))
    codes = [one.code if isinstance(one, Refused) else "" for one in outcomes]
    assert codes == ["", "", CHANGED, UNREADABLE, NOT_A_PICTURE, ""]
    assert {path.name for path in blobs.root.rglob("*") if path.is_file()} == {sha256_bytes(good[n]) for n in (0, 1, 2)}
    np.testing.assert_array_equal(PatchReader(blobs).read(given[1].sha256), picture(1))


def test_every_thread_has_a_wall_of_its_own_and_none_is_left(tmp_path: Path) -> None:
    given = files(tmp_path / "in", *(png_bytes(picture(seed)) for seed in range(2)))
    both = threading.Barrier(2, timeout=60)

    def examined(one: FileToExamine) -> None:
        both.wait()
        examine_shard(ShardOfFiles(name="a", files=(one,), blobs_root=tmp_path / "blobs"))
        both.wait()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(examined, given))
    processes = [wall._process for wall in shards._walls.values()]
    assert len(processes) == 2
    assert [process.poll() for process in processes if process is not None] == [None, None]
    close_walls()
    assert [process.poll() for process in processes if process is not None] == [-signal.SIGKILL] * 2
    assert not shards._walls


def test_a_worker_that_does_not_see_the_pictures_says_so(tmp_path: Path) -> None:
    given = files(tmp_path / "in", png_bytes(picture(0)))
    given[0].path.unlink()  # type: ignore[union-attr]
    (tmp_path / "in").rmdir()
    shard = ShardOfFiles(name="a", files=given, blobs_root=tmp_path / "blobs")
    with pytest.raises(InputError, match=r"this worker does not see the folder .*in; give every worker"):
        examine_shard(shard)


def test_a_full_disk_fails_the_shard_and_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(store: BlobStore, named: dict[str, bytes]) -> None:
        raise StorageFull("cannot write a file: No space left on device; make room on the disk")

    monkeypatch.setattr(shards, "_BATCH_BYTES", 1)
    monkeypatch.setattr(BlobStore, "put_named", full)
    given = files(tmp_path / "in", *(png_bytes(picture(seed)) for seed in range(3)))
    with pytest.raises(StorageFull):
        examine_shard(ShardOfFiles(name="a", files=given, blobs_root=tmp_path / "blobs"))


def test_patches_are_rectangles_of_the_upright_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = BlobStore(tmp_path)
    one, other = (blobs.put(png_bytes(picture(seed))) for seed in range(2))
    reader = PatchReader(blobs)
    asked: list[str] = []
    real = BlobStore.get
    monkeypatch.setattr(BlobStore, "get", lambda store, sha: asked.append(sha) or real(store, sha))
    for left in range(0, 30, 10):
        found = reader.read(one, Rectangle(left, 5, 10, 20))
        np.testing.assert_array_equal(found, picture(0)[5:25, left : left + 10])
    whole = reader.read(one)
    whole[:] = 0
    np.testing.assert_array_equal(reader.read(one), picture(0), "nobody's copy is another's")
    assert asked == [one], "the picture that was decoded last is kept"
    reader.read(other)
    assert asked == [one, other]
    with pytest.raises(InputError, match="is 40x30 px and has no 10x20 px at 35, 5; run ingest-images again"):
        reader.read(one, Rectangle(35, 5, 10, 20))
    with pytest.raises(StorageError, match="is missing"):
        reader.read("ab" * 32)
