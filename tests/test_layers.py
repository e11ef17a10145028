"""The house stands: imports go down only, never in a circle, and what is dangerous is touched in one file each.

The rooms of `clc` lie on floors. A file imports from its own room and from the floors below, never sideways, never up.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from tests.import_graph import FILES, circle, graph, imported

FORBIDDEN = {
    "flows": set(),
    "clc": {"flows", "prefect", "prefect_dask", "mlflow", "dask", "distributed"},
    "storage": {"flows", "clc", "prefect", "prefect_dask", "mlflow", "dask", "distributed", "torch"},
}
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}

FLOORS = (
    {"errors", "limits", "quality", "machine", "version", "console"},
    {"pictures", "bitstream", "exact", "pages"},
    {"references", "retrieval", "collection", "payloads"},
    {"model"},
    {"bundle", "overfitted"},
    {"codec", "training"},
    {"evaluation", "dictionary", "archive"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
DOORS = {"clc/__init__.py", "clc/codec/__init__.py", "clc/codec/__main__.py", "clc/training/__main__.py"}
"""What users import or start; these files alone may import from any floor."""

MODEL = {
    "clc/model/transforms/": {"clc.model.model", "clc.model.objective", "clc.model.prior"},
    "clc/model/prior/": {"clc.model.model", "clc.model.objective", "clc.model.transforms"},
}
"""The parts of the network, and what each must not import: the whole, and the other part."""

NETWORK = "storage/network/"
LIBRARIES = {
    "compressai": {"clc/evaluation/baselines/zoo.py"},
    "fsspec": {"flows/intake/stores.py"},
    "httpcore": {f"{NETWORK}{name}.py" for name in ("crawl", "fetch", "transport")},
    "httpx": {f"{NETWORK}{name}.py" for name in ("body", "crawl", "fetch", "robots", "transport")},
    "mlflow": {"flows/runtime/mlflow_session.py"},
    "protego": {f"{NETWORK}robots.py"},
    "tenacity": {f"{NETWORK}fetch.py"},
}
"""Libraries, and the files that import them."""

UNSAFE_CODER, ITS_DOOR = "compressai.ans", {"clc/bitstream/range_coder.py"}
"""The coder that trusts its input, and the file that loads it by this name."""

CALLS = {
    # The coders of an evaluation open only what they encoded themselves a moment before.
    # The plane of a stream is opened once its size is known, in two formats alone.
    "PIL.Image.open": {"clc/pictures/formats.py", "clc/pictures/alpha.py", "clc/evaluation/coders.py"},
    "torch.load": set(),
    "torch.save": set(),
}
"""Functions, and the files that call them."""

MOST_FILES = 20
MOST_LINES = 400


def breaches(path: str, source: str) -> set[str]:
    """Return what a file imports against the rules of the three packages."""
    roots = {name.split(".")[0] for name in imported(source, path)}
    return roots & (FORBIDDEN[path.split("/")[0]] | UNSAFE)


def upward(path: str, source: str) -> set[str]:
    """Return what a file of `clc` imports from its own floor or from one above; what lies in no room is above all."""
    here = path.split("/")[1].removesuffix(".py")
    found = set()
    for name in imported(source, path):
        if path in DOORS or not name.startswith("clc."):
            continue
        there = name.split(".")[1]
        is_below = FLOOR.get(there, len(FLOORS)) < FLOOR[here]
        is_beside_on_the_ground = FLOOR.get(there) == FLOOR[here] == 0
        if there != here and not is_below and not is_beside_on_the_ground:
            found.add(name)
    return found


def across(path: str, source: str) -> set[str]:
    """Return what a file of `clc.model` imports against the rules inside that room."""
    forbidden = {name for folder, names in MODEL.items() if path.startswith(folder) for name in names}
    return {name for name in imported(source, path) if any(f"{name}.".startswith(f"{one}.") for one in forbidden)}


def touching(library: str, files: Mapping[str, str]) -> set[str]:
    """Return the files that import a library or a module of it."""
    return {
        path for path, source in files.items() if library in {name.split(".")[0] for name in imported(source, path)}
    }


def naming(text: str, files: Mapping[str, str]) -> set[str]:
    """Return the files that hold a text as a constant, which could be imported by it."""
    return {
        path
        for path, source in files.items()
        if text in {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    }


def calling(function: str, files: Mapping[str, str]) -> set[str]:
    """Return the files that call a function by its dotted name, in full or from its module on, or import it."""
    return {
        path
        for path, source in files.items()
        if function in imported(source, path)
        or any("." in called and f".{function}".endswith(f".{called}") for called in calls(source))
    }


def crowded(files: Mapping[str, str]) -> set[str]:
    """Return the folders that hold more files than one can overlook."""
    counts = Counter(path.rpartition("/")[0] for path in files if not path.endswith("/__init__.py"))
    return {folder for folder, count in counts.items() if count > MOST_FILES}


def long(files: Mapping[str, str]) -> set[str]:
    """Return the files that have more lines than fit into a head."""
    return {path for path, source in files.items() if len(source.splitlines()) > MOST_LINES}


def calls(source: str) -> Iterator[str]:
    """Yield the dotted name of every function that a source text calls."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", FILES)
