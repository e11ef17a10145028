"""Released models: which release shipped which bundle, and what its decoder's bundle consists of.

`clc/assets/released/models.json` is the one register of them. Every bundle that a release shipped, from 0.16.0 on,
stands there with its id, so that no later release forgets it: beside the register lie the decoder's bundles
(`clc.bundle.decoder_bundle`) of those that are shipped no longer, and packages of models may carry others. The register
also holds the SHA-256 of each file of a decoder's bundle that the bundle's own manifest does not name. Read without
torch; nothing here loads or runs anything from a folder of models.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clc.bundle.identity import SHIPPED
from clc.errors import StorageError
from storage.atomic import write_bytes
from storage.regular import read_regular

RELEASED = SHIPPED.parent / "released"
"""Folder in the package with the decoder's bundles of former releases, each named by its id."""
REGISTER = RELEASED / "models.json"
PACKAGES = "clc_codec_models"
"""Folder, wherever Python looks for packages, into which packages of models put theirs. It holds no code."""

_MOST_BYTES = 2**20


class PinnedFile(NamedTuple):
    """What a file must be: its size in bytes and its SHA-256, 64 hex digits."""

    n_bytes: int
    sha256: str


@dataclass(frozen=True)
class ReleasedModel:
    """A bundle that a release shipped.

    `decoder` holds the files of its decoder's bundle that replace files of the whole one, by name; `left_out` the names
    of what these lack, by the file that they replace. `golden` is the SHA-256 of the exact pixels, uint8 row by row, of
    each golden stream, by the stream's file name.
    """

    bundle_id: str
    release: str
    licence: str
    decoder: Mapping[str, PinnedFile]
    left_out: Mapping[str, tuple[str, ...]]
    golden: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The row of the register; the inverse of `from_json`."""
        return {
            "id": self.bundle_id,
            "release": self.release,
            "licence": self.licence,
            "decoder": {name: {"bytes": n, "sha256": sha256} for name, (n, sha256) in self.decoder.items()},
            "left_out": {name: list(parts) for name, parts in self.left_out.items()},
            "golden": dict(self.golden),
        }

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> ReleasedModel:
        """The model of a row. Raises `KeyError`, `TypeError` or `ValueError` for one that lacks something."""
        return ReleasedModel(
            bundle_id=str(row["id"]),
            release=str(row["release"]),
            licence=str(row["licence"]),
            decoder={name: PinnedFile(int(of["bytes"]), str(of["sha256"])) for name, of in row["decoder"].items()},
            left_out={name: tuple(map(str, parts)) for name, parts in row["left_out"].items()},
            golden={name: str(sha256) for name, sha256 in row["golden"].items()},
        )


@dataclass(frozen=True)
class Register:
    """All released models in the order of their releases, and the releases of `earlier` ones, by id.

    Of the earlier ones, before 0.16.0, nothing but the release is known: no later one carries them.
    """

    models: tuple[ReleasedModel, ...]
    earlier: Mapping[str, str]

    def find(self, bundle_id: str) -> ReleasedModel | None:
        """The released model with an id, 16 hex digits; None where there is none."""
        return next((model for model in self.models if model.bundle_id == bundle_id), None)

    def release_of(self, bundle_id: str) -> str | None:
        """The release that shipped a bundle first, "0.16.0"; None where no release did."""
        model = self.find(bundle_id)
        return model.release if model else self.earlier.get(bundle_id)

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return {"models": [model.to_json() for model in self.models], "earlier": dict(self.earlier)}


def read_register(path: Path | None = None) -> Register:
    """Return the register, by default the package's. Raises `StorageError` where it is missing or damaged."""
    return _read(path or REGISTER)


def write_register(path: Path, register: Register) -> None:
    """Write a register in one step. Raises `StorageError`."""
    write_bytes(path, (json.dumps(register.to_json(), indent=1) + "\n").encode())
    _read.cache_clear()


@lru_cache(4)
def _read(path: Path) -> Register:
    try:
        fields = json.loads(read_regular(path, _MOST_BYTES))
        models = tuple(map(ReleasedModel.from_json, fields["models"]))
        earlier = {str(bundle_id): str(release) for bundle_id, release in fields["earlier"].items()}
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}; install the package again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged: {error!r}; install the package again") from error
    if len({model.bundle_id for model in models}) < len(models):
        raise StorageError(f"{path} is damaged: it names a model twice; install the package again")
    return Register(models, earlier)


def package_folders() -> list[Path]:
    """Return the folders into which packages of models were installed, in Python's order; no code of them is run."""
    try:
        found = importlib.util.find_spec(PACKAGES)
    except (ImportError, ValueError):
        return []
    return [Path(folder) for folder in (found and found.submodule_search_locations) or ()]


def folders() -> list[Path]:
    """Return the folders that may hold models of former releases, in the order in which they are searched."""
    return [RELEASED, *package_folders()]


def where_to_get(bundle_id: str) -> str:
    """Return a sentence about a bundle that is not within reach, and a space: which release has it; "" for none."""
    register = read_register()
    if register.find(bundle_id) is not None:
        return (
            f"It is the model of release {register.release_of(bundle_id)}: the package clc-codec-model-{bundle_id} "
            "carries it (docs/bundles.md says how that is built), and so does clc/assets/shipped of that release. "
        )
    if release := register.release_of(bundle_id):
        return f"It is the model of release {release}, which no later one carries: take its clc/assets/shipped. "
    return ""
