"""Codecs of bundles, each loaded once: the one to encode with, and the one that a stream names.

The command line and the Python interface find their codecs here. A bundle is known by its id alone: what a folder held
before, or a bundle that is somewhere else now, never stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clc.bitstream.container import parse
from clc.bundle.bundle import Bundle
from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.codec.codec import Codec

CODECS_IN_MEMORY = 3
"""Codecs that a process keeps: one takes about 150 MiB, and its key pictures up to as much again."""


@dataclass(frozen=True)
class Codecs:
    """The codecs of all bundles within reach (`clc.bundle.locate`), loaded when they are first needed.

    `given` are values of `--bundle` and bundles in memory, `device` is torch's. Threads may share it. It has no lock,
    so that a process may be forked meanwhile. Raises what `Shelf` raises.
    """

    given: Sequence[str | Path | Bundle] = ()
    device: str = "cpu"

    def for_encoding(self) -> Codec:
        """Return the codec of the first bundle that was named, else of the shipped one."""
        first = self.given[0] if self.given else SHIPPED
        if isinstance(first, Bundle):
            return _loaded(first.bundle_id, (first,), self.device)
        folder = Shelf([first]).first()
        return _loaded(id_of(read_manifest_bytes(folder)), (folder,), self.device)

    def for_stream(self, data: bytes) -> Codec:
        """Return the codec that decodes a stream.

        Raises a `BitstreamError` for bytes that are no sound stream, `DictionaryMismatch` where its bundle is not
        within reach, `StorageError` where that is damaged.
        """
        return _loaded(parse(data).bundle_id.hex(), tuple(self.given), self.device)


@lru_cache(CODECS_IN_MEMORY)
def _loaded(bundle_id: str, given: tuple[str | Path | Bundle, ...], device: str) -> Codec:
    loaded = next((one for one in given if isinstance(one, Bundle) and one.bundle_id == bundle_id), None)
    if loaded is not None:
        return Codec(loaded, device)
    folder = Shelf([one for one in given if not isinstance(one, Bundle)]).find(bundle_id)
    return Codec.shipped() if folder == SHIPPED and device == "cpu" else Codec.load(folder, device)
