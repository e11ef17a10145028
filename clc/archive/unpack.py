"""Pictures out of an archive, and whether it is whole.

`unpack` decodes pictures, each with as few other streams as it depends on. `verify` decodes all, compares every digest
that the table holds, and says which pictures are lost with a damaged one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby

from clc.archive.layout import Archive
from clc.archive.manifest import WORK_FOLDER, ArchivedPicture, Manifest
from clc.archive.pixel_cache import PixelCache
from clc.bitstream.container import parse_with_fields, stream_id
from clc.codec.beside import DecodedPicture, with_beside
from clc.codec.codec import Codec
from clc.errors import ClcError, CorruptStream, DecodeMismatch, InputError
from storage.digest import sha256_bytes


class ArchiveReader:
    """Decodes the pictures of an archive with one codec; the pictures that others refer to are decoded once."""

    def __init__(self, archive: Archive, codec: Codec, cache: PixelCache | None = None) -> None:
        """`cache` keeps the pictures that others refer to on disk, for the next reader."""
        self.archive = archive
        self.referred = archive.referred(codec, cache)
        self._codec = codec.beside(self.referred)

    def decode(self, picture: ArchivedPicture) -> DecodedPicture:
        """A picture of the archive, uint8 (H, W, 3), with its transparency, EXIF and XMP.

        One that others refer to has its exact pixels. Raises `StorageError` where a file is missing or another one, and
        a `BitstreamError` as `clc.codec.codec.Codec.decode_picture` does.
        """
        data = self.archive.stream(picture)
        if stream_id(data).hex() != picture.id:
            name = self.archive.table_name
            raise CorruptStream(f"{picture.stream}: is another stream than {name} says: get the archive again")
        if not picture.pixels_sha256:
            return self._codec.decode_picture(data)
        exact = self.referred.read(bytes.fromhex(picture.id))
        return with_beside(exact, parse_with_fields(data).stream.sections)


def named(archive: Archive, names: Sequence[str]) -> list[ArchivedPicture]:
    """The pictures that some names or patterns (`*`, `?`) mean, all without any, in an order fit for decoding.

    A name is that of the source or of the stream, or a folder of them. Raises `InputError` for one that means none.
    """
    in_order = archive.manifest.in_order()
    if not names:
        return in_order
    wanted: set[str] = set()
    for name in names:
        found = [one.name for one in in_order if _means(name, one)]
        if not found:
            raise InputError(f"{name}: the archive holds no picture of this name; `clc list` shows the names")
        wanted.update(found)
    return [one for one in in_order if one.name in wanted]


def _means(name: str, picture: ArchivedPicture) -> bool:
    folder = name.rstrip("/") + "/"
    return any(
        one == name or fnmatchcase(one, name) or one.startswith(folder) for one in (picture.name, picture.stream)
    )


@dataclass(frozen=True)
class Fault:
    """A picture that cannot be decoded; `lost_with` are the names of those that depend on it."""

    name: str
    reason: str
    lost_with: tuple[str, ...]


def verify(
    archive: Archive, codec: Codec, watch: Callable[[int, int], None] = lambda done, of: None
) -> Iterator[Fault]:
    """Decodes every picture and yields those that are damaged; not those that are only lost with another."""
    reader = ArchiveReader(archive, codec)
    return faults(archive.manifest, lambda pictures: (problem_of(reader, one) for one in pictures), watch)


def faults(
    manifest: Manifest,
    check: Callable[[Sequence[ArchivedPicture]], Iterable[str]],
    watch: Callable[[int, int], None] = lambda done, of: None,
) -> Iterator[Fault]:
    """Yields what `check` finds in the pictures of an archive, each with those that are lost with it.

    `check` gives for each of some pictures, in their order, what is wrong with it, or "". It is asked once for all that
    stand alone, then for those that refer to these, and so on; never for what is lost with another picture.
    """
    depths, done, bad = manifest.depths(), 0, set[str]()
    for _, level in groupby(manifest.in_order(), key=lambda picture: depths[picture.id]):
        pictures = list(level)
        lost = {one.id for one in pictures if bad.intersection(one.references)}
        bad |= lost
        done += sum(one.id in lost for one in pictures)
        whole = [one for one in pictures if one.id not in lost]
        for picture, reason in zip(whole, check(whole), strict=True):
            done += 1
            watch(done, len(manifest.pictures))
            if reason:
                bad.add(picture.id)
                yield Fault(picture.name, reason, tuple(one.name for one in manifest.dependents([picture.id])))


def problem_of(reader: ArchiveReader, picture: ArchivedPicture) -> str:
    """What is wrong with a picture: it cannot be decoded, or is another than the table says; "" where nothing is."""
    try:
        _check(reader, picture)
    except ClcError as error:
        return str(error)
    return ""


def _check(reader: ArchiveReader, picture: ArchivedPicture) -> None:
    decoded, name = reader.decode(picture), reader.archive.table_name
    if decoded.image_HW3.shape[:2] != (picture.height, picture.width):
        raise CorruptStream(f"{picture.stream}: has another size than {name} says")
    referred = {one.hex() for one in parse_with_fields(reader.archive.stream(picture)).stream.streams}
    if referred != set(picture.references):
        raise CorruptStream(f"{picture.stream}: refers to other streams than {name} says")
    if picture.pixels_sha256 and sha256_bytes(decoded.image_HW3.tobytes()) != picture.pixels_sha256:
        raise DecodeMismatch(f"{picture.stream}: decodes to other pixels than {name} says")


def strangers(archive: Archive) -> list[str]:
    """Files below the archive's folder that its table does not name, by their relative names."""
    manifest, inside = archive.manifest, archive.manifest.model_folder
    known = {archive.table_name, *(picture.stream for picture in manifest.pictures)}
    known.update(f"{inside}/{name}" for name in manifest.model_files)
    kept = {inside} if inside and not manifest.model_files else set()
    found = []
    for path in sorted(archive.folder.rglob("*")):
        name = path.relative_to(archive.folder)
        if path.is_file() and name.parts[0] not in {*kept, WORK_FOLDER} and name.as_posix() not in known:
            found.append(name.as_posix())
    return found
