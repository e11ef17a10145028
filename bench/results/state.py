"""Which figures are there, of which version, and whether all that pages quote is of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.results.machine import IDLE_CORES, Code
from bench.results.measurement import Measurement, Registry
from bench.results.pages import Fault, faults_of, pages_of, rendered
from bench.results.record import Record, Records
from clc.errors import InputError
from storage.atomic import write_bytes

MEASURED, TRANSCRIBED, STALE, MISSING = "measured", "transcribed", "stale", "missing"


def state_of(one: Measurement, record: Record | None, code: Code) -> str:
    """Say whether a measurement is there, and of the code as it is.

    Measured is what is of this version and of this bundle or this commit, by the command as it is now; transcribed what
    was never measured by `make results`. All but measured is measured again.
    """
    if record is None:
        return MISSING
    if record.transcribed:
        return TRANSCRIBED
    is_of_this = (record.version, record.after_release) == (code.version, code.after_release)
    is_same = record.bundle == code.bundle or record.commit == code.commit
    return MEASURED if is_of_this and is_same and record.command == one.command else STALE


def doubts_of(one: Measurement, record: Record | None) -> str:
    """What makes a measurement doubtful, in words; empty where nothing does."""
    if record is None or record.transcribed:
        return ""
    doubts = ["of a changed tree"] if record.is_clean is False else []
    if one.is_timed and (record.others_cores or 0) > IDLE_CORES:
        doubts.append(f"beside other work ({record.others_cores:.2f} cores)")
    return ", ".join(doubts)


def common_of(records: Records) -> tuple[str, str]:
    """Return the version and the bundle of all records. Raises `InputError` where they are of several, or of none."""
    found = {(record.version, record.bundle) for record in records.values()}
    if len(found) == 1:
        return found.pop()
    named = {
        what: [name for name, one in records.items() if (one.version, one.bundle) == what] for what in sorted(found)
    }
    fewest = min(named.items(), key=lambda item: len(item[1])) if named else (("", ""), ["nothing was measured"])
    raise InputError(
        f"figures of {len(found)} versions or bundles: {fewest[0][0]} with {fewest[0][1]} are {', '.join(fewest[1])}; "
        "measure all at one"
    )


def render_all(root: Path, registry: Registry, records: Records) -> tuple[str, ...]:
    """Write blocks and sentences into all pages, and return which were changed.

    Raises `InputError`, before any page is written, where one cannot be made or the figures are of several versions.
    """
    common_of(records)
    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages_of(root)}
    made = {page: rendered(page, text, registry, records) for page, text in texts.items()}
    changed = tuple(page for page in texts if made[page] != texts[page])
    for page in changed:
        write_bytes(root / page, made[page].encode())
    return changed


def faults_in_pages(root: Path, registry: Registry, records: Records) -> Iterator[Fault]:
    """Yield what is wrong with the figures of all pages, and blocks that stand in none."""
    try:
        common_of(records)
    except InputError as error:
        yield Fault("docs/figures", str(error))
    for record in records.values():
        for place, digest in record.pictures.items():
            path = root / place
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                yield Fault(place, f"is not what was drawn with {record.name}")
    texts = {page: (root / page).read_text(encoding="utf-8") for page in pages_of(root)}
    for page, text in texts.items():
        yield from faults_of(page, text, registry, records)
    for block in registry.blocks:
        if not any(f"<!-- figures: {block.name} -->" in text for text in texts.values()):
            yield Fault("bench/results/tables", f"the block {block.name} stands in no page")


def faults_of_release(registry: Registry, records: Records, code: Code) -> Iterator[Fault]:
    """Yield what keeps the figures from being a release's: not measured by `make results`, of other code, in doubt."""
    for one in registry.measurements:
        record = records.get(one.name)
        state = state_of(one, record, code)
        if state != MEASURED or code.after_release:
            why = state if state != MEASURED else "of code that is not released (CHANGELOG.md says Unreleased)"
            yield Fault(f"docs/figures/{one.name}.json", why)
        elif doubt := doubts_of(one, record):
            yield Fault(f"docs/figures/{one.name}.json", doubt)


def estimates(registry: Registry, records: Records) -> Mapping[str, float]:
    """Minutes of a processor for each measurement, by name."""
    return {one.name: one.minutes_of(records.get(one.name)) for one in registry.measurements}
