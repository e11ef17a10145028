"""The bundle: everything that a decoder needs beside a stream, as a folder that never changes.

    manifest.json             format, model configuration, sizes and sha256 of the files below; the parent's id and
                              lines about the training pictures, where they are known; canonical JSON
    transforms.safetensors    g_a, g_s, h_a, gains, C in float16, the prior of z in float32; the same of a
                              self-generated prior, where the model has one
    prior.safetensors         the exact prior: int16 weights with shifts, int32 biases and tables
    tables.safetensors        the CDF tables, the tables of exponentials and of powers of two, int32; the weights of the
                              post-filter, float16
    dictionary.safetensors    int8 tokens of the K entries, their keys, and the reduction that made the keys
    entries.json              the provenance of each entry
    pictures/NNNN.webp        the key picture of entry NNNN, where it has one (`clc.references.key_pictures`); NNNN.png
                              where it is too wide or high for WebP

Written by `clc.bundle.export` and `clc.bundle.extend`; read by `clc.codec` and, to start from its weights, by
`clc.training.train`. The first 8 bytes of the manifest's sha256 are the bundle's id, which every stream names. The
contract: a bundle of one id is the same to the byte everywhere, and nothing that is read is trusted: hashes, shapes and
the bound of every exact layer are checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from clc.bitstream.range_coder import CdfTable
from clc.bundle.decoder_bundle import (
    ENCODER_ONLY,
    is_left_out,
    nothing_of,
    read_reduced,
)
from clc.bundle.identity import (
    ENTRIES,
    FORMAT,
    MANIFEST,
    VERSION,
    VERSION_WITH_PNG,
    VERSION_WITH_SELF_PRIOR,
    checked_bytes,
    file_of,
    id_of,
    is_decoder_bundle,
    most_bytes_of,
    only_decodes,
    parse_manifest,
    read_manifest_bytes,
)
from clc.bundle.identity import PARTS as PARTS
from clc.bundle.identity import SHIPPED as SHIPPED
from clc.errors import DictionaryMismatch, InputError, StorageError
from clc.exact.functions import GridExp2, GridSoftmax
from clc.exact.layers import GridConv2d, GridTable
from clc.limits import MAX_DICTIONARY_ENTRIES
from clc.model.model import Model, ModelConfig, make_prior
from clc.model.post_filter import LARGEST_WEIGHT, TAPS, WEIGHTS_SHAPE, PostFilter
from clc.model.prior.matching import TOKEN_BITS
from clc.model.prior.prior import Prior
from clc.model.prior.slices import SCALE_LEVELS
from clc.references.key_pictures import WEBP, KeyPicture, key_pictures_from_json, key_pictures_to_json
from clc.retrieval.pca import Reduction
from storage.arrays import read_arrays, write_arrays
from storage.atomic import write_bytes
from storage.digest import canonical_json, sha256_file

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class BundleEntries:
    """The dictionary of a bundle: K entries with N tokens of T values and a key of D values each.

    `tokens` int8 (K, N, T), in q4; `keys` float32 (K, D), which `reduction` makes of descriptors. `provenance` has one
    object an entry. `pictures` are the key pictures of entries that have one, by entry: only these can be aligned.
    """

    tokens: npt.NDArray[np.int8]
    keys: npt.NDArray[np.float32]
    reduction: Reduction
    provenance: list[dict[str, str]]
    pictures: Mapping[int, KeyPicture]

    def __len__(self) -> int:
        return len(self.tokens)

    def missing_picture(self) -> Path | None:
        """The path of a key picture that is not there, or has another size than is stated; None where all are there.

        The files are looked at and not read, so that opening a bundle stays quick.
        """
        return next((picture.path for picture in self.pictures.values() if not picture.is_there()), None)

    def conditioning(self, references: tuple[int, ...]) -> Tensor:
        """The tokens of the entries that a stream names, one after the other: float64 (1, R N, T), for R entries.

        Raises `DictionaryMismatch` for an index beyond the dictionary.
        """
        if any(index >= len(self) for index in references):
            raise DictionaryMismatch(f"the stream names entry {max(references)} of {len(self)}")
        chosen = self.tokens[list(references)].astype(np.float64) / (1 << TOKEN_BITS)
        return torch.from_numpy(chosen.reshape(1, -1, self.tokens.shape[2]))


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle in memory. `bundle_id` is 16 hex digits; `model` computes in float32, `prior` is its exact prior."""

    directory: Path
    bundle_id: str
    config: ModelConfig
    model: Model
    prior: Prior
    table: CdfTable
    entries: BundleEntries
    postfilter: PostFilter | None
    encodes: bool = True
    """Whether it has all that an encoder needs, or is a decoder's bundle (`clc.bundle.decoder_bundle`)."""

    @property
    def id_bytes(self) -> bytes:
        """The bundle's id as the 8 bytes in a stream."""
        return bytes.fromhex(self.bundle_id)

    def refuse_unless_whole(self) -> None:
        """Raises `InputError` where this is a decoder's bundle: who encodes, extends or trains calls it first."""
        if not self.encodes:
            raise only_decodes(self.bundle_id, self.directory)

    def state(self) -> dict[str, Tensor]:
        """A copy of the state dict of `model`, to start training from; `InputError` for a decoder's bundle."""
        self.refuse_unless_whole()
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    @classmethod
    def load(cls, directory: Path | None = None) -> Bundle:
        """Reads and checks a bundle, by default the shipped one; a decoder's bundle as well as a whole one.

        Raises `InputError` when there is no bundle in the folder, and `StorageError` for one that is damaged, malformed
        or of another version.
        """
        directory = directory or SHIPPED
        manifest_bytes = read_manifest_bytes(directory)
        manifest, bundle_id = parse_manifest(manifest_bytes, directory), id_of(manifest_bytes)
        encodes = not is_decoder_bundle(directory)
        try:
            reduced = {} if encodes else {name: read_reduced(directory, name, bundle_id) for name in ENCODER_ONLY}
            parts = {name: reduced.get(name) or _read_part(directory, name, manifest) for name in PARTS}
            config = ModelConfig.from_json(manifest["model"])
            model, prior = _restore(config, parts, is_reduced=not encodes)
            if not encodes:
                parts["dictionary"] = {**nothing_of(parts["dictionary"]["tokens"]), **parts["dictionary"]}
                _leave_out(model, only_decodes(bundle_id, directory))
            provenance = json.loads(checked_bytes(directory, ENTRIES, manifest))
            pictures = key_pictures_from_json(directory, manifest["pictures"])
            table, entries = _restore_table(parts["tables"]), _restore_entries(parts, provenance, pictures, config)
            postfilter = _restore_postfilter(parts["tables"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise StorageError(f"the bundle in {directory} is malformed: {error}; export it again") from error
        if table.n_tables - 2 * config.hyper - config.self_prior not in (
            SCALE_LEVELS,
            SCALE_LEVELS * config.first_phases,
        ):
            raise StorageError(f"the bundle in {directory} has {table.n_tables} tables; export it again")
        return cls(directory, bundle_id, config, model, prior, table, entries, postfilter, encodes)


@dataclass(frozen=True)
class Origin:
    """What a bundle was made from: the id of its `parent`, if any, and lines about the pictures it was trained on."""

    parent: str = ""
    training: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields of the manifest; those that are empty are left out."""
        fields = {"parent": self.parent, "training": list(self.training)}
        return {name: value for name, value in fields.items() if value}


def write_bundle(
    directory: Path,
    config: ModelConfig,
    parts: Mapping[str, Arrays],
    provenance: list[dict[str, str]],
    pictures: Mapping[int, KeyPicture],
    origin: Origin | None = None,
) -> str:
    """Writes the files of a bundle, the manifest last, and returns the bundle's id, 16 hex digits.

    `parts` holds the arrays of each of `PARTS`. The files of `pictures` are in the folder already. `origin` is what the
    manifest says of the bundle's making.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        write_arrays(directory / file_of(name), dict(parts[name]), None)
    write_bytes(directory / ENTRIES, canonical_json(provenance))
    names = [*map(file_of, PARTS), ENTRIES]
    files = {n: {"sha256": sha256_file(directory / n), "bytes": (directory / n).stat().st_size} for n in names}
    described = {"model": config.to_json(), "files": files, "pictures": key_pictures_to_json(pictures)}
    made_of = origin.to_json() if origin else {}
    version = VERSION if all(picture.kind == WEBP for picture in pictures.values()) else VERSION_WITH_PNG
    version = VERSION_WITH_SELF_PRIOR if config.self_prior else version
    manifest = canonical_json({"format": FORMAT, "version": version, **described, **made_of})
    write_bytes(directory / MANIFEST, manifest)
    return id_of(manifest)


def float_parts(model: Model) -> dict[str, nn.Module]:
    """The parts of a model that a bundle stores in floating point, by name: all but the prior."""
    return {name: part for name, part in model.named_children() if part is not model.prior}


def exact_layers(prior: Prior) -> dict[str, GridConv2d | GridTable]:
    """The layers of a prior whose parameters a bundle stores as integers, by name."""
    return {name: m for name, m in prior.named_modules() if isinstance(m, GridConv2d | GridTable)}


def _read_part(directory: Path, part: str, manifest: dict[str, Any]) -> Arrays:
    name = file_of(part)
    return read_arrays(directory / name, manifest["files"][name]["sha256"], most_bytes_of(name, manifest))


class _LeftOut(nn.Module):
    """In the place of a module that a decoder's bundle lacks; running it raises the error."""

    def __init__(self, error: InputError) -> None:
        super().__init__()
        self._error = error

    def forward(self, *_: object, **__: object) -> Tensor:
        raise self._error


def _leave_out(model: Model, error: InputError) -> None:
    """Replaces what has no weights, so that no random ones are ever run."""
    for name in ENCODER_ONLY["transforms"]:
        within, _, last = name.rpartition(".")
        owner = model if not within else getattr(model, within)
        if getattr(owner, last, None) is not None:
            setattr(owner, last, _LeftOut(error))


def _restore(config: ModelConfig, parts: Mapping[str, Arrays], *, is_reduced: bool) -> tuple[Model, Prior]:
    model, prior = Model(config), make_prior(config, is_exact=True)
    transforms = {name: torch.from_numpy(array.astype(np.float32)) for name, array in parts["transforms"].items()}
    stored = {f"{part}.{name}" for part, module in float_parts(model).items() for name in module.state_dict()}
    missing = stored - set(transforms)
    if is_reduced:
        missing = {name for name in missing if not is_left_out("transforms", name)}
    if missing:
        raise StorageError(f"the transforms lack {min(missing)}")
    model.load_state_dict(transforms, strict=False)
    integers: dict[str, dict[str, Tensor]] = {}
    for name, array in parts["prior"].items():
        layer_name, _, part = name.rpartition(".")
        integers.setdefault(layer_name, {})[part] = torch.from_numpy(array)
    for target in (prior, model.prior):
        for name, layer in exact_layers(target).items():
            layer.load_integers(**integers.get(name, {}))
    tables = {name: torch.from_numpy(parts["tables"][name]) for name in ("exponentials", "powers_of_two")}
    for module in prior.modules():
        if isinstance(module, GridSoftmax):
            module.load_integers(tables["exponentials"])
        elif isinstance(module, GridExp2):
            module.load_integers(tables["powers_of_two"])
    for module in (model, prior):
        module.eval().requires_grad_(False)
    return model, prior


def flatten_table(table: CdfTable) -> dict[str, npt.NDArray[np.int32]]:
    """A CDF table without its padding: rows one after the other."""
    rows = [table.cdf[t, : table.lengths[t]] for t in range(table.n_tables)]
    return {"cdf": np.concatenate(rows), "lengths": table.lengths, "offsets": table.offsets}


def _restore_table(arrays: Arrays) -> CdfTable:
    lengths = arrays["lengths"].astype(np.int64)
    if lengths.ndim != 1 or not len(lengths) or lengths.min() < 1 or lengths.sum() != len(arrays["cdf"]):
        raise StorageError("the lengths of the CDF tables do not fit their values")
    cdf = np.zeros((len(lengths), int(lengths.max())), dtype=np.int32)
    for row, values in zip(cdf, np.split(arrays["cdf"], np.cumsum(lengths)[:-1]), strict=True):
        row[: len(values)] = values
    return CdfTable(cdf, arrays["lengths"], arrays["offsets"])


def _restore_postfilter(arrays: Arrays) -> PostFilter | None:
    if "postfilter" not in arrays:
        return None
    weights = torch.from_numpy(arrays["postfilter"].astype(np.float32))
    if tuple(weights.shape) == (*WEIGHTS_SHAPE[:-1], len(TAPS)):
        weights = torch.cat([weights, torch.zeros_like(weights)], dim=-1)
    if tuple(weights.shape) != WEIGHTS_SHAPE or not bool((weights.abs() <= LARGEST_WEIGHT).all()):
        raise StorageError(f"the post-filter's weights are {tuple(weights.shape)}, or not within +-{LARGEST_WEIGHT}")
    return PostFilter(weights)


def _restore_entries(
    parts: Mapping[str, Arrays],
    provenance: list[dict[str, str]],
    pictures: Mapping[int, KeyPicture],
    config: ModelConfig,
) -> BundleEntries:
    arrays = parts["dictionary"]
    tokens, keys = arrays["tokens"], arrays["keys"].astype(np.float32)
    fits = tokens.dtype == np.int8 and tokens.ndim == 3 and tokens.shape[2] == config.token
    if not fits or len(keys) != len(tokens) or len(provenance) != len(tokens):
        raise StorageError("the dictionary's tokens, keys and provenance do not fit together")
    if any(entry >= len(tokens) for entry in pictures):
        raise StorageError(f"a key picture belongs to entry {max(pictures)}, but there are {len(tokens)}")
    if len(tokens) > MAX_DICTIONARY_ENTRIES:
        raise StorageError(f"the dictionary has {len(tokens)} entries, at most {MAX_DICTIONARY_ENTRIES} can be named")
    names = ("mean", "components", "variances")
    reduction = Reduction.from_arrays({name: arrays[name].astype(np.float32) for name in names})
    return BundleEntries(tokens, keys, reduction, provenance, pictures)
