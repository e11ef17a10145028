"""Does the package work where the repository is not? Builds wheel and sdist, installs the wheel, and codes a picture.

    python bench/wheels.py           # an environment that borrows the packages of this one: offline, under a minute
    python bench/wheels.py --full    # a fresh environment, into which pip installs what the wheel asks for

Everything happens below a temporary folder: the sources are copied there, so that no build leaves traces here, and the
commands run in an empty folder with Python's variables unset, so that nothing but the installation can be imported.
Exit status 1 where a check fails; what it printed is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".git", ".venv", "workspace", "build", "dist", "runs", ".local", "*.egg-info", "__pycache__", ".*_cache")
"""What a copy of the sources is without: what git ignores, and git's own."""

CARRIED = (
    "clc/assets/released/models.json",
    "clc/assets/shipped/manifest.json",
    "clc/assets/strip/ORIGIN.txt",
    "clc/py.typed",
    "storage/py.typed",
    "clc/archive/report.html",
    "clc/evaluation/published.json",
    "clc/evaluation/report/chartjs/LICENSE.md",
    "clc/evaluation/report/report.html",
    "clc/pages/page.html",
)
"""Files of the wheel that are no source text."""

KINDS = ("build_wheel", "build_sdist")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

CODING = """
import json, sys
from importlib.metadata import version
import numpy as np
from PIL import Image
import clc

picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
Image.fromarray(picture).resize((128, 96)).save("a.png")
print(json.dumps({"version": version("clc-codec"), "home": clc.__file__, "prefix": sys.prefix}))
"""

DRIVEN = """
from PIL import Image
import clc
with Image.open("a.clc") as coded, Image.open("back.png") as decoded:
    assert coded.size == (128, 96) and coded.tobytes() == decoded.convert("RGB").tobytes()
"""


def build(work: Path) -> tuple[Path, Path]:
    """Build wheel and sdist of the sources below `work`, without a network; returns their paths."""
    copy, out = work / "sources", work / "dist"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    out.mkdir()
    wheel, sdist = (out / _last_line(run([sys.executable, "-c", BUILD, kind, str(out)], copy)) for kind in KINDS)
    return wheel, sdist


def contents(package: Path) -> dict[str, int]:
    """Return the bytes of each file in a wheel, or in an sdist, there without the folder that holds all."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return {one.filename: one.file_size for one in archive.infolist()}
    with tarfile.open(package) as archive:
        return {one.name.partition("/")[2]: one.size for one in archive if one.isfile()}


def borrowed_environment(folder: Path, wheel: Path) -> Path:
    """Install the wheel alone into a new environment that finds all other packages where this one does."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    run([*install, "--quiet", "--disable-pip-version-check"], folder)
    # After pip, which would otherwise find this project itself among the borrowed ones. Lines of a .pth file are not
    # searched for .pth files, so an editable installation stays behind.
    paths = sysconfig.get_paths()
    (_packages(python) / "borrowed.pth").write_text(f"{paths['purelib']}\n{paths['platlib']}\n")
    return python


def fresh_environment(folder: Path, wheel: Path, extra: str = "") -> Path:
    """Install the wheel and all that it asks for, in the versions of constraints.txt, into a new environment."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    wanted = f"{wheel}[{extra}]" if extra else str(wheel)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
    run([*install, "-c", str(ROOT / "constraints.txt")], folder)
    return python


def check(python: Path, folder: Path) -> Iterator[str]:
    """Code a picture by the installation of `python` in an empty folder; yields a line for each step that worked."""
    folder.mkdir()
    clc = str(python.parent / "clc")
    found = json.loads(_last_line(run([str(python), "-c", CODING], folder)))
    if not Path(found["home"]).is_relative_to(found["prefix"]):
        raise SystemExit(f"error: clc is imported from {found['home']}, not from the environment {found['prefix']}")
    yield f"import clc {found['version']}, of the environment"
    for command in (
        ["encode", "a.png", "a.clc"],
        ["decode", "a.clc", "back.png"],
        ["info", "a.clc"],
        ["selftest"],
    ):
        run([clc, *command], folder)
        yield f"clc {' '.join(command)}"
    run([str(python), "-c", DRIVEN], folder)
    yield "Pillow opens the stream"


def run(command: list[str], folder: Path) -> str:
    """Run a command outside of the repository; returns its stdout. Ends the program where the command fails."""
    done = subprocess.run(command, cwd=folder, env=outside(os.environ), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def outside(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of an environment without those that lead Python elsewhere."""
    return {name: value for name, value in environment.items() if not name.startswith(("PYTHON", "CLC_"))}


def _packages(python: Path) -> Path:
    return next((python.parents[1] / "lib").glob("python3*")) / "site-packages"


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def main() -> int:
    """Build, install, check; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the wheel and code a picture where the repository is not.")
    parser.add_argument("--full", action="store_true", help="install all packages anew (needs the network or a cache)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        wheel, sdist = build(work)
        for package in (wheel, sdist):
            files = contents(package)
            print(f"{package.name}: {package.stat().st_size / 2**20:.1f} MiB, {len(files)} files")
        missing = [name for name in CARRIED if name not in contents(wheel)]
        if missing:
            raise SystemExit(f"error: the wheel lacks {', '.join(missing)}")
        start_s = time.monotonic()
        python = (fresh_environment if options.full else borrowed_environment)(work / "environment", wheel)
        print(f"installed in {time.monotonic() - start_s:.0f} s")
        for line in check(python, work / "empty"):
            print(f"ok: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
