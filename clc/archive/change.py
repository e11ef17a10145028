"""Adding pictures to an archive, and removing them. No stream that lies there is rewritten, only the table.

A picture that is added is coded beside pictures that the archive holds already, or alone where that costs less. One
that is referred to for the first time gets the digest of its pixels in the table; one whose pixels come too near to a
rounding edge is not referred to.

Streams are written before the table names them, and removed after it does so no longer. What a change was about to do
stands in the work folder meanwhile: where it is killed, the next change clears away what the table does not name.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clc.archive.coding import ArchiveCoder
from clc.archive.earlier import EarlierPictures
from clc.archive.layout import Archive, read_manifest, write_manifest
from clc.archive.manifest import ID_DIGITS, NAME, PARQUET_NAME, ArchivedPicture, Manifest, check_of, is_inside
from clc.archive.pack import TABLE_EVERY_S, Watch
from clc.archive.packed import Progress, check_way
from clc.archive.rows import Source, check_paths, finished
from clc.archive.unpack import named
from clc.archive.work import WorkFolder
from clc.codec.codec import Codec
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.files import ENCODE, find
from clc.codec.ways.goal import AUTO
from clc.errors import ClcError, InputError
from clc.pictures.folders import is_folder
from clc.pictures.images import read_picture
from clc.quality import MAX_QUALITY_Q6, checked_quality, to_q6
from storage.atomic import remove_leftovers, write_bytes
from storage.digest import sha256_bytes
from storage.errors import StorageError, StorageFull
from storage.locks import Lease
from storage.regular import read_regular

USUAL_QUALITY = 50.0
"""Of a picture that is added to an archive that holds none."""

Warn = Callable[[str, str], None]


@dataclass(frozen=True)
class AddOptions:
    """How to add: quality 0..100, None for the archive's; effort 0..9; the others as for packing.

    Where all of an archive is without loss, or within an error, so is what is added, unless a quality or mode is given.
    """

    quality: float | None = None
    effort: int = DEFAULT_EFFORT
    strip: bool = False
    background: str | None = None
    mode: str = AUTO
    max_error: int | None = None

    def __post_init__(self) -> None:
        if self.quality is not None:
            checked_quality(self.quality)
        effort_of(self.effort)
        check_way(self.mode, self.max_error)


@dataclass(frozen=True)
class Added:
    """What became of pictures that were to be added, by their names in the archive.

    `there` are those that the archive held already, of the same file; `failed` those that could not be added, or an
    input that held none, with the reason; `passed_over` files that are no pictures, by their extension. `bytes` and
    `source_bytes` are of the streams that were added and of their sources.
    """

    added: tuple[str, ...]
    there: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    passed_over: dict[str, int]
    bytes: int
    source_bytes: int


@dataclass(frozen=True)
class Removed:
    """The pictures that were removed, how many are left, and the files that could not be deleted, with the reason."""

    pictures: tuple[ArchivedPicture, ...]
    left: int
    failed: tuple[tuple[str, str], ...]


def add(
    folder: Path,
    inputs: Sequence[Path],
    codec: Codec,
    options: AddOptions,
    watch: Watch = lambda progress: None,
    warn: Warn = lambda name, sentence: None,
) -> Added:
    """Adds pictures, and the pictures of folders, to an archive; one that cannot be added costs no other its turn.

    `codec` is the archive's. `warn` is told by name what a picture loses, before its stream is written. Raises
    `InputError` where the folder is no archive, where another process changes it, or for a codec of another bundle.
    """
    with _changed(folder) as (archive, lease, work):
        if codec.bundle.bundle_id != archive.manifest.model_id:
            raise InputError(f"{folder}: its model is {archive.manifest.model_id}, not {codec.bundle.bundle_id}")
        return _Adding(_Table(archive, lease, work), codec, options, watch, warn).run(inputs)


def remove(folder: Path, names: Sequence[str]) -> Removed:
    """Removes the pictures that names or patterns mean (`clc.archive.unpack.named`) from an archive.

    Raises `InputError`, and changes nothing, where other pictures need one of them to be decoded.
    """
    if not names:
        raise InputError("no picture to remove is named")
    with _changed(folder) as (archive, lease, work):
        manifest, pictures = archive.manifest, named(archive, names)
        gone = {picture.name for picture in pictures}
        stay = [picture for picture in manifest.pictures if picture.name not in gone]
        lost = {picture.id for picture in pictures} - {picture.id for picture in stay}
        lame = [picture.name for picture in manifest.dependents(lost) if picture.name not in gone]
        if lame:
            raise InputError(f"nothing is removed, for other pictures are coded beside it: {', '.join(lame)}")
        # Of equal streams another one takes over what others refer to.
        pixels = {picture.id: picture.pixels_sha256 for picture in manifest.pictures if picture.pixels_sha256}
        stay = [replace(picture, pixels_sha256=pixels.get(picture.id, "")) for picture in stay]
        work.note({picture.stream: picture.check for picture in pictures})
        lease.confirm()
        write_manifest(folder, replace(manifest, pictures=tuple(stay)))
        failed = []
        for picture in pictures:
            try:
                if check_of(read_regular(folder / picture.stream)) == picture.check:
                    _delete(folder, picture.stream)
                else:
                    failed.append((picture.stream, "is another file than was packed, and was left where it is"))
            except FileNotFoundError:
                continue
            except OSError as error:
                failed.append((picture.stream, f"cannot be deleted ({error.strerror}), and is no part of it any more"))
        work.note({})
        return Removed(tuple(pictures), len(stay), tuple(failed))


@contextlib.contextmanager
def _changed(folder: Path) -> Iterator[tuple[Archive, Lease, WorkFolder]]:
    """An archive that no other process changes meanwhile, without what a change left that was killed."""
    read_manifest(folder)  # before anything is made in what may be no archive
    work = WorkFolder(folder)
    with work.held_for_change() as lease:
        archive = Archive(folder)
        known = {picture.stream for picture in archive.manifest.pictures}
        for name in (NAME, PARQUET_NAME):
            remove_leftovers(folder / name)
        for stream, digest in work.pending().items():
            if not is_inside(stream) or stream in known:
                continue
            remove_leftovers(folder / stream)
            with contextlib.suppress(OSError):
                if check_of(read_regular(folder / stream)) == digest[:ID_DIGITS]:
                    _delete(folder, stream)
        work.note({})
        yield archive, lease, work


def _delete(folder: Path, stream: str) -> None:
    """Deletes a stream, and the folders below the archive that are empty without it."""
    path = folder / stream
    path.unlink(missing_ok=True)
    for above in path.parents:
        if above == folder:
            break
        try:
            above.rmdir()
        except OSError:
            break


class _Table:
    """The table of an archive while pictures are added: streams are written at once, the table now and then."""

    def __init__(self, archive: Archive, lease: Lease, work: WorkFolder) -> None:
        self.archive, self._lease, self._work = archive, lease, work
        self._pending: dict[str, str] = {}
        self._written_at = time.monotonic()

    def add(self, data: bytes, row: ArchivedPicture, manifest: Manifest) -> None:
        """Writes a new stream, with which the table becomes `manifest`."""
        path = self.archive.folder / row.stream
        self._lease.confirm()
        self._work.note({**self._pending, row.stream: row.check})
        write_bytes(path, data, replace=False)
        self._pending[row.stream] = row.check
        self.archive.take(manifest)
        if time.monotonic() - self._written_at > TABLE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Writes the table, if it is not what lies there."""
        self._lease.confirm()
        if self._pending:
            write_manifest(self.archive.folder, self.archive.manifest)
            self._pending = {}
            self._written_at = time.monotonic()
        self._work.note({})


