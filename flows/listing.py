r"""A text file that lists pictures, as people, shells and office programs write it.

One picture a line, and behind a tab its licence. Empty lines are passed over, and lines that begin with `#`, unless a
picture is called so. The text is UTF-8 with a byte order mark or without, or UTF-16 with one; lines end in LF, CRLF or
CR. A name may stand in quotes, as spreadsheets write it, and may have escapes, as `storage.names` writes them (`\n`
for a line break within a name). A name that is no UTF-8, as `find` prints it, is the name of that file. Used by
`flows.sources`.
"""

import codecs
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clc.errors import InputError
from clc.pictures.picture import PICTURE_SUFFIXES
from storage.names import real_name, shown_name

MAX_BYTES = 64 * 2**20
"""Largest list that is read: about a million lines."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x7f]")
LINE_ENDS = re.compile(r"\r\n|\n|\r")
_BLANKS = " \t"


@dataclass(frozen=True)
class ListedPicture:
    """A line of a list: the name as `shown_name` writes it, the file that it means, and the licence, if stated."""

    name: str
    path: Path
    licence: str


def read_listing(listing: Path) -> list[ListedPicture]:
    """Return the pictures that a list names, in its order, each name once.

    Paths are relative to the folder of the list; whether there is such a file is not checked. Raises `InputError` for a
    file that is no list, and for two different licences of one name.
    """
    found: dict[str, ListedPicture] = {}
    for line in LINE_ENDS.split(read_text(listing)):
        for one in _pictures(line, listing.parent):
            former = found.setdefault(one.name, one)
            if former.licence and one.licence and former.licence != one.licence:
                raise InputError(
                    f"the list {_shown(listing)} states two licences of {one.name}, {former.licence!r} and "
                    f"{one.licence!r}; keep one"
                )
            if not former.licence:
                found[one.name] = one
    return list(found.values())


def expanded(name: str) -> Path:
    """Return the path of a name, `~` and `~user` replaced where there is such a home."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for a user that is not there


def _pictures(line: str, folder: Path) -> Iterator[ListedPicture]:
    """Yield the picture that a line names, if it names one."""
    stated, _, licence = line.partition("\t")
    stated = stated.strip(_BLANKS)
    if not stated or (stated.startswith("#") and not os.path.isfile(folder / stated)):  # noqa: PTH113
        return
    bare = unquoted(stated)
    readings = (stated, bare, real_name(bare))
    name = next((one for one in readings if os.path.lexists(folder / expanded(one))), bare)
    yield ListedPicture(shown_name(name), folder / expanded(name), shown_name(unquoted(licence.strip(_BLANKS))))


def unquoted(text: str) -> str:
    """Return what stands in quotes, in which two stand for one; all of it where there are none around it."""
    is_quoted = len(text) > 2 and text[0] == text[-1] == '"'
    return text[1:-1].replace('""', '"') if is_quoted else text


def read_text(listing: Path, most_bytes: int = MAX_BYTES) -> str:
    """Return the text of a list, whatever encoding it is in. Raises `InputError` for a file that is no text."""
    advice = "one path a line, UTF-8, is wanted"
    if listing.suffix.lower() in PICTURE_SUFFIXES:
        raise InputError(f"{_shown(listing)} is a picture, no readable list of pictures; name the folder that it is in")
    try:
        with listing.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{_shown(listing)} is no readable list of pictures ({error.strerror}): {advice}") from error
    if len(data) > most_bytes:
        raise InputError(f"{_shown(listing)} is over {most_bytes // 2**20} MiB, no readable list of pictures: {advice}")
    mark, encoding = next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", "utf-8"))
    try:
        # Names that are no UTF-8 are kept as the file system gives them.
        text = data[len(mark) :].decode(encoding, "surrogateescape" if encoding == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        raise InputError(f"{_shown(listing)} is no readable list of pictures ({error.reason}): {advice}") from error
    if _NO_TEXT.search(text):
        raise InputError(f"{_shown(listing)} holds other bytes than text, no readable list of pictures: {advice}")
    return text


def _shown(listing: Path) -> str:
    return shown_name(str(listing))
