"""Every figure that README, results and encoding quote has a measurement behind it, and all are of one version."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.results.machine import bundle_of
from bench.results.measurement import Phrase
from bench.results.pages import blocks_in, faults_of, pages_of, rendered
from bench.results.record import read_figures, read_records
from bench.results.state import common_of, faults_in_pages, render_all
from bench.results.tables import REGISTRY
from clc.version import version

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
RECORDS = read_records(FIGURES, REGISTRY.names)


def page(name: str) -> str:
    return (ROOT / name).read_text()


def faults(name: str, text: str) -> list[str]:
    return [fault.text for fault in faults_of(name, text, REGISTRY, RECORDS)]


def test_every_figure_of_every_page_is_what_was_measured_and_has_a_source() -> None:
    assert [str(fault) for fault in faults_in_pages(ROOT, REGISTRY, RECORDS)] == []


def test_rendering_changes_no_page() -> None:
    assert render_all(ROOT, REGISTRY, RECORDS) == ()


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_file_of_figures_says_of_which_version_and_commit_when_and_on_what_machine(path: Path) -> None:
    assert read_figures(path)["version"]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", sorted(FIGURES.glob("*.json")), ids=lambda path: path.stem)
def test_the_commit_that_a_figure_was_measured_at_is_one_of_the_history(path: Path) -> None:
    if shutil.which("git") is None or git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("needs git and the whole history")
    found = read_figures(path)  # what was measured on a branch may have been merged as another commit
    assert git("merge-base", "--is-ancestor", found.get("merged_as", found["commit"]), "HEAD").returncode == 0


def test_all_figures_are_of_one_version_with_its_bundle_which_readme_and_results_name() -> None:
    assert set(RECORDS) == set(REGISTRY.names)
    number, bundle = common_of(RECORDS)
    assert page("docs/results.md").startswith(f"# Results of {number}\n")
    assert f"Figures are of {number} with its bundle {bundle}" in page("README.md")
    assert number == version()
    assert bundle == bundle_of(ROOT)


def test_names_are_told_apart_and_what_a_block_or_sentence_uses_can_be_measured() -> None:
    for names in (REGISTRY.names, [block.name for block in REGISTRY.blocks]):
        assert len(set(names)) == len(names)
    assert {name for one in (*REGISTRY.blocks, *REGISTRY.phrases) for name in one.uses} <= set(REGISTRY.names)
    used = {name for one in (*REGISTRY.blocks, *REGISTRY.phrases) for name in one.uses}
    assert set(REGISTRY.names) == used  # nothing is measured that no page quotes


def test_the_programs_that_are_called_exist() -> None:
    for one in REGISTRY.measurements:
        named = re.search(r"python\S* (?:-m (\S+)|(\S+\.py))", one.command)
        assert named is not None
        assert (ROOT / (named[2] or f"{named[1].replace('.', '/')}.py")).is_file()


@pytest.mark.parametrize("name", ["kodak", "speed", "adaptation-copr"])
def test_readme_quotes_the_commands_that_were_measured(name: str) -> None:
    said = " ".join(page("README.md").replace("\\\n", " ").split())
    assert " ".join(REGISTRY.by_name[name].command.replace("\\\n", " ").split()) in said


def changed_digits(text: str, part: str) -> Iterator[str]:
    """The page once for each figure in a part of it, with the figure's last digit changed."""
    (place,) = re.finditer(r"\s+".join(map(re.escape, part.split())), text)
    for digit in re.finditer(r"\d(?![\d.,]*\d)", place[0]):
        at = place.start() + digit.start()
        yield f"{text[:at]}{(int(text[at]) + 1) % 10}{text[at + 1 :]}"


@pytest.mark.parametrize("name", ["README.md", "docs/model-card.md"])
def test_a_changed_digit_in_a_table_is_seen(name: str) -> None:
    text = page(name)
    others = [other for part in blocks_in(name, text).values() for other in changed_digits(text, part)]
    assert len(others) >= 20
    assert all("is not what was measured" in fault for other in others for fault in faults(name, other))
    assert all(faults(name, other) for other in others)


@pytest.mark.parametrize("phrase", REGISTRY.phrases, ids=lambda phrase: phrase.template[:40])
def test_a_changed_digit_in_a_sentence_is_seen(phrase: Phrase) -> None:
    text = page(phrase.page)
    said = phrase.template.format(**phrase.fill(RECORDS))
    assert re.search(r"\d", said)
    for other in changed_digits(text, said):
        assert faults(phrase.page, other), other


@pytest.mark.parametrize("name", REGISTRY.pages)
@pytest.mark.parametrize(
    ("added", "seen"),
    [
        ("It saves 3 % more.", "3 %"),
        ("At 41.5 dB it\ntakes 12,345 bytes.", "41.5 dB"),
        ("| a | b |\n|---|---|\n| c | 0.77 |", "0.77"),
        ("| a | b |\n|---|---|\n| c | +4.1 % |", "+4.1 %"),
    ],
)
def test_a_figure_without_a_source_is_seen(name: str, added: str, seen: str) -> None:
    found = faults(name, f"{page(name)}\n{added}\n")
    assert found
    assert f"'{seen}' has no source" in found[0]


def test_a_page_that_quotes_blocks_is_one_of_those_that_are_written() -> None:
    assert set(REGISTRY.pages) | {phrase.page for phrase in REGISTRY.phrases} <= set(pages_of(ROOT))


@pytest.mark.parametrize(
    "later", [(), ("kodak",), ("kodak", "speed", "adaptation-copr", "range-kodak"), REGISTRY.names]
)
def test_the_readme_says_which_figures_are_of_the_code_after_the_release(later: tuple[str, ...]) -> None:
    records = {name: replace(record, after_release=name in later) for name, record in RECORDS.items()}
    made = rendered("README.md", page("README.md"), REGISTRY, records)
    assert len(made.encode()) <= 8_192
    assert max(map(len, made.splitlines())) <= 100
    said = " ".join(made.split())
    assert ("of the code after it" in said) == (0 < len(later) < len(RECORDS))
    assert ("and the code after it" in said) == (len(later) == len(RECORDS))
    assert ("(1, 2, 3, 5: of the code after it)" in said) == (len(later) == 4)


def test_every_exempt_text_says_why() -> None:
    assert all(len(one.reason) > 10 for one in REGISTRY.exempt)
    assert len(REGISTRY.exempt) <= 6
