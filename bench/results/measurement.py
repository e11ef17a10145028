"""What can be measured, and what pages show of it. Whoever quotes a new figure writes one of each, in `tables/`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.results.record import Record, Records

Values = Mapping[str, Any]
_MEASURING = ("clc", "storage", ":(glob)bench/*.py", "bench/rendered", "bench/referenced")
"""Git's patterns of the codec and of the programs that measure, which call one another; not of those of the pages."""


@dataclass(frozen=True)
class Measurement:
    """A command and what its output is turned into.

    `command` is as a user types it in the repository's root: variables, `python` and arguments, over several lines if
    it is long. `option` is the one that names its output, a file, or the folder in which `result` lies; it is added
    where the command itself lacks it. `values` makes of what that JSON holds what is kept. `minutes` of a processor are
    an estimate, `needs` the files and folders without which it cannot run. `is_timed` where seconds are what counts,
    so that other work spoils them. `pictures` are files of the folder that stand in a page, by their path there;
    `measures` are paths in the repository, beside the codec and the program, that its figures are of.
    """

    name: str
    command: str
    values: Callable[[Any], Values]
    minutes: float
    needs: tuple[str, ...] = ()
    option: str = "--json"
    result: str = ""
    is_timed: bool = False
    pictures: Mapping[str, str] = field(default_factory=dict)
    measures: tuple[str, ...] = ()

    @property
    def code(self) -> tuple[str, ...]:
        """Where git finds what its figures depend on: codec, the programs that measure, their rooms, and `measures`."""
        words = self.words("python", Path("out"))[1]
        program = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
        return *_MEASURING, program, *self.measures

    def words(self, python: str, out: Path) -> tuple[dict[str, str], list[str]]:
        """Return the variables of the command, and its words, with `python` in its place and its output at `out`."""
        words = shlex.split(self.command.replace("\\\n", " "))
        variables = {}
        while words and "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        words = [python if word == "python" and not at else word for at, word in enumerate(words)]
        if self.option in words:
            words[words.index(self.option) + 1] = str(out)
        else:
            words += [self.option, str(out)]
        return variables, words

    def minutes_of(self, record: Record | None) -> float:
        """Minutes of a processor: as they were when it was measured, else as they are estimated."""
        if record is None or record.processor_seconds is None:
            return self.minutes
        return record.processor_seconds / 60


@dataclass(frozen=True)
class Block:
    """Lines of a page between `<!-- figures: NAME -->` and `<!-- end -->`, made of the measurements that it `uses`."""

    name: str
    uses: tuple[str, ...]
    render: Callable[[Records], str]


@dataclass(frozen=True)
class Phrase:
    """A sentence of a page, or a part of one, with a figure in it.

    In `template` stand names in braces where the figures are; `fill` makes their texts of the measurements that it
    `uses`. Where lines break does not count. The sentence must stand in the page, once.
    """

    page: str
    template: str
    uses: tuple[str, ...]
    fill: Callable[[Records], Mapping[str, str]]


@dataclass(frozen=True)
class Exempt:
    """A text of a page that looks like a figure and needs no measurement, and why; of a table its heading's line."""

    page: str
    text: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """All that is known of figures. Names are told apart, and what a block or phrase uses is there (a test says so)."""

    measurements: tuple[Measurement, ...]
    blocks: tuple[Block, ...]
    phrases: tuple[Phrase, ...] = ()
    exempt: tuple[Exempt, ...] = ()
    pages: tuple[str, ...] = ()
    """Pages in which every figure must have a source."""

    @property
    def by_name(self) -> Mapping[str, Measurement]:
        """The measurements by their names."""
        return {one.name: one for one in self.measurements}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the measurements."""
        return tuple(one.name for one in self.measurements)
