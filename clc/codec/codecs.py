"""Codecs of bundles, each loaded once: the one to encode with, and the one that a stream names.

The command line and the Python interface find their codecs here. A bundle is known by its id alone: what a folder held
before, or a bundle that is somewhere else now, never stands in for it. Where there are several copies of a bundle, the
first sound one is taken: one that loads, and lacks no key picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from clc.bitstream.container import parse
from clc.bundle.bundle import Bundle
from clc.bundle.identity import SHIPPED, id_of, is_decoder_bundle, is_id, only_decodes, read_manifest_bytes
from clc.bundle.locate import Shelf, log_once
from clc.bundle.search import Tell
from clc.codec.codec import Codec
from clc.codec.embedded import EmbeddedCodec
from clc.codec.overfitted import OverfittedCodec
from clc.errors import DictionaryMismatch, InputError, StorageError

CODECS_IN_MEMORY = 3
"""Codecs that a process keeps: one takes about 150 MiB, and its key pictures up to as much again."""


AnyCodec = Codec | OverfittedCodec | EmbeddedCodec
"""What decodes a stream."""


@dataclass(frozen=True)
class Codecs:
    """The codecs of all bundles within reach (`clc.bundle.locate`), loaded when they are first needed.

    `given` are values of `--bundle` and bundles in memory, `device` is torch's, `tell` takes sentences about what is
    passed over; `autoencoder` is the folder that overfitted streams are decoded with. Threads may share it. It has no
    lock, so that a process may be forked meanwhile. Raises what `Shelf` raises.
    """

    given: Sequence[str | Path | Bundle] = ()
    device: str = "cpu"
    tell: Tell = field(default=log_once, compare=False)
    autoencoder: str | Path | None = None

    def __post_init__(self) -> None:
        """Keeps what is given as a tuple, by which codecs are remembered."""
        object.__setattr__(self, "given", tuple(self.given))

    @property
    def shelf(self) -> Shelf:
        """Where the bundles lie that are not in memory; each place is searched once."""
        if "_shelf" not in self.__dict__:
            named = [one for one in self.given if not isinstance(one, Bundle) and self._in_memory(one) is None]
            self.__dict__["_shelf"] = Shelf(named, self.tell)
        shelf: Shelf = self.__dict__["_shelf"]
        return shelf

    def for_encoding(self) -> Codec:
        """Return the codec of the first bundle that was named, else of the shipped one.

        Where that only decodes, a whole copy of it within reach takes its place; `InputError` where there is none.
        """
        loaded = self._in_memory(self.given[0]) if self.given else None
        bundle_id = id_of(read_manifest_bytes(self.shelf.first())) if loaded is None else loaded.bundle_id
        return self.with_id(bundle_id, is_encoding=True)

    def with_id(self, bundle_id: str, *, is_encoding: bool = False) -> Codec:
        """Return the codec of a bundle's id, 16 hex digits, one that encodes where that is asked for.

        Raises as `for_stream` does, and `InputError` where no copy within reach encodes.
        """
        codec = _loaded(self, bundle_id)
        if is_encoding and not codec.bundle.encodes:
            return _loaded(self, bundle_id, is_encoding=True)
        return codec

    def for_stream(self, data: bytes) -> AnyCodec:
        """Return the codec that decodes a stream.

        Raises a `BitstreamError` for bytes that are no sound stream, `DictionaryMismatch` where its bundle or its
        autoencoder is not within reach, `StorageError` where all copies of the bundle are damaged.
        """
        stream = parse(data)
        if not stream.needs_bundle:
            return EmbeddedCodec()
        if not stream.is_overfitted:
            return _loaded(self, stream.bundle_id.hex())
        if self.autoencoder is None:
            raise DictionaryMismatch(
                f"the stream is overfitted in the latents of autoencoder {stream.bundle_id.hex()}: name its folder "
                "(--autoencoder FOLDER)"
            )
        return self.overfitted()

    def overfitted(self) -> OverfittedCodec:
        """Return the codec of the autoencoder, opened once; raises `InputError` where none is named, or it is none."""
        if self.autoencoder is None:
            raise InputError("no autoencoder is named; give its folder (--autoencoder FOLDER)")
        if "_overfitted" not in self.__dict__:
            self.__dict__["_overfitted"] = OverfittedCodec.load(self.autoencoder)
        opened: OverfittedCodec = self.__dict__["_overfitted"]
        return opened

    def _in_memory(self, one: str | Path | Bundle) -> Bundle | None:
        """The loaded bundle that is given, or that an id names; None for all others."""
        if isinstance(one, Bundle):
            return one
        bundles = [bundle for bundle in self.given if isinstance(bundle, Bundle)]
        if not (isinstance(one, str) and is_id(one)) or Path(one).is_dir():
            return None
        return next((bundle for bundle in bundles if bundle.bundle_id.startswith(one)), None)


@lru_cache(CODECS_IN_MEMORY)
def _loaded(codecs: Codecs, bundle_id: str, *, is_encoding: bool = False) -> Codec:
    for one in codecs.given:
        if isinstance(one, Bundle) and one.bundle_id == bundle_id and (one.encodes or not is_encoding):
            return Codec(one, codecs.device)
    problems: list[InputError | StorageError] = []
    incomplete: list[Codec] = []
    decoding_only: list[Path] = []
    for folder in codecs.shelf.copies(bundle_id):
        if is_encoding and is_decoder_bundle(folder):
            decoding_only.append(folder)
            continue
        if problems:
            codecs.tell(f"{problems[-1]}; trying the copy in {folder}")
        try:
            codec = _opened(folder, codecs.device)
            _refuse_another(codec, bundle_id)
        except (InputError, StorageError) as error:
            problems.append(error)
            continue
        missing = codec.bundle.entries.missing_picture()
        if missing is None:
            return codec
        incomplete.append(codec)
        problems.append(StorageError(f"key picture {missing} is missing or of another size"))
    if incomplete:  # what does not need the missing picture can be decoded all the same
        return incomplete[0]
    raise problems[0] if problems else only_decodes(bundle_id, decoding_only[0])


def _opened(folder: Path, device: str) -> Codec:
    return Codec.shipped() if folder == SHIPPED and device == "cpu" else Codec.load(folder, device)


def _refuse_another(codec: Codec, bundle_id: str) -> None:
    if codec.bundle.bundle_id != bundle_id:
        raise StorageError(f"{codec.bundle.directory} was replaced by bundle {codec.bundle.bundle_id} meanwhile")
