"""A bundle extended by key pictures: a new bundle, with another id, of the same model.

Called by the flow `train-codec` and by `python -m clc.codec collect`. The contract: the model, its tables and the
entries that there were do not change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.bundle.bundle import PARTS, Arrays, Bundle, Origin, write_bundle
from clc.bundle.identity import file_of, parse_manifest, read_manifest_bytes, training_of
from clc.errors import InputError
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.model.model import Model
from clc.model.prior.matching import TOKEN_BITS
from clc.pictures.patches import middle_patch
from clc.pictures.picture import Picture
from clc.references.key_pictures import LOSSLESS, write_key_picture
from clc.retrieval.pyramid import spp
from storage.arrays import read_arrays
from storage.atomic import write_bytes


@torch.no_grad()
def add_pictures(
    bundle: Path,
    out: Path,
    pictures: Sequence[Picture],
    provenance: list[dict[str, str]],
    picture_format: str = LOSSLESS,
) -> str:
    """Writes into `out` the bundle in `bundle` with `pictures` as further entries of its dictionary; returns its id.

    Each picture, uint8 (H, W, 3) of any size, is kept whole, as the key picture of its entry, in `picture_format`
    (`clc.references.key_pictures`). Its key describes all of it, its tokens its middle. Raises `InputError` for no
    picture, too many entries, not as many provenances as pictures, an `out` that is not empty, and a bundle that only
    decodes.
    """
    base = Bundle.load(bundle)
    base.refuse_unless_whole()
    entries = base.entries
    count = len(entries) + len(pictures)
    if not pictures or len(pictures) != len(provenance) or count > MAX_DICTIONARY_ENTRIES:
        raise InputError(f"{count} entries: a bundle takes up to {MAX_DICTIONARY_ENTRIES}, each with its provenance")
    refuse_filled(out)
    stored = dict(entries.pictures)
    tokens, keys = [entries.tokens], [entries.keys]
    for entry, image_HW3 in enumerate(pictures, start=len(entries)):
        stored[entry] = write_key_picture(out, entry, image_HW3, picture_format)
        # As it will be read: a lossy format changes the picture.
        picture = stored[entry].read()
        tokens.append(stored_tokens(base.model, base.model.analyse(middle_patch(picture)))[None])
        keys.append(entries.reduction.apply(spp(base.model.feature_map(base.model.analyse(picture)))))
    for entry in entries.pictures:
        write_bytes(out / stored[entry].path.relative_to(bundle), stored[entry].file_data())
    parts: dict[str, Arrays] = {name: read_arrays(bundle / file_of(name)) for name in PARTS}
    grown: Arrays = {"tokens": np.concatenate(tokens), "keys": np.concatenate(keys).astype(np.float16)}
    parts["dictionary"] = {**parts["dictionary"], **grown}
    origin = Origin(base.bundle_id, training_of(parse_manifest(read_manifest_bytes(bundle), bundle)))
    return write_bundle(out, base.config, parts, [*entries.provenance, *provenance], stored, origin)


def refuse_filled(out: Path) -> None:
    """Raises `InputError` unless a new bundle can become the folder `out`: there is none, or an empty one."""
    if not os.path.lexists(out):
        return
    try:
        is_filled = any(out.iterdir())
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; name a new folder for the bundle") from error
    if is_filled:
        raise InputError(f"{out} is not empty; name a new folder for the bundle")


def stored_tokens(model: Model, y_1Mhw: Tensor) -> npt.NDArray[np.int8]:
    """The tokens of the latents of a patch of 256x256 px, as stored: int8 (N, T), in q4."""
    integers = torch.round(model.tokens(y_1Mhw)[0] * (1 << TOKEN_BITS))
    tokens: npt.NDArray[np.int8] = integers.to(torch.int8).numpy()
    return tokens
