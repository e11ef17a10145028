"""From trained weights to a bundle: integers for the exact prior, tables for the coder, tokens for the dictionary.

Called by the flow `train-codec`; `clc.bundle.extend` adds key pictures to a bundle. The contract: everything that must
be the same at encoder and decoder is computed here, once, and stored. No decoder rebuilds a table or runs g_a on a
dictionary picture.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clc.bitstream.cdf_tables import fitted_table, merge, sigma_levels, table_from_pmf
from clc.bundle.bundle import Origin, exact_layers, flatten_table, float_parts, write_bundle
from clc.bundle.calibration import count_symbols, decoded_examples
from clc.bundle.entries import describe_patches
from clc.errors import InputError
from clc.exact.functions import exp2_table, exp_table
from clc.exact.layers import GridConv2d, sum_bound_bits
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.model.model import Model, ModelConfig
from clc.model.post_filter import fit as postfilter_fit
from clc.model.prior.hyperprior import FactorizedPrior
from clc.pictures.patches import ENTRY_PX
from clc.pictures.picture import Picture


class Exported(NamedTuple):
    """The id of a bundle, 16 hex digits, and log2 of the largest partial sum of each exact layer, at most 53 bits."""

    bundle_id: str
    bound_bits: dict[str, float]


def export_bundle(
    directory: Path,
    config: ModelConfig,
    state: dict[str, Tensor],
    entries: Sequence[Picture],
    provenance: list[dict[str, str]],
    origin: Origin | None = None,
) -> Exported:
    """Writes the bundle of a trained model, a configuration and its state dict, with a dictionary, into `directory`.

    `entries` are K pictures, uint8 (256, 256, 3), each with its `provenance`. Their keys are SPP vectors of the model's
    own g_a, reduced by PCA: encoding then needs no other network, whatever network chose the entries. The CDF tables
    are fitted to the symbols of the entries, the post-filter to their pixels. `origin` is what the model was trained
    from and on. Raises `InputError` for entries of another size, and when there are none, too many, or not as many as
    provenances.
    """
    if not 1 <= len(entries) <= MAX_DICTIONARY_ENTRIES or len(entries) != len(provenance):
        raise InputError(f"a bundle takes 1 to {MAX_DICTIONARY_ENTRIES} entries with provenance, not {len(entries)}")
    if any(entry.shape != (ENTRY_PX, ENTRY_PX, 3) for entry in entries):
        raise InputError(f"dictionary entries are {ENTRY_PX}x{ENTRY_PX} px; build the dictionary from such patches")
    model = Model(config)
    model.load_state_dict(state)
    model.eval()
    # Rounded as they are stored, so that tokens, keys and tables are those of the model that a reader has.
    transforms = _stored_transforms(model)
    stored = {name: torch.from_numpy(array.astype(np.float32)) for name, array in transforms.items()}
    model.load_state_dict(stored, strict=False)
    model.prior.fusion.log_gain.values.copy_(-model.gains.log_step.detach() / math.log(2.0))
    layers = exact_layers(model.prior)
    integers = {name: layer.export() for name, layer in layers.items()}
    bounds = {name: sum_bound_bits(**integers[name]) for name in layers if isinstance(layers[name], GridConv2d)}
    prior = {f"{name}.{part}": value.numpy() for name, parts in integers.items() for part, value in parts.items()}
    dictionary = describe_patches(model, entries).arrays()
    tables = _tables(model, entries)
    parts = {"transforms": transforms, "prior": prior, "tables": tables, "dictionary": dictionary}
    return Exported(write_bundle(directory, config, parts, provenance, {}, origin), bounds)


def _tables(model: Model, entries: Sequence[Picture]) -> dict[str, npt.NDArray[np.int32 | np.float16]]:
    """The arrays of the part `tables`.

    CDF tables: the sets of 64 scale levels, then z without and with an aligned reference, then p.
    """
    parts = [fitted_table(sigma_levels(), counts) for counts in count_symbols(model, entries)]
    factorised = [model.z_prior, model.z_prior_aligned, *([model.p_prior] if model.self_prior else [])]
    parts += [table_from_pmf(*prior.masses()) for prior in factorised]
    table = functools.reduce(merge, parts)
    functions = {"exponentials": exp_table().numpy(), "powers_of_two": exp2_table().numpy()}
    postfilter = postfilter_fit(decoded_examples(model, entries)).weights.numpy().astype(np.float16)
    return {**flatten_table(table), **functions, "postfilter": postfilter}


def _stored_transforms(model: Model) -> dict[str, npt.NDArray[np.float32 | np.float16]]:
    stored: dict[str, npt.NDArray[np.float32 | np.float16]] = {}
    for part, module in float_parts(model).items():
        # Of the distributions of z tables are made: rounded to float16 they would fit z less well.
        kept = np.float32 if isinstance(module, FactorizedPrior) else np.float16
        for name, value in module.state_dict(prefix=f"{part}.").items():
            stored[name] = value.detach().cpu().numpy().astype(kept)
    return stored
