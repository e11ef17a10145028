"""Bundles of one model with dictionaries of any size: windows of the known photos, described once, and K-means.

What g_a says of the windows is a stage of its own, which all tables and both flows use.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clc.bundle.bundle import Bundle
from clc.bundle.entries import KEY_COMPONENTS, DescribedPatches, describe_patches, with_entries
from clc.codec.codec import Codec
from clc.dictionary.representatives import build
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.pictures.picture import Picture
from clc.retrieval import pca as reduction
from flows.codec_modules import CODEC_MODULES
from flows.reproduction.grid import Windows
from flows.reproduction.subject import Subject, Window, provenance
from flows.runtime.progress import counted
from flows.runtime.stage import run_stage
from flows.runtime.workspace import Workspace
from storage.arrays import read_arrays, write_arrays
from storage.atomic import write_bytes

WINDOWS, PLACES = "windows.safetensors", "windows.json"
MODULES = (*CODEC_MODULES, "clc.bundle.entries", "clc.bundle.extend", "flows.reproduction.subject")
"""The source text that decides what g_a says of windows."""


@dataclass(frozen=True)
class Described:
    """The windows of a subject, and what its model says of them, in the same order."""

    subject: Subject
    windows: list[Window]
    patches: DescribedPatches

    def rows(self, entries: int, seed: int) -> list[int]:
        """Choose windows that stand for all: K-means over their vectors. Raises `InputError` where there are fewer."""
        if entries > len(self.windows):
            raise InputError(f"{entries} entries asked for, and there are {len(self.windows)} windows")
        vectors_PD = self.patches.vectors
        reduced = reduction.fit([vectors_PD], min(KEY_COMPONENTS, max(1, len(vectors_PD) - 1)))
        return [int(row) for row in build(reduced.apply(vectors_PD), entries, seed).members]

    def write(self, out: Path, entries: int, seed: int, references: int = MAX_REFERENCES) -> Path:
        """Write the model with so many entries as a bundle into `out`, or with fewer where windows are alike."""
        rows = self.rows(entries, seed)
        described = [provenance(self.windows[row]) for row in rows]
        with_entries(self.subject.bundle, out, self.patches.chosen(rows), described, references)
        return out

    def codec(self, out: Path, entries: int, seed: int, references: int = MAX_REFERENCES) -> Codec:
        """Return the codec of such a bundle."""
        return Codec.load(self.write(out, entries, seed, references))


def described(workspace: Workspace, subject: Subject, asked: Windows) -> Described:
    """Describe the windows of a subject, or take what is kept of them."""

    def body(folder: Path) -> dict[str, Any]:
        windows = subject.windows(asked)
        model = Bundle.load(subject.bundle).model
        with counted("describing windows", len(windows)) as one_more:

            def read() -> Iterator[Picture]:
                for patch_HW3 in subject.patches(windows):
                    yield patch_HW3
                    one_more()

            made = describe_patches(model, read())
        write_arrays(folder / WINDOWS, {"tokens": made.tokens, "vectors": made.vectors})
        write_bytes(folder / PLACES, json.dumps([asdict(window) for window in windows]).encode())
        return {"windows": len(made)}

    result = run_stage(
        workspace,
        "describe-windows",
        inputs={"bundle": subject.bundle_id, "known": subject.inputs["known"]},
        config={"windows": asked.model_dump()},
        modules=MODULES,
        body=body,
    )
    windows = [Window(**values) for values in json.loads((result.directory / PLACES).read_bytes())]
    arrays = read_arrays(result.directory / WINDOWS)
    return Described(subject, windows, DescribedPatches(arrays["tokens"], arrays["vectors"]))
