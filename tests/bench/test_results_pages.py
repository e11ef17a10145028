"""`make results` writes figures into the blocks and sentences of pages, and finds those that have no source."""

import subprocess
from dataclasses import replace
from typing import Any

import pytest

from bench.results.__main__ import main
from bench.results.measurement import Block, Exempt
from bench.results.run import Places
from clc.version import version
from tests.measured import REGISTRY, calls, record_of


def test_a_check_says_what_keeps_figures_from_a_release(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main([], REGISTRY, places)
    assert main(["--check"], REGISTRY, places) == 0
    replace(record_of(places), transcribed=True).write(places.figures)
    replace(record_of(places, "b"), is_clean=False).write(places.figures)
    capsys.readouterr()
    assert main(["--check"], REGISTRY, places) == 1
    assert "a.json: transcribed" in (said := capsys.readouterr().err)
    assert "b.json: of a changed tree" in said


def test_figures_of_two_versions_are_not_written(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main([], REGISTRY, places)
    page = (places.root / "README.md").read_text()
    replace(record_of(places), version="0.0.1", values={"n": 9}).write(places.figures)
    assert main(["--render"], REGISTRY, places) == 1
    assert "2 versions or bundles: 0.0.1 with 44136fa355b3678a are a;" in capsys.readouterr().err
    assert (places.root / "README.md").read_text() == page


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- figures: both -->\nOne takes 3 % more\n", "without its partner"),
        ("<!-- end -->\nOne takes 3 % more\n", "without its partner"),
        ("<!-- figures: both -->\n<!-- figures: both -->\n<!-- end -->\n<!-- end -->\n", "without its partner"),
        ("<!-- figures: both -->\n<!-- end -->\n" * 2, "stands there twice"),
        ("<!-- figures: other -->\n<!-- end -->\nOne takes 3 % more\n", "no block is called 'other'"),
        ("<!-- figures: both -->\n<!-- end -->\n", "does not stand there"),
        ("<!-- figures: both -->\n<!-- end -->\nOne takes 3 % more. One takes 3 % more.\n", "more than once"),
    ],
)
def test_a_page_whose_markers_or_sentences_are_broken_stays_as_it_is(
    places: Places, page: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([], REGISTRY, places)
    (places.root / "README.md").write_text(page)
    assert main(["--render"], REGISTRY, places) == 1
    assert message in capsys.readouterr().err
    assert (places.root / "README.md").read_text() == page


def test_an_exempt_table_or_text_needs_no_source_and_must_be_there(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    main([], REGISTRY, places)
    page = (places.root / "README.md").read_text()
    (places.root / "README.md").write_text(f"{page}\n| level | x |\n|---|---|\n| 1 | 2 |\n\nTell it\n20 minutes.\n")
    assert main(["--check"], REGISTRY, places) == 1
    exempt = (Exempt("README.md", "| level | x |", "settings"), Exempt("README.md", "Tell it 20 minutes.", "a setting"))
    assert main(["--check"], replace(REGISTRY, exempt=exempt), places) == 0
    (places.root / "README.md").write_text(page)
    capsys.readouterr()
    assert main(["--check"], replace(REGISTRY, exempt=exempt), places) == 1
    assert "is not there any more; take it out of the list" in capsys.readouterr().err


def test_a_block_that_stands_nowhere_is_seen(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main([], REGISTRY, places)
    lost = replace(REGISTRY, blocks=(*REGISTRY.blocks, Block("lost", (), lambda records: "")))
    assert main(["--check"], lost, places) == 1
    assert "the block lost stands in no page" in capsys.readouterr().err


def test_figures_of_unchanged_code_become_those_of_a_release(
    places: Places, capsys: pytest.CaptureFixture[str]
) -> None:
    main([], REGISTRY, places)
    for name in ("a", "b"):
        replace(record_of(places, name), version="0.0.1", after_release=True).write(places.figures)
    (places.root / "README.md").write_text("# Changed since\n\n" + (places.root / "README.md").read_text())
    assert main(["--release"], REGISTRY, places) == 0
    assert {record_of(places, name).version for name in ("a", "b")} == {version()}
    assert main(["--check"], REGISTRY, places) == 0
    assert calls(places) == ["4", "3"]  # nothing was measured again


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"transcribed": True}, "transcribed"),
        ({"is_clean": False}, "of a changed tree"),
        ({"bundle": "0" * 16}, "of bundle 0000"),
        ({"command": "python program.py 5"}, "by another command"),
        ({"commit": "0" * 7}, "of commit 0000000, which this clone does not have"),
    ],
)
def test_other_figures_do_not_become_those_of_a_release(
    places: Places, other: dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([], REGISTRY, places)
    was = replace(record_of(places), **{"version": "0.0.1", **other})
    was.write(places.figures)
    assert main(["--release"], REGISTRY, places) == 1
    assert f"docs/figures/a.json: {why}" in " ".join(capsys.readouterr().err.split())
    assert record_of(places) == was


@pytest.mark.parametrize(
    "path", ["program.py", "clc/codec.py", "storage/atomic.py", "bench/other.py", "bench/rendered/a.py"]
)
def test_changed_code_makes_no_release_of_what_was_measured_before(
    places: Places, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([], REGISTRY, places)
    replace(record_of(places), version="0.0.1").write(places.figures)
    changed = places.root / path
    changed.parent.mkdir(parents=True, exist_ok=True)
    changed.write_text("changed = 1\n")
    subprocess.run(["git", "add", path], cwd=places.root, check=True)
    assert main(["--release"], REGISTRY, places) == 1
    assert f"a.json: {path} changed since {record_of(places).commit}" in " ".join(capsys.readouterr().err.split())


def test_a_release_that_has_no_heading_yet_takes_no_figures(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    main([], REGISTRY, places)
    (places.root / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.0.0\n")
    assert main(["--release"], REGISTRY, places) == 1
    assert "CHANGELOG.md says Unreleased" in capsys.readouterr().err
