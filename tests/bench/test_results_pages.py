"""`make results` writes figures into the blocks and sentences of pages, and finds those that have no source."""

from dataclasses import replace

import pytest

from bench.results.__main__ import main
from bench.results.measurement import Block, Exempt
from bench.results.run import Places
from tests.measured import REGISTRY, record_of


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
