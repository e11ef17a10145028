"""What packing is asked for, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from clc.archive.layout import table_of
from clc.archive.manifest import Manifest
from clc.codec.effort import effort_of
from clc.codec.ways.goal import AUTO, MODES, checked_error
from clc.errors import InputError
from clc.quality import checked_quality

MOST_PSNR_DB = 100.0
"""No more can be asked for."""


@dataclass(frozen=True)
class PackOptions:
    """How to pack.

    - `quality` is 0..100, and the floor for every picture; instead of it, `target_bytes` is what the archive may take
      at most, everything counted, or `target_psnr_db` what all its pixels have at least.
    - `mode` is "auto", each picture the way that suits it, or "learned", all by the bundle's model. Instead of a
      quality or a target, `max_error` is how many levels of 0..255 a sample may be off at most; 0 is without loss.
    - `keys` is how many key pictures, None for as many as pay. `levels` is 1 (every picture alone), 2 (beside key
      pictures) or 3 (these beside key pictures themselves): how many streams may have to be decoded for one.
    - `effort` is 0..9 (`clc.codec.effort`). `strip` leaves EXIF and XMP out; `background` is a colour to lay
      transparent pictures over; `with_model` puts the bundle into the archive even if it is shipped.
    """

    quality: float = 50.0
    keys: int | None = None
    levels: int = 2
    effort: int = 5
    strip: bool = False
    background: str | None = None
    with_model: bool = False
    target_bytes: int | None = None
    target_psnr_db: float | None = None
    mode: str = AUTO
    max_error: int | None = None

    def __post_init__(self) -> None:
        checked_quality(self.quality)
        effort_of(self.effort)
        if self.levels not in (1, 2, 3):
            raise InputError(f"levels must be 1, 2 or 3, not {self.levels}")
        if self.keys is not None and self.keys < 0:
            raise InputError(f"the number of key pictures cannot be {self.keys}")
        if self.target_bytes is not None and self.target_psnr_db is not None:
            raise InputError("an archive can have a target size or a target PSNR, not both")
        if self.target_bytes is not None and self.target_bytes < 1:
            raise InputError(f"the target size cannot be {self.target_bytes} bytes")
        if self.target_psnr_db is not None and not 0 < self.target_psnr_db < MOST_PSNR_DB:
            raise InputError(f"the target PSNR must lie between 0 and {MOST_PSNR_DB:g} dB, not {self.target_psnr_db}")
        check_way(self.mode, self.max_error)
        if self.max_error is not None and (self.target_bytes, self.target_psnr_db) != (None, None):
            raise InputError("samples within an error are as large as they are: give no target beside that")

    @property
    def draft_quality(self) -> float:
        """The quality of a draft where no target is given: the highest where samples are promised."""
        return self.quality if self.max_error is None else 100.0


def check_way(mode: str, max_error: int | None) -> None:
    """Raises `InputError` for a mode that does not exist, and for an error that is out of range or beside that mode."""
    if mode not in MODES:
        raise InputError(f"an archive's pictures are coded in mode {' or '.join(MODES)}, not {mode!r}")
    if max_error is not None:
        checked_error(max_error)
        if mode != AUTO:
            raise InputError(f"mode {mode} promises no error of a sample: leave out one of them")


@dataclass(frozen=True)
class Progress:
    """What was done of a step, for whoever watches."""

    step: str
    done: int
    of: int
    source_bytes: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Packed:
    """What became of a folder: the archive's table, and what was told of single files.

    `failed` are the files that could not be read, with the reason; `losses` what of a file was lost; `passed_over` the
    files that are no pictures, by their extension. `keys` are the key pictures by name, each with the units of quality
    by which it is finer. `quality` was asked for, or found for a target; `psnr_db` is that of all pixels,
    `alone_psnr_db` what they have where every picture is coded alone, and `alone_bytes_at_psnr` about the bytes that
    these would take at `psnr_db`. `psnr_db_of` has the PSNR of each picture by its name. `max_error` is how
    many levels a sample may be off, where that was asked for.
    """

    manifest: Manifest
    archive_bytes: int
    failed: tuple[tuple[str, str], ...]
    losses: tuple[tuple[str, tuple[str, ...]], ...]
    passed_over: dict[str, int]
    keys: tuple[tuple[str, float], ...]
    quality: float
    psnr_db: float
    alone_psnr_db: float
    alone_bytes_at_psnr: float
    psnr_db_of: Mapping[str, float] = field(default_factory=dict)
    max_error: int | None = None

    @property
    def archive_bytes_alone(self) -> int:
        """What the archive would take if no picture referred to another one, its table included."""
        pictures = self.manifest.pictures
        rows = [replace(row, bytes=row.alone_bytes, references=(), pixels_sha256="") for row in pictures]
        alone = replace(self.manifest, pictures=tuple(rows))
        tables = [len(table_of(manifest)[1]) for manifest in (alone, self.manifest)]
        return self.archive_bytes + tables[0] - tables[1] - sum(row.bytes - row.alone_bytes for row in pictures)
