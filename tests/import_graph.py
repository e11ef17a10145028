"""Who imports whom: read from source texts, never by importing, so that files which no other test reaches count too.

Imports inside functions and under TYPE_CHECKING count as any other, and relative ones are made absolute. That `import
a.b` also runs `a/__init__.py` does not count: every package would be in a circle with what its `__init__` imports.
"""

import ast
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "clc", "storage")
FILES: Mapping[str, str] = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
"""The source texts of the project by path below its root."""


def module_of(path: str) -> str:
    """Return the dotted name of a source file: "clc/model/__init__.py" is "clc.model"."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(source: str, path: str = "") -> set[str]:
    """Return the dotted names that a source text imports; `path` is its place, which relative imports start from."""
    return {name for pair in _imports(source, path) for name in pair if name}


def graph(files: Mapping[str, str]) -> dict[str, set[str]]:
    """Return, for every module of `files` (texts by path), the modules among them that it imports.

    `from a import b` imports `a.b` where that is a module, else `a`.
    """
    modules = {module_of(path) for path in files}
    edges: dict[str, set[str]] = {}
    for path, source in files.items():
        meant = (name if name in modules else base for base, name in _imports(source, path))
        edges[module_of(path)] = {module for module in meant if module in modules}
    return edges


def circle(edges: Mapping[str, Collection[str]]) -> list[str]:
    """Return a circle of imports, its first module named again at its end; an empty list where there is none."""
    finished: set[str] = set()

    def walk(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in finished:
            return []
        for other in sorted(edges[module]):
            found = walk(other, [*way, module])
            if found:
                return found
        finished.add(module)
        return []

    return next((found for module in sorted(edges) if (found := walk(module, []))), [])


def reached(edges: Mapping[str, Collection[str]], starts: Iterable[str], stops: Collection[str] = ()) -> set[str]:
    """Return the modules that `starts` import, directly or through others, and themselves.

    The walk neither takes nor passes a module that `stops` cover.
    """
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        module = waiting.pop()
        if module not in found and not covers(stops, module):
            found.add(module)
            waiting += edges[module]
    return found


def covers(names: Iterable[str], module: str) -> bool:
    """Tell whether a module is one of `names`, or lies in a package that is."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


@functools.cache
def _imports(source: str, path: str) -> tuple[tuple[str, str], ...]:
    """Return every import of a source text as a module and the name taken from it, both dotted: ("a", "a.b").

    A plain `import a.b` takes no name: ("a.b", "").
    """
    return tuple(_each_import(source, path))


def _each_import(source: str, path: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [_anchor(path, node.level), node.module]))
            yield from ((base, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from ((str(one.value), "") for one in node.args[:1] if isinstance(one, ast.Constant))


def _anchor(path: str, level: int) -> str:
    """Return the package that a relative import of `level` dots in the file at `path` starts from."""
    return ".".join(path.split("/")[:-level]) if level else ""
