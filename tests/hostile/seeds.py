"""The valid streams that mutations start from: small pictures at several qualities, with every use of references."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from clc.archive.pictures import ReferredPictures, nothing_stored
from clc.bitstream.alignment import Alignment, mesh_shape
from clc.bitstream.container import stream_id
from clc.bitstream.container import with_sections as with_sections_of
from clc.bitstream.regions import Regions
from clc.bundle.bundle import SHIPPED
from clc.bundle.extend import add_pictures
from clc.codec import Codec
from clc.codec.beside import sections_of
from clc.codec.search.contest import Choice
from clc.errors import MissingReference
from clc.pictures.images import read_image
from clc.pictures.metadata import Metadata
from storage.digest import sha256_bytes
from tests.self_prior import export_with_self_prior

QUALITIES = (0, 25, 50, 75, 100)

Picture = npt.NDArray[np.uint8]


class Seeds(NamedTuple):
    """Streams, the codec that decodes them, and the streams to which some refer, each with the SHA-256 of its
    pixels."""

    codec: Codec
    streams: list[bytes]
    keys: list[tuple[bytes, str]]


def crop(name: str, top: int, left: int, height: int, width: int) -> Picture:
    """A part of a photograph that scikit-image ships, uint8 (height, width, 3)."""
    photo = read_image((files("skimage") / "data" / name).read_bytes())
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def make_seeds(folder: Path, only: str | None = None) -> Seeds:
    """The streams of all `SEEDS`, or of one of them by its name, under the shipped bundle with two key pictures more.

    The bundle goes to `folder`. The codec decodes beside the pictures of `key_streams`, as that of an archive does.
    `with_self_prior` has a bundle of its own, and is among them by its name alone.
    """
    if only == with_self_prior.__name__:
        return with_self_prior(folder)
    key_pictures = [crop("chelsea.png", 60, 120, 144, 176), crop("coffee.png", 100, 80, 128, 128)]
    add_pictures(SHIPPED, folder, key_pictures, [{"name": "chelsea"}, {"name": "coffee"}])
    loaded = Codec.load(folder)
    exactly = ReferredPictures(loaded.decoder, nothing_stored, lambda reference: "").exactly
    keys = [(data, sha256_bytes(exactly(data).image_HW3.tobytes())) for data in key_streams(loaded)]
    codec = beside_streams(loaded, keys)
    return Seeds(codec, [data for make in SEEDS if only in (None, make.__name__) for data in make(codec)], keys)


def beside_streams(codec: Codec, keys: Iterable[tuple[bytes, str]]) -> Codec:
    """The codec, which finds the pictures of some streams by their ids; each comes with the SHA-256 of its pixels."""
    stored = {stream_id(data): (data, sha256) for data, sha256 in keys}

    def found(reference: bytes) -> tuple[bytes, str]:
        if reference not in stored:
            raise MissingReference(f"no stream {reference.hex()} is at hand")
        return stored[reference]

    return codec.beside(ReferredPictures(codec.decoder, lambda one: found(one)[0], lambda one: found(one)[1]))


def key_streams(codec: Codec) -> list[bytes]:
    """Two streams that others refer to; with them comes neither metadata nor transparency."""
    pictures = (crop("chelsea.png", 60, 120, 144, 176), crop("coffee.png", 100, 80, 128, 128))
    return [codec.encoding(picture).code(70 * 64, Choice()).data for picture in pictures]


def alone(codec: Codec) -> list[bytes]:
    """Without references."""
    picture = crop("astronaut.png", 40, 60, 64, 64)
    return [codec.encode(picture, quality, "none") for quality in QUALITIES]


def with_tokens(codec: Codec) -> list[bytes]:
    """With the tokens of three entries."""
    picture = crop("rocket.jpg", 60, 120, 70, 96)
    return [codec.encode(picture, quality, "tokens") for quality in QUALITIES]


def aligned(codec: Codec) -> list[bytes]:
    """With one aligned reference: a homography, brightness and a mesh."""
    picture = crop("chelsea.png", 90, 150, 64, 90)
    mesh = np.random.default_rng(5).integers(-3, 4, (*mesh_shape(64, 90), 2)).astype(np.int8)
    corners = (480, 480, 1921, 483, 478, 1505, 1920, 1500)
    alignment = Alignment(corners, gain_q6=(66, 64, 61), offset=(0, -3, 2), mesh=mesh)
    choice = Choice((len(codec.bundle.entries) - 2,), (alignment,))
    return [codec.encoding(picture).code(quality * 64, choice).data for quality in QUALITIES]


def aligned_and_tokens(codec: Codec) -> list[bytes]:
    """With two aligned references, the first of which covers a part only, and the tokens of one more entry."""
    picture = crop("coffee.png", 150, 100, 64, 64)
    entries = len(codec.bundle.entries)
    partly = Alignment((1600, 800, 2624, 800, 1600, 1824, 2624, 1824))
    whole = Alignment((320, 800, 1344, 800, 320, 1824, 1344, 1824))
    choice = Choice((entries - 2, entries - 1, 7), (partly, whole))
    return [codec.encoding(picture).code(quality * 64, choice).data for quality in QUALITIES]


def with_sections(codec: Codec) -> list[bytes]:
    """With transparency, EXIF and XMP, or with one of the three."""
    picture = crop("astronaut.png", 60, 40, 64, 48)
    rows, columns = np.indices((64, 48))
    alpha_HW = np.clip(2 * rows + columns, 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010E], exif[0x0110] = "a flight over the valley", "camera" * 30
    metadata = Metadata(exif.tobytes().removeprefix(b"Exif\0\0"), b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    beside = [(alpha_HW, metadata), (None, metadata), (alpha_HW, Metadata()), (None, Metadata(xmp=metadata.xmp))]
    beside.append((alpha_HW, Metadata(exif=metadata.exif)))
    return [
        codec.encode(picture, quality, "none", alpha_HW=alpha, metadata=data)
        for quality, (alpha, data) in zip(QUALITIES, beside, strict=True)
    ]


def referring(codec: Codec) -> list[bytes]:
    """Beside the picture of another stream, or of two and the tokens of an entry; one with transparency."""
    picture = crop("chelsea.png", 90, 150, 64, 90)
    first, second = map(stream_id, key_streams(codec))
    mesh = np.random.default_rng(5).integers(-3, 4, (*mesh_shape(64, 90), 2)).astype(np.int8)
    near = Alignment((480, 480, 1921, 483, 478, 1505, 1920, 1500), gain_q6=(66, 64, 61), offset=(0, -3, 2), mesh=mesh)
    partly = Alignment((1600, 800, 2624, 800, 1600, 1824, 2624, 1824))
    one, two = Choice((), (near,), streams=(first,)), Choice((7,), (near, partly), streams=(first, second))
    choices = (one, two, one, two, one)
    made = [
        codec.encoding(picture).code(quality * 64, choice).data
        for quality, choice in zip(QUALITIES, choices, strict=True)
    ]
    alpha_HW = np.indices((64, 90))[1].astype(np.uint8)
    return [*made[:-1], with_sections_of(made[-1], sections_of(alpha_HW, Metadata(), (64, 90)))]


def with_self_prior(folder: Path) -> Seeds:
    """Alone, under the bundle of a small model with a self-generated prior, which goes to `folder`."""
    export_with_self_prior(folder, crop("chelsea.png", 0, 0, 300, 451))
    codec = Codec.load(folder)
    return Seeds(codec, alone(codec), [])


def in_regions(codec: Codec) -> list[bytes]:
    """Beside the picture of another stream, some blocks of which moved and some of which show something else."""
    picture = crop("chelsea.png", 90, 150, 64, 90)
    first, _ = map(stream_id, key_streams(codec))
    blocks = (np.arange(4 * 6) % 4).reshape(4, 6).astype(np.uint8)
    mesh = np.random.default_rng(5).integers(-3, 4, (*mesh_shape(64, 90), 2)).astype(np.int8)
    at = Alignment((480, 480, 1920, 480, 480, 1504, 1920, 1504), regions=Regions(16, ((8, -6), (-400, 3)), blocks))
    bent = replace(at, mesh=mesh, gain_q6=(66, 64, 61), regions=Regions(32, (), np.array([[1, 0, 1], [0, 1, 1]], "u1")))
    choices = (Choice((), (alignment,), streams=(first,)) for alignment in (at, bent, at, bent, at))
    return [
        codec.encoding(picture).code(quality * 64, choice).data
        for quality, choice in zip(QUALITIES, choices, strict=True)
    ]


SEEDS: tuple[Callable[[Codec], list[bytes]], ...] = (
    alone,
    with_tokens,
    aligned,
    aligned_and_tokens,
    with_sections,
    referring,
    in_regions,
)
