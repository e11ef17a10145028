"""A decoder's bundle: what decoding needs of a released bundle, without what only an encoder needs.

    the whole bundle             the decoder's bundle
    manifest.json                the same file, so the same id
    prior, tables, entries.json  the same files, checked against the manifest
    pictures/                    the same files, checked against the manifest
    transforms.safetensors       transforms.decoder.safetensors: g_s and gains, without `ENCODER_ONLY`
    dictionary.safetensors       dictionary.decoder.safetensors: the tokens, without keys and what makes keys
    selftest.json, *.clc         the same files

`clc models keep` makes one, `clc.bundle.bundle` reads it. The manifest has digests of whole files, which say nothing of
a file that lacks some arrays. So what replaces a file is checked against the digests in the register of the package
(`clc.bundle.released`), and a bundle that no release shipped has no decoder's bundle: it is kept whole. The contract:
it decodes every stream of the whole bundle to the same pixels, to the bit, or it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clc.bundle.identity import (
    ENTRIES,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    PARTS,
    SELFTEST_STREAMS,
    checked_bytes,
    file_of,
    id_of,
    is_decoder_bundle,
    most_bytes_of,
    parse_manifest,
    read_manifest_bytes,
    reduced_file_of,
)
from clc.bundle.released import PinnedFile, Register, ReleasedModel, read_register
from clc.errors import InputError, StorageError
from clc.limits import MAX_BUNDLE_FILE_BYTES
from clc.references.key_pictures import key_pictures_from_json
from storage.arrays import read_arrays, write_arrays
from storage.atomic import staging_directory, write_bytes
from storage.digest import sha256_file
from storage.regular import read_regular

Arrays = Mapping[str, npt.NDArray[Any]]

ENCODER_ONLY = {
    "transforms": (
        *("compress_tokens", "g_a", "h_a", "p_prior", "self_prior.source", "self_prior.to_g_a"),
        *("z_prior", "z_prior_aligned"),
    ),
    "dictionary": ("components", "keys", "mean", "variances"),
}
"""What decoding never reads, by part: modules of the model, and arrays of the dictionary."""

_WHOLE_FILES = (file_of("prior"), file_of("tables"), ENTRIES)
_SELFTEST = (*SELFTEST_STREAMS, "selftest.json")


def is_left_out(part: str, name: str) -> bool:
    """Whether a decoder's bundle lacks an array of a part."""
    return any(_is_within(name, one) for one in ENCODER_ONLY.get(part, ()))


def read_reduced(directory: Path, part: str, bundle_id: str) -> Arrays:
    """Return the arrays of a part of `ENCODER_ONLY` from a decoder's bundle.

    Raises `StorageError` unless the file is, to the byte, the one that the register names for this bundle.
    """
    name = reduced_file_of(part)
    pinned = _released(bundle_id, directory).decoder.get(name)
    if pinned is None:
        raise StorageError(f"the register of released models does not name {name} of bundle {bundle_id}")
    return read_arrays(directory / name, pinned.sha256, min(pinned.n_bytes, MAX_BUNDLE_FILE_BYTES))


def files_of(directory: Path) -> dict[str, int]:
    """Return the files that the bundle in a folder must have, without key pictures, with their sizes in bytes.

    Of a decoder's bundle those of the register. Raises what `parse_manifest` raises, and `StorageError` for a decoder's
    bundle that no release shipped.
    """
    data = read_manifest_bytes(directory)
    files = parse_manifest(data, directory)["files"]
    sizes = {name: int(files[name]["bytes"]) for name in (*map(file_of, PARTS), ENTRIES)}
    if is_decoder_bundle(directory):
        for part in ENCODER_ONLY:
            sizes.pop(file_of(part))
        sizes |= {name: pinned.n_bytes for name, pinned in _released(id_of(data), directory).decoder.items()}
    return sizes


def keep(source: Path, out: Path, register: Register | None = None) -> str:
    """Write the decoder's bundle of the released bundle in `source` into the new folder `out`; returns its id.

    `register` is the package's by default. Every file of `source` is checked while it is read. Raises `InputError` for
    a bundle that no release shipped, for one that only decodes, and where there is none; `StorageError` where one is
    damaged, `out` exists, or the disk refuses.
    """
    data = read_manifest_bytes(source)
    manifest, bundle_id = parse_manifest(data, source), id_of(data)
    if is_decoder_bundle(source):
        raise InputError(f"{source} is a decoder's bundle already; copy it as it is")
    model = (register or read_register()).find(bundle_id)
    if model is None:
        raise InputError(
            f"bundle {bundle_id} is of no release that this one knows: only a released bundle has a decoder's bundle, "
            "because the package says what its files must be. Keep this one whole: copy its folder"
        )
    with staging_directory(out) as folder:
        if write_reduced(source, manifest, folder).files != model.decoder:
            raise StorageError(
                f"what is made of {source} is not the decoder's bundle of release {model.release}: another version of "
                "safetensors may have written it; use the one in constraints.txt"
            )
        _copy_whole(source, manifest, folder)
        write_bytes(folder / MANIFEST, data)
    return bundle_id


class Reduced(NamedTuple):
    """What replaces files of a whole bundle, by name, and what it lacks, by the name of the file that it replaces."""

    files: dict[str, PinnedFile]
    left_out: dict[str, tuple[str, ...]]


def write_reduced(source: Path, manifest: dict[str, Any], folder: Path) -> Reduced:
    """Write into a folder what replaces files of the whole bundle in `source`, which are checked against its manifest.

    Raises `StorageError`.
    """
    made = Reduced({}, {})
    for part, names in ENCODER_ONLY.items():
        whole, path = file_of(part), folder / reduced_file_of(part)
        arrays = read_arrays(source / whole, manifest["files"][whole]["sha256"], most_bytes_of(whole, manifest))
        write_arrays(path, {name: array for name, array in arrays.items() if not is_left_out(part, name)})
        made.files[path.name] = PinnedFile(path.stat().st_size, sha256_file(path))
        made.left_out[whole] = tuple(one for one in names if any(_is_within(name, one) for name in arrays))
    return made


def _copy_whole(source: Path, manifest: dict[str, Any], folder: Path) -> None:
    """Copy the files that both bundles have, but the manifest; each is checked where the manifest says what it is."""
    for name in _WHOLE_FILES:
        write_bytes(folder / name, checked_bytes(source, name, manifest))
    for picture in key_pictures_from_json(source, manifest["pictures"]).values():
        picture.read()  # raises where the pixels are others
        write_bytes(folder / picture.path.relative_to(source), picture.file_data())
    for name in _SELFTEST:
        try:
            write_bytes(folder / name, read_regular(source / name, MAX_MANIFEST_BYTES))
        except OSError as error:
            raise StorageError(f"{source / name}: {error.strerror}; get the bundle again") from error


def nothing_of(tokens: npt.NDArray[np.int8]) -> dict[str, npt.NDArray[np.float32]]:
    """Return arrays in the place of those that the dictionary of a decoder's bundle lacks: of no values."""
    empty = np.zeros((0, 0), np.float32)
    flat = np.zeros(0, np.float32)
    return {"keys": np.zeros((len(tokens), 0), np.float32), "components": empty, "mean": flat, "variances": flat}


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")


def _released(bundle_id: str, directory: Path) -> ReleasedModel:
    model = read_register().find(bundle_id)
    if model is None:
        raise StorageError(
            f"{directory} holds a decoder's bundle, {bundle_id}, of no release that this one knows, so that its files "
            "cannot be checked; use a later release, or the whole bundle"
        )
    return model
