"""Dangerous libraries have one door each: only these modules may touch them."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SOURCES = [path for layer in ("clc", "flows", "storage") for path in sorted((REPOSITORY / layer).rglob("*.py"))]


@pytest.mark.parametrize(
    ("text", "doors"),
    [
        ("compressai.ans", {"clc/bitstream/range_coder.py"}),
        ("import compressai", {"clc/bitstream/range_coder.py"}),
        ("from compressai", set()),
        # baselines decode only what they have just encoded
        ("Image.open", {"clc/pictures/images.py", "clc/evaluation/coders.py"}),
    ],
)
def test_only_the_doors_name(text: str, doors: set[str]) -> None:
    users = {
        path.relative_to(REPOSITORY).as_posix()
        for path in SOURCES
        if any(text in line and not line.lstrip().startswith("#") for line in path.read_text().splitlines())
    }
    assert users <= doors
