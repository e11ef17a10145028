"""What packing is asked for, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from clc.archive.manifest import Manifest
from clc.codec.effort import effort_of
from clc.errors import InputError
from clc.quality import checked_quality


@dataclass(frozen=True)
class PackOptions:
    """How to pack: quality 0..100; `keys` how many key pictures, None for as many as pay; `levels` 1 (every picture
    alone) or 2 (beside key pictures); effort 0..9 (`clc.codec.effort`); `strip` leaves EXIF and XMP out; `background`
    is a colour to lay transparent pictures over; `with_model` puts the bundle into the archive even if it is shipped.
    """

    quality: float = 50.0
    keys: int | None = None
    levels: int = 2
    effort: int = 5
    strip: bool = False
    background: str | None = None
    with_model: bool = False

    def __post_init__(self) -> None:
        checked_quality(self.quality)
        effort_of(self.effort)
        if self.levels not in (1, 2):
            raise InputError(f"levels must be 1 or 2, not {self.levels}")
        if self.keys is not None and self.keys < 0:
            raise InputError(f"the number of key pictures cannot be {self.keys}")


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
    files that are no pictures, by their extension. `quality` was asked for, `psnr_db` is that of all pixels,
    `alone_psnr_db` what they have where every picture is coded alone, and `alone_bytes_at_psnr` about the bytes that
    these would take at `psnr_db`.
    """

    manifest: Manifest
    archive_bytes: int
    failed: tuple[tuple[str, str], ...]
    losses: tuple[tuple[str, tuple[str, ...]], ...]
    passed_over: dict[str, int]
    keys: tuple[str, ...]
    offset: float
    quality: float
    psnr_db: float
    alone_psnr_db: float
    alone_bytes_at_psnr: float
