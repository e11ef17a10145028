"""What an installation takes, and how long its imports do (bench/environments.py); what an ingest keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.results.machine import IDLE_CORES
from bench.results.measurement import Block, Measurement, Phrase
from bench.results.record import Records
from bench.results.tables.texts import commands, table, thousands

DISK, CUDA, INGEST = "disk", "disk-cuda", "ingest-disk"
OWN = "clc-codec"
_UNREAD = ("test", "include", "bin", "testing")
_FOR_SYMPY = ("sympy", "networkx", "mpmath")
_NAMED = 5
_PARTS = {
    "transforms": "transforms.safetensors",
    "prior": "prior.safetensors",
    "dictionary": "dictionary.safetensors",
    "tables": "tables.safetensors",
    "provenance": "entries.json",
}
_TIMED = {
    "import clc": "`import clc`",
    "clc --help": "`clc --help`",
    "clc info a.clc": "`clc info a.clc`",
    "import torch": "`import torch`",
}


def values_of(found: Any) -> dict[str, Any]:
    """What the tables show of what bench/environments.py writes."""
    base, full, files = found["base"], found["full"], found["files"]
    sizes = base["mib_of"]
    alone, idle = base["for_compressai_alone"], base["never_loaded"]
    by_size = sorted(alone, key=lambda name: -sizes[name])
    return {
        "base_mib": base["mib"],
        "base_distributions": base["distributions"],
        "full_mib": full["mib"],
        "full_distributions": full["distributions"],
        "torch": base["torch"],
        "mib_of": {name: sizes[name] for name in ("torch", "scipy", "opencv-python-headless", "numpy", OWN)},
        "sympy_mib": sum(sizes[name] for name in _FOR_SYMPY),
        "torch_unread_mib": sum(base["torch_parts_mib"].get(name, 0) for name in _UNREAD),
        "compressai_alone": {"named": by_size[:_NAMED], "more": len(alone) - _NAMED, "mib": sum(map(sizes.get, alone))},
        "never_loaded": {"distributions": len(idle), "mib": sum(sizes[name] for name in idle)},
        "seconds": {title: base["seconds"][title] for title in _TIMED},
        **{key: files[key] for key in ("wheel_mib", "sdist_mib", "history_mib")},
        "bundle_mb": {part: files["bundle_bytes"][name] / 1e6 for part, name in _PARTS.items()},
        "bundle_whole_mb": sum(files["bundle_bytes"].values()) / 1e6,
    }


def cuda_values(found: Any) -> dict[str, Any]:
    """What the base takes with the CUDA build of torch."""
    return {"gib": found["base"]["mib"] / 1024, "torch": found["base"]["torch"]}


def ingest_values(found: Any) -> dict[str, Any]:
    """Bytes of the files that were ingested, and of what the workspace keeps of them."""
    (one,) = found["sizes"]
    return {key: one[key] for key in ("pictures", "source_bytes", "workspace_bytes")}


MEASUREMENTS = (
    Measurement(
        DISK,
        "python bench/environments.py",
        values_of,
        minutes=8,
        is_timed=True,
        measures=("pyproject.toml", "constraints.txt"),
    ),
    Measurement(
        CUDA, "python3.12 bench/environments.py --only base", cuda_values, minutes=8, measures=("constraints.txt",)
    ),
    Measurement(INGEST, "python bench/pipeline.py --pictures 2000", ingest_values, minutes=3, measures=("flows",)),
)


def _sizes(records: Records) -> str:
    values = records[DISK].values
    parts = ", ".join(f"{part} {mb:.1f}" if mb >= 1 else f"{part} {mb:.2g}" for part, mb in values["bundle_mb"].items())
    rows = (
        ("what coding needs, `pip install .`", _installed(values, "base")),
        ("the same with all extras, `pip install '.[all]'`", _installed(values, "full")),
        (
            "what coding needs, with the CUDA build of torch (Python 3.12)",
            f"{records[CUDA].values['gib']:.1f} GiB",
        ),
        ("the wheel; the sdist, with tests and pages", f"{values['wheel_mib']:.1f} MiB; {values['sdist_mib']:.1f} MiB"),
        ("the bundle that the package ships, `clc/assets/shipped/`", f"{values['bundle_whole_mb']:.1f} MB: {parts}"),
        ("the repository's history, `.git/`: the models of all releases", f"{values['history_mib']:.0f} MiB"),
    )
    return table(("what", "size"), rows)


def _installed(values: Mapping[str, Any], kind: str) -> str:
    return f"{thousands(values[f'{kind}_mib'])} MiB in {values[f'{kind}_distributions']} distributions"


def _base(records: Records) -> str:
    values = records[DISK].values
    alone = values["compressai_alone"]
    unread = f"{values['torch_unread_mib']:.0f} MiB"
    rows = (
        (
            "torch",
            "torch",
            f"the networks. Its folders `test`, `include`, `bin` and `testing` ({unread}) are never read, but a part "
            "of its wheel",
        ),
        ("scipy", "scipy", "fits the mesh of offsets on key pictures"),
        ("opencv-python-headless", "opencv-python-headless", "finds and registers key pictures"),
        (", ".join(_FOR_SYMPY), "", "nothing: torch asks for them"),
        ("numpy", "numpy", ""),
        (
            f"{', '.join(alone['named'])} and {alone['more']} more",
            "alone",
            "nothing: compressai asks for them, and its range coder of 0.2 MiB is all that is used",
        ),
        (OWN, OWN, "itself, with the shipped bundle"),
    )
    sizes = {**values["mib_of"], "": values["sympy_mib"], "alone": alone["mib"]}
    heading = ("distribution", "MiB", "what coding does with it")
    idle = values["never_loaded"]
    return "\n\n".join(
        (
            table(heading, [(title, f"{sizes[name]:.0f}", does) for title, name, does in rows]),
            f"In all {idle['distributions']} distributions, {idle['mib']:.0f} MiB, are never loaded by encode, decode, "
            "info, collect, selftest and Pillow's plugin.",
        )
    )


def _imports(records: Records) -> str:
    seconds = records[DISK].values["seconds"]
    rows = [(title, *(f"{one:.2f}" for one in seconds[name])) for name, title in _TIMED.items()]
    record = records[DISK]
    is_doubtful = record.transcribed or (record.others_cores or 0) > IDLE_CORES
    beside = ", beside other work" if is_doubtful else ""
    heading = (f"in a process of its own, the least of five{beside}", "seconds", "of the processor")
    return "\n\n".join((table(heading, rows), commands((MEASUREMENTS[0],))))


BLOCKS = (
    Block("disk", (DISK, CUDA), _sizes),
    Block("disk-base", (DISK,), _base),
    Block("imports", (DISK,), _imports),
)


def _ingest(records: Records) -> dict[str, str]:
    values = records[INGEST].values
    return {
        "pictures": thousands(values["pictures"]),
        "source": f"{values['source_bytes'] / 1e6:.1f}",
        "kept": f"{values['workspace_bytes'] / 1e6:.1f}",
    }


def _gigabytes(records: Records) -> dict[str, str]:
    values = records[DISK].values
    base_gb, full_gb = (values[f"{kind}_mib"] * 2**20 / 1e9 for kind in ("base", "full"))
    return {"base": f"{base_gb:.1f}", "full": f"{full_gb:.1f}", "bundle": f"{values['bundle_whole_mb']:.0f}"}


PHRASES = (
    Phrase(
        "docs/results.md",
        "{pictures} JPEG files of 512x512, {source} MB, make {kept} MB",
        (INGEST,),
        _ingest,
    ),
    Phrase(
        "README.md",
        "only what coding needs: {base} GB with a CPU build of torch",
        (DISK,),
        _gigabytes,
    ),
    Phrase(
        "README.md",
        "the environment that `make` installs takes {full} GB, the shipped bundle {bundle} MB",
        (DISK,),
        _gigabytes,
    ),
)
