"""What tests of programs in bench/ share."""

from pathlib import Path

import pytest

from bench.results.run import Places
from tests.measured import small_repository


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A repository with a page, and a program that measures what it quotes."""
    return small_repository(tmp_path / "root")
