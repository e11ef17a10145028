"""What packing does to one picture at a time, in this process or in another one.

`drafting.py` says what is to be done, as `Call`s; an executor (`executors.py`) hands each to a `Worker`, of which a
process has one for a `Job`. What a worker codes it leaves in the archive's work folder, so calls and results are small,
and a run that was interrupted finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from clc.archive.coding import ArchiveCoder, Coded
from clc.archive.packing.overlaps import Floats, fingerprint, shown
from clc.archive.pictures import ReferredPictures
from clc.archive.pixel_cache import PixelCache
from clc.archive.sources import SourceFile
from clc.archive.work import Remembered, WorkFolder
from clc.codec.codec import Codec
from clc.codec.ways.goal import AUTO
from clc.errors import ClcError, MissingReference
from clc.pictures.picture import Picture
from clc.references.key_pictures import PictureSource
from clc.references.registration import Registrar
from storage.digest import sha256_bytes

PICTURES_IN_MEMORY = 8
BEGUN_IN_MEMORY = 4


class Job(NamedTuple):
    """What all calls of one run share.

    `work` is the work folder, `bundle` the folder of the bundle, `device` torch's, `effort` 0..9, `background` a
    colour to lay transparent pictures over, `mode` and `max_error` as in `ArchiveCoder`. Every process that works must
    see both folders and the sources.
    """

    work: str
    bundle: str
    device: str
    effort: int
    background: str | None
    mode: str = AUTO
    max_error: int | None = None


class Call(NamedTuple):
    """A method of `Worker` by its name, and what it is given."""

    what: str
    given: tuple[Any, ...]


class Alone(NamedTuple):
    """A picture coded alone, and what reading it lost; or why it could not be read, and `coded` is None."""

    coded: Remembered | None
    problem: str = ""
    losses: tuple[str, ...] = ()
    fingerprint: Floats | None = None


class Worker:
    """Carries out the calls of a job. One thread uses it."""

    def __init__(self, job: Job, codec: Codec) -> None:
        self._job = job
        self._work = WorkFolder.at(Path(job.work))
        self._stored: dict[bytes, Remembered] = {}
        cache = PixelCache(self._work.path / "pixels")
        self._referred = ReferredPictures(codec.decoder, self._stream_of, self._pixels_of, cache)
        self._coder = lru_cache(lambda effort: ArchiveCoder(codec, self._referred, effort, job.mode, job.max_error))
        # A key is coded at several qualities: what is found of it once holds for all.
        self._begun = lru_cache(BEGUN_IN_MEMORY)(lambda source, effort: self._coder(effort).begin(self._image(source)))
        self._files: dict[int, SourceFile] = {}
        self._read = lru_cache(PICTURES_IN_MEMORY)(lambda source: source.read(job.background))
        self._registrar = Registrar(_Sources(self))

    def run(self, call: Call) -> Any:
        """What a call gives. Raises what `clc` raises."""
        known: dict[str, Callable[..., Any]] = {
            "alone": self.alone,
            "overlaps": self.overlaps,
            "key": self.key,
            "beside": self.beside,
        }
        return known[call.what](*call.given)

    def alone(self, source: SourceFile, quality_q6: int) -> Alone:
        """The picture coded alone at a quality in 1/64."""
        try:
            picture = self._read(source)
        except ClcError as error:
            return Alone(None, str(error))

        def code() -> Coded:
            coder = self._coder(self._job.effort)
            return coder.alone(self._begun(source, self._job.effort), quality_q6)

        coded = self._work.remembered(f"{quality_q6}-alone", source.index, code)
        return Alone(coded, "", picture.losses, fingerprint(picture.image_HW3))

    def overlaps(self, target: SourceFile, others: Sequence[SourceFile]) -> list[tuple[int, Floats]]:
        """Which of `others` show how much of a picture; see `clc.archive.packing.overlaps`."""
        self._files.update({one.index: one for one in (target, *others)})
        ours = self._registrar.keypoints(target.index)
        found = self._registrar.locate(ours, [one.index for one in others])
        error = self._job.max_error
        cells = (
            shown(ours, self._registrar.keypoints(one.index), at, error) for one, at in zip(others, found, strict=True)
        )
        return [(one.index, seen) for one, seen in zip(others, cells, strict=True) if seen is not None]

    def key(
        self,
        source: SourceFile,
        alone: Remembered,
        quality_q6: int,
        references: Sequence[Remembered],
        needed: Iterable[Remembered],
    ) -> Remembered:
        """The picture as a key at about a quality, whose pixels are the same everywhere, beside `references` or alone.

        `needed` are further streams that these refer to. `alone` is the picture at the quality that was asked for.
        """
        ids, asked_q6, coder = self._take(references, needed), alone.quality_q6, self._coder(self._job.effort)

        def code() -> Coded:
            kept = alone.coded()
            begun = self._begun(source, self._job.effort)

            def at(tried_q6: int) -> Coded:
                beside = coder.beside(begun, tried_q6, ids, kept, asked_q6) if ids else kept
                is_kept = beside is kept and tried_q6 != asked_q6
                return coder.alone(begun, tried_q6, asked_q6, kept) if is_kept else beside

            return coder.for_others(at, quality_q6)

        return self._work.remembered(f"{asked_q6}-key-{quality_q6}{_beside(ids)}", source.index, code)

    def beside(
        self,
        source: SourceFile,
        alone: Remembered,
        references: Sequence[Remembered],
        needed: Iterable[Remembered],
        effort: int,
    ) -> Remembered:
        """The picture beside the best of some streams, at its quality alone, or alone where that costs less."""
        ids, coder = self._take(references, needed), self._coder(effort)

        def code() -> Coded:
            begun = self._begun(source, effort)
            return coder.beside(begun, alone.quality_q6, ids, alone.coded(), alone.quality_q6)

        return self._work.remembered(f"{alone.quality_q6}-effort-{effort}{_beside(ids)}", source.index, code)

    def _image(self, source: SourceFile) -> Picture:
        image_HW3: Picture = self._read(source).image_HW3
        return image_HW3

    def picture_of(self, index: int) -> Picture:
        """A source that a call named, uint8 (H, W, 3)."""
        picture: Picture = self._read(self._files[index]).image_HW3
        return picture

    def _take(self, references: Sequence[Remembered], needed: Iterable[Remembered]) -> list[bytes]:
        self._stored.update({one.id: one for one in (*references, *needed)})
        return [one.id for one in references]

    def _stream_of(self, reference: bytes) -> bytes:
        if reference not in self._stored:
            raise MissingReference(f"no stream {reference.hex()} is at hand")
        return self._stored[reference].coded().data

    def _pixels_of(self, reference: bytes) -> str:
        return self._stored[reference].pixels_sha256


class _Sources(PictureSource):
    """The sources that calls named, by index."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def read(self, reference: int | bytes, /) -> Picture:
        return self._worker.picture_of(int(reference))


@lru_cache(1)
def worker_of(job: Job) -> Worker:
    """This process's worker for a job; the one of another job is forgotten."""
    return Worker(job, Codec.load(job.bundle, job.device))


def run_call(job: Job, call: Call) -> Any:
    """Carries out a call in the process that it reaches."""
    return worker_of(job).run(call)


def _beside(ids: Sequence[bytes]) -> str:
    return "-beside-" + sha256_bytes(b"".join(ids))[:16] if ids else ""
