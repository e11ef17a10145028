"""Where the bytes of one file come from and go to: paths, pipes, devices; what is checked before the work begins.

Called by the commands of `clc.codec.cli`. The contract: an output that may not be written is refused before a picture
is coded for it.
"""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from pathlib import Path

from clc.codec import buffers
from clc.codec.files import ENCODE, Direction, Existing, is_to_be_written
from clc.codec.sources import read_picture_file
from clc.console import check_output, input_bytes, output_bytes, say
from clc.errors import InputError
from clc.limits import MAX_PICTURE_FILE_BYTES, MAX_STREAM_BYTES
from clc.pictures.images import ReadPicture, read_picture
from storage.atomic import write_bytes
from storage.target import Target, find_target

STANDARD = "-"
_ADVICE = "another name or --overwrite"


def existing_of(options: Namespace) -> Existing:
    """What becomes of outputs that exist, by --overwrite and --skip-existing."""
    if options.overwrite:
        return "replace"
    return "skip" if options.skip_existing else "refuse"


def read_stream(path: Path) -> bytes:
    """The bytes of a stream's file or pipe, or of stdin for `-`; `InputError` where there are none or too many."""
    return input_bytes(MAX_STREAM_BYTES) if str(path) == STANDARD else buffers.read_stream(path)


def read_source(path: Path, background: str | None) -> ReadPicture:
    """The picture of a file or pipe, or of stdin for `-`, composited over a background where one is named."""
    if str(path) == STANDARD:
        return read_picture(input_bytes(MAX_PICTURE_FILE_BYTES), name_of(path), background=background)
    return read_picture_file(path, background)


def name_of(path: Path, what: str = "input") -> str:
    """A path as messages name it; `what` is which standard stream `-` stands for."""
    return f"standard {what}" if str(path) == STANDARD else str(path)


class Output:
    """The output of one command: a file of the right ending, a device, a pipe, or stdout.

    Raises `InputError` where it could not be written, before anything is done for it.
    """

    def __init__(self, path: Path, source: Path, direction: Direction, existing: Existing) -> None:
        self.path = path
        self._existing = existing
        self.is_wanted = True
        target = None if str(path) == STANDARD else _target(path)
        # What is told on stdout goes nowhere if the output itself goes there, by whichever name.
        self.is_standard = target is None or target.descriptor == 1
        if self.is_standard:
            check_output()
        if target is not None and not target.is_stream:
            self._check_file(source, direction, target)
        elif target is not None and target.is_disk:
            self.is_wanted = is_to_be_written(path, existing, _ADVICE)
        elif target is None or target.descriptor is not None:
            self._refuse_input(source, 1 if target is None or target.descriptor is None else target.descriptor)

    def _check_file(self, source: Path, direction: Direction, target: Target) -> None:
        path = self.path
        if path.suffix.lower() != direction.ending:
            what = "a stream" if direction is ENCODE else "a picture"
            raise InputError(f"{path}: {what} is written to *{direction.ending}; name the output so, or - for a pipe")
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder to write {path.name} into; make it first")
        self._refuse_input(source, target.path)
        self.is_wanted = is_to_be_written(path, self._existing, _ADVICE)
        there = path.resolve().parent
        if self.is_wanted and not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f"{path}: the folder {there} may not be written into; name another output")

    def _refuse_input(self, source: Path, output: Path | int) -> None:
        """Raises `InputError` where the output, a path or an open descriptor, is the input's file by whichever name.

        A shell may have opened either: `>> photo.png` would put the stream behind the picture that it is of.
        """
        try:
            given = os.fstat(0) if str(source) == STANDARD else source.stat()
            written = os.fstat(output) if isinstance(output, int) else output.stat()
        except (OSError, ValueError):  # what is not there is no file yet; ValueError: a NUL in the name
            return
        if stat.S_ISREG(written.st_mode) and os.path.samestat(given, written):
            raise InputError(f"{name_of(self.path, 'output')}: is the input itself; name another output")

    def write(self, data: bytes) -> None:
        """Writes the output, whole."""
        if self.is_standard:
            output_bytes(data)
        else:
            write_bytes(self.path, data, replace=self._existing == "replace")

    def say(self, line: str) -> None:
        """Prints a line on stdout, unless the output itself went there."""
        if not self.is_standard:
            say(line)


def _target(path: Path) -> Target:
    try:
        return find_target(path)
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder; name a file to write, or give --out {path}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name another output") from error


def check_source(source: Path) -> None:
    """Raises `InputError` for a folder where one file is wanted."""
    if source.is_dir():
        raise InputError(f"{source}: is a folder; give --out FOLDER to take all that is in it")
