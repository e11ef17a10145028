"""The documentation holds: its links lead somewhere, the files it names exist, and the README stays short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

README_BYTES, README_COLUMNS = 8_192, 100

LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
SOURCE_PATH = re.compile(r"(?<![\w./-])((?:clc|flows|storage|bench|tests)/(?:[\w-]+/)*(?:[\w-]+\.\w+)?)(?![\w-])")
MODULE = re.compile(r"(?<![\w./-])((?:clc|flows|storage)(?:\.[A-Za-z_]\w*)+)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(page: str) -> set[str]:
    """Return the anchors that a forge makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> Iterator[str]:
    """Yield the relative links of a page that lead to no file, or to no heading of it."""
    for link in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            yield link


def missing_paths(page: str) -> Iterator[str]:
    """Yield the source files and folders that a page names and that do not exist."""
    for path in sorted(set(SOURCE_PATH.findall(page))):
        if not (ROOT / path).exists():
            yield path


def missing_modules(page: str) -> Iterator[str]:
    """Yield the dotted names of a page of which no module, nor a name in the module, exists."""
    for name in sorted(set(MODULE.findall(page))):
        place = ROOT
        parts = name.split(".")
        while parts and (place / parts[0]).is_dir():
            place /= parts.pop(0)
        if parts and (place / f"{parts[0]}.py").is_file():
            place /= f"{parts.pop(0)}.py"
        source = place / "__init__.py" if place.is_dir() else place
        if parts and not (source.is_file() and re.search(rf"\b{parts[0]}\b", source.read_text())):
            yield name


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    assert list(broken_links(path)) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_source_file_that_a_page_names_exists(path: Path) -> None:
    assert list(missing_paths(path.read_text())) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_every_module_that_a_page_names_exists(path: Path) -> None:
    assert list(missing_modules(path.read_text())) == []


def test_readme_fits_into_eight_kibibytes() -> None:
    assert len(README.read_bytes()) <= README_BYTES


def test_no_line_of_the_readme_is_wider_than_a_hundred_columns() -> None:
    assert [line for line in README.read_text().splitlines() if len(line) > README_COLUMNS] == []


def test_a_link_to_no_file_or_no_heading_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n[a](#one-two-three) [b](#four) [c](gone.md) [d](https://example.org/gone)\n")
    assert list(broken_links(page)) == ["#four", "gone.md"]


def test_a_file_or_a_module_that_is_gone_is_seen() -> None:
    page = "`clc/errors.py`, `clc/gone.py`, `../clc/x.py`, `clc.errors.ClcError`, `clc.gone`, `clc.errors.Gone`"
    assert list(missing_paths(page)) == ["clc/gone.py"]
    assert list(missing_modules(page)) == ["clc.errors.Gone", "clc.gone"]
