"""The subject of one evaluation: a bundle, the pictures to measure it on, and the pictures these must not resemble.

`flows.evaluate` makes a `Subject` of its parameters before it computes the stage's key: the bundle's id is part of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clc.bundle.extend import add_pictures
from clc.codec.codec import Codec
from clc.collection.patches import PatchReader
from clc.errors import InputError
from clc.evaluation.coders import TEST, WITHOUT_REFERENCES, CodecUnderTest
from clc.evaluation.measure import NATURAL, PAIR, PictureUnderTest
from clc.pictures.picture import Picture
from flows.evaluation.picture_sets import PictureSet
from flows.items import Item, read_items
from flows.runtime.stage import StageResult, resolve
from flows.runtime.workspace import Workspace
from storage.blobs import BlobStore
from storage.digest import digest_json
from storage.manifest import MANIFEST_NAME, read_manifest

_KEY = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The codec, the items to measure it on, the `known` items of its dictionary and training, and a count.

    `left_over` counts the evaluation items beyond the limit, which are not measured. `origin` says where the bundle is
    from, `folder` is its folder (None for the shipped one). `unreadable` are the pictures of a set, by name and reason,
    that cannot be decoded: each is a row that failed.
    """

    codec: Codec
    qualities: tuple[float, ...]
    dataset: str
    items: tuple[Item, ...]
    known: tuple[Item, ...]
    left_over: int
    origin: str = "from a folder"
    folder: Path | None = None
    unreadable: tuple[tuple[str, str], ...] = ()

    @property
    def bundle_id(self) -> str:
        """Id of the bundle under test, 16 hex digits."""
        return self.codec.bundle.bundle_id

    @property
    def coders(self) -> tuple[CodecUnderTest, CodecUnderTest]:
        """The codec as it is, and the same codec with its references switched off."""
        settings = f"bundle {self.bundle_id}, references"
        return (
            CodecUnderTest(self.codec, TEST, f"{settings} auto", self.qualities, "auto"),
            CodecUnderTest(self.codec, WITHOUT_REFERENCES, f"{settings} none", self.qualities, "none"),
        )

    @property
    def twins(self) -> tuple[Item, ...]:
        """The other views of the pair's scene, which the dictionary part holds."""
        return tuple(item for item in self.known if item.row == PAIR and item.part == "dictionary")

    def pair_coders(self, blobs: BlobStore, folder: Path) -> tuple[CodecUnderTest, CodecUnderTest]:
        """Return the codec with the pair's twins as key pictures, and the same codec with its references switched off.

        The bundle with the key pictures is written into `folder`, a new one, which the codec reads them from.
        """
        test, without = self.coders
        if not self.twins:
            return test, without
        reader = PatchReader(blobs)
        pictures = [reader.read(item.blob, item.rectangle) for item in self.twins]
        provenance = [
            {"name": item.name, "photo": item.photo, "source": item.source, "licence": item.licence}
            for item in self.twins
        ]
        add_pictures(self.codec.bundle.directory, folder, pictures, provenance)
        return replace(test, codec=Codec.load(folder)), without

    def pictures(self, blobs: BlobStore) -> list[PictureUnderTest]:
        """Return the pictures to evaluate, each read from the blob store when its turn comes."""
        reader = PatchReader(blobs)
        return [
            *(_loader(reader, item) for item in self.items),
            *(_failing(index, name, reason) for index, (name, reason) in enumerate(self.unreadable)),
        ]

    def blob_of(self, item_id: str) -> str | None:
        """Return the blob of an item, or None for a picture that cannot be read."""
        return next((item.blob for item in self.items if item.item_id == item_id), None)


def find_bundle(workspace: Workspace, bundle: str) -> Path | None:
    """Return a bundle's folder: by key of train-codec, "latest", "shipped" (None), or path. `InputError` if gone."""
    if bundle == "shipped":
        return None
    if bundle == "latest" or _KEY.fullmatch(bundle):
        return resolve(workspace, "train-codec", bundle).directory / "bundle"
    folder = Path(bundle).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f'no bundle folder at {folder}; name one, a key of train-codec, "latest" or "shipped"')
    return folder


def make_subject(
    workspace: Workspace,
    ingested: StageResult | None,
    folder: Path | None,
    ladder: tuple[float, ...],
    most_pictures: int,
    given: PictureSet | None = None,
) -> Subject:
    """Load the bundle and choose the pictures, those of `given` where there is such a set.

    `ingested` is a finished ingest-images, or None where `given` has the pictures and there is none; `folder` is a
    bundle (None for the shipped one), `ladder` the qualities. Of each row no more than `most_pictures` are taken, by
    the digest of their ids. `InputError` if none is left.
    """
    stored = read_items(ingested.directory) if ingested else []
    evaluated = list(given.items) if given else [item for item in stored if item.part == "evaluation"]
    if ingested and not evaluated:
        raise InputError(f"the ingest {ingested.key} has no evaluation pictures; run ingest-images on more pictures")
    chosen = [item for row in (NATURAL, PAIR) for item in first_items(evaluated, row, most_pictures)]
    trained_on = _ingest_of(folder)
    if trained_on is not None and (ingested is None or trained_on != ingested.key):
        stored += read_items(resolve(workspace, "ingest-images", trained_on).directory)
    known = [item for item in stored if item.part != "evaluation"]
    return Subject(
        codec=Codec.load(folder),
        qualities=ladder,
        dataset=given.label if given else _source_of(ingested),
        items=tuple(sorted(chosen, key=lambda item: (item.row, item.name))),
        known=tuple(known),
        left_over=len(evaluated) - len(chosen),
        origin=_origin(folder),
        folder=folder,
        unreadable=given.unreadable if given else (),
    )


def _source_of(ingested: StageResult | None) -> str:
    return str(ingested.manifest.summary.get("source", ingested.key)) if ingested else ""


def first_items(items: Sequence[Item], row: str, count: int) -> list[Item]:
    """Return `count` items of a row in an order that is arbitrary and the same on every machine."""
    return sorted((item for item in items if item.row == row), key=lambda item: digest_json(item.item_id))[:count]


def _ingest_of(folder: Path | None) -> str | None:
    """Return the key of the ingest that a bundle of `train-codec` was made from; None for bundles from elsewhere."""
    if folder is None or not (folder.parent / MANIFEST_NAME).is_file():
        return None
    return read_manifest(folder.parent, verify=False).inputs.get("ingest")


def _origin(folder: Path | None) -> str:
    """Say where a bundle is from."""
    if folder is None:
        return "which this release ships"
    is_trained = (folder.parent / MANIFEST_NAME).is_file()
    return f"trained by train-codec {folder.parent.name}" if is_trained else "from a folder"


def _failing(index: int, name: str, reason: str) -> PictureUnderTest:
    def load() -> Picture:
        raise InputError(reason)

    return PictureUnderTest(f"unreadable-{index:06d}", name, load)


def _loader(reader: PatchReader, item: Item) -> PictureUnderTest:
    return PictureUnderTest(item.item_id, item.name, lambda: reader.read(item.blob, item.rectangle), item.row)
