"""Folders of pictures: every entry is found, counted or named, and links never lead in circles."""

import os
from pathlib import Path

import pytest

from clc.pictures.folders import (
    HIDDEN,
    NO_EXTENSION,
    READ_ALREADY,
    SPECIAL,
    Unreadable,
    find_files,
    find_pictures,
    passed_over_text,
)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"-")
    return folder


def names(files: list[Path], folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file in files]


def test_every_file_is_found_or_counted(tmp_path: Path) -> None:
    make(tmp_path, "b.PNG", "a.jpg", "x/y/c.webp", "notes.txt", "x/more.TXT", "README", "film.mov", ".a.png")
    make(tmp_path, ".git/d.png", ".git/e.png", "Mr. Long-winded title")
    found = find_pictures(tmp_path)
    assert names(found.files, tmp_path) == ["a.jpg", "b.PNG", "x/y/c.webp"]
    assert found.passed_over == {".txt": 2, NO_EXTENSION: 2, ".mov": 1, HIDDEN: 2}
    assert found.unreadable == []
    assert passed_over_text(found.passed_over) == "2 .txt, 2 hidden, 2 without extension, 1 .mov"


def test_linked_folder_is_read_under_the_name_of_its_link(tmp_path: Path) -> None:
    make(tmp_path, "disk/b.png", "in/a.png")
    (tmp_path / "in/train").symlink_to(tmp_path / "disk")
    (tmp_path / "in/c.png").symlink_to(tmp_path / "disk/b.png")
    assert names(find_pictures(tmp_path / "in").files, tmp_path / "in") == ["a.png", "c.png", "train/b.png"]


def test_links_in_circles_end_and_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "in/sub/a.png")
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/self").symlink_to(".")
    found = find_pictures(tmp_path / "in")
    assert names(found.files, tmp_path / "in") == ["sub/a.png"]
    assert found.passed_over == {READ_ALREADY: 2}


def test_folder_is_read_by_its_own_name_before_that_of_a_link(tmp_path: Path) -> None:
    make(tmp_path, "z/deep/a.png")
    (tmp_path / "a-link").symlink_to("z/deep")
    found = find_pictures(tmp_path)
    assert names(found.files, tmp_path) == ["z/deep/a.png"]
    assert found.passed_over == {READ_ALREADY: 1}


def test_links_to_nothing_and_to_themselves_are_named(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    found = find_pictures(tmp_path)
    assert found.unreadable[0] == Unreadable(tmp_path / "gone.png", "is a link to nothing")
    assert found.unreadable[1].path == tmp_path / "loop"


def test_unreadable_folder_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "lost+found/b.png", "a.png")
    real = os.scandir

    def scandir(path: Path) -> object:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    found = find_pictures(tmp_path)
    assert names(found.files, tmp_path) == ["a.png"]
    assert found.unreadable == [Unreadable(tmp_path / "lost+found", "Permission denied")]


def test_folder_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    assert find_pictures(tmp_path / "no").unreadable == [Unreadable(tmp_path / "no", "No such file or directory")]


def test_pipe_with_the_name_of_a_picture_is_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    found = find_pictures(tmp_path)
    assert found.files == []
    assert found.passed_over == {SPECIAL: 1}


def test_other_suffixes_may_be_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "a.clc", "b.png")
    found = find_files(tmp_path, frozenset((".clc",)))
    assert names(found.files, tmp_path) == ["a.clc"]
    assert found.passed_over == {".png": 1}


def test_many_kinds_are_told_in_one_short_line() -> None:
    text = passed_over_text({f".k{number:02}": 1 for number in range(14)})
    assert text.startswith("1 .k00, 1 .k01, ")
    assert text.endswith("1 .k11, 2 of 2 other kinds")
