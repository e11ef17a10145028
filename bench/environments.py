"""What an installation weighs: disk and import times of the base and of all extras, and what coding never loads.

    python bench/environments.py                     # base and full, each in a fresh environment
    python bench/environments.py --only base --keep FOLDER
    python bench/environments.py --json environments.json

Installs the wheel of this checkout, in the versions of constraints.txt, with pip's own settings: which build of torch
they bring is printed. A folder that --keep names is left for a look at it; one that exists is measured as it is.

Bytes are those that a file takes on the disk (du). A package's bytes are all files of its distribution. "Never loaded"
are the distributions no module of which is imported by encode (with tokens and beside a key picture), decode, info,
collect, selftest and Pillow's plugin; they are there because another distribution asks for them. Times are the least of
several fresh processes. `--json` also weighs wheel, sdist, the shipped bundle and the repository's history.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wheels import build, fresh_environment, outside, run

ROOT = Path(__file__).parents[1]
KINDS = {"base": "", "full": "all"}
"""Names of the environments, and the extra of each."""

LARGEST = 10
TIMES = 5
TIMED = {
    "python, nothing": ["-c", ""],
    "import clc": ["-c", "import clc"],
    "clc --help": ["-m", "clc.codec", "--help"],
    "clc info a.clc": ["-m", "clc.codec", "info", "a.clc"],
    "import clc.codec.codec (torch)": ["-c", "import clc.codec.codec"],
    "import torch": ["-c", "import torch"],
}

WORK = """
import contextlib, io, json, sys
from importlib.metadata import distributions
from pathlib import Path
import numpy as np
from PIL import Image
import clc
from clc.codec.cli.main import main

large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).resize((280, 200))
large.crop((0, 0, 240, 192)).save("a.png")
large.crop((24, 8, 264, 200)).save("b.png")
with contextlib.redirect_stdout(io.StringIO()):
    for command in (
        ["encode", "a.png", "a.clc"],
        ["decode", "a.clc", "back.png"],
        ["info", "a.clc"],
        ["collect", "a.png", "--out", "bundle", "--keys", "1"],
        ["encode", "b.png", "b.clc", "--bundle", "bundle", "--references", "aligned"],
        ["selftest"],
    ):
        assert main(command) == 0, command
    Image.open("a.clc").load()

loaded = {str(Path(module.__file__).resolve()) for module in list(sys.modules.values())
          if getattr(module, "__file__", None)}
rows = []
for one in distributions():
    paths = {str(Path(one.locate_file(file)).resolve()) for file in one.files or ()}
    sizes = {path: Path(path).stat().st_blocks * 512 for path in paths if Path(path).is_file()}
    rows.append({"name": one.metadata["Name"], "version": one.version, "bytes": sum(sizes.values()),
                 "loaded": len(paths & loaded), "requires": one.requires or []})
