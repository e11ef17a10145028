"""A folder of pictures into an archive.

    every picture alone -> which show the same places -> a trial -> key pictures -> the others beside them

Each picture is first coded alone: that is what it costs where no reference helps, and its PSNR is the floor for what it
gets in the archive. Key pictures are chosen by measured cost (`clc.archive.planning`), coded finer, and kept only if
what some of their pictures save beside them pays for it. Every other picture is coded beside the keys that show most of
it, and alone where that costs less. So a collection without anything in common costs what its pictures cost alone.

What was done is kept in the archive's `.packing/` until the end: a run that was interrupted goes on there, and ends
with the same archive. Streams are written before the table that names them, and the table is whole at every moment.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from clc.archive.coding import ArchiveCoder, Coded
from clc.archive.layout import MODEL_FOLDER, Archive, write_manifest
from clc.archive.manifest import ArchivedPicture, Manifest
from clc.archive.model import copy_model, model_digests
from clc.archive.packed import Packed as Packed
from clc.archive.packed import PackOptions as PackOptions
from clc.archive.packed import Progress
from clc.archive.pictures import ReferredPictures
from clc.archive.planning import OFFSETS, KeyPlan, Measured, choose, find_overlaps, pairs_to_try
from clc.archive.rows import Source, finished
from clc.archive.sources import Sources, model_folder
from clc.archive.work import WorkFolder
from clc.bundle.bundle import SHIPPED
from clc.codec.codec import Codec
from clc.codec.effort import effort_of
from clc.errors import ClcError, InputError, MissingReference
from clc.pictures.images import ReadPicture
from clc.pictures.picture import Picture
from clc.quality import MAX_QUALITY_Q6, to_q6
from clc.references.key_pictures import PictureSource
from clc.references.registration import Registrar
from storage.atomic import write_bytes
from storage.digest import sha256_bytes, sha256_file

CANDIDATES = 6
"""Key pictures against which a picture is registered, those that show most of it first."""

PICTURES_IN_MEMORY = 8
TABLE_EVERY_S = 2.0
"""How often the table is written while pictures are added to it."""

_TESTED = 2
"""Pictures of each key that are coded before it is kept."""

_LEAST_DB = 0.2
"""Between a picture and the same one finer, for their sizes to tell what a dB costs."""


Watch = Callable[[Progress], None]


def pack(folder: Path, out: Path, codec: Codec, options: PackOptions, watch: Watch = lambda progress: None) -> Packed:
    """Packs the pictures of a folder into a new archive, or goes on where the same call was interrupted.

    Raises `InputError` where there is no picture, or `out` holds something else.
    """
    return _Packing(folder, out, codec, options, watch).run()


class _Packing:
    """One run of `pack`."""

    def __init__(self, folder: Path, out: Path, codec: Codec, options: PackOptions, watch: Watch) -> None:
        self.folder, self.out, self.codec, self.options, self.watch = folder, out, codec, options, watch
        self.work = WorkFolder(out)
        self.sources = Sources(folder, out)
        self.names, self.streams = self.sources.names, self.sources.streams
        self.asked_q6 = to_q6(options.quality)
        self._stored: dict[bytes, Coded] = {}
        self.coder = ArchiveCoder(
            codec, ReferredPictures(codec.decoder, self._stream_of, self._pixels_of), effort_of(options.effort)
        )
        self.read = lru_cache(PICTURES_IN_MEMORY)(self._read)
        self._written_at = 0.0

    def run(self) -> Packed:
        """Packs, while no other process packs into the same folder."""
        with self.work.held():
            self.work.begin(self._settings())
            packed = self._packed()
            self.work.remove()
        return packed

    def _packed(self) -> Packed:
        alone, failed, losses = self._all_alone()
        self.good = good = sorted(alone)
        chosen = self._plan(good, alone)
        rows: dict[int, ArchivedPicture] = {}
        final: dict[int, Coded] = {}
        keys = self._keys(chosen, alone)
        kept = self._kept(chosen, keys, good, alone)
        for done, index in enumerate([*kept, *(one for one in good if one not in kept)]):
            coded = keys[index] if index in kept else self._beside(index, kept, chosen, keys, alone[index])
            rows[index] = self._publish(index, coded, alone[index])
            final[index] = coded
            self._table(rows)
            self._tell("coding", done + 1, len(good), rows)
        self._table(rows, is_last=True)
        archive = Archive(self.out)
        ours, theirs = (self._psnr_db(coded, rows) for coded in (final, alone))
        grown = math.exp(chosen.log_bytes_per_db * (ours - theirs))
        return Packed(
            archive.manifest,
            archive.bytes_of_all,
            failed,
            losses,
            dict(self.sources.passed_over),
            tuple(self.names[index] for index in kept),
            chosen.offset,
            self.options.quality,
            ours,
            theirs,
            grown * sum(row.alone_bytes for row in rows.values()),
        )

    def _psnr_db(self, coded: dict[int, Coded], rows: dict[int, ArchivedPicture]) -> float:
        """PSNR in dB of all pixels of some pictures."""
        pixels = np.array([row.width * row.height for row in rows.values()], dtype=np.float64)
        errors = np.array([10 ** (-coded[index].psnr_db / 10) for index in rows])
        return float(-10 * np.log10((pixels * errors).sum() / pixels.sum()))

    def _settings(self) -> dict[str, Any]:
        """What is packed, and how: a run goes on only with the same."""
        return {
            "sources": self.sources.identity(),
            "options": asdict(self.options),
            "bundle": self.codec.bundle.bundle_id,
        }

    def _read(self, index: int) -> ReadPicture:
        return self.sources.read(index, self.options.background)

    def _all_alone(
        self,
    ) -> tuple[dict[int, Coded], tuple[tuple[str, str], ...], tuple[tuple[str, tuple[str, ...]], ...]]:
        """Every picture coded alone, what could not be read, and what was lost."""
        alone: dict[int, Coded] = {}
        failed: list[tuple[str, str]] = []
        losses: list[tuple[str, tuple[str, ...]]] = []
        for index, name in enumerate(self.names):
            try:
                picture = self.read(index)
            except ClcError as error:
                failed.append((name, str(error)))
                continue
            if picture.losses:
                losses.append((name, picture.losses))
            alone[index] = self.work.remembered("alone", index, partial(self._alone, picture, self.asked_q6))
            self._tell("alone", index + 1, len(self.names), {})
        if not alone:
            raise InputError(f"{self.folder}: none of {len(failed)} pictures could be read; first {failed[0][1]}")
        return alone, tuple(failed), tuple(losses)

    def _alone(self, picture: ReadPicture, quality_q6: int) -> Coded:
        return self.coder.alone(self.coder.begin(picture.image_HW3), quality_q6, self.asked_q6)

    def _plan(self, good: Sequence[int], alone: dict[int, Coded]) -> KeyPlan:
        """The key pictures by index, from a trial; remembered."""
        if self.options.levels == 1 or self.options.keys == 0 or len(good) < 2:
            return KeyPlan()
        record = self.work.path / "plan.json"
        if record.exists():
            told = json.loads(record.read_bytes())
            self._worth = np.array(told["worth"])
            return KeyPlan(tuple(told["keys"]), told["offset"], told["expected"], told["log_bytes_per_db"])
        overlaps = find_overlaps(
            Registrar(_ByPlace(self, good)), lambda place: self.read(good[place]).image_HW3, len(good)
        )
        self._worth = overlaps.worth
        costs = np.array([alone[index].cost for index in good])
        measured = self._trial(pairs_to_try(overlaps, costs), good, alone)
        found = choose(overlaps, costs, measured, self.options.keys)
        slopes = [one.log_bytes_per_db for one in measured if one.log_bytes_per_db]
        chosen = replace(
            found,
            keys=tuple(good[place] for place in found.keys),
            log_bytes_per_db=float(np.mean(slopes)) if slopes else 0.0,
        )
        write_bytes(record, json.dumps({**asdict(chosen), "worth": overlaps.worth.tolist()}).encode())
        return chosen

    def _trial(self, pairs: Sequence[tuple[int, int]], good: Sequence[int], alone: dict[int, Coded]) -> list[Measured]:
        measured = []
        for offset in OFFSETS if pairs else ():
            penalties, savings, weights, grown = [], [], [], (0.0, 0.0)
            for number, (target, key) in enumerate(pairs):
                self._tell(f"trial of offset {offset:g}", number, len(pairs), {})
                index, of_key = good[target], good[key]
                coded = self._key(of_key, offset, alone[of_key])
                beside = self.coder.beside(
                    self.coder.begin(self.read(index).image_HW3), self.asked_q6, [coded.id], alone[index], self.asked_q6
                )
                penalties.append(coded.cost / alone[of_key].cost - 1.0)
                savings.append(1.0 - beside.cost / alone[index].cost)
                weights.append(self._worth[target, key])
                grown = (
                    grown[0] + math.log(len(coded.data) / len(alone[of_key].data)),
                    grown[1] + coded.psnr_db - alone[of_key].psnr_db,
                )
            slope = grown[0] / grown[1] if grown[1] > _LEAST_DB else 0.0
            measured.append(
                Measured(offset, float(np.mean(penalties)), float(np.sum(savings) / np.sum(weights)), slope)
            )
        return measured

    def _key(self, index: int, offset: float, alone: Coded) -> Coded:
        """A picture as a key, finer by an offset, whose pixels are the same everywhere; remembered."""
        quality_q6 = min(MAX_QUALITY_Q6, self.asked_q6 + to_q6(offset))

        def code(tried_q6: int) -> Coded:
            return alone if tried_q6 == alone.quality_q6 else self._alone(self.read(index), tried_q6)

        coded = self.work.remembered(f"key-{offset:g}", index, lambda: self.coder.for_others(code, quality_q6))
        self._stored[coded.id] = coded
        return coded

    def _keys(self, chosen: KeyPlan, alone: dict[int, Coded]) -> dict[int, Coded]:
        keys = {}
        for number, index in enumerate(chosen.keys):
            keys[index] = self._key(index, chosen.offset, alone[index])
            self._tell("key pictures", number + 1, len(chosen.keys), {})
        return keys

    def _kept(
        self, chosen: KeyPlan, keys: dict[int, Coded], good: Sequence[int], alone: dict[int, Coded]
    ) -> tuple[int, ...]:
        """The keys that pay: what a few of their pictures save, taken for all of them, is more than they cost."""
        if self.options.keys is not None:
            return tuple(chosen.keys)
        kept = []
        for key in chosen.keys:
            served = [one for one in good if one not in keys and self._candidates(one, chosen.keys, good)[:1] == [key]]
            served.sort(key=lambda one: self._worth[good.index(one), good.index(key)])
            tested = [served[place] for place in {len(served) // 2, len(served) - 1} if served][:_TESTED]
            saved = [
                1.0 - self._beside(one, chosen.keys, chosen, keys, alone[one]).cost / alone[one].cost for one in tested
            ]
            total = float(np.mean(saved)) * sum(alone[one].cost for one in served) if saved else 0.0
            if total > keys[key].cost - alone[key].cost:
                kept.append(key)
        return tuple(kept)

    def _beside(self, index: int, kept: Sequence[int], chosen: KeyPlan, keys: dict[int, Coded], alone: Coded) -> Coded:
        """A picture beside the keys that show most of it; remembered for these keys."""
        candidates = self._candidates(index, kept, self.good)
        if not candidates:
            return alone
        ids = [keys[key].id for key in candidates]
        step = "beside-" + sha256_bytes(b"".join(ids))[:16]

        def code() -> Coded:
            encoding = self.coder.begin(self.read(index).image_HW3)
            return self.coder.beside(encoding, self.asked_q6, ids, alone, self.asked_q6)

        return self.work.remembered(step, index, code)

    def _candidates(self, index: int, keys: Sequence[int], good: Sequence[int]) -> list[int]:
        place = {one: number for number, one in enumerate(good)}
        found = [key for key in keys if key != index and self._worth[place[index], place[key]] > 0]
        return sorted(found, key=lambda key: -self._worth[place[index], place[key]])[:CANDIDATES]

    def _publish(self, index: int, coded: Coded, alone: Coded) -> ArchivedPicture:
        """Writes a picture's stream under its own name, with its transparency and metadata."""
        source = Source(self.names[index], self.streams[index], self.sources.digests[index])
        data, row = finished(source, self.read(index), coded, alone, strip=self.options.strip)
        path = self.out / row.stream
        # A run that was interrupted here wrote the same bytes; whatever else lies there is somebody's.
        if os.path.lexists(path) and (not path.is_file() or sha256_file(path)[: len(row.check)] != row.check):
            raise InputError(
                f"{path}: is in the way, and not from packing; move it away, and run the same command again"
            )
        write_bytes(path, data)
        return row

    def _table(self, rows: dict[int, ArchivedPicture], *, is_last: bool = False) -> None:
        if is_last or time.monotonic() - self._written_at > TABLE_EVERY_S:
            folder, files = self._model() if is_last and self._carries_model else ("", {})
            write_manifest(self.out, Manifest(self.codec.bundle.bundle_id, folder, tuple(rows.values()), files))
            self._written_at = time.monotonic()

    @property
    def _carries_model(self) -> bool:
        return self.options.with_model or self.codec.bundle.directory != SHIPPED

    def _model(self) -> tuple[str, dict[str, str]]:
        """The name of the bundle's folder in the archive, copied whole or not at all, and the digests of its files."""
        name = model_folder(self.streams)
        if not (self.out / name).exists():
            half = self.work.path / MODEL_FOLDER
            shutil.rmtree(half, ignore_errors=True)
            copy_model(self.codec.bundle.directory, half)
            half.rename(self.out / name)
        return name, model_digests(self.out / name)

    def _stream_of(self, reference: bytes) -> bytes:
        if reference not in self._stored:
            raise MissingReference(f"no stream {reference.hex()} is at hand")
        return self._stored[reference].data

    def _pixels_of(self, reference: bytes) -> str:
        return self._stored[reference].pixels_sha256

    def _tell(self, step: str, done: int, of: int, rows: dict[int, ArchivedPicture]) -> None:
        sizes = [(row.source_bytes, row.bytes) for row in rows.values()]
        self.watch(Progress(step, done, of, sum(one[0] for one in sizes), sum(one[1] for one in sizes)))


class _ByPlace(PictureSource):
    """The pictures that could be read, by their place among them."""

    def __init__(self, packing: _Packing, good: Sequence[int]) -> None:
        self._packing, self._good = packing, good

    def read(self, reference: int | bytes, /) -> Picture:
        return self._packing.read(self._good[int(reference)]).image_HW3
