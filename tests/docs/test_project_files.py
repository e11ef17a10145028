"""What the files beside the code promise: licences, the hosted workflow, the hooks, and which Python is chosen."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "clc" / "assets" / "shipped"
STRIP = SHIPPED.parent / "strip"
COPR = ROOT.parent / "shared" / "data" / "correlated" / "copr"
LARGEST_BYTES = 16 * 2**20


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def squeezed(text: str) -> str:
    """Letters and digits alone, in lower case."""
    return re.sub(r"\W", "", text).lower()


def notice_rows() -> dict[str, tuple[int, str]]:
    """Pictures and licence of each set that NOTICE names, by the set's name."""
    rows = re.findall(r"^  (\S.*?)  +([\d,]+) pictures   (.*?)  +from ", (ROOT / "NOTICE").read_text(), re.MULTILINE)
    return {squeezed(name): (int(n_pictures.replace(",", "")), squeezed(licence)) for name, n_pictures, licence in rows}


def test_the_licence_is_the_standard_text_and_the_one_that_the_package_states() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:5] == ["Apache", "License", "Version", "2.0,", "January"]
    assert len(text.split()) == 1581
    assert project()["project"]["license"] == "Apache-2.0 AND CC-BY-SA-4.0 AND MIT"
    assert project()["project"]["license-files"] == ["LICENSE", "NOTICE", "clc/evaluation/report/chartjs/LICENSE.md"]


def test_the_notice_names_every_set_of_the_model_card_with_as_many_pictures() -> None:
    card = (ROOT / "docs" / "model-card.md").read_text().split("\n## Data\n")[1].split("\n## ")[0]
    table = re.findall(r"^\| ([^|]+?) \| ([\d,]+) \| ([^|]+?) \|", card, re.MULTILINE)
    assert len(table) == len(notice_rows()) == 9
    for name, n_pictures, licence in table:
        (row,) = (row for key, row in notice_rows().items() if key.startswith(squeezed(name.split(",")[0])))
        assert row[0] == int(n_pictures.replace(",", ""))
        assert row[1].startswith(squeezed(licence.split(" (")[0]))


def test_the_notice_names_the_licence_of_every_entry_of_the_shipped_dictionary() -> None:
    notice = (ROOT / "NOTICE").read_text()
    entries = json.loads((SHIPPED / "entries.json").read_text())
    for folder, licence in {(Path(entry["photo"]).parent.as_posix(), entry["licence"]) for entry in entries}:
        assert folder in notice
        assert licence.replace("CC0-1.0", "CC0 1.0") in notice


def test_the_strip_is_small_attributed_and_none_of_it_was_trained_on() -> None:
    pictures, origin = sorted(STRIP.glob("*.webp")), (STRIP / "ORIGIN.txt").read_text()
    assert 8 <= len(pictures) <= 10
    assert {path.name for path in STRIP.iterdir()} == {"ORIGIN.txt", *(path.name for path in pictures)}
    assert sum(path.stat().st_size for path in STRIP.iterdir()) <= 1_600_000
    for text in (origin, (ROOT / "NOTICE").read_text()):
        for wanted in ("Michele M. Tobias", "Alex Mandel", "CC BY-SA 4.0", "OpenDroneMap/odm_data_copr"):
            assert wanted in " ".join(text.split())
    if not COPR.is_dir():
        pytest.skip("../shared/data/correlated/copr is not there")
    trained_on = {path.name for path in sorted(COPR.glob("*.webp"))[::2]}
    assert not trained_on & {path.name for path in pictures}
    assert {path.name for path in pictures} <= {path.name for path in COPR.iterdir()}


@pytest.mark.parametrize("package", ["clc", "storage"])
def test_the_typed_packages_say_so(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert project()["tool"]["setuptools"]["package-data"]["*"] == ["py.typed"]


def test_no_shipped_file_is_too_large_for_the_hooks() -> None:
    assert max(path.stat().st_size for path in SHIPPED.iterdir()) <= LARGEST_BYTES


def test_the_hooks_download_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    assert {hook["language"] for hook in repositories[0]["hooks"]} == {"system"}


def test_the_workflow_runs_what_a_change_must_pass_on_every_python_that_the_package_allows() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["lint-and-test"]
    assert project()["project"]["requires-python"] == ">=3.11,<3.14"
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert job["steps"][-1] == {"run": "bash .ci/run", "env": {"PYTHON3": "python"}}


def test_the_workflow_installs_the_wheel_where_the_base_has_wheels_and_codes_a_picture() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["package"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12"]
    assert job["steps"][-1] == {"run": "python bench/wheels.py --full"}


INSTALLS_BY_NAME = re.compile(r"\b(pip|pipx|uv) [^`\n]*(install|add|run) ([^`\n#]* )?['\"]?clc(-codec)?(?![\w./-])")
"""On the index of packages `clc` is another program's name, and `clc-codec` nobody's: only the source is ours."""
PAGES = ["README.md", "CONTRIBUTING.md", *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
SOURCES = [
    path.relative_to(ROOT).as_posix() for room in ("clc", "flows", "storage") for path in (ROOT / room).rglob("*.py")
]


@pytest.mark.parametrize("path", [*PAGES, *SOURCES])
def test_nothing_tells_to_install_by_a_name_what_comes_from_the_source(path: str) -> None:
    assert not INSTALLS_BY_NAME.search((ROOT / path).read_text())


@pytest.mark.parametrize(
    ("text", "is_wrong"),
    [
        ("pip install clc", True),
        ("python -m pip install --upgrade 'clc[all]'", True),
        ("uv tool install clc", True),
        ('pip install "clc-codec[heif]"', True),
        ("pip install clc-codec", True),
        ('pip install ".[heif]"', False),
        ("pip install .    # its command is clc", False),
        ("pip install -e ./clc/here", False),
    ],
)
def test_an_installation_by_a_name_is_seen(text: str, is_wrong: bool) -> None:
    assert bool(INSTALLS_BY_NAME.search(text)) is is_wrong


def test_make_installs_everything_and_the_tools_of_developers() -> None:
    assert "-e '.[all,dev]' -c constraints.txt" in (ROOT / "Makefile").read_text()


def test_make_takes_the_python_that_it_is_told_and_no_other(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", ".venv/.installed", "PYTHON3=no-such-python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no Python 3.11 to 3.13 among no-such-python" in done.stderr
    assert not (tmp_path / ".venv").exists()
