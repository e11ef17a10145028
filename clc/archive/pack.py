"""A folder of pictures into an archive.

    sources -> a draft (clc.archive.packing.drafting), or several until a target is met -> streams and table

What was done is kept in the archive's `.packing/` until the end: a run that was interrupted goes on there, and ends
with the same archive. Streams are written before the table that names them, and the table is whole at every moment.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clc.archive.layout import MODEL_FOLDER, Archive, table_of, write_manifest
from clc.archive.manifest import NAME, PARQUET_NAME, ArchivedPicture, Manifest
from clc.archive.model import copy_model, model_digests
from clc.archive.packed import Packed as Packed
from clc.archive.packed import PackOptions as PackOptions
from clc.archive.packed import Progress
from clc.archive.packing.aim import psnr_db, reach
from clc.archive.packing.drafting import Draft, Drafter
from clc.archive.packing.executors import Executor, InThisProcess
from clc.archive.packing.tasks import Job
from clc.archive.rows import Source, finished
from clc.archive.sources import Sources, model_folder
from clc.archive.work import WorkFolder
from clc.bundle.bundle import SHIPPED
from clc.codec.codec import Codec
from clc.errors import InputError
from clc.quality import from_q6, to_q6
from storage.atomic import remove_leftovers, write_bytes
from storage.digest import sha256_file

TABLE_EVERY_S = 2.0
"""How often the table is written while streams are."""

TABLE_SHARE = 20
"""How many times as long as writing the table takes, at least, lies between two tables: those of many pictures take
seconds."""

Watch = Callable[[Progress], None]


def pack(
    folder: Path,
    out: Path,
    codec: Codec,
    options: PackOptions,
    watch: Watch = lambda progress: None,
    executor: Executor | None = None,
    finish: Callable[[Packed], None] = lambda packed: None,
) -> Packed:
    """Packs the pictures of a folder into a new archive, or goes on where the same call was interrupted.

    `executor` carries out the coding, this process by default. `finish` is called when the archive is written, and
    before that is removed by which an interrupted run goes on: what it leaves is there whenever the archive is. Raises
    `InputError` where there is no picture, `out` holds something else, or a target cannot be met.
    """
    return _Packing(folder, out, codec, options, watch, executor or InThisProcess(codec)).run(finish)


class _Packing:
    """One run of `pack`."""

    def __init__(
        self, folder: Path, out: Path, codec: Codec, options: PackOptions, watch: Watch, executor: Executor
    ) -> None:
        self.out, self.codec, self.options, self.watch = out, codec, options, watch
        self.work = WorkFolder(out)
        self.sources = Sources(folder, out)
        job = Job(
            work=str(self.work.path),
            bundle=str(codec.bundle.directory),
            device=codec.device.type,
            effort=options.effort,
            background=options.background,
            mode=options.mode,
            max_error=options.max_error,
        )
        self.drafter = Drafter(self.sources.files, self.work, job, executor, options, watch)
        self._written_at = self._writing_s = 0.0

    def run(self, finish: Callable[[Packed], None]) -> Packed:
        """Packs, while no other process packs into the same folder."""
        with self.work.held():
            self.work.begin(self._settings())
            options = self.options
            if options.target_bytes is None and options.target_psnr_db is None:
                draft = self.drafter.draft(to_q6(options.draft_quality))
            else:
                draft = reach(self.drafter, self._bytes_of, len(self.sources.files), options)
            packed = self._published(draft)
            finish(packed)
            self.work.remove()
        return packed

    def _published(self, draft: Draft) -> Packed:
        """Writes the streams of a draft, and the table."""
        rows: list[ArchivedPicture] = []
        for number, index in enumerate(sorted(draft.coded)):
            data, row = self._finished(draft, index)
            self._write(row, data)
            rows.append(row)
            self._table(rows)
            done = sum(row.source_bytes for row in rows), sum(row.bytes for row in rows)
            self.watch(Progress("writing", number + 1, len(draft.coded), *done))
        self._table(rows, is_last=True)
        remove_leftovers(*(self.out / name for name in (NAME, PARQUET_NAME, *(row.stream for row in rows))))
        archive = Archive(self.out)
        ours, theirs = (psnr_db(list(coded.values())) for coded in (draft.coded, draft.alone))
        names = self.sources.names
        return Packed(
            archive.manifest,
            archive.bytes_of_all,
            tuple((names[index], reason) for index, reason in sorted(draft.failed.items())),
            tuple((names[index], losses) for index, losses in sorted(draft.losses.items())),
            dict(self.sources.passed_over),
            tuple((names[key.index], key.offset) for key in draft.keys),
            from_q6(draft.quality_q6),
            ours,
            theirs,
            math.exp(draft.log_bytes_per_db * (ours - theirs)) * sum(row.alone_bytes for row in rows),
            {names[index]: coded.psnr_db for index, coded in draft.coded.items()},
            self.options.max_error,
        )

    def _finished(self, draft: Draft, index: int) -> tuple[bytes, ArchivedPicture]:
        file = self.sources.files[index]
        source = Source(file.name, self.sources.streams[index], file.sha256)
        picture = file.read(self.options.background)
        coded = draft.coded[index].coded()
        return finished(source, picture, coded, draft.alone[index].size, strip=self.options.strip)

    def _bytes_of(self, draft: Draft) -> int:
        """What an archive of a draft takes, everything counted."""
        rows = tuple(self._finished(draft, index)[1] for index in draft.coded)
        model = sum(path.stat().st_size for path in self.codec.bundle.directory.rglob("*") if path.is_file())
        table = len(table_of(Manifest(self.codec.bundle.bundle_id, "", rows))[1])
        return sum(row.bytes for row in rows) + table + (model if self._carries_model else 0)

    def _settings(self) -> dict[str, Any]:
        """What is packed, and how: a run goes on only with the same."""
        return {
            "sources": self.sources.identity(),
            "options": asdict(self.options),
            "bundle": self.codec.bundle.bundle_id,
        }

    def _write(self, row: ArchivedPicture, data: bytes) -> None:
        path = self.out / row.stream
        # A run that was interrupted here wrote the same bytes; whatever else lies there is somebody's.
        if os.path.lexists(path) and (not path.is_file() or sha256_file(path)[: len(row.check)] != row.check):
            raise InputError(
                f"{path}: is in the way, and not from packing; move it away, and run the same command again"
            )
        write_bytes(path, data)

    def _table(self, rows: list[ArchivedPicture], *, is_last: bool = False) -> None:
        """Writes the table of what can be decoded so far: not of pictures whose references are not written yet."""
        begun = time.monotonic()
        if is_last or begun - self._written_at > max(TABLE_EVERY_S, TABLE_SHARE * self._writing_s):
            folder, files = self._model() if is_last and self._carries_model else ("", {})
            write_manifest(self.out, Manifest(self.codec.bundle.bundle_id, folder, _whole(rows), files))
            self._written_at = time.monotonic()
            self._writing_s = self._written_at - begun

    @property
    def _carries_model(self) -> bool:
        return self.options.with_model or self.codec.bundle.directory != SHIPPED

    def _model(self) -> tuple[str, dict[str, str]]:
        """The name of the bundle's folder in the archive, copied whole or not at all, and the digests of its files."""
        name = model_folder(self.sources.streams)
        if not (self.out / name).exists():
            half = self.work.path / MODEL_FOLDER
            shutil.rmtree(half, ignore_errors=True)
            copy_model(self.codec.bundle.directory, half)
            half.rename(self.out / name)
        return name, model_digests(self.out / name)


def _whole(rows: list[ArchivedPicture]) -> tuple[ArchivedPicture, ...]:
    """The rows whose references are among the rows, and theirs."""
    while True:
        known = {row.id for row in rows}
        kept = [row for row in rows if known.issuperset(row.references)]
        if len(kept) == len(rows):
            return tuple(rows)
        rows = kept
