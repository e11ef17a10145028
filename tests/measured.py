"""A small repository whose figures a cheap program makes, and what is measured in it."""

import subprocess
from pathlib import Path
from typing import Any

from bench.results.measurement import Block, Measurement, Phrase, Registry
from bench.results.record import Record, read_record
from bench.results.run import Places

PROGRAM = """
import json, os, subprocess, sys, time
out = sys.argv[sys.argv.index("--json") + 1]
number = int(sys.argv[1])
print("measuring", number)
with open("calls", "a") as calls:
    calls.write(f"{number}\\n")
if "--child" in sys.argv:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("pids", "w").write(f"{os.getpid()} {child.pid}")
    time.sleep(60)
if "--fail" in sys.argv:
    sys.exit("error: no such picture")
json.dump({"number": number, "variable": os.environ.get("SOME")}, open(out, "w"))
"""
PAGE = """# Figures of {version}

<!-- figures: both -->
<!-- end -->

One takes 7 %
more than the other.
"""


def measurement(name: str, words: str, minutes: float = 1.0, **more: Any) -> Measurement:
    return Measurement(
        name, f"SOME=thing python program.py {words}", lambda found: {"n": found["number"]}, minutes, **more
    )


def numbers(records: Any) -> str:
    return f"| a | b |\n|---|---|\n| {records['a'].values['n']} % | {records['b'].values['n']} % |"


REGISTRY = Registry(
    measurements=(measurement("a", "3", 2), measurement("b", "4", 1)),
    blocks=(Block("both", ("a", "b"), numbers),),
    phrases=(
        Phrase("README.md", "One takes {n} % more", ("a",), lambda records: {"n": str(records["a"].values["n"])}),
    ),
    pages=("README.md",),
)


def commit(root: Path) -> None:
    """Commit the program and the changelog of a small repository."""
    for arguments in (["add", "program.py", "CHANGELOG.md"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=root, check=True)


def small_repository(root: Path) -> Places:
    """Make a repository with a page and a program that measures."""
    (root / "clc" / "assets" / "shipped").mkdir(parents=True)
    (root / "docs").mkdir()
    (root / "clc" / "assets" / "shipped" / "manifest.json").write_text("{}")
    (root / "CHANGELOG.md").write_text("# Changelog\n\n## 1.0.0\n")
    (root / "README.md").write_text(PAGE)
    (root / "program.py").write_text(PROGRAM)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    commit(root)
    return Places(root, root / "docs" / "figures", root / ".local" / "results")


def calls(places: Places) -> list[str]:
    file = places.root / "calls"
    return file.read_text().split() if file.exists() else []


def record_of(places: Places, name: str = "a") -> Record:
    found = read_record(places.figures, name)
    assert found is not None
    return found
