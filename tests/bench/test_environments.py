"""bench/environments.py: bytes are counted once, and who asks for a distribution is read from its requirements."""

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest


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
