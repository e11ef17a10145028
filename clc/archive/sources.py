"""The pictures that go into an archive: which they are, how they are called there, and that they stay what they were.

Everything that would fail at the end is refused here, before a picture is coded: names that an archive cannot hold, and
those of which two would need the same file. What a source holds is known by its digest from then on: one that is
changed or removed while it is packed is told, so that the archive never names a file that it does not hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from clc.archive.layout import MODEL_FOLDER
from clc.archive.manifest import NAME, PARQUET_NAME, checked_path
from clc.codec.files import ENCODE, plan
from clc.errors import InputError, StorageError
from clc.limits import MAX_PICTURE_FILE_BYTES
from clc.pictures.folders import is_folder
from clc.pictures.images import ReadPicture, read_picture
from storage.digest import sha256_bytes, sha256_file
from storage.regular import read_regular


@dataclass(frozen=True)
class SourceFile:
    """A picture that is packed: its index, its file, its name in the archive, and the SHA-256 of the file."""

    index: int
    path: Path
    name: str
    sha256: str

    def read(self, background: str | None = None) -> ReadPicture:
        """The picture; raises as `read_picture`, and `InputError` where its file is another than it was at first."""
        try:
            data = read_regular(self.path, MAX_PICTURE_FILE_BYTES)
        except OSError:
            return read_picture(self.path, self.name, background=background)  # which says what is wrong
        if sha256_bytes(data) != self.sha256:
            raise InputError(
                f"{self.name}: was changed while it was packed; pack again when nothing writes into the folder"
            )
        return read_picture(data, self.name, background=background)


class Sources:
    """The pictures of a folder, and their streams in the archive `out`, by index.

    `names` are their paths below the folder, `streams` those of their streams below the archive. The SHA-256 of a file
    that cannot be read is "". Raises `InputError` where there is no picture, or one cannot
    go into an archive.
    """

    def __init__(self, folder: Path, out: Path) -> None:
        if not is_folder(folder):
            raise InputError(f"{folder}: is no folder; name the folder of the pictures")
        planned = plan([folder], out, ENCODE)
        if planned.unreadable:
            path, reason = planned.unreadable[0]
            raise InputError(f"{path}: {reason}; make it readable, or pack a folder without it")
        self.passed_over: Mapping[str, int] = dict(planned.passed_over)
        paths = [job.source for job in planned.jobs]
        self.names = [path.relative_to(folder).as_posix() for path in paths]
        self.streams = [job.output.relative_to(out).as_posix() for job in planned.jobs]
        _refuse_names(self.names)
        _refuse_clashes(self.names, self.streams)
        for job in planned.jobs:
            if job.problem:
                raise InputError(f"{job.source}: {job.problem}")
        named = zip(paths, self.names, strict=True)
        self.files = [SourceFile(index, path, name, _digest(path)) for index, (path, name) in enumerate(named)]

    def identity(self) -> list[list[str]]:
        """What is packed, as a JSON value: each name, whose bytes need be no UTF-8, with its digest."""
        names = [name.encode("utf-8", "surrogateescape").decode("latin-1") for name in self.names]
        return [[name, file.sha256] for name, file in zip(names, self.files, strict=True)]


def model_folder(streams: Iterable[str]) -> str:
    """A name for the folder of the model that no stream's folder has, in whatever case: "model" as a rule."""
    taken = {PurePosixPath(stream).parts[0].casefold() for stream in streams}
    name, number = MODEL_FOLDER, 1
    while name in taken:
        number += 1
        name = f"{MODEL_FOLDER}-{number}"
    return name


def _refuse_names(names: Iterable[str]) -> None:
    for name in names:
        try:
            checked_path(name, name)
        except StorageError as error:
            raise InputError(
                f"{name}: a name in an archive goes without backslash, and without colon in its first part, so that it "
                "means the same on any system; rename it"
            ) from error


def _refuse_clashes(names: Iterable[str], streams: Iterable[str]) -> None:
    first: dict[str, str] = {}
    folders = {name: f"the table {name}" for name in (NAME, PARQUET_NAME)}
    for name, stream in zip(names, streams, strict=True):
        if stream in first:
            raise InputError(f"{name}: would become {stream}, as {first[stream]} does; rename one of them")
        first[stream] = name
    folders |= {stream: f"the stream of {name}" for stream, name in first.items()}
    for stream, name in first.items():
        for folder in PurePosixPath(stream).parents:
            if folder.as_posix() in folders:
                raise InputError(f"{name}: its folder would stand where {folders[folder.as_posix()]} does; rename one")


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except StorageError:
        return ""  # reading it will tell why
