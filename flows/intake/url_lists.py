"""Lists of URLs: a text with one a line, a CSV file, or a Parquet file with a column of them.

A text has a URL a line and, behind a tab, the picture's licence; lines that begin with `#` are comments. A CSV or
Parquet file has a column `url` (or `image_url`, `uri`, `link`) and may have one called `licence` or `license`. A line
that is no URL is an entry all the same, which the crawl refuses.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clc.errors import InputError
from flows.intake.origin import Entry
from flows.intake.packed import named
from flows.listing import LINE_ENDS, read_text, unquoted
from storage.digest import digest_json
from storage.names import shown_name

MOST_BYTES = 512 * 2**20
"""Largest list of URLs that is read as text; a Parquet file may be larger."""

URL_COLUMNS = ("url", "image_url", "uri", "link", "img_url", "picture_url")
_LICENCE_COLUMNS = ("licence", "license")
_DELIMITERS = {".csv": ",;\t", ".tsv": "\t"}
_MOST_FIELD_CHARACTERS = 2**20
_WEB = ("http://", "https://")


@dataclass
class UrlList:
    """A list of URLs as an origin; each URL once, with the licence that is stated first."""

    path: Path
    passed_over: Counter[str] = field(default_factory=Counter)

    @property
    def label(self) -> str:
        """The list's path."""
        return shown_name(str(self.path))

    @cached_property
    def identity(self) -> str:
        """The digest of all URLs and licences."""
        return digest_json([[one.name, one.licence] for one in self.entries()])

    def check(self) -> None:
        """Raise `InputError` for a list that cannot be read, or names no URL."""
        len(self._entries)

    def entries(self) -> Iterator[Entry]:
        """Yield the URLs in the list's order."""
        yield from self._entries

    @cached_property
    def _entries(self) -> list[Entry]:
        licences: dict[str, str] = {}
        for url, licence in _rows(self.path):
            licences[url] = licences.get(url) or licence
        if not licences:
            raise InputError(f"the list {self.label} names no URL; add some or name another source")
        return [Entry(shown_name(url), shown_name(licence), url) for url, licence in licences.items()]


def is_url(text: str) -> bool:
    """Whether a text begins as the address of something on the web does."""
    return text.lstrip().lower().startswith(_WEB)


def names_urls(path: Path) -> bool:
    """Whether a list that is a text names URLs and no paths: its first line that says something tells."""
    if path.suffix.lower() in _DELIMITERS:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(2**16)
    except OSError:
        return False
    text = beginning.replace(b"\0", b"").decode("utf-8-sig", "replace").lstrip("\ufffd")
    lines = (unquoted(line.strip()) for line in LINE_ENDS.split(text))
    return is_url(next((line for line in lines if line and not line.startswith("#")), ""))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path)
    return _csv_rows(path, _DELIMITERS[suffix]) if suffix in _DELIMITERS else _text_rows(path)


def _text_rows(path: Path) -> Iterator[tuple[str, str]]:
    for line in LINE_ENDS.split(read_text(path, MOST_BYTES)):
        url, _, licence = line.partition("\t")
        url = unquoted(url.strip())
        if url and not url.startswith("#"):
            yield url, unquoted(licence.strip())


def _csv_rows(path: Path, delimiters: str) -> Iterator[tuple[str, str]]:
    text = read_text(path, MOST_BYTES)
    head = text.lstrip().partition("\n")[0]
    csv.field_size_limit(_MOST_FIELD_CHARACTERS)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=max(delimiters, key=head.count))
    try:
        first = next(lines, [])
        column, licence = _columns(path, first)
        if is_url(first[column]):
            yield first[column].strip(), ""
        for row in lines:
            url = row[column].strip() if len(row) > column else ""
            if url:
                yield url, row[licence].strip() if 0 <= licence < len(row) else ""
    except csv.Error as error:
        raise InputError(f"{shown_name(str(path))}: no readable CSV at line {lines.line_num} ({error})") from error


def _columns(path: Path, head: Sequence[str]) -> tuple[int, int]:
    """Return the places of URL and licence in a CSV, by its head, or by a first line that already holds a URL."""
    column, licence = named(head, URL_COLUMNS), named(head, _LICENCE_COLUMNS)
    if column:
        return head.index(column), head.index(licence) if licence else -1
    bare = next((place for place, cell in enumerate(head) if is_url(cell)), None)
    if bare is None:
        raise InputError(
            f"{shown_name(str(path))} has no column {' or '.join(URL_COLUMNS[:2])}; name the columns in its first line"
        )
    return bare, -1


def _parquet_rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as table:
            column = named(table.schema_arrow.names, URL_COLUMNS)
            licence = named(table.schema_arrow.names, _LICENCE_COLUMNS)
            for batch in table.iter_batches(columns=[one for one in (column, licence) if one]):
                for row in batch.to_pylist():
                    if row[column]:
                        yield str(row[column]).strip(), str(row.get(licence) or "").strip()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{shown_name(str(path))} is no readable Parquet file ({error}); get it again") from error
