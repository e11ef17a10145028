"""The base installation codes pictures and needs nothing of the extras; what it lacks, it says in one sentence."""

import ast
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clc.errors import ClcError, MissingExtra
from storage.extras import DISTRIBUTION, need
from tests.import_graph import FILES, ROOT, covers, imported, module_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"clc", "flows", "storage"}

DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages whose distribution has another name; else it is the package's, with hyphens."""

NAMED_AS_TEXT = {("flows/__init__.py", "skimage"), ("flows/__init__.py", "sklearn")}
"""Packages whose files are read without an import: the built-in photos."""


def names(requirements: list[str]) -> set[str]:
    """Return the names of the distributions that a list of requirements asks for."""
    return {re.match(r"[\w.-]+", one)[0].lower() for one in requirements}  # type: ignore[index]


BASE = names(PROJECT["dependencies"])
EXTRAS = {name: names(wanted) for name, wanted in PROJECT["optional-dependencies"].items()}


def distribution(package: str) -> str:
    return DISTRIBUTIONS.get(package, package.replace("_", "-"))


def beyond_base(path: str, source: str) -> set[str]:
    """Return the packages that a file imports, anywhere, and that the base does not bring."""
    roots = {name.split(".")[0] for name in imported(source, path)} - OURS - sys.stdlib_module_names
    return {package for package in roots if distribution(package) not in BASE}


def needs(source: str, *, at_import: bool = False) -> dict[str, str]:
    """Return the packages that a text names in calls of `need`, with their extras; `at_import`: not in functions."""
    found = {}
    for node in _at_import(ast.parse(source)) if at_import else ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "need":
            extra, *packages = (one.value for one in node.args if isinstance(one, ast.Constant))
            found |= {str(package): str(extra) for package in packages}
    return found


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a module is imported: none of functions, none for type checkers alone."""
    yield node
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if not is_function and not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _at_import(child)


def guards(path: str, files: Mapping[str, str]) -> dict[str, str]:
    """Return what a file may import beyond the base, with its extra: what it needs, or a package that it lies in."""
    folders = [*Path(path).parents][:-1]
    above = [files.get(f"{folder.as_posix()}/__init__.py", "") for folder in folders]
    return {package: extra for text in (*above, files[path]) for package, extra in needs(text).items()}


def unguarded(path: str, files: Mapping[str, str]) -> set[str]:
    """Return what a file imports beyond the base without having said so by `need`, with the extra that brings it."""
    known = guards(path, files)
    return {
        package
        for package in beyond_base(path, files[path])
        if distribution(package) not in EXTRAS.get(known.get(package, ""), ())
    }


def guarded_modules(files: Mapping[str, str]) -> set[str]:
    """Return the modules and packages whose import asks for an extra."""
    return {module_of(path) for path, source in files.items() if needs(source, at_import=True)}


GUARDED = guarded_modules(FILES)


def asks_at_import(path: str, source: str, guarded: Collection[str] = tuple(GUARDED)) -> set[str]:
    """Return those of the `guarded` modules that a module of the base imports when it is imported itself."""
    if covers(guarded, module_of(path)):
        return set()
    found: set[str] = set()
    for node in _at_import(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {name for name in imported(ast.unparse(node), path) if covers(guarded, name)}
    return found


@pytest.mark.parametrize("path", FILES)
def test_what_a_file_imports_is_in_the_base_or_needed_by_name(path: str) -> None:
    found = unguarded(path, FILES)
    assert not found, f"{path} imports {', '.join(sorted(found))} without need(EXTRA, PACKAGE)"


@pytest.mark.parametrize("path", FILES)
def test_a_module_of_the_base_asks_for_no_extra_when_it_is_imported(path: str) -> None:
    found = asks_at_import(path, FILES[path])
    assert not found, f"{path} imports {', '.join(sorted(found))}, which ask for an extra"


@pytest.mark.parametrize(
    "text",
    [
        "import mlflow",
        "def f():\n    import mlflow.tracking",
        "def f():\n    need('heif', 'mlflow')\n    import mlflow",
        "need('pipeline', 'prefect')\nimport mlflow",
    ],
)
def test_an_import_that_nobody_announced_is_seen(text: str) -> None:
    assert unguarded("clc/model/a.py", {"clc/model/a.py": text}) == {"mlflow"}


def test_an_announced_import_and_one_of_the_base_are_allowed() -> None:
    files = {
        "clc/a/__init__.py": "need('pipeline', 'mlflow')",
        "clc/a/b.py": "import mlflow, cv2, json",
        "clc/c.py": "def f():\n    need('pipeline', 'faiss')\n    import faiss",
    }
    assert not any(unguarded(path, files) for path in files)


def test_an_extra_that_the_base_asks_for_is_seen() -> None:
    guarded = guarded_modules({"clc/a/__init__.py": "need('pipeline', 'mlflow')", "clc/a/b.py": ""})
    for text in ("from clc.a import b", "import clc.a.b", "try:\n    import clc.a\nexcept ImportError:\n    pass"):
        assert asks_at_import("clc/c.py", text, guarded)
    for text in ("def f():\n    import clc.a.b", "if TYPE_CHECKING:\n    import clc.a.b"):
        assert not asks_at_import("clc/c.py", text, guarded)


@pytest.mark.parametrize("path", [path for path, source in FILES.items() if needs(source)])
def test_nothing_is_needed_that_is_not_imported(path: str) -> None:
    folder = path.removesuffix("__init__.py") if path.endswith("/__init__.py") else path
    below = [source for name, source in FILES.items() if name.startswith(folder)]
    used = {name.split(".")[0] for source in below for name in imported(source)}
    idle = {package for package in needs(FILES[path]) if package not in used} - {
        package for name, package in NAMED_AS_TEXT if name == path
    }
    assert not idle


def test_the_extra_all_holds_every_other_but_the_tools_of_developers() -> None:
    (whole,) = PROJECT["optional-dependencies"]["all"]
    assert whole == f"{DISTRIBUTION}[{','.join(name for name in EXTRAS if name not in ('all', 'dev'))}]"
    assert PROJECT["name"] == DISTRIBUTION


def test_no_requirement_stands_in_the_base_and_in_an_extra() -> None:
    for name, wanted in EXTRAS.items():
        assert not wanted & BASE, name


@pytest.mark.parametrize("module", sorted(GUARDED))
def test_the_table_of_installations_names_what_asks_for_an_extra(module: str) -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().split("\n## What an installation holds\n")[1]
    path = module.replace(".", "/")
    assert re.search(rf"`{path}(/|\.py)`", table.split("\n## ")[0])


# What is said, and to whom.

INSTALLING = '`pip install ".[{}]"` in the folder of the project\'s source'


def test_what_is_there_is_needed_in_silence(capsys: pytest.CaptureFixture[str]) -> None:
    need("pipeline", "json", "numpy")
    assert capsys.readouterr() == ("", "")


def test_what_is_missing_is_named_with_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtra) as caught:
        need("heif", "json", "no_such_package")
    assert str(caught.value) == f"this needs no_such_package, which the extra heif brings: {INSTALLING.format('heif')}"
    assert caught.value.name == "no_such_package"
    assert isinstance(caught.value, ClcError)
    assert isinstance(caught.value, ImportError)


def test_of_many_missing_packages_the_first_is_named_and_the_others_counted() -> None:
    with pytest.raises(MissingExtra, match="this needs no_such_package and 2 more, which"):
        need("pipeline", "no_such_package", "nor_this_one", "nor_that_one")


# An environment that has the base and nothing else: every package of an extra is hidden from the import system.

HIDDEN = """
    import sys
    from importlib.machinery import PathFinder

    class Base:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return None if name.split(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)

    sys.meta_path = [Base if finder is PathFinder else finder for finder in sys.meta_path]
