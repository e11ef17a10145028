"""The entries of a dictionary as a bundle stores them: what g_a says of patches, and a bundle with other entries.

Called by `clc.bundle.export`, and by the flows `ablate` and `perturb`, which hold one model against itself with
dictionaries of several sizes. The contract: tokens and keys are made once, and stored; the model and its tables do not
depend on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from clc.bundle.bundle import PARTS, Arrays, Bundle, Origin, write_bundle
from clc.bundle.extend import refuse_filled, stored_tokens
from clc.bundle.identity import file_of, parse_manifest, read_manifest_bytes, training_of
from clc.errors import InputError
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.model.model import Model
from clc.pictures.picture import Picture
from clc.retrieval import pca as reduction
from clc.retrieval.pyramid import spp
from storage.arrays import read_arrays

KEY_COMPONENTS = 256
"""The values of a key, or fewer where there are fewer entries."""


@dataclass(frozen=True, eq=False)
class DescribedPatches:
    """What a model says of P patches: `tokens` int8 (P, N, T), in q4, and SPP vectors float32 (P, D) for retrieval."""

    tokens: npt.NDArray[np.int8]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def chosen(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> DescribedPatches:
        """Return some of the patches, in the order of `rows`."""
        return DescribedPatches(self.tokens[rows], self.vectors[rows])

    def arrays(self) -> Arrays:
        """The part `dictionary` of a bundle with these entries: tokens, keys, and the PCA that made the keys."""
        reduced = reduction.fit([self.vectors], min(KEY_COMPONENTS, max(1, len(self) - 1)))
        stored = {name: array.astype(np.float16) for name, array in reduced.arrays().items()}
        restored = reduction.Reduction.from_arrays({name: array.astype(np.float32) for name, array in stored.items()})
        return {"tokens": self.tokens, "keys": restored.apply(self.vectors).astype(np.float16), **stored}


@torch.no_grad()
def describe_patches(model: Model, patches: Iterable[Picture]) -> DescribedPatches:
    """Describe patches, uint8 (256, 256, 3), one at a time, so that no more than one need be in memory.

    Raises `InputError` where there is none.
    """
    tokens, vectors = [], []
    for patch_HW3 in patches:
        y = model.analyse(patch_HW3)
        tokens.append(stored_tokens(model, y))
        vectors.append(spp(model.feature_map(y))[0])
    if not tokens:
        raise InputError("a dictionary is made of patches, and there is none; name pictures to cut them from")
    return DescribedPatches(np.stack(tokens), np.stack(vectors))


def with_entries(
    bundle: Path, out: Path, described: DescribedPatches, provenance: list[dict[str, str]], references: int
) -> str:
    """Writes into `out` the model of the bundle in `bundle` with another dictionary; returns the new bundle's id.

    Weights and tables stay byte for byte; the former entries and key pictures go. `references` is the M of the new
    bundle, 1 to 5. Raises `InputError` for more than 4,096 entries or none, not as many provenances, an `out` that is
    not empty, and a bundle that only decodes.
    """
    count = len(described)
    if not 1 <= count <= MAX_DICTIONARY_ENTRIES or count != len(provenance):
        raise InputError(f"{count} entries: a bundle takes 1 to {MAX_DICTIONARY_ENTRIES}, each with its provenance")
    refuse_filled(out)
    base = Bundle.load(bundle)
    base.refuse_unless_whole()
    config = replace(base.config, references=references)
    parts: dict[str, Arrays] = {name: read_arrays(bundle / file_of(name)) for name in PARTS}
    parts["dictionary"] = described.arrays()
    origin = Origin(base.bundle_id, training_of(parse_manifest(read_manifest_bytes(bundle), bundle)))
    return write_bundle(out, config, parts, provenance, {}, origin)
