"""Pages and the figures in them: blocks between markers, sentences, and figures that have neither.

A block is what stands between a line `<!-- figures: NAME -->` and the next line `<!-- end -->`; it is made of
measurements alone, and whatever a person writes there is lost with the next rendering. A sentence is prose with a
figure in it, known by the words around (`Phrase`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.results.measurement import Block, Exempt, Phrase, Registry
from bench.results.record import Records
from clc.errors import InputError

_MARKED = re.compile(r"^<!-- figures: (\S+) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
_MARKER = re.compile(r"^<!-- (?:figures: \S+|end) -->$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"\{(\w+)\}")
_UNITS = r"%|dB|bpp|bytes|B|kB|[KMG]i?B|ms|µs|s|seconds|minutes|hours|times|x"
_FIGURE = re.compile(rf"(?<![\w.,/-])[-+]?\d[\d,]*(?:\.\d+)?(?: to \d[\d.,]*)?\s?(?:{_UNITS})(?![\w/])")
_CELL = re.compile(r"(?<=\|) *\**[-+]?\d[\d,]*(?:\.\d+)?\** *(?=\|)")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a page, in a sentence."""

    page: str
    text: str

    def __str__(self) -> str:
        """The page and what is wrong with it."""
        return f"{self.page}: {self.text}"


def pages_of(root: Path) -> tuple[str, ...]:
    """All pages that may hold blocks: the README and those of docs."""
    return ("README.md", *sorted(path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md")))


def blocks_in(page: str, text: str) -> dict[str, str]:
    """Return the lines of each block of a page, by its name.

    Raises `InputError` where a marker has no partner or a name stands twice, because what lies between others' markers
    must not be replaced.
    """
    found = _MARKED.findall(text)
    names = [name for name, _ in found]
    if 2 * len(found) != len(_MARKER.findall(text)) or any(_MARKER.search(lines) for _, lines in found):
        raise InputError(f"{page}: a marker `<!-- figures: NAME -->` or `<!-- end -->` is without its partner")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{page}: the block {', '.join(doubled)} stands there twice")
    return dict(found)


def block_text(block: Block, records: Records) -> str:
    """Return the lines of a block as they are to stand: an empty one at the end, which closes a table."""
    return f"{block.render(records).strip()}\n\n"


def rendered(page: str, text: str, registry: Registry, records: Records) -> str:
    """Return a page with its blocks and sentences as the records have them.

    Raises `InputError` where a marker is broken, a block is unknown, a sentence is not there once, or what a block
    needs was not measured.
    """
    known = {block.name: block for block in registry.blocks}
    for name in blocks_in(page, text):
        if name not in known:
            raise InputError(f"{page}: no block is called {name!r}")
        if lacking := [one for one in known[name].uses if one not in records]:
            raise InputError(f"{page}: the block {name} needs {', '.join(lacking)}, which was not measured")
    text = _MARKED.sub(
        lambda found: f"<!-- figures: {found[1]} -->\n{block_text(known[found[1]], records)}<!-- end -->", text
    )
    for phrase in registry.phrases:
        if phrase.page == page:
            text = _said(phrase, text, records)
    return text


def _said(phrase: Phrase, text: str, records: Records) -> str:
    """Return a page with the figures of a sentence as they were measured; its lines break where they did."""
    if lacking := [one for one in phrase.uses if one not in records]:
        raise InputError(f"{phrase.page}: the sentence {phrase.template!r} needs {', '.join(lacking)}: not measured")
    found = _the_sentence(phrase, text)
    filled = phrase.fill(records)
    parts, at = [], 0
    for number, name in enumerate(_FIELD.findall(phrase.template), start=1):
        parts += [text[at : found.start(number)], filled[name]]
        at = found.end(number)
    return "".join(parts) + text[at:]


def _the_sentence(phrase: Phrase, text: str) -> re.Match[str]:
    """Return the place of a sentence, whose groups are its figures, whatever they are. Raises `InputError`."""
    found = list(re.finditer(_pattern(phrase.template), text))
    if len(found) != 1:
        where = "does not stand there" if not found else "stands there more than once"
        raise InputError(
            f"{phrase.page}: the sentence {phrase.template!r} {where}; change page or bench/results/tables"
        )
    return found[0]


def _pattern(template: str) -> str:
    """A pattern of a sentence: any white space for white space, a group without any for each name in braces."""
    pieces = re.split(r"(\{\w+\}|\s+)", template)
    return "".join(
        r"([^\s|*]*[\w%])" if _FIELD.fullmatch(piece) else r"\s+" if piece.isspace() else re.escape(piece)
        for piece in pieces
        if piece
    )


def faults_of(page: str, text: str, registry: Registry, records: Records) -> Iterator[Fault]:
    """Yield what is wrong with the figures of a page: other than measured, or without a source."""
    try:
        wanted = rendered(page, text, registry, records)
    except InputError as error:
        yield Fault(page, str(error).removeprefix(f"{page}: "))
        return
    if wanted != text:
        lines = zip(text.splitlines(), wanted.splitlines(), strict=False)
        at, (stands, measured) = next(
            ((at, pair) for at, pair in enumerate(lines, start=1) if pair[0] != pair[1]), (0, ("", ""))
        )
        yield Fault(page, f"line {at} is not what was measured: it says {stands!r}, and {measured!r} was measured")
    if page in registry.pages:
        yield from _without_source(page, text, registry)


def _without_source(page: str, text: str, registry: Registry) -> Iterator[Fault]:
    """Yield the figures outside of blocks, sentences, code and exempt texts, and exempt texts that are gone."""
    rest = _MARKED.sub("", _FENCE.sub("", text))
    for phrase in registry.phrases:
        if phrase.page == page:
            rest = re.sub(_pattern(phrase.template), " ", rest)
    for one in registry.exempt:
        if one.page == page:
            rest, count = re.subn(_pattern_of(one), "\n", rest, flags=re.MULTILINE)
            if not count:
                yield Fault(page, f"the exempt text {one.text!r} is not there any more; take it out of the list")
    for line in rest.splitlines():
        for found in _figures_in(line):
            yield Fault(page, f"{found.strip()!r} has no source: {line.strip()[:100]!r}")


def _pattern_of(one: Exempt) -> str:
    """A pattern of an exempt text, or of the whole table whose heading it is."""
    pattern = r"\s+".join(map(re.escape, one.text.split()))
    return rf"^{pattern}\n(?:\|.*\n?)*" if one.text.startswith("|") else pattern


def _figures_in(line: str) -> Sequence[str]:
    return [*_FIGURE.findall(line), *(_CELL.findall(line) if line.startswith("|") else ())]
