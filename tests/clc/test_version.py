"""The version is that of the source tree that is imported, or of what is installed, and nobody else's."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import clc
from clc import version

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_in_a_source_tree_it_is_that_of_the_project() -> None:
    assert clc.__version__ == tomllib.loads(PROJECT.read_text())["project"]["version"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[project]\nname = "clc-codec"\nversion = "1.2"', "1.2"),
        ('[project]\nname = "other"\nversion = "1.2"', ""),
        ("[project]\nname = 'clc-codec'", ""),
        ("project = 5", ""),
        ("[[[", ""),
    ],
)
def test_another_project_around_the_package_is_not_taken_for_it(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert version._of_source_tree(tmp_path / "pyproject.toml") == found
    assert version._of_source_tree(tmp_path / "missing.toml") == ""


def test_an_installed_distribution_of_the_same_name_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"clc": {"Summary": "Somebody else's program", "Version": "9.9"}}

    def metadata(name: str) -> dict[str, str]:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(version, "metadata", metadata)
    assert version._of_installation() == ""
    installed["clc-codec"] = {"Summary": "Conditional latent coding: a codec", "Version": "1.2"}
    assert version._of_installation() == "1.2"