class _Adding:
    """One run of `add`."""

    def __init__(self, table: _Table, codec: Codec, options: AddOptions, watch: Watch, warn: Warn) -> None:
        self.table, self.archive, self.options, self.watch, self.warn = table, table.archive, options, watch, warn
        self.earlier = EarlierPictures(self.archive, codec, warn)
        max_error = options.max_error
        if max_error is None and options.quality is None and options.mode == AUTO:
            max_error = self.archive.promised_error()
        self.coder = ArchiveCoder(codec, self.earlier.referred, options.effort, options.mode, max_error)
        self.asked_q6 = to_q6(usual_quality(self.archive.manifest) if options.quality is None else options.quality)
        if max_error is not None:
            self.asked_q6 = MAX_QUALITY_Q6
        self.there: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.rows: list[ArchivedPicture] = []

    def run(self, inputs: Sequence[Path]) -> Added:
        passed_over: Counter[str] = Counter()
        wanted: list[tuple[Path, str, str]] = []
        for path in inputs:
            wanted += self._planned(path, passed_over)
        try:
            for number, (path, name, stream) in enumerate(wanted):
                self._try(path, name, stream)
                sizes = [(row.source_bytes, row.bytes) for row in self.rows]
                self.watch(
                    Progress("adding", number + 1, len(wanted), *(sum(one[place] for one in sizes) for place in (0, 1)))
                )
        finally:
            # What was added stays, whatever ended the run.
            self.table.write()
        return Added(
            tuple(row.name for row in self.rows),
            tuple(self.there),
            tuple(self.failed),
            dict(passed_over),
            sum(row.bytes for row in self.rows),
            sum(row.source_bytes for row in self.rows),
        )

    def _planned(self, path: Path, passed_over: Counter[str]) -> list[tuple[Path, str, str]]:
        """The pictures of an input: each file, its name in the archive and its stream's."""
        found = find(path, ENCODE.reads)
        passed_over.update(found.passed_over)
        self.failed += [(str(one.path), one.reason) for one in found.unreadable]
        if not found.files:
            self.failed.append((str(path), "no picture there that could be added"))
        names = [file.relative_to(path if is_folder(path) else path.parent) for file in found.files]
        streams = [name.with_name(ENCODE.named(name.name)) for name in names]
        return [
            (file, name.as_posix(), stream.as_posix())
            for file, name, stream in zip(found.files, names, streams, strict=True)
        ]

    def _try(self, path: Path, name: str, stream: str) -> None:
        try:
            source = Source(name, stream, _digest(path))
            if self._is_there(source):
                self.there.append(name)
            else:
                self._add(path, source)
        except StorageFull:
            raise
        except ClcError as error:
            self.failed.append((name, str(error)))

    def _is_there(self, source: Source) -> bool:
        """Whether the archive holds this very file. Raises `InputError` where it cannot be added."""
        manifest = self.archive.manifest
        if source.name in manifest.by_name:
            if manifest.by_name[source.name].source_sha256 == source.sha256:
                return True
            raise InputError("the archive holds another picture of this name; rename it, or remove that one first")
        if source.stream in manifest.by_stream:
            other = manifest.by_stream[source.stream].name
            raise InputError(f"would become {source.stream}, as {other} did; rename it")
        check_paths([source.name, source.stream], manifest.model_folder)
        if os.path.lexists(self.archive.folder / source.stream):
            name = self.archive.table_name
            raise InputError(f"{source.stream} lies in the archive, and {name} does not name it; move it away")
        return False

    def _add(self, path: Path, source: Source) -> None:
        picture = read_picture(path, source.name, background=self.options.background)
        if picture.losses:
            self.warn(source.name, ", ".join(picture.losses))
        begun = self.coder.begin(picture.image_HW3)
        coded = alone = self.coder.alone(begun, self.asked_q6)
        candidates = self.earlier.candidates(source.name, picture.image_HW3) if self.coder.effort.aligned else []
        if candidates:
            coded = self.coder.beside(begun, self.asked_q6, candidates, alone, self.asked_q6)
        data, row = finished(source, picture, coded, len(alone.data), strip=self.options.strip)
        self.table.add(data, row, self.earlier.with_row(row))
        self.rows.append(row)


def usual_quality(manifest: Manifest) -> float:
    """The quality of the pictures of an archive, 0..100: the median of those that are no key pictures."""
    others = [one.quality for one in manifest.pictures if one.references or not one.pixels_sha256]
    if others:
        return statistics.median_low(others)
    # Key pictures are finer than was asked for.
    return min((one.quality for one in manifest.pictures), default=USUAL_QUALITY)


def _digest(path: Path) -> str:
    try:
        return sha256_bytes(read_regular(path))
    except OSError as error:
        raise StorageError(f"{error.strerror}; give the path of a picture") from error