print(json.dumps(rows))
"""


def measure(name: str, folder: Path, work: Path) -> dict[str, Any]:
    """Print what the environment in `folder` weighs, how long it takes to import, and what coding leaves unused.

    Returns the same: sizes in MiB, seconds as pairs, those passed and those of the processor.
    """
    python = folder / "bin" / "python"
    place = work / f"run-{name}"
    place.mkdir()
    rows = json.loads(run([str(python), "-c", WORK], place).splitlines()[-1])
    print(f"\n{name}: {disk_mib(folder):,.0f} MiB on the disk, {len(rows)} distributions, pip among them")
    torch = next(row for row in rows if row["name"] == "torch")
    print(f"torch {torch['version']}: {_cuda(rows)}")
    table(sorted(rows, key=lambda row: -row["bytes"])[:LARGEST])
    idle = [row for row in rows if not row["loaded"] and row["name"] not in ("pip", "clc-codec")]
    print(f"never loaded by coding: {len(idle)} distributions, {mib(sum(row['bytes'] for row in idle)):,.0f} MiB")
    alone = [row for row in rows if row["name"] in brought_by("compressai", rows)]
    alone_mib = mib(sum(row["bytes"] for row in alone))
    parts = parts_of_torch(folder)
    if name == "base":
        print(f"there for compressai alone: {len(alone)} distributions, {alone_mib:,.0f} MiB")
        _print_idle(idle, rows)
        for part, size_mib in parts.items():
            print(f"{size_mib:8.1f} MiB  torch/{part}, a part of torch's wheel")
    timed = {}
    for title, command in TIMED.items():
        timed[title] = seconds, processor_s = fastest_s([str(python), *command], place)
        print(f"{seconds:7.2f} s, of the processor {processor_s:5.2f} s  {title}")
    return {
        "mib": disk_mib(folder),
        "distributions": len(rows),
        "torch": f"{torch['version']}: {_cuda(rows)}",
        "mib_of": {_plain(row["name"]): mib(row["bytes"]) for row in rows},
        "never_loaded": [_plain(row["name"]) for row in idle],
        "for_compressai_alone": sorted(_plain(row["name"]) for row in alone),
        "torch_parts_mib": parts,
        "seconds": timed,
    }


def _print_idle(idle: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
    """Print each distribution that coding never loads, with those that ask for it."""
    for row in sorted(idle, key=lambda row: -row["bytes"]):
        asking = [other["name"] for other in rows if _plain(row["name"]) in map(_required, other["requires"])]
        print(f"{mib(row['bytes']):8.1f} MiB  {row['name']} (asked for by {', '.join(sorted(asking)) or 'nobody'})")


def parts_of_torch(folder: Path) -> dict[str, float]:
    """Return the MiB of the folders of torch that no decoder runs: headers for compilers, tests, tools."""
    (package,) = (folder / "lib").glob("python3*/site-packages/torch")
    names = ("include", "test", "testing", "bin", "share", "_inductor", "distributed", "onnx")
    return {name: disk_mib(package / name) for name in names if (package / name).is_dir()}


def files_mib(wheel: Path, sdist: Path) -> dict[str, Any]:
    """Return the MiB of wheel, sdist and history, and the bytes of each file of the shipped bundle."""
    shipped = ROOT / "clc" / "assets" / "shipped"
    return {
        "wheel_mib": mib(wheel.stat().st_size),
        "sdist_mib": mib(sdist.stat().st_size),
        "history_mib": disk_mib(ROOT / ".git"),
        "bundle_bytes": {path.name: path.stat().st_size for path in sorted(shipped.iterdir())},
    }


def brought_by(name: str, rows: Sequence[dict[str, Any]], root: str = "clc-codec") -> set[str]:
    """Return the distributions that would be gone if the one called `name` asked for nothing."""
    asks = {_plain(row["name"]): {_required(text) for text in row["requires"]} for row in rows}

    def reached(without: str) -> set[str]:
        found: set[str] = set()
        waiting = [root]
        while waiting:
            one = waiting.pop()
            if one in asks and one not in found:
                found.add(one)
                waiting += asks[one] if one != without else ()
        return found

    gone = reached("") - reached(name)
    return {row["name"] for row in rows if _plain(row["name"]) in gone}


def _required(requirement: str) -> str:
    """Return the plain name in a requirement that holds without extras, else nothing."""
    return "" if "extra ==" in requirement else _plain(re.match(r"[\w.-]+", requirement)[0])  # type: ignore[index]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cuda(rows: Sequence[dict[str, Any]]) -> str:
    found = [row for row in rows if _plain(row["name"]).startswith(("nvidia-", "cuda-", "triton"))]
    if not found:
        return "a build for CPUs"
    return f"a build for CUDA; {len(found)} packages of CUDA take {mib(sum(row['bytes'] for row in found)):,.0f} MiB"


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print distributions with their sizes."""
    for row in rows:
        remark = "" if row["loaded"] else " (never loaded)"
        print(f"{mib(row['bytes']):8.1f} MiB  {row['name']} {row['version']}{remark}")


def mib(size_bytes: int) -> float:
    """Return bytes in MiB."""
    return size_bytes / 2**20


def disk_mib(folder: Path) -> float:
    """Return what a folder takes on the disk in MiB, as du counts it: files with several names count once."""
    seen = {}
    for place, _, files in os.walk(folder):
        for name in files:
            found = (Path(place) / name).lstat()
            seen[found.st_ino] = found.st_blocks * 512
    return mib(sum(seen.values()))


def fastest_s(command: list[str], folder: Path) -> tuple[float, float]:
    """Return the least seconds of several fresh processes: passed, and of the processor, which load changes less."""
    found, of_processor = [], []
    for _ in range(TIMES):
        before, start_s = os.times(), time.perf_counter()
        subprocess.run(command, cwd=folder, env=outside(os.environ), check=True, capture_output=True)
        after = os.times()
        found.append(time.perf_counter() - start_s)
        of_processor.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return min(found), min(of_processor)


def main() -> int:
    """Install and measure; returns the exit status."""
    parser = argparse.ArgumentParser(description="Weigh the base installation and the full one.")
    parser.add_argument("--only", choices=KINDS, help="one of the two")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the environments are made, and stay")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    if options.json is not None and options.json.exists():
        print(f"error: {options.json} exists already; name another file, or remove it", file=sys.stderr)
        return 1
    found = _measure_all(options)
    if options.json is not None:
        with options.json.open("x") as file:  # of the standard library alone, because any Python is to run this
            json.dump(found, file, indent=1)
    return 0


def _measure_all(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name).resolve()
        wheel, sdist = build(work)
        found: dict[str, Any] = {"files": files_mib(wheel, sdist)}
        places = (options.keep or work / "environments").resolve()
        for kind in [options.only] if options.only else KINDS:
            if not (places / kind).is_dir():
                places.mkdir(parents=True, exist_ok=True)
                start_s = time.monotonic()
                fresh_environment(places / kind, wheel, KINDS[kind])
                print(f"{kind}: installed in {time.monotonic() - start_s:.0f} s")
            found[kind] = measure(kind, places / kind, work)
    return found


if __name__ == "__main__":
    sys.exit(main())
