"""The flow `pack-archive`: a folder of pictures into an archive, whose pictures are coded by Dask's workers.

It is `clc pack` (`clc.archive.pack`) with the workers of a cluster. What they code lies in the archive's work folder,
so the same run again goes on where one was killed, and ends with the same archive. Beside the archive stands its ledger
(`flows.archive.ledger`).
"""

import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import ImageColor
from prefect import flow

from clc.archive.layout import read_manifest
from clc.archive.pack import Packed, PackOptions, pack
from clc.archive.packed import Progress
from clc.archive.sources import Sources
from clc.archive.work import RECORD, WorkFolder
from clc.bundle.identity import SHIPPED
from clc.codec.codec import Codec
from clc.errors import InputError, StorageError
from clc.pictures.folders import passed_over_text
from flows.archive.ledger import Ledger, earlier, ledger_of, ledger_rows, totals_of
from flows.archive.work import OnDask, forget
from flows.evaluation_subject import find_bundle
from flows.runtime.artifacts import publish_table
from flows.runtime.command import log_to_terminal, run_command
from flows.runtime.dask_cluster import count_workers, dask_client
from flows.runtime.failing import saying_why
from flows.runtime.mlflow_session import Server
from flows.runtime.names import run_name
from flows.runtime.parameters import Count, Decibels, Effort, Error, Levels, Mode, Quality, Some
from flows.runtime.progress import stepwise
from flows.runtime.tracking import log_totals
from flows.runtime.workspace import Workspace
from storage.digest import digest_json
from storage.names import shown_name

logger = logging.getLogger(__name__)

DEFAULT_QUALITY = 50.0


@flow(name="pack-archive", flow_run_name=run_name("pack-archive of {folder}"))
@saying_why
def pack_archive(
    folder: str,
    archive: str,
    quality: Quality | None = None,
    target_size: Count | None = None,
    target_psnr: Decibels | None = None,
    max_error: Error | None = None,
    mode: Mode = "auto",
    levels: Levels = 2,
    keys: Some | None = None,
    effort: Effort = 5,
    strip: bool = False,
    background: str | None = None,
    with_model: bool = False,
    bundle: str = "shipped",
    workers: Count = 2,
    dask_scheduler: str | None = None,
) -> str:
    """Pack the pictures of a folder into an archive, in which similar pictures share what they show.

    Args:
        folder: The folder of the pictures, which are only read.
        archive: The folder to write: a new one, or that of the same run, which was interrupted.
        quality: 0 (smallest) to 100 (best), of every picture at least; 50 if there is no target either.
        target_size: Instead of a quality: bytes that the archive may take, everything counted.
        target_psnr: Instead of a quality: PSNR in dB that all its pixels have at least.
        max_error: Instead of a quality: levels of 0..255 that a sample may be off at most; 0 is without loss.
        mode: "auto", each picture the way that suits it, or "learned", all by the model.
        levels: 1 (every picture alone), 2 (beside key pictures) or 3 (these beside others too).
        keys: How many key pictures; without it, as many as pay.
        effort: 0 to 9, how long to search for each picture.
        strip: Whether EXIF (also GPS) and XMP are left out.
        background: A colour, such as "white", to lay transparent pictures over.
        with_model: Whether the archive carries the model even if it is the shipped one.
        bundle: The codec: "shipped", a key of train-codec, "latest", or a bundle folder.
        workers: Worker processes on this machine, one thread each; not used with a scheduler's address.
        dask_scheduler: Address of a running Dask scheduler, such as "tcp://host:8786"; without one, a local cluster.

    Returns:
        The path of the ledger: a Parquet table with a row for each picture.
    """
    if sum(one is not None for one in (quality, target_size, target_psnr, max_error)) > 1:
        raise InputError("quality, target_size, target_psnr and max_error exclude one another; give one of them")
    if workers < 1:
        raise InputError(f"workers is {workers}; it must be at least 1")
    options = PackOptions(
        quality=DEFAULT_QUALITY if quality is None else quality,
        keys=keys,
        levels=levels,
        effort=effort,
        strip=strip,
        background=_colour(background),
        with_model=with_model,
        target_bytes=target_size,
        target_psnr_db=target_psnr,
        mode=mode,
        max_error=max_error,
    )
    workspace = Workspace.from_environment()
    source, out = place(folder), place(archive)
    if not out.name:
        raise InputError(f"{archive}: is no place for an archive; name a new folder")
    codec = Codec.load(find_bundle(workspace, bundle) or SHIPPED)
    sources = Sources(source, out)
    run = digest_json({"sources": sources.identity(), "options": asdict(options), "bundle": codec.bundle.bundle_id})
    path = ledger_of(out)
    ledger = earlier(path, run)
    if ledger is not None and _is_finished(out):
        logger.info("archive_found archive=%s", shown_name(str(out)))
    else:
        ledger = _packed(source, out, codec, options, run, workers, dask_scheduler)
    _publish(out, ledger)
    params = {**_asked(options), "folder": shown_name(str(source)), "archive": shown_name(str(out))}
    figures = {name: value for name, value in ledger.totals.items() if isinstance(value, int | float)}
    log_totals(Server.of(workspace), "pack-archive", shown_name(out.name), params, figures, run, [path])
    return str(path)


