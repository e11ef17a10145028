"""The flow `verify-archive`: everything in an archive is decoded and compared with its table, by Dask's workers.

It is `clc verify` (`clc.archive.unpack`) with the workers of a cluster. Pictures that others refer to are checked
first; what they decode to is kept in a temporary folder, so that none is decoded again for each that refers to it.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from distributed import Client
from prefect import flow

from clc.archive.layout import Archive
from clc.archive.manifest import ArchivedPicture
from clc.archive.model import model_faults
from clc.archive.unpack import Fault, faults, strangers
from clc.errors import InputError, StorageError
from flows.archive.pack import place
from flows.archive.work import Run, Shard, check_shard, forget, shards_of, table_digest
from flows.runtime.artifacts import publish_table
from flows.runtime.command import log_to_terminal, run_command
from flows.runtime.dask_cluster import dask_client, in_order
from flows.runtime.failing import saying_why
from flows.runtime.names import run_name
from flows.runtime.parameters import Count
from flows.runtime.progress import stepwise
from storage.names import shown_name

logger = logging.getLogger(__name__)

_NAMED = 3


@dataclass(frozen=True)
class Found:
    """What is wrong with an archive: files of its model, pictures; `lost` are names lost with these, in order."""

    in_model: Sequence[tuple[str, str]]
    damaged: Sequence[Fault]

    @property
    def lost(self) -> list[str]:
        """Names of the pictures that are sound themselves, and depend on damaged ones."""
        return sorted({name for fault in self.damaged for name in fault.lost_with})

    @property
    def rows(self) -> list[dict[str, str]]:
        """A row for each fault: name, reason, and the names of the pictures that are lost with it."""
        model = [{"name": name, "reason": reason, "lost_with_it": ""} for name, reason in self.in_model]
        return model + [
            {
                "name": shown_name(fault.name),
                "reason": shown_name(fault.reason),
                "lost_with_it": ", ".join(map(shown_name, fault.lost_with)),
            }
            for fault in self.damaged
        ]


@flow(name="verify-archive", flow_run_name=run_name("verify-archive of {archive}"))
@saying_why
def verify_archive(
    archive: str,
    bundle: str | None = None,
    shard_pictures: Count = 16,
    workers: Count = 2,
    dask_scheduler: str | None = None,
) -> int:
    """Decode everything in an archive and compare every digest; fail where anything is damaged.

    Args:
        archive: The folder of the archive, which is only read.
        bundle: A bundle's folder or id, where the archive's model is neither in it nor the shipped one.
        shard_pictures: Pictures in a shard, the unit of work and of retry.
        workers: Worker processes on this machine, one thread each; not used with a scheduler's address.
        dask_scheduler: Address of a running Dask scheduler, such as "tcp://host:8786"; without one, a local cluster.

    Returns:
        How many pictures the archive holds, all of them sound.
    """
    for name, value in (("shard_pictures", shard_pictures), ("workers", workers)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    opened = Archive(place(archive))
    found = _checked(opened, () if bundle is None else (bundle,), shard_pictures, workers, dask_scheduler)
    count = len(opened.manifest.pictures)
    for row in found.rows:
        logger.warning("fault name=%s reason=%r lost_with_it=%r", row["name"], row["reason"], row["lost_with_it"])
    foreign = [shown_name(name) for name in strangers(opened)]
    for name in foreign:
        logger.warning("not_in_the_table name=%s", name)
    shown = f"`{shown_name(str(opened.folder))}`"
    publish_table(
        "verify-archive-faults",
        found.rows,
        f"Faults of the archive {shown}: {len(found.damaged)} of {count} pictures are damaged, {len(found.lost)} more "
        f"depend on them, {len(found.in_model)} files of its model are damaged. The table names none of {len(foreign)} "
        "further files.",
    )
    _refuse(opened, found)
    logger.info("archive_sound archive=%s pictures=%d", shown_name(str(opened.folder)), count)
    return count


def _checked(opened: Archive, given: Sequence[str], shard_pictures: int, workers: int, scheduler: str | None) -> Found:
    """Have all pictures checked, and say what is wrong."""
    in_model = tuple(model_faults(opened))
    codec = opened.codec(tuple(given))
    with (
        tempfile.TemporaryDirectory(prefix="clc-verify-") as cache,
        dask_client(workers, scheduler) as client,
        stepwise() as report,
    ):
        like = Shard(Run.of(codec), str(opened.folder), table_digest(opened), "cpu", cache, ())

        def check(pictures: Sequence[ArchivedPicture]) -> Iterator[str]:
            return _problems(client, shards_of(pictures, shard_pictures, like))

        try:
            damaged = tuple(faults(opened.manifest, check, lambda done, of: report("checking", done, of)))
        finally:
            forget(client, cache)
    return Found(in_model, damaged)


def _problems(client: Client, shards: Sequence[Shard]) -> Iterator[str]:
    return chain.from_iterable(in_order(client, check_shard, shards, lambda shard: f"{shard.names[0]} and the next"))


def _refuse(opened: Archive, found: Found) -> None:
    """Raise `StorageError`, one sentence, where anything is damaged."""
    if not found.rows:
        return
    first = "; ".join(f"{row['name']}: {row['reason']}" for row in found.rows[:_NAMED])
    more = f"; and {len(found.rows) - _NAMED} more" if len(found.rows) > _NAMED else ""
    counted = f"{len(found.damaged)} of {len(opened.manifest.pictures)} pictures are damaged"
    if found.lost:
        counted += f", {len(found.lost)} more depend on them"
    if found.in_model:
        counted += f", {len(found.in_model)} files of the model are damaged"
    raise StorageError(f"{shown_name(str(opened.folder))}: {counted}: {first}{more}")


if __name__ == "__main__":
    log_to_terminal()
    run_command(verify_archive.fn)
