"""Codecs for streams of several bundles: each stream is decoded with the bundle that it names."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from clc.bitstream.container import parse
from clc.bundle.identity import SHIPPED, id_of, read_manifest_bytes
from clc.bundle.locate import Shelf
from clc.codec.codec import Codec

_IN_MEMORY = 3
"""Codecs that are kept: one takes about 150 MiB, and its key pictures up to as much again."""


class Codecs:
    """The codecs of all bundles within reach (`clc.bundle.locate`), loaded when they are first needed.

    `given` are values of `--bundle`, `device` is torch's. Threads may share it. Raises what `Shelf` raises.
    """

    def __init__(self, given: Sequence[str | Path] = (), device: str = "cpu") -> None:
        self._shelf, self._device = Shelf(given), device
        self._loaded: OrderedDict[str, Codec] = OrderedDict()
        self._lock = threading.Lock()

    def for_encoding(self) -> Codec:
        """Return the codec of the first bundle that was named, else of the shipped one."""
        folder = self._shelf.first()
        return self._codec(id_of(read_manifest_bytes(folder)), folder)

    def for_stream(self, data: bytes) -> Codec:
        """Return the codec that decodes a stream.

        Raises a `BitstreamError` for bytes that are no sound stream, `DictionaryMismatch` where its bundle is not
        within reach, `StorageError` where that is damaged.
        """
        bundle_id = parse(data).bundle_id.hex()
        return self._codec(bundle_id, None)

    def _codec(self, bundle_id: str, folder: Path | None) -> Codec:
        with self._lock:
            if bundle_id not in self._loaded:
                folder = folder or self._shelf.find(bundle_id)
                is_shared = folder == SHIPPED and self._device == "cpu"
                self._loaded[bundle_id] = Codec.shipped() if is_shared else Codec.load(folder, self._device)
            self._loaded.move_to_end(bundle_id)
            while len(self._loaded) > _IN_MEMORY:
                self._loaded.popitem(last=False)
            return self._loaded[bundle_id]
