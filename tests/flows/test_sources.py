"""Where pictures come from, and how they are split."""

import hashlib
import os
import socket
from pathlib import Path
from typing import Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clc.errors import InputError
from flows.sources import PARTS, read_source, split_parts

SHARES = {"dictionary": 0.4, "training": 0.4, "evaluation": 0.2}


def digests(count: int, seed: str = "") -> list[str]:
    return [hashlib.sha256(f"{seed}{index}".encode()).hexdigest() for index in range(count)]


def test_built_in_photos_are_in_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Never:
        raise AssertionError("the built-in photos need no network")

    monkeypatch.setattr(socket, "socket", refuse)
    pictures = read_source("builtin").pictures
    assert len(pictures) == 16
    assert all(picture.path.is_file() and picture.licence and picture.source for picture in pictures)


def test_built_in_parts_share_no_photo_but_for_the_pair() -> None:
    pictures = read_source("builtin").pictures
    assert len({picture.path for picture in pictures}) == len({picture.name for picture in pictures}) == 16
    pair = {picture.name: picture.part for picture in pictures if picture.row == "pair"}
    assert pair == {"motorcycle_left": "dictionary", "motorcycle_right": "evaluation"}
    natural = [picture.part for picture in pictures if picture.row == "natural"]
    assert {part: natural.count(part) for part in PARTS} == {"dictionary": 5, "training": 4, "evaluation": 5}


def test_folder_lists_pictures_below_it_in_order_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", "deep/er/c.webp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert [picture.name for picture in read_source(str(tmp_path)).pictures] == ["a.jpg", "b.PNG", "deep/er/c.webp"]


def test_list_names_pictures_relative_to_itself(tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text(f"# a comment\n\na.png\n{tmp_path / 'b.png'}\na.png\n")
    pictures = read_source(str(listing)).pictures
    assert [picture.path for picture in pictures] == [tmp_path / "a.png", tmp_path / "b.png"]


def test_a_list_may_state_licences_and_no_path_of_this_machine_travels(tmp_path: Path) -> None:
    listing = tmp_path / "mine.txt"
    listing.write_text("a.png\tCC0-1.0\nb.png\n")
    pictures = read_source(str(listing)).pictures
    assert [picture.licence for picture in pictures] == ["CC0-1.0", "not stated"]
    assert {picture.source for picture in pictures} == {"mine.txt"}


def test_sources_without_a_picture_are_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("# nothing\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81\x00\x00")
    for source, said in (
        (tmp_path, "no picture"),
        (tmp_path / "notes.txt", "names no picture"),
        (tmp_path / "binary", "no readable list"),
        (tmp_path / "none", 'or use "builtin"'),
    ):
        with pytest.raises(InputError, match=said):
            read_source(str(source))


def test_paths_that_no_file_system_takes_are_refused_with_advice() -> None:
    for source in ("x" * 5000, "~nobody-of-this-name/photos", "a\x00b", ""):
        with pytest.raises(InputError, match=r"no folder or list|no picture"):
            read_source(source)


def test_names_are_writable_anywhere_and_paths_open_the_files(tmp_path: Path) -> None:
    names = (b"caf\xe9.png", "café.png".encode(), b"two\nlines.png", b"back\\slash.png", b"tab\t/a.png")
    for name in names:
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name)
    pictures = read_source(str(tmp_path)).pictures
    assert {picture.name for picture in pictures} == {
        r"caf\xe9.png",
        "café.png",
        r"two\nlines.png",
        r"back\\slash.png",
        r"tab\t/a.png",
    }
    assert sorted(picture.path.read_bytes() for picture in pictures) == sorted(names)


def test_folder_whose_own_name_is_no_utf_8_is_found_as_it_is_and_as_it_is_shown(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "a.png").write_bytes(b"-")
    source = read_source(str(folder))
    assert source.label == f"{tmp_path}/caf\\xe9"
    assert source.pictures[0].source == r"caf\xe9"
    assert read_source(source.label) == source


def test_linked_folders_are_followed_once_and_what_is_left_out_is_counted_or_named(tmp_path: Path) -> None:
    for name in ("in/a.png", "disk/b.png", "in/notes.txt", "in/more.txt", "in/.hidden.png", "in/film.mov"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    (tmp_path / "in/linked").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.png").symlink_to("nowhere")
    source = read_source(str(tmp_path / "in"))
    assert [picture.name for picture in source.pictures] == ["a.png", "linked/b.png"]
    assert source.passed_over == {".txt": 2, ".mov": 1, "hidden": 1, "linked to what was read already": 1}
    assert source.unreadable == {"gone.png": "is a link to nothing"}


def test_key_pictures_of_a_bundle_in_the_folder_are_no_photos_of_the_source(tmp_path: Path) -> None:
    for name in ("a.png", "bundle/pictures/0000.webp", "album/pictures/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "bundle" / "manifest.json").write_text('{"format": "clc-bundle"}')
    source = read_source(str(tmp_path))
    assert [picture.name for picture in source.pictures] == ["a.png", "album/pictures/b.png"]
    assert source.passed_over == {"of a bundle": 1, ".json": 1}


def test_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "film.mov").write_bytes(b"-")
    with pytest.raises(InputError, match=r"no picture .* it holds 1 \.mov; add pictures"):
        read_source(str(tmp_path))


@given(st.integers(3, 60), st.text(max_size=3))
def test_split_gives_every_picture_a_part_and_every_part_a_picture(count: int, seed: str) -> None:
    contents = digests(count, seed)
    parts = split_parts(contents, SHARES)
    assert parts.keys() == set(contents)
    assert set(parts.values()) == set(PARTS)
    assert parts == split_parts(list(reversed(contents)), SHARES)


def test_split_follows_the_shares_and_pictures_keep_their_part_when_others_come() -> None:
    few, many = split_parts(digests(500), SHARES), split_parts(digests(1000), SHARES)
    assert all(many[content] == part for content, part in few.items())
    held = list(many.values())
    assert all(abs(held.count(part) / 1000 - share) < 0.05 for part, share in SHARES.items())


def test_too_few_pictures_for_the_parts_are_refused() -> None:
    with pytest.raises(InputError, match="give at least 3"):
        split_parts(digests(2), SHARES)
