"""The house stands: imports go down only, and what is dangerous is touched in one room each.

Every source file is parsed, not imported, so a breach is found in files that no other test reaches.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("flows", "clc", "storage")
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))

FORBIDDEN = {
    "flows": set(),
    "clc": {"flows", "prefect", "prefect_dask", "mlflow", "dask", "distributed"},
    "storage": {"flows", "clc", "prefect", "prefect_dask", "mlflow", "dask", "distributed", "torch"},
}
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(source: str) -> set[str]:
    """Return the dotted names that a source text imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {str(ast.literal_eval(one)) for one in node.args[:1] if isinstance(one, ast.Constant)}
    return names


def breaches(layer: str, source: str) -> set[str]:
    """Return what a file of `layer` imports against the rules."""
    roots = {name.split(".")[0] for name in imported(source)}
    return roots & (FORBIDDEN[layer] | UNSAFE)


def calls(source: str) -> Iterator[str]:
    """Yield the dotted name of every function that a source text calls."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def constants(source: str) -> set[str]:
    """Return the text constants of a source text, docstrings and comments not counted as whole names."""
    return {str(node.value) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_file_imports_only_from_its_layer_downwards(path: Path) -> None:
    found = breaches(path.relative_to(ROOT).parts[0], path.read_text())
    assert not found, f"{named(path)} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("storage", "from clc.errors import InputError"),
        ("storage", "def f():\n    import torch"),
        ("clc", "from flows.runtime.stage import run_stage"),
        ("clc", "import mlflow.tracking"),
        ("clc", "import importlib\nimportlib.import_module('prefect.flows')"),
        ("flows", "import pickle"),
    ],
)
def test_breach_of_the_layers_is_seen(layer: str, source: str) -> None:
    assert breaches(layer, source)


def test_only_the_range_coder_touches_the_unsafe_coder() -> None:
    touching = {
        named(path) for path in SOURCES if "compressai.ans" in imported(path.read_text()) | constants(path.read_text())
    }
    assert touching <= {"clc/bitstream/range_coder.py"}


def test_only_tracking_imports_mlflow() -> None:
    touching = {
        named(path) for path in SOURCES if "mlflow" in {name.split(".")[0] for name in imported(path.read_text())}
    }
    assert touching <= {"flows/runtime/tracking.py"}


def test_only_images_opens_pictures_of_others() -> None:
    """`clc.evaluation.coders` opens too, but only bytes that it encoded itself a moment before."""
    touching = {named(path) for path in SOURCES if {"Image.open", "PIL.Image.open"} & set(calls(path.read_text()))}
    assert touching <= {"clc/pictures/images.py", "clc/evaluation/coders.py"}


def test_no_tensor_is_ever_unpickled() -> None:
    loading = {named(path) for path in SOURCES if {"torch.load", "torch.save"} & set(calls(path.read_text()))}
    assert not loading


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_file_fits_into_a_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