def place(path: str) -> Path:
    """A path that means the same in every process: absolute, without links, "~" expanded. Raises `InputError`."""
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{shown_name(path)}: is no path ({error}); name a folder") from error


def _packed(
    folder: Path,
    out: Path,
    codec: Codec,
    options: PackOptions,
    run: str,
    workers: int,
    scheduler: str | None,
) -> Ledger:
    """Pack, and return the ledger, which is written when the archive is."""
    begun, written = time.monotonic(), list[Ledger]()
    with dask_client(workers, scheduler) as client, stepwise() as report:
        executor = OnDask(client, codec)

        def finish(packed: Packed) -> None:
            totals = {**totals_of(packed), "seconds": time.monotonic() - begun, "workers": count_workers(client)}
            ledger = Ledger(run, totals, ledger_rows(packed, executor.spent))
            ledger.write(ledger_of(out))
            written.append(ledger)

        def watch(progress: Progress) -> None:
            report(progress.step, progress.done, progress.of)

        try:
            packed = pack(folder, out, codec, options, watch, executor, finish)
        finally:
            forget(client)
    _tell(packed)
    return written[0]


def _tell(packed: Packed) -> None:
    """Log what is not in the archive as it was in the folder."""
    for name, reason in packed.failed:
        logger.warning("picture_failed name=%s reason=%r", shown_name(name), reason)
    for name, losses in packed.losses:
        logger.warning("picture_lost name=%s losses=%r", shown_name(name), ", ".join(losses))
    if packed.passed_over:
        logger.warning("passed_over files=%r", passed_over_text(packed.passed_over))


def _publish(out: Path, ledger: Ledger) -> None:
    """Show the totals, and the pictures that failed, on the run's page."""
    shown = f"`{shown_name(str(out))}`"
    totals = [{"what": name, "value": _rounded(value)} for name, value in ledger.totals.items()]
    publish_table("pack-archive-totals", totals, f"The archive {shown}: sizes in bytes, everything counted.")
    publish_table(
        "pack-archive-failures", ledger.failed, f"Pictures that are not in the archive {shown}: {len(ledger.failed)}."
    )


def _asked(options: PackOptions) -> dict[str, Any]:
    """The options, without a quality where something else was asked for."""
    asked = asdict(options)
    others = options.max_error, options.target_bytes, options.target_psnr_db
    return asked if others == (None, None, None) else {name: asked[name] for name in asked if name != "quality"}


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value


def _is_finished(out: Path) -> bool:
    """Whether an archive lies there that no run is to go on with."""
    if (WorkFolder(out).path / RECORD).exists():
        return False
    try:
        read_manifest(out)
    except (InputError, StorageError):
        return False
    return True


def _colour(text: str | None) -> str | None:
    """A colour that is one. Raises `InputError`."""
    try:
        ImageColor.getrgb(text or "white")
    except ValueError as error:
        raise InputError(f"background: {text!r} is no colour: give a name (white) or #RRGGBB") from error
    return text or None


if __name__ == "__main__":
    log_to_terminal()
    run_command(pack_archive.fn)
