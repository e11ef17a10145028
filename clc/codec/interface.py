"""What `import clc` offers: pictures and streams in whatever form callers have them, and any bundle.

`clc` loads this file on first use. It turns what it is given into what `clc.codec.codec.Codec` takes, and refuses by
`InputError` what is no picture, no stream and no bundle. `clc.codec.pillow_plugin` finds its codecs here, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clc.bundle.bundle import Bundle
from clc.codec.beside import DecodedPicture
from clc.codec.codec import Codec
from clc.codec.codecs import AnyCodec, Codecs
from clc.codec.effort import DEFAULT_EFFORT, effort_of
from clc.codec.overfitted import OverfittedCodec
from clc.codec.search.selection import References, checked_references
from clc.codec.sources import Source, given_metadata, picture_from, stream_from, tell
from clc.codec.ways.exact import encode_exact
from clc.codec.ways.goal import AUTO, DEFAULT_QUALITY, LEARNED, MODES, Goal
from clc.errors import InputError
from clc.pictures import losses
from clc.pictures.metadata import Metadata
from clc.pictures.picture import Picture, Plane

if TYPE_CHECKING:
    from clc.codec.sources import PictureSource, StreamSource

Folder = str | os.PathLike[str]

OneBundle = str | os.PathLike[str] | Bundle
Bundles = OneBundle | Sequence[OneBundle] | None
"""A folder, an id, "service" (`clc.bundle.locate`) or a loaded bundle, several of them, or None for the shipped one.

A text may be any of the first three, a `Path` is always a folder."""


def encode(
    source: PictureSource,
    quality: float,
    references: References,
    *,
    mode: str = AUTO,
    lossless: bool = False,
    max_error: int | None = None,
    target_psnr: float | None = None,
    bundle: Bundles = None,
    autoencoder: Folder | None = None,
    effort: int = DEFAULT_EFFORT,
    alpha_HW: Plane | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """See `clc.encode`."""
    goal = Goal.of(quality, lossless=lossless, max_error=max_error, target_psnr=target_psnr)
    checked_references(references)
    check_mode(mode, goal, references, bundle, autoencoder)
    effort_of(effort)
    picture = picture_from(source)
    if alpha_HW is not None and picture.alpha_HW is not None:
        raise InputError("the picture has transparency of its own; give either that or alpha_HW")
    is_upright = not isinstance(source, np.ndarray)  # an array is as its caller made it
    if bundle is not None and autoencoder is not None:
        raise InputError("a picture is coded with a bundle or overfitted with an autoencoder; give one of them")
    picture = replace(
        picture,
        alpha_HW=picture.alpha_HW if alpha_HW is None else alpha_HW,
        metadata=picture.metadata if metadata is None else given_metadata(metadata, is_upright=is_upright),
    )

    def encoder() -> Codec | OverfittedCodec:
        return codec_of(bundle) if autoencoder is None else OverfittedCodec.load(_folder(autoencoder))

    data = coded(picture, goal, references, mode=mode if autoencoder is None else LEARNED, effort=effort, of=encoder)
    tell(losses_of(picture, goal), picture.name, 3)
    return data


def coded(
    picture: Source,
    goal: Goal,
    references: References = "auto",
    *,
    mode: str = AUTO,
    effort: int = DEFAULT_EFFORT,
    of: Callable[[], Codec | OverfittedCodec],
) -> bytes:
    """Return the stream of a picture; `of` gives the codec where one is needed, all else is as for `clc.encode`."""
    image_HW3, alpha_HW, metadata = picture.image_HW3, picture.alpha_HW, picture.metadata
    if goal.max_error is not None:
        return encode_exact(image_HW3, goal.max_error, effort=effort, alpha_HW=alpha_HW, metadata=metadata)
    codec = of()
    if mode == AUTO and not isinstance(codec, OverfittedCodec):
        return codec.encode_to(goal, image_HW3, references, effort=effort, alpha_HW=alpha_HW, metadata=metadata)
    quality = DEFAULT_QUALITY if goal.quality is None else goal.quality
    return codec.encode(image_HW3, quality, references, effort=effort, alpha_HW=alpha_HW, metadata=metadata)


def losses_of(picture: Source, goal: Goal) -> tuple[str, ...]:
    """What is lost of a picture, in sentences; where its samples are promised, a profile that moved them counts."""
    moved = (losses.MOVED,) if goal.is_exact and picture.is_moved else ()
    return (*picture.losses, *moved)


def check_mode(mode: str, goal: Goal, references: References, bundle: Bundles, autoencoder: Folder | None) -> None:
    """Raises `InputError` for arguments that do not go together."""
    if mode not in MODES:
        raise InputError(f"the mode must be {' or '.join(MODES)}, not {mode!r}")
    if goal.quality is not None:
        return
    wish = "a largest error" if goal.is_exact else "a target PSNR"
    if mode != AUTO or autoencoder is not None:
        raise InputError(f"{wish} does not go with mode {LEARNED} or an autoencoder: leave these out")
    if goal.is_exact and (bundle is not None or references not in ("auto", "none")):
        raise InputError("a stream whose samples are promised needs no bundle and has no references: leave these out")


def decode(source: StreamSource, bundle: Bundles = None, autoencoder: Folder | None = None) -> Picture:
    """See `clc.decode`."""
    data = stream_from(source)
    return codec_for(data, bundle, autoencoder).decode(data)


def decode_picture(source: StreamSource, bundle: Bundles = None, autoencoder: Folder | None = None) -> DecodedPicture:
    """See `clc.decode_picture`."""
    data = stream_from(source)
    decoded = codec_for(data, bundle, autoencoder).decode_picture(data)
    tell(decoded.left_out, "the stream", 3)
    return decoded


def codec_of(bundles: Bundles) -> Codec:
    """Return the codec that encodes: of the first bundle that is named, or the shipped one.

    Raises `InputError` for what is no bundle, `StorageError` for one that is damaged.
    """
    return Codecs(_listed(bundles)).for_encoding()


def codec_for(data: bytes, bundles: Bundles = None, autoencoder: Folder | None = None) -> AnyCodec:
    """Return the codec that decodes a stream.

    A stream names its bundle, which is looked for among those that are named here, and where `clc.bundle.locate` looks;
    an overfitted one names its autoencoder. Raises what `codec_of` raises, and over a stream a `BitstreamError`:
    `DictionaryMismatch` where its bundle or autoencoder is not within reach.
    """
    folder = None if autoencoder is None else _folder(autoencoder)
    return Codecs(_listed(bundles), autoencoder=folder).for_stream(data)


def _folder(autoencoder: Folder) -> Path:
    if not isinstance(autoencoder, str | os.PathLike):
        raise InputError(f"an autoencoder is a folder's path, not {autoencoder!r}")
    return Path(os.fsdecode(autoencoder))


def _listed(bundles: Bundles) -> list[str | Path | Bundle]:
    if bundles is None:
        return []
    listed = [bundles] if isinstance(bundles, str | os.PathLike | Bundle) else bundles
    is_list = isinstance(listed, Sequence) and not isinstance(listed, bytes) and bool(listed)
    if not is_list or not all(isinstance(one, str | os.PathLike | Bundle) for one in listed):
        raise InputError(f"a bundle is a folder, an id, a Bundle or a list of them, not {bundles!r}; name a folder")
    # A path is a folder, whatever its name; only a text may be an id or "service".
    return [one if isinstance(one, Bundle | str) else Path(os.fsdecode(one)) for one in listed]
