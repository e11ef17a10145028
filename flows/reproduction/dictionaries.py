"""Bundles of one model with dictionaries of any size: windows of the known photos, and K-means over what g_a says.

Windows are described once (`flows.reproduction.windows`), and all tables and both flows choose from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from clc.bundle.entries import KEY_COMPONENTS, DescribedPatches, with_entries
from clc.codec.codec import Codec
from clc.dictionary.representatives import build
from clc.errors import InputError
from clc.limits import MAX_REFERENCES
from clc.pictures.picture import Picture
from clc.retrieval import pca as reduction
from flows.reproduction.grid import Windows
from flows.reproduction.subject import Subject
from flows.reproduction.windows import Window, describe_windows, provenance, read_windows
from flows.runtime.workspace import Workspace


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

    def read(self, windows: Sequence[Window]) -> Iterator[Picture]:
        """Read windows, uint8 (256, 256, 3), one after the other."""
        return read_windows(self.subject.blobs, windows)


def described(workspace: Workspace, subject: Subject, asked: Windows) -> Described:
    """Describe the windows of a subject's known photos by its model, or take what is kept of them."""
    found = describe_windows(workspace, subject.bundle, subject.bundle_id, subject.known, asked.stride_px, asked.most)
    return Described(subject, *found)