def test_file_imports_only_from_its_layer_downwards(path: str) -> None:
    found = breaches(path, FILES[path])
    assert not found, f"{path} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("storage/a.py", "from clc.errors import InputError"),
        ("storage/a.py", "def f():\n    import torch"),
        ("clc/model/a.py", "from flows.runtime.stage import run_stage"),
        ("clc/model/a.py", "import mlflow.tracking"),
        ("clc/model/a.py", "import importlib\nimportlib.import_module('prefect.flows')"),
        ("flows/a.py", "import pickle"),
    ],
)
def test_breach_of_the_layers_is_seen(path: str, source: str) -> None:
    assert breaches(path, source)


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("clc/") and path not in DOORS])
def test_file_imports_only_from_its_room_and_the_floors_below(path: str) -> None:
    found = upward(path, FILES[path])
    assert not found, f"{path} imports {', '.join(sorted(found))}, from beside it or from above"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("clc/model/a.py", "from clc.bundle.bundle import Bundle"),
        ("clc/training/a.py", "def f():\n    from clc.codec.codec import Codec"),
        ("clc/model/prior/a.py", "from ...codec import Codec"),
        ("clc/exact/a.py", "import clc.pictures.images"),
        ("clc/limits.py", "from clc.exact.grid import snap"),
        ("clc/bundle/a.py", "from clc.new_room.file import name"),
        ("clc/bundle/a.py", "from clc import encode"),
    ],
)
def test_import_from_beside_or_above_is_seen(path: str, source: str) -> None:
    assert upward(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("clc/codec/a.py", "from clc.model.model import Model\nfrom clc.codec.effort import Effort"),
        ("clc/limits.py", "from clc.errors import LimitError"),
        ("clc/__init__.py", "from clc.codec.pillow_plugin import register"),
    ],
)
def test_import_from_the_own_room_from_below_and_by_a_door_is_allowed(path: str, source: str) -> None:
    assert not upward(path, source)


def test_every_room_lies_on_a_floor() -> None:
    rooms = {path.split("/")[1].removesuffix(".py") for path in FILES if path.startswith("clc/") and path not in DOORS}
    assert rooms == FLOOR.keys()


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith(tuple(MODEL))])
def test_part_of_the_network_knows_neither_the_whole_nor_the_other_part(path: str) -> None:
    found = across(path, FILES[path])
    assert not found, f"{path} imports {', '.join(sorted(found))}"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("clc/model/prior/a.py", "from clc.model.model import Model"),
        ("clc/model/prior/a.py", "from clc.model.transforms.tiled import analyse"),
        ("clc/model/prior/a.py", "from ..transforms import tiled"),
        ("clc/model/transforms/a.py", "from clc.model import objective"),
        ("clc/model/transforms/a.py", "from clc.model.prior.walk import walk"),
    ],
)
def test_part_that_knows_the_whole_is_seen(path: str, source: str) -> None:
    assert across(path, source)


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circle(graph(FILES))
    assert not found, " -> ".join(found)


@pytest.mark.parametrize(
    "back",
    [
        "from a import one",
        "import a.one",
        "from a.one import name",
        "from ..one import name",
        "from .. import one",
        "def f():\n    import a.one",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.one import name",
        "import importlib\nimportlib.import_module('a.one')",
    ],
)
def test_circle_is_seen_and_named(back: str) -> None:
    files = {
        "a/__init__.py": "",
        "a/one.py": "from a.two import name",
        "a/two.py": "from a.b.three import name",
        "a/b/__init__.py": "",
        "a/b/three.py": back,
    }
    assert circle(graph(files)) == ["a.b.three", "a.one", "a.two", "a.b.three"]


def test_two_ways_to_one_file_are_no_circle() -> None:
    files = {"a.py": "import b, c", "b.py": "import d", "c.py": "import d", "d.py": "import os"}
    assert circle(graph(files)) == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_library_is_imported_by_its_door_alone(library: str) -> None:
    assert touching(library, FILES) == LIBRARIES[library]


def test_only_the_range_coder_names_the_unsafe_coder() -> None:
    assert naming(UNSAFE_CODER, FILES) == ITS_DOOR


@pytest.mark.parametrize("function", CALLS)
def test_function_is_called_by_its_doors_alone(function: str) -> None:
    assert calling(function, FILES) == CALLS[function]


def test_breach_of_a_door_is_seen() -> None:
    assert touching("compressai", {"a.py": "from compressai import ans"})
    assert touching("mlflow", {"a.py": "def f():\n    import mlflow.entities"})
    assert naming(UNSAFE_CODER, {"a.py": "HOMES = {'coder': 'compressai.ans'}"})
    assert calling("PIL.Image.open", {"a.py": "import PIL.Image\nPIL.Image.open('a.png')"})
    assert calling("PIL.Image.open", {"a.py": "from PIL import Image\nImage.open('a.png')"})
    assert calling("PIL.Image.open", {"a.py": "from PIL.Image import open as read"})
    assert not calling("PIL.Image.open", {"a.py": "open('a.png')"})
    assert calling("torch.load", {"a.py": "import torch\ntorch.load('a.pt')"})


def test_folder_and_file_fit_into_a_head() -> None:
    assert not crowded(FILES)
    assert not long(FILES)


def test_crowded_folder_and_long_file_are_seen() -> None:
    files = {f"clc/model/{number}.py": "" for number in range(MOST_FILES)} | {"clc/model/__init__.py": ""}
    assert not crowded(files)
    assert crowded(files | {"clc/model/more.py": ""}) == {"clc/model"}
    assert long({"a.py": "\n" * (MOST_LINES + 1), "b.py": "\n" * MOST_LINES}) == {"a.py"}