"""

PACKAGES = {name: package for package, name in DISTRIBUTIONS.items()}
WITHOUT = ("pipeline", "crawl", "heif", "jxl", "parquet")
HIDDEN_PACKAGES = sorted(PACKAGES.get(name, name.replace("-", "_")) for extra in WITHOUT for name in EXTRAS[extra])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables under which Python finds the base and no extra."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(f"HIDDEN = {HIDDEN_PACKAGES}\n" + textwrap.dedent(HIDDEN))
    return {"PYTHONPATH": f"{folder}:{ROOT}", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(base: Mapping[str, str], folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=dict(base), capture_output=True, text=True)


@pytest.mark.parametrize("command", ["flows.retrain", "flows.serve", "flows.runtime.workspace"])
def test_a_command_of_an_extra_that_is_missing_is_one_line(base: dict[str, str], tmp_path: Path, command: str) -> None:
    done = run(base, tmp_path, "-m", command)
    assert done.returncode == 1
    assert done.stdout == ""
    installing = INSTALLING.format("pipeline")
    assert done.stderr == f"error: this needs prefect and 11 more, which the extra pipeline brings: {installing}\n"


@pytest.mark.parametrize("module", ["clc.evaluation.curves", "clc.dictionary.vectors", "flows.service.promotion"])
def test_an_import_of_an_extra_that_is_missing_is_one_sentence(
    base: dict[str, str], tmp_path: Path, module: str
) -> None:
    done = run(base, tmp_path, "-c", f"import {module}")
    name, _, sentence = done.stderr.splitlines()[-1].partition(": ")
    assert name == "storage.errors.MissingExtra"
    installing = re.escape(INSTALLING.format("pipeline"))
    assert re.fullmatch(rf"this needs \w+( and \d+ more)?, which the extra pipeline brings: {installing}", sentence)


CODING = """
    import importlib, sys
    import numpy as np
    from PIL import Image
    from clc.codec.cli.main import main

    for command in (
        ["encode", "a.png", "a.clc", "--effort", "1"],
        ["decode", "a.clc", "back.png"],
        ["info", "a.clc"],
        ["selftest"],
        ["collect", "a.png", "b.png", "--out", "bundle", "--keys", "1"],
        ["encode", "b.png", "b.clc", "--bundle", "bundle", "--references", "aligned"],
        ["decode", "a.clc", "--out", "decoded"],
    ):
        assert main(command) == 0, command
    with Image.open("a.clc") as coded:
        coded.load()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    assert not set(HIDDEN) & {name.split(".")[0] for name in sys.modules}
"""


def test_coding_and_every_module_of_the_base_need_no_package_of_an_extra(base: dict[str, str], tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    large = Image.fromarray(texture).resize((160, 120), Image.Resampling.BICUBIC)
    large.crop((0, 0, 144, 112)).save(tmp_path / "a.png")
    large.crop((16, 8, 160, 120)).save(tmp_path / "b.png")
    modules = [module_of(path) for path in FILES if not covers(GUARDED, module_of(path)) and "__main__" not in path]
    done = run(base, tmp_path, "-c", f"HIDDEN = {HIDDEN_PACKAGES}\n" + textwrap.dedent(CODING), *modules)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "back.png") as back:
        assert back.size == (144, 112)
