"""Which release this is: `clc.__version__`, `python -m clc.codec --version`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from storage.extras import DISTRIBUTION

_FORMER_DISTRIBUTION = "clc"
_SUMMARY = "Conditional latent coding"
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
UNKNOWN = "unknown"


@cache
def version() -> str:
    """The version, "0.16.0": of the source tree that is imported, else of what is installed, else "unknown"."""
    return _of_source_tree(_PROJECT) or _of_installation() or UNKNOWN


def _of_source_tree(project: Path) -> str:
    """The version in a `pyproject.toml` of this project; empty where there is none."""
    try:
        described = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return str(described["version"]) if described["name"] in (DISTRIBUTION, _FORMER_DISTRIBUTION) else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _of_installation() -> str:
    """The version of the installed distribution; empty where none of this project's is found."""
    for name in (DISTRIBUTION, _FORMER_DISTRIBUTION):
        try:
            found = metadata(name)
        except PackageNotFoundError:
            continue
        if str(found["Summary"]).startswith(_SUMMARY):  # the former name is somebody else's, too
            return str(found["Version"])
    return ""
