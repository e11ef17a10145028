"""Which models are within reach, and which released ones are not: what `clc models` shows.

Manifests are read and files are looked at, as far as their sizes; whether each is sound to the byte shows when a bundle
is opened. Read without torch.
"""

from __future__ import annotations

import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clc.bundle.decoder_bundle import files_of
from clc.bundle.identity import is_decoder_bundle, parse_manifest, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.bundle.released import ReleasedModel, read_register, where_to_get
from clc.errors import ClcError, StorageError
from clc.references.key_pictures import key_pictures_from_json

ENCODES, DECODES, ABSENT, UNUSABLE = "encodes and decodes", "decodes only", "not here", "cannot be used"
"""What a model is good for here."""


@dataclass(frozen=True)
class ListedModel:
    """A model and one place where it lies.

    `release` is the release that shipped it, "" for one of the user's own; `folder` is "" where it is not within reach,
    and `n_bytes` what the files of the bundle take. `use` is one of `ENCODES`, `DECODES`, `ABSENT` and `UNUSABLE`;
    `note` says what is wrong, or who has it. `left_out` names what a decoder's bundle lacks, by file.
    """

    bundle_id: str
    release: str
    folder: str
    n_bytes: int
    use: str
    licence: str
    note: str
    left_out: dict[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; `n_bytes` is called `bytes`."""
        fields = asdict(self)
        fields["bytes"] = fields.pop("n_bytes")
        return fields


def inventory(shelf: Shelf) -> list[ListedModel]:
    """Return each copy of each model within reach, in the order in which they are found, then absent released ones."""
    register, listed = read_register(), []
    for bundle_id, folder in ((one.bundle_id, one.folder) for one in shelf.everywhere()):
        listed.append(_at(bundle_id, folder, register.find(bundle_id), register.release_of(bundle_id) or ""))
    there = {one.bundle_id for one in listed}
    for model in register.models:
        if model.bundle_id not in there:
            note = where_to_get(model.bundle_id).strip()
            listed.append(ListedModel(model.bundle_id, model.release, "", 0, ABSENT, model.licence, note, {}))
    return listed


def _at(bundle_id: str, folder: Path, model: ReleasedModel | None, release: str) -> ListedModel:
    """A model in a folder. What cannot be read there is its note."""
    licence, is_reduced = model.licence if model else "", is_decoder_bundle(folder)
    use, n_bytes, note = DECODES if is_reduced else ENCODES, 0, ""
    try:
        n_bytes = _checked_size(folder)
    except ClcError as error:
        use, note = UNUSABLE, str(error)
    except (KeyError, TypeError, ValueError) as error:
        use, note = UNUSABLE, f"the bundle in {folder} is malformed: {error}"
    left_out = dict(model.left_out) if model and is_reduced else {}
    return ListedModel(bundle_id, release, str(folder), n_bytes, use, licence, note, left_out)


def _checked_size(folder: Path) -> int:
    """The bytes of a bundle's files. Raises `StorageError` where one is missing or of another size."""
    data = read_manifest_bytes(folder)
    files = {folder / name: size for name, size in files_of(folder).items()}
    pictures = key_pictures_from_json(folder, parse_manifest(data, folder)["pictures"])
    files |= {picture.path: picture.file_bytes for picture in pictures.values()}
    for path, size in files.items():
        try:
            status = path.stat()
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; get the bundle again") from error
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise StorageError(f"{path} is not the file of {size} bytes that the bundle names; get the bundle again")
    return len(data) + sum(files.values())
