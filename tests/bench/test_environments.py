"""bench/environments.py: bytes are counted once, and who asks for a distribution is read from its requirements."""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bench.results.tables import disk


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    return importlib.import_module("environments")


def test_a_file_with_two_names_counts_once(bench: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 2**12)
    once = bench.disk_mib(tmp_path)
    os.link(tmp_path / "a", tmp_path / "b")
    assert bench.disk_mib(tmp_path) == once == 1.0
    (tmp_path / "c").write_bytes(bytes(range(256)) * 2**12)
    assert bench.disk_mib(tmp_path) == 2.0


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("torch_geometric>=2.3.0", "torch-geometric"),
        ("numpy<2.0,>=1.21.0", "numpy"),
        ("Jinja2", "jinja2"),
        ('tomli>=2; python_version < "3.11"', "tomli"),
        ('plotly; extra == "test"', ""),
    ],
)
def test_a_requirement_of_an_extra_is_asked_for_by_nobody(bench: ModuleType, requirement: str, name: str) -> None:
    assert bench._required(requirement) == name


def test_the_build_of_torch_is_told_by_its_companions(bench: ModuleType) -> None:
    torch = {"name": "torch", "bytes": 2**20}
    assert bench._cuda([torch]) == "a build for CPUs"
    assert "1 packages of CUDA take 3 MiB" in bench._cuda([torch, {"name": "nvidia-cublas", "bytes": 3 * 2**20}])


def test_what_one_distribution_alone_brings_is_told_apart_from_what_others_ask_for_too(bench: ModuleType) -> None:
    asked = {
        "clc-codec": ["Coder>=1", "numpy", 'plots; extra == "all"'],
        "Coder": ["numpy", "table_s", "plots"],
        "numpy": [],
        "table_s": ["dates"],
        "plots": [],
        "dates": ["coder"],
    }
    rows = [{"name": name, "requires": wanted} for name, wanted in asked.items()]
    assert bench.brought_by("coder", rows) == {"table_s", "plots", "dates"}
    assert bench.brought_by("numpy", rows) == set()


def test_what_an_environment_weighs_is_returned_as_it_is_quoted(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(name: str, mib: int, loaded: int, *requires: str) -> dict[str, object]:
        return {"name": name, "version": "1", "bytes": mib * 2**20, "loaded": loaded, "requires": requires}

    rows = [
        row("clc_codec", 24, 3, "torch", "compressai", "numpy"),
        row("torch", 700, 9, "sympy", "networkx", "mpmath"),
        row("compressai", 1, 1, "pandas", "matplotlib", "a", "b", "c", "d"),
        *(row(name, 10 + at, 0) for at, name in enumerate(("pandas", "matplotlib", "a", "b", "c", "d"))),
        *(row(name, 5, 0) for name in ("sympy", "networkx", "mpmath", "opencv-python-headless", "scipy")),
        row("numpy", 78, 4),
    ]
    monkeypatch.setattr(bench, "run", lambda command, place: f"words\n{json.dumps(rows)}\n")
    monkeypatch.setattr(bench, "fastest_s", lambda command, place: (0.5, 0.25))
    package = tmp_path / "base" / "lib" / "python3.11" / "site-packages" / "torch"
    (package / "test").mkdir(parents=True)
    (package / "test" / "a").write_bytes(bytes(range(256)) * 2**12)
    (wheel := tmp_path / "a.whl").write_bytes(b"12")
    base = bench.measure("base", tmp_path / "base", tmp_path)
    found = json.loads(json.dumps({"base": base, "full": base, "files": bench.files_mib(wheel, wheel)}))
    values = disk.values_of(found)
    assert values["base_distributions"] == len(rows)
    assert values["mib_of"]["clc-codec"] == 24
    assert values["sympy_mib"] == 15
    assert values["torch_unread_mib"] == 1.0
    assert values["compressai_alone"]["more"] == 1  # compressai itself is none of the six
    assert values["compressai_alone"]["named"][0] == "d"
    assert values["never_loaded"]["distributions"] == 11
    assert values["seconds"]["import torch"] == [0.5, 0.25]
    assert 10 < values["bundle_mb"]["transforms"] < values["bundle_whole_mb"]
    assert values["history_mib"] >= 0
    assert disk.cuda_values(found)["gib"] == base["mib"] / 1024


def test_figures_that_exist_are_left_alone_before_anything_is_installed(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text("old")
    monkeypatch.setattr(sys, "argv", ["environments.py", "--json", str(tmp_path / "a.json")])
    monkeypatch.setattr(bench, "build", lambda work: pytest.fail("built"))
    assert bench.main() == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == "old"
