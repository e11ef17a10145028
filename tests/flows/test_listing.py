"""Lists of pictures as editors, spreadsheets and shells write them: every line means the file that it names."""

import os
from pathlib import Path

import pytest

from clc.errors import InputError
from flows.listing import read_listing


def listed(tmp_path: Path, data: bytes, *files: bytes) -> list[tuple[str, str]]:
    """Return (file, licence) of what a list of these bytes names, beside files of these names."""
    for name in files:
        (tmp_path / os.fsdecode(name)).write_bytes(b"-")
    (tmp_path / "list.txt").write_bytes(data)
    return [(one.path.name, one.licence) for one in read_listing(tmp_path / "list.txt")]


@pytest.mark.parametrize(
    "data",
    [
        b"a.png\nb.png\n",
        b"\xef\xbb\xbfa.png\r\nb.png\r\n",
        b"a.png\rb.png",
        "\ufeffa.png\r\nb.png\r\n".encode("utf-16-le"),
        "\ufeffa.png\nb.png".encode("utf-16-be"),
        "\ufeffa.png\nb.png\n".encode("utf-32-le"),
        b'"a.png"\r\n"b.png"\r\n',
        b"  a.png \n\n# a comment\n\tno name\nb.png",
    ],
)
def test_list_of_two_pictures_is_read_however_it_was_saved(tmp_path: Path, data: bytes) -> None:
    assert [name for name, _ in listed(tmp_path, data, b"a.png", b"b.png")] == ["a.png", "b.png"]


def test_names_that_are_no_utf_8_mean_the_files_of_these_bytes(tmp_path: Path) -> None:
    assert listed(tmp_path, b"caf\xe9.png\tCC0\n", b"caf\xe9.png") == [(os.fsdecode(b"caf\xe9.png"), "CC0")]
    (picture,) = read_listing(tmp_path / "list.txt")
    assert picture.path.read_bytes() == b"-"
    assert picture.name == r"caf\xe9.png"


def test_names_may_stand_as_they_are_shown(tmp_path: Path) -> None:
    names = [
        name for name, _ in listed(tmp_path, b"caf\\xe9.png\ntwo\\nlines.png\n", b"caf\xe9.png", b"two\nlines.png")
    ]
    assert names == [os.fsdecode(b"caf\xe9.png"), "two\nlines.png"]


def test_names_with_quotes_or_a_hash_that_exist_are_names(tmp_path: Path) -> None:
    data = b'"a".png\n"say ""hi"".png"\n"quoted.png"\n#1.png\n'
    names = listed(tmp_path, data, b'"a".png', b'say "hi".png', b'"quoted.png"', b"#1.png")
    assert [name for name, _ in names] == ['"a".png', 'say "hi".png', '"quoted.png"', "#1.png"]


def test_unknown_home_and_a_name_that_is_too_long_cost_their_own_lines(tmp_path: Path) -> None:
    long = b"x" * 300 + b".png"
    assert len(listed(tmp_path, b"~nobody-of-this-name/a.png\n" + long + b"\nb.png\n", b"b.png")) == 3


def test_licence_stands_behind_a_tab_and_is_not_lost_by_a_second_line(tmp_path: Path) -> None:
    assert listed(tmp_path, b'a.png\t"CC0-1.0"\na.png\nb.png\nb.png\tmine\n') == [
        ("a.png", "CC0-1.0"),
        ("b.png", "mine"),
    ]


def test_two_licences_of_one_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"two licences of a\.png, 'CC0' and 'mine'"):
        listed(tmp_path, b"a.png\tCC0\na.png\tmine\n")


@pytest.mark.parametrize("data", [b"\x00\x81a", b"\x89PNG\r\n\x1a\n\x00\x00", b"\xff\xfea", b"\xff\xfe\x00\xd8\n\x00"])
def test_bytes_that_are_no_text_are_no_list(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match="no readable list of pictures"):
        listed(tmp_path, data)


def test_picture_in_place_of_a_list_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.PNG").write_bytes(b"words")
    with pytest.raises(InputError, match="is a picture, no readable list of pictures; name the folder"):
        read_listing(tmp_path / "a.PNG")
