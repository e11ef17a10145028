"""The page of an archive: self-contained, escaped, bounded, and it says what is wrong."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clc.archive import report as module
from clc.archive.layout import Archive, write_manifest
from clc.archive.manifest import ArchivedPicture, Manifest
from clc.archive.pack import Packed
from clc.archive.report import Shown, choose_shown, make_report, totals_of, tree_of
from clc.codec.__main__ import main
from clc.codec.codec import Codec
from clc.errors import InputError

VOID = {"meta", "img", "br", "input"}
APART = {"br", "dd", "dt", "div", "figure", "label", "li", "p", "section", "span", "td", "th"}
"""Tags between which a reader sees a space."""
HOSTILE = (
    "<script>alert(1)</script>.png",
    "\"' onmouseover='alert(1)' x=\".png",
    "</style><img src=x onerror=alert(1)>.png",
    "{{ 7 * 7 }}\u202egnp.\udce9\n.png",
)


class Page(HTMLParser):
    """Tags with their attributes, and all text; checks that tags close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._open = "", list[str]()
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.text += " " if tag in APART else ""
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self._open[-1:] != ["style"] else ""

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


@pytest.fixture(scope="module")
def page(packed: tuple[Path, Packed], strip: Path, shipped: Codec) -> Page:
    return Page(make_report(Archive(packed[0]), shipped, strip, at_equal_psnr=[("JPEG", 54_321)]).html)


@pytest.fixture
def copied(packed: tuple[Path, Packed], tmp_path: Path) -> Path:
    """An archive that a test may change."""
    shutil.copytree(packed[0], tmp_path / "archive")
    return tmp_path / "archive"


def row(number: int, references: tuple[int, ...] = ()) -> ArchivedPicture:
    ids = tuple(f"{one:016x}" for one in references)
    name = f"{number:05d}.png"
    return ArchivedPicture(name, f"{name}.clc", f"{number:016x}", 10, "0" * 64, 8, 8, 50.0, ids, 90, "0" * 64, 20)


def test_page_needs_nothing_beside_it_and_runs_nothing(page: Page) -> None:
    (policy,) = (one["content"] for one in page.all("meta") if "http-equiv" in one)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    assert all(one["src"].startswith("data:image/webp;base64,") for one in page.all("img"))
    assert all(one["href"].startswith("#p") for one in page.all("a"))
    assert {one["href"][1:] for one in page.all("a")} <= {one.get("id") for one in page.all("figure")}
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]


def test_page_tells_totals_every_picture_and_what_it_refers_to(page: Page, packed: tuple[Path, Packed]) -> None:
    archive, told = Archive(packed[0]), packed[1]
    totals = totals_of(archive)
    assert totals.archive_bytes == told.archive_bytes
    for count in (totals.source_bytes, totals.archive_bytes, totals.alone_bytes):
        assert f"{count:,} bytes" in page.words
    assert f"{told.psnr_db:.2f} dB of 4 pictures against their sources" in page.words
    assert len(page.all("figure")) == 4
    for one in archive.manifest.pictures:
        assert f"{one.name} {one.bytes:,} B" in page.words
        assert f"quality {one.quality:g}, alone {one.alone_bytes:,} B" in page.words
    assert page.words.count("beside strip/") == 3
    assert "key picture of 3" in page.words
    assert [one["style"] for one in page.all("li")] == ["--depth: 0", *["--depth: 1"] * 3]


def test_pictures_lie_on_one_another_with_their_sources(page: Page) -> None:
    flips = [one for one in page.all("details") if one.get("class") == "flip"]
    assert len(flips) == 4
    assert [one["class"] for one in page.all("img")] == ["original", "decoded"] * 4
    labels = {one["for"] for one in page.all("label")}
    assert labels == {one["id"] for one in page.all("input")}
    assert sum("checked" in one for one in page.all("input")) == 4


def test_other_ways_to_store_the_pictures_stand_beside_the_archive(page: Page, packed: tuple[Path, Packed]) -> None:
    change = 100 * (packed[1].archive_bytes / 54_321 - 1)
    assert f"JPEG 54,321 {change:+.1f} %".replace("-", "−") in page.words


def test_without_sources_nothing_is_compared(packed: tuple[Path, Packed], shipped: Codec) -> None:
    page = Page(make_report(Archive(packed[0]), shipped, at_equal_psnr=[("JPEG", 54_321)]).html)
    assert page.all("img") == page.all("input") == []
    assert "dB" not in page.text
    assert len(page.all("figure")) == 4


def test_hostile_names_are_text(copied: Path, shipped: Codec) -> None:
    manifest = Archive(copied).manifest
    renamed = tuple(replace(one, name=name) for one, name in zip(manifest.pictures, HOSTILE, strict=True))
    write_manifest(copied, Manifest(manifest.model_id, "", renamed))
    folder = copied.rename(copied.with_name("<b>bold"))
    html = make_report(Archive(folder), shipped, copied.parent).html
    html.encode()
    page = Page(html)
    assert {name for name, _ in page.tags}.isdisjoint({"script", "b>bold"})
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert all("src" not in one or one["src"].startswith("data:") for one in page.all("img"))
    assert "<b>bold" in page.text
    for name in HOSTILE[:3]:
        assert name in page.text
    assert "{{ 7 * 7 }}\u202egnp.\\xe9\\n.png" in page.text
    assert html.count("\u202e") == len(re.findall(r'<bdi>[^<]*\u202e[^<]*</bdi>|aria-label="[^"]*\u202e[^"]*"', html))


