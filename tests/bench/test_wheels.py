"""The package works where the repository is not: `bench/wheels.py`, offline. `--full` and encoding are left to it."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import wheels as bench
from tests.import_graph import FILES, ROOT

LARGEST_WHEEL_BYTES = 50 * 2**20  # with two former models (ADR 023); an index takes 100 MB


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Wheel and sdist of these sources."""
    return bench.build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel, and the packages of this one."""
    return bench.borrowed_environment(tmp_path_factory.mktemp("environment") / "venv", built[0])


def metadata(wheel: Path) -> Mapping[str, str]:
    """The texts of the folder beside the packages in a wheel, by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.partition(".dist-info/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }


def test_the_wheel_carries_every_source_the_weights_and_the_type_marks(built: tuple[Path, Path]) -> None:
    files = bench.contents(built[0])
    assert set(FILES) <= files.keys()
    shipped = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in (ROOT / "clc/assets").rglob("*.*")}
    assert shipped.items() <= files.items()
    assert set(bench.CARRIED) <= files.keys()
    assert {name.split("/")[0].split("-")[0] for name in files} == {"clc", "clc_codec", "flows", "storage"}
    assert built[0].stat().st_size < LARGEST_WHEEL_BYTES


def test_the_wheel_says_what_it_is_called_what_it_asks_for_and_under_which_licence(built: tuple[Path, Path]) -> None:
    texts = metadata(built[0])
    assert "Name: clc-codec\n" in texts["METADATA"]
    asked = [line for line in texts["METADATA"].splitlines() if line.startswith("Requires-Dist: ")]
    base = {line.split()[1].split(">")[0].split("<")[0] for line in asked if "extra ==" not in line}
    assert "torch" in base
    assert not base & {"prefect", "mlflow", "dask", "pyarrow", "scikit-learn", "faiss-cpu", "matplotlib"}
    assert texts["entry_points.txt"].split() == ["[console_scripts]", "clc", "=", "clc.codec.__main__:main"]
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= texts.keys()


def test_the_sdist_carries_what_the_tests_need(built: tuple[Path, Path]) -> None:
    files = bench.contents(built[1])
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*") if path.is_file()}
    wanted = {name for name in tests if "__pycache__" not in name} | set(FILES) | set(bench.CARRIED)
    wanted |= {"LICENSE", "NOTICE", "README.md", "Makefile", "constraints.txt", "pyproject.toml", "prefect.yaml"}
    assert wanted <= files.keys()
    assert not [name for name in files if name.endswith(".pyc")]


def test_the_console_script_decodes_without_the_repository(python: Path, tmp_path: Path) -> None:
    stream = ROOT / "clc" / "assets" / "shipped" / "selftest.clc"
    clc = str(python.parent / "clc")
    assert "bundle" in bench.run([clc, "info", str(stream)], tmp_path)
    home = bench.run([str(python), "-c", "import clc; print(clc.__file__)"], tmp_path)
    assert Path(home.strip()).is_relative_to(python.parents[1])
    assert "all equal" in bench.run([clc, "selftest"], tmp_path)


def test_a_check_that_fails_ends_the_program(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        bench.run(["sh", "-c", "exit 3"], tmp_path)
