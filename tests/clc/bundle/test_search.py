"""A search for bundles ends soon whatever lies there, and says what it passed over."""

import json
import os
from pathlib import Path

import pytest

from clc.bundle import search
from clc.bundle.identity import id_of
from clc.bundle.search import Found, find_bundles
from storage.atomic import staging_directory


def manifest(number: int) -> bytes:
    return json.dumps({"format": "clc-bundle", "version": 7, "number": number}).encode()


def bundle(folder: Path, number: int = 0) -> Found:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_bytes(manifest(number))
    return Found(folder, id_of(manifest(number)))


def found_in(folder: Path) -> tuple[list[Found], list[str]]:
    told: list[str] = []
    return find_bundles(folder, told.append), told


def test_a_bundle_is_itself_and_nothing_in_it_is_looked_at(tmp_path: Path) -> None:
    one = bundle(tmp_path / "a")
    bundle(tmp_path / "a" / "inner", 1)
    assert found_in(tmp_path / "a") == ([one], [])


def test_two_folders_deep_by_levels_and_names_and_no_deeper(tmp_path: Path) -> None:
    deep, first, second = (bundle(tmp_path / name, n) for n, name in enumerate(("a/b", "c", "d")))
    bundle(tmp_path / "x" / "y" / "z", 9)
    assert found_in(tmp_path) == ([first, second, deep], [])


def test_a_bundle_that_is_still_being_written_is_none(tmp_path: Path) -> None:
    with staging_directory(tmp_path / "done") as folder:
        bundle(folder)
        assert found_in(tmp_path) == ([], [])
    assert found_in(tmp_path)[0] == [Found(tmp_path / "done", id_of(manifest(0)))]


def test_links_in_circles_and_links_to_what_was_seen_cost_nothing(tmp_path: Path) -> None:
    one = bundle(tmp_path / "one")
    for name in ("back", "again"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "to one").symlink_to("one")
    (tmp_path / "nowhere").symlink_to("gone")
    assert found_in(tmp_path) == ([one], [])


def test_a_link_to_itself_is_told_and_the_search_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    one = bundle(tmp_path / "b")
    found, told = found_in(tmp_path)
    assert found == [one]
    assert [line.split(":")[0] for line in told] in ([], [str(tmp_path / "a")])


def test_a_folder_that_refuses_is_named_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    one = bundle(tmp_path / "open")
    scandir = os.scandir

    def refusing(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(search.os, "scandir", refusing)
    assert found_in(tmp_path) == (
        [one],
        [f"{tmp_path / 'closed'}: Permission denied; it was not searched for bundles"],
    )


@pytest.mark.parametrize("name", ["gone", "file", "x" * 300, "a\0b"])
def test_what_is_no_folder_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    found, told = found_in(tmp_path / name)
    assert found == []
    assert len(told) == 1
    assert told[0].endswith("; it was not searched for bundles")


def test_what_stands_in_place_of_a_manifest_is_told(tmp_path: Path) -> None:
    for name in "abcdef":
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "a" / "manifest.json")
    (tmp_path / "b" / "manifest.json").mkdir()
    (tmp_path / "c" / "manifest.json").symlink_to("gone")
    (tmp_path / "d" / "manifest.json").write_text("{")
    (tmp_path / "e" / "manifest.json").write_text("[" * 100_000)
    with (tmp_path / "f" / "manifest.json").open("wb") as file:
        file.truncate(10 * 2**30)
    one = bundle(tmp_path / "z")
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "manifest.json").write_text('{"name": "a page of the web"}')
    found, told = found_in(tmp_path)
    assert found == [one]
    assert [line.removeprefix(f"{tmp_path}/") for line in told] == [
        "a/manifest.json: is a pipe, no file; passed over",
        "b/manifest.json: is a folder, no file; passed over",
        "c/manifest.json: is a link to nothing; passed over",
        "d/manifest.json: is no JSON, so that the bundle's id is not known; passed over",
        "e/manifest.json: is no JSON, so that the bundle's id is not known; passed over",
        "f/manifest.json: has 10737418240 bytes and may have 16777216; passed over",
    ]


def test_entries_are_bounded_and_what_was_seen_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search.MAX_ENTRIES == 20_000
    monkeypatch.setattr(search, "MAX_ENTRIES", 5)
    for number in range(8):
        bundle(tmp_path / f"{number}", number)
    found, told = found_in(tmp_path)
    assert len(found) == 5
    assert told == [
        f"{tmp_path}: more than 5 files and folders lie there; not all of it was searched: name the bundle's own folder"
    ]
    bundle(tmp_path / "7", 7)
    assert found_in(tmp_path / "7") == ([Found(tmp_path / "7", id_of(manifest(7)))], [])


def test_manifests_are_bounded_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert search.MAX_SEARCHED_BYTES == 256 * 2**20
    monkeypatch.setattr(search, "MAX_SEARCHED_BYTES", 3 * len(manifest(0)))
    for number in range(5):
        bundle(tmp_path / f"{number}", number)
    found, told = found_in(tmp_path)
    assert [one.folder.name for one in found] == ["0", "1", "2"]
    assert len(told) == 1
    assert "not all of it was searched" in told[0]