def test_damaged_picture_is_named_and_costs_no_other_its_place(copied: Path, shipped: Codec) -> None:
    archive = Archive(copied)
    key = next(one for one in archive.manifest.pictures if one.pixels_sha256)
    (copied / key.stream).write_bytes(b"x" * key.bytes)
    made = make_report(archive, shipped)
    assert len(made.faults) == 4  # the key picture, and those that need it
    page = Page(made.html)
    assert page.words.count("cannot be decoded") == 4
    assert f"{key.stream}: is another file than was packed" in page.words


def test_source_that_is_not_what_was_packed_is_not_compared(
    packed: tuple[Path, Packed], strip: Path, shipped: Codec, tmp_path: Path
) -> None:
    shutil.copytree(strip, tmp_path / "sources")
    shutil.copy(strip / "strip" / "0.png", tmp_path / "sources" / "strip" / "1.png")
    (tmp_path / "sources" / "strip" / "2.png").unlink()
    page = Page(make_report(Archive(packed[0]), shipped, tmp_path / "sources").html)
    assert len(page.all("img")) == 4
    assert "strip/1.png its source is another file now than was packed" in page.words
    assert "its source cannot be read: No such file or directory" in page.words


def test_large_archive_is_shown_in_part_and_says_so(
    packed: tuple[Path, Packed], shipped: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SHOWN", 2)
    made = make_report(Archive(packed[0]), shipped)
    page = Page(made.html)
    assert made.shown == len(page.all("figure")) == 2
    assert "2 of 4 pictures" in page.words
    assert "key picture of 3" in page.words


def test_key_pictures_come_first_and_others_are_spread_over_the_names() -> None:
    rows = tuple(row(number, (0, 500) if number % 500 else ()) for number in range(1000))
    chosen = choose_shown(Manifest("0" * 16, "", rows), 100)
    names = [one.name for one in chosen]
    assert len(names) == 100
    assert names == sorted(names)
    assert {"00000.png", "00500.png"} <= set(names)
    assert sum(name < "00500.png" for name in names) == pytest.approx(50, abs=2)
    all_keys = tuple(row(number, (number - 1,) if number else ()) for number in range(300))
    assert len(choose_shown(Manifest("0" * 16, "", all_keys), 100)) == 100


def test_tree_of_a_long_chain_and_of_pictures_that_are_not_shown() -> None:
    chain = [
        Shown(number, str(number), row(number), ((str(number - 1), number - 1),) if number else (), 1)
        for number in range(3000)
    ]
    assert [depth for depth, _ in tree_of(chain)] == list(range(3000))
    orphan = Shown(5, "5", row(5), (("hidden", None),), 0)
    assert tree_of([orphan, Shown(6, "6", row(6), (), 0)]) == [(0, orphan)]


def test_bytes_alone_are_not_told_where_one_is_unknown(copied: Path, shipped: Codec) -> None:
    manifest = Archive(copied).manifest
    first, *others = manifest.pictures
    write_manifest(copied, Manifest(manifest.model_id, "", (replace(first, alone_bytes=0), *others)))
    assert totals_of(Archive(copied)).alone_bytes is None
    assert "not known of pictures that were added later" in Page(make_report(Archive(copied), shipped).html).words


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(one) for one in arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_command_writes_the_page_beside_the_archive_and_replaces_none(
    copied: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = run("report", copied)
    page = copied.with_name("archive.html")
    assert (status, out, err) == (0, f"{page}: 4 pictures\n", "")
    written = page.read_bytes()
    status, _, err = run("report", copied)
    assert status == 1
    assert "--overwrite" in err
    assert run("report", copied, "--overwrite")[0] == 0
    assert page.read_bytes() == written


def test_command_names_what_is_damaged_and_writes_the_page(
    copied: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    last = Archive(copied).manifest.pictures[-1]
    (copied / last.stream).write_bytes(b"")
    status, out, err = run("report", copied, "--out", tmp_path / "page.html")
    assert status == 1
    assert out == f"{tmp_path / 'page.html'}: 4 pictures, 1 damaged\n"
    assert err.startswith(f"error: {last.name}: ")
    assert (tmp_path / "page.html").is_file()


def test_page_does_not_go_into_the_archive(copied: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    before = sorted(copied.rglob("*"))
    status, _, err = run("report", copied, "--out", copied / "strip" / ".." / "page.html")
    assert status == 1
    assert "lies in the archive" in err
    assert sorted(copied.rglob("*")) == before


@pytest.mark.parametrize("name", ["photo.png", "folder.html", "file/page.html"])
def test_page_takes_no_other_file_s_place(
    packed: tuple[Path, Packed], run: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str
) -> None:
    (tmp_path / "photo.png").write_bytes(b"somebody's")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").write_bytes(b"somebody's")
    status, out, err = run("report", packed[0], "--out", tmp_path / name, "--overwrite")
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {tmp_path}/")
    assert (tmp_path / "photo.png").read_bytes() == (tmp_path / "file").read_bytes() == b"somebody's"


def test_sources_must_be_a_folder(packed: tuple[Path, Packed], shipped: Codec, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; name the folder that was packed"):
        make_report(Archive(packed[0]), shipped, tmp_path / "nowhere")
