"""`python -m clc.codec`, and `clc` where the package is installed: see `clc.codec.cli.main`.

The commands of the pipeline are a program of their own on the top floor, `python -m flows`, which is started for them.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from clc.archive.commands import add_commands
from clc.codec.cli.main import main as run
from clc.codec.cli.models import add_models
from clc.codec.cli.serve_bundle import add_serve_bundle
from clc.console import status_of, steady

PIPELINE = {
    "plan": "show what a run of the pipeline would do",
    "gc": "remove what killed runs of the pipeline left in the workspace",
}
"""The commands that `python -m flows` does, with what they are for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, those of archives, of serving and of the pipeline among them; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] and words[0] in PIPELINE:
        return _pipeline(words)
    return run(arguments, _add_all)


def _pipeline(words: list[str]) -> int:
    with steady():
        try:
            return subprocess.run([sys.executable, "-m", "flows", *words], check=False).returncode  # noqa: S603
        except KeyboardInterrupt as error:  # the other program has said so
            return status_of(error)


def _add_all(commands: Any) -> None:
    add_commands(commands)
    add_models(commands)
    add_serve_bundle(commands)
    for name, what in PIPELINE.items():
        commands.add_parser(name, help=what)


if __name__ == "__main__":
    sys.exit(main())
