"""An archive as a folder: which file lies where, and how it is opened.

archive.json            the table (`clc.archive.table`)
archive.parquet         in its place, in an archive of very many pictures (`clc.archive.parquet`)
flight/0001.jpg.clc     the stream of flight/0001.jpg, under its own relative name
model/                  the bundle that decodes the streams, where it is not the shipped one or was asked for
.packing/               the state of packing, or of a change, that goes on or was interrupted
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from clc.archive import table
from clc.archive.manifest import NAME, PARQUET_NAME, ArchivedPicture, Manifest, check_of
from clc.archive.manifest import WORK_FOLDER as WORK_FOLDER
from clc.archive.pictures import ReferredPictures
from clc.archive.pixel_cache import PixelCache
from clc.codec.codec import Codec
from clc.codec.codecs import Codecs
from clc.codec.info import WAY_BYTES, promise_of, way_of
from clc.errors import ClcError, InputError, MissingReference, StorageError
from storage.atomic import write_bytes
from storage.regular import open_regular, read_regular

MODEL_FOLDER = "model"
LARGE = 50_000
"""Pictures above which the table is written as Parquet, where pyarrow is installed."""


class Archive:
    """An archive that is read. Raises `InputError` where a folder is none, `StorageError` for a damaged table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.take(read_manifest(folder))

    def take(self, manifest: Manifest) -> None:
        """Takes another table for this archive's, of which the file knows nothing; see `write_manifest`."""
        self.manifest = manifest
        self._by_id = manifest.by_id

    def codec(self, given: tuple[str | Path, ...] = (), device: str = "cpu", *, is_encoding: bool = False) -> Codec:
        """The codec of the archive's bundle: that in `model/`, else one of `given`, the shipped one or one in reach.

        One that encodes where that is asked for; `InputError` where all copies only decode.
        """
        inside, bundle_id = self.manifest.model_folder, self.manifest.model_id
        if not inside:
            return Codecs(given, device).with_id(bundle_id, is_encoding=is_encoding)
        try:
            return Codecs((self.folder / inside, *given), device).with_id(bundle_id, is_encoding=is_encoding)
        except ClcError as error:  # what the archive carries is lost; another copy has the same id, or is none
            try:
                return Codecs(given, device).with_id(bundle_id, is_encoding=is_encoding)
            except ClcError:
                raise error from None

    def referred(self, codec: Codec, cache: PixelCache | None = None) -> ReferredPictures:
        """The pictures that streams of this archive refer to; `cache` keeps them on disk."""
        return ReferredPictures(codec.decoder, self.stream_of, self.pixels_sha256_of, cache)

    def stream(self, picture: ArchivedPicture) -> bytes:
        """The bytes of a picture's stream. Raises `StorageError` where they are missing or others than were packed."""
        path = self.folder / picture.stream
        try:
            data = read_regular(path, picture.bytes)
        except OSError as error:
            raise StorageError(f"{picture.stream}: {error.strerror}; get the file again") from error
        if check_of(data) != picture.check:
            raise StorageError(f"{picture.stream}: is another file than was packed, or damaged; get it again")
        return data

    def way_of(self, picture: ArchivedPicture) -> str:
        """By which way a picture is coded, as `clc.codec.info.StreamInfo.mode` says; "" where its file tells none."""
        try:
            return way_of(self._start(picture))
        except (OSError, ClcError):
            return ""

    def promised_error_of(self, picture: ArchivedPicture) -> int | None:
        """By how many levels a sample of a picture is off at most, 0 without loss; None where nothing was promised.

        None, too, where its file tells nothing.
        """
        try:
            return promise_of(self._start(picture))
        except (OSError, ClcError):
            return None

    def promised_error(self) -> int | None:
        """By how many levels a sample of any picture is off at most, where that was promised of all; else None."""
        most = -1
        for picture in self.manifest.pictures:
            promised = self.promised_error_of(picture)
            if promised is None:
                return None
            most = max(most, promised)
        return None if most < 0 else most

    def _start(self, picture: ArchivedPicture) -> bytes:
        with open_regular(self.folder / picture.stream) as file:
            return file.read(WAY_BYTES)

    def stream_of(self, reference: bytes) -> bytes:
        """The stream of an id. Raises `MissingReference` where the archive has none."""
        return self.stream(self._picture(reference))

    def pixels_sha256_of(self, reference: bytes) -> str:
        """The digest of the pixels of a stream that others refer to."""
        return self._picture(reference).pixels_sha256

    def _picture(self, reference: bytes) -> ArchivedPicture:
        picture = self._by_id.get(reference.hex())
        if picture is None:
            raise MissingReference(f"the archive holds no stream {reference.hex()}, to which another one refers")
        return picture

    @property
    def table_name(self) -> str:
        """The name of the file that is the table."""
        return _table_name(self.folder)

    @property
    def bytes_of_all(self) -> int:
        """The size of the archive: streams, the table as it lies there, and model."""
        model = self.folder / self.manifest.model_folder if self.manifest.model_folder else None
        in_model = [path.stat().st_size for path in model.rglob("*") if path.is_file()] if model else []
        of_table = (self.folder / self.table_name).stat().st_size
        return sum(picture.bytes for picture in self.manifest.pictures) + of_table + sum(in_model)


