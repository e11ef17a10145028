"""What an archive holds: the order of its pictures, and what cannot stand beside one another."""

from dataclasses import replace
from pathlib import Path

import pytest

from clc.archive.manifest import ArchivedPicture, Manifest, is_inside, stream_named
from clc.codec.files import ENCODE, plan
from clc.errors import StorageError

MODEL = "00112233445566ff"


def picture(name: str, number: int, references: tuple[int, ...] = ()) -> ArchivedPicture:
    return ArchivedPicture(
        name=name,
        stream=f"{name}.clc",
        id=f"{number:016x}",
        bytes=100 + number,
        check=f"{number:016x}",
        width=640,
        height=480,
        quality=50.0,
        references=tuple(f"{one:016x}" for one in references),
        source_bytes=1000,
        source_sha256="cd" * 32,
    )


TABLE = Manifest(MODEL, "", (picture("b", 1), picture("a", 2, (1,)), picture("c/d", 3, (1, 2)), picture("e", 4)))


def test_each_picture_comes_after_those_that_it_refers_to() -> None:
    assert [one.name for one in TABLE.in_order()] == ["b", "e", "a", "c/d"]
    assert TABLE.depths() == {f"{1:016x}": 0, f"{2:016x}": 1, f"{3:016x}": 2, f"{4:016x}": 0}
    assert [one.name for one in TABLE.dependents([f"{1:016x}"])] == ["a", "c/d"]
    assert sorted(one.name for one in TABLE.needed_for(TABLE.pictures[2])) == ["a", "b"]
    assert TABLE.needed_for(TABLE.pictures[3]) == []


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ((picture("a", 1), picture("a", 2)), "the same name"),
        ((picture("a", 1), replace(picture("b", 2), stream="a.clc")), "the same stream"),
        ((picture("a", 1, (7,)),), "which the archive does not hold"),
        ((picture("a", 1, (2,)), picture("b", 2, (1,))), "depends on itself"),
        ((picture("a", 1, (1,)),), "depends on itself"),
        ((*(picture(f"{n}", n) for n in range(4)), picture("a", 9, (0, 1, 2, 3))), "refers to 4 streams"),
        ((replace(picture("a", 1), stream="archive.parquet/a.clc"),), "which has another meaning"),
    ],
)
def test_pictures_that_contradict_one_another_are_refused(pictures: tuple[ArchivedPicture, ...], message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Manifest(MODEL, "", pictures)


def test_a_chain_of_ten_thousand_streams_is_ordered_without_recursion() -> None:
    chain = tuple(picture(f"{n:05}", n + 1, (n,) if n else ()) for n in range(10_000))
    assert max(Manifest(MODEL, "", chain).depths().values()) == 9_999


@pytest.mark.parametrize("path", ["a", "a/b c.png", "a/..b", "ab/c:d", "\udce9.png", "..."])
def test_a_path_below_the_folder_is_inside(path: str) -> None:
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "//a", "a/", "a//b", "./a", "a/.", "a/../b", "..", "C:/a", "a\\b", "a\0", "\ud800"]
)
def test_a_path_that_leads_elsewhere_or_means_another_one_is_not(path: str) -> None:
    assert not is_inside(path)


@pytest.mark.parametrize(
    "name", ["a.png", "B.PNG", ".png", "d.e/f.jpg", "x.png/y", "no ending", "g.png.png", "caf\udce9.bmp"]
)
def test_a_stream_is_named_as_the_one_rule_of_files_says(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    (job,) = plan([path], tmp_path / "out", ENCODE).jobs
    folder, slash, _ = name.rpartition("/")
    assert stream_named(name) == folder + slash + job.output.name
