"""What an installation lacks is said in one sentence.

The base of the distribution is what coding needs; the extras of pyproject.toml add the rest. Whatever imports a package
of an extra says so first, by `need`: a package of ours in its `__init__`, a module or a function above its import.
`tests/test_extras.py` compares these words with the imports and with pyproject.toml. It lies in `storage` because that
imports nothing of ours, and reads tables that need an extra itself. Of a picture whose format needs an extra,
`clc.pictures.formats` says so, with the picture's name.
"""

import importlib.util
import sys

from storage.errors import MissingExtra

DISTRIBUTION = "clc-codec"
"""What the project is called where it is installed. The plain name belongs to another project."""


def installing(extra: str) -> str:
    """Return how an extra is installed: from the source, because no index of packages is known to have this project."""
    return f'`pip install ".[{extra}]"` in the folder of the project\'s source'


def need(extra: str, *packages: str) -> None:
    """Raise `MissingExtra` unless all of `packages`, by the names that are imported, are there. Imports none of them.

    Under `python -m`, while the interpreter still looks for the module to run, nobody could catch the error: then it is
    printed as one line and the process exits with 1.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if not missing:
        return
    others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    sentence = f"this needs {missing[0]}{others}, which the extra {extra} brings: {installing(extra)}"
    if sys.argv[:1] == ["-m"]:  # documented: the first argument is the module's path only once the module is found
        print(f"error: {sentence}", file=sys.stderr)
        raise SystemExit(1)
    raise MissingExtra(sentence, name=missing[0])