def read_manifest(folder: Path) -> Manifest:
    """The table of the archive in a folder; raises as `Archive`, and `MissingExtra` for Parquet without pyarrow."""
    name, data = _table(folder)
    try:
        return _read(name, data)
    except StorageError as error:
        raise StorageError(f"{folder / name}: {error}") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the table; it is whole under its name at every moment.

    An archive that had Parquet once keeps it, so that where a writer was killed between the two, Parquet is the newer
    one. The other one goes then, unless it is none of ours.
    """
    name, data = table_of(manifest, is_parquet=_table_name(folder) == PARQUET_NAME)
    write_bytes(folder / name, data)
    if name == NAME:
        return
    if os.path.lexists(folder / NAME):
        _forget_json(folder, manifest)


def table_of(manifest: Manifest, *, is_parquet: bool = False) -> tuple[str, bytes]:
    """The name of an archive's table and its bytes; JSON, unless it is large or asked to be Parquet."""
    if not is_parquet and (len(manifest.pictures) <= LARGE or importlib.util.find_spec("pyarrow") is None):
        return NAME, table.written(manifest)
    from clc.archive import parquet

    return PARQUET_NAME, parquet.written(manifest)


def _forget_json(folder: Path, manifest: Manifest) -> None:
    """Removes an `archive.json` that Parquet took the place of; what else bears its name is left."""
    try:
        is_ours = table.read(read_regular(folder / NAME, table.MAX_BYTES)).model_id == manifest.model_id
    except (OSError, StorageError):
        return
    if is_ours:
        (folder / NAME).unlink()


def _table_name(folder: Path) -> str:
    return PARQUET_NAME if os.path.lexists(folder / PARQUET_NAME) else NAME


def _table(folder: Path) -> tuple[str, bytes]:
    """The name of the table in a folder, and its bytes."""
    missing = OSError()
    for _ in range(2):  # a writer may have put Parquet in the place of JSON between look and reading
        name = _table_name(folder)
        try:
            return name, read_regular(folder / name, table.MAX_BYTES)
        except FileNotFoundError as error:
            missing = error
        except OSError as error:
            raise StorageError(f"{folder / name}: {error.strerror}; get the archive again") from error
    raise InputError(f"{folder}: is no archive ({_what_lies_in(folder)})") from missing


def _read(name: str, data: bytes) -> Manifest:
    if name == NAME:
        return table.read(data)
    from clc.archive import parquet

    return parquet.read(data)


def _what_lies_in(folder: Path) -> str:
    if not folder.exists():
        return "there is no such folder"
    if not folder.is_dir():
        return "it is a file"
    if (folder / WORK_FOLDER).is_dir():
        return "packing it was interrupted early; run the same `clc pack` again"
    name = _table_name(folder)
    return f"it has no {name}" if name == NAME else f"{name} is a link to nothing"
