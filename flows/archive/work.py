"""What a Dask worker does for an archive: calls of packing, and the checks of a shard. It never imports Prefect.

Workers must see the archive, the pictures and the bundle under the same paths as the flow, and run the same release: a
worker that does not says so, instead of packing something else. A worker process does one thing at a time, whatever its
number of threads: codecs and registered pictures take memory, and what keeps them is not for several threads.
"""

import contextlib
import resource
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from distributed import Client

from clc.archive.layout import Archive
from clc.archive.manifest import ArchivedPicture
from clc.archive.packing.tasks import Call, Job, run_call, worker_of
from clc.archive.pixel_cache import PixelCache
from clc.archive.sources import SourceFile
from clc.archive.unpack import ArchiveReader, problem_of
from clc.archive.work import RECORD
from clc.bundle.identity import id_of, read_manifest_bytes
from clc.codec.codec import Codec
from clc.errors import ClcError, InputError
from clc.machine import keep_freed_memory, use_one_thread
from clc.version import version
from flows.runtime.dask_cluster import in_order
from storage.digest import sha256_file

_ALONE = threading.Lock()
"""Held by the one thread of a worker process that works."""


class Run(NamedTuple):
    """What a worker must have to take part: the flow's release, and the bundle with its id."""

    release: str
    bundle: str
    bundle_id: str

    @classmethod
    def of(cls, codec: Codec) -> "Run":
        """What workers need that do what this process does with a codec."""
        return cls(version(), str(codec.bundle.directory), codec.bundle.bundle_id)


class PackCall(NamedTuple):
    """A call of packing on its way to a worker."""

    run: Run
    job: Job
    call: Call

    @property
    def source(self) -> SourceFile:
        """The picture that the call is about."""
        source: SourceFile = self.call.given[0]
        return source


class PackOutcome(NamedTuple):
    """What a call gave, or the error that would come again; with the seconds, and those of the processor, it took."""

    found: Any
    error: ClcError | None
    seconds: float
    cpu_seconds: float


class Spent(NamedTuple):
    """What a call of packing took: its name, the picture's, seconds, and seconds of the processor."""

    what: str
    name: str
    seconds: float
    cpu_seconds: float


class Shard(NamedTuple):
    """Pictures of an archive that a worker checks, by their names.

    `table` is the SHA-256 of the archive's table, `cache` a folder for pictures that others refer to.
    """

    run: Run
    archive: str
    table: str
    device: str
    cache: str
    names: tuple[str, ...]


class OnDask:
    """An `Executor` of `clc.archive.packing.executors` whose calls are carried out by the workers of a Dask cluster.

    A call is a task: it takes 0.1 to 10 seconds of coding, and its hand-over some milliseconds. `spent` grows by what
    each took.
    """

    def __init__(self, client: Client, codec: Codec) -> None:
        self._client, self._run = client, Run.of(codec)
        self.spent: list[Spent] = []

    def run(self, job: Job, calls: Iterable[Call]) -> Iterator[Any]:
        """See `Executor`. Raises `ClcError`, which names the picture, where workers died over a call."""
        given = [PackCall(self._run, job, call) for call in calls]
        outcomes = in_order(self._client, carry_out, given, lambda one: one.source.name)
        for one, outcome in zip(given, outcomes, strict=True):
            if outcome.error is not None:
                raise outcome.error
            self.spent.append(Spent(one.call.what, one.source.name, outcome.seconds, outcome.cpu_seconds))
            yield outcome.found


def carry_out(one: PackCall) -> PackOutcome:
    """Carry out a call of packing in this worker. Its mistakes in the input are returned: they would come again."""
    with _ALONE:
        begun, begun_cpu = time.perf_counter(), time.process_time()
        found, problem = None, None
        try:
            _check_sight(one.run, str(Path(one.job.work) / RECORD))
            use_one_thread()
            found = run_call(one.job, one.call)
        except ClcError as error:
            problem = error
        return PackOutcome(found, problem, time.perf_counter() - begun, time.process_time() - begun_cpu)


def check_shard(shard: Shard) -> list[str]:
    """What is wrong with each picture of a shard, "" where nothing is."""
    with _ALONE:
        _check_sight(shard.run, shard.archive)
        use_one_thread()
        reader = _reader(shard.run.bundle, shard.archive, shard.table, shard.device, shard.cache)
        by_name = {picture.name: picture for picture in reader.archive.manifest.pictures}
        return [problem_of(reader, by_name[name]) for name in shard.names]


def shards_of(pictures: Sequence[ArchivedPicture], size: int, like: Shard) -> list[Shard]:
    """Pictures in shards of so many, which are else as `like`."""
    names = [picture.name for picture in pictures]
    return [like._replace(names=tuple(names[start : start + size])) for start in range(0, len(names), size)]


def table_digest(archive: Archive) -> str:
    """The SHA-256 of an archive's table, by which workers know that they read the same one."""
    return sha256_file(archive.folder / archive.table_name)


def forget(client: Client, *folders: str) -> None:
    """Have each worker give back its codecs, and remove folders that it may have made for this run."""
    with contextlib.suppress(OSError):  # workers, or all of the cluster, may be gone
        client.run(_forget, folders, on_error="ignore")


def peak_bytes() -> int:
    """The most memory that this process has taken so far, resident."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _forget(folders: Sequence[str]) -> None:
    with _ALONE:
        worker_of.cache_clear()
        _reader.cache_clear()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@lru_cache(1)
def _reader(bundle: str, archive: str, table: str, device: str, cache: str) -> ArchiveReader:
    opened = Archive(Path(archive))
    if table_digest(opened) != table:
        raise InputError(
            f"{archive}: was changed meanwhile, or is another archive for the Dask worker on {socket.gethostname()}"
        )
    return ArchiveReader(opened, Codec.load(bundle, device), PixelCache(Path(cache)))


@lru_cache(8)
def _check_sight(run: Run, path: str) -> None:
    """Raise `InputError` where this worker does not see the same files, or runs another release."""
    here = f"the Dask worker on {socket.gethostname()}"
    if run.release != version():
        raise InputError(f"{here} runs clc {version()}, the flow {run.release}: install the same release on both")
    if not Path(path).exists():
        raise InputError(f"{here} does not see {path}: it needs archive and pictures under the same paths as the flow")
    try:
        found = id_of(read_manifest_bytes(Path(run.bundle)))
    except ClcError as error:
        raise InputError(f"{here} does not see the bundle {run.bundle}: {error}") from error
    if found != run.bundle_id:
        raise InputError(f"{here} finds bundle {found} in {run.bundle}, and not {run.bundle_id}")
    keep_freed_memory()
