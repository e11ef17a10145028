"""`python -m clc.codec`, and `clc` where the package is installed: see `clc.codec.cli.main`."""

import sys
from collections.abc import Sequence

from clc.archive.commands import add_commands
from clc.codec.cli.main import main as run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, those of archives among them; returns the exit status."""
    return run(arguments, add_commands)


if __name__ == "__main__":
    sys.exit(main())
