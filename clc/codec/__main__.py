"""`python -m clc.codec`, and `clc` where the package is installed: see `clc.codec.cli.main`."""

import argparse
import sys
from collections.abc import Sequence

from clc.archive.commands import add_commands
from clc.codec.cli.main import main as run
from clc.codec.cli.serve_bundle import add_serve_bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, those of archives and `serve-bundle` among them; returns the exit status."""
    return run(arguments, _add_further)


def _add_further(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    add_commands(commands)
    add_serve_bundle(commands)


if __name__ == "__main__":
    sys.exit(main())
