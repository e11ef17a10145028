"""What tests of the measuring modules share: a codec that stands in for ours, and scenes that are quick to code."""

import io
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clc.bitstream.container import pack, parse
from clc.bitstream.stream import PROFILE, Stream
from clc.codec.beside import DecodedPicture, sections_of, with_beside
from clc.codec.info import StreamInfo, stream_info
from clc.codec.ways.goal import Goal
from clc.errors import DictionaryMismatch, InputError, TruncatedStream
from clc.pictures.metadata import NO_METADATA, Metadata
from clc.quality import checked_quality


class WebpCodec:
    """Stands in for `clc.codec.Codec`: WebP behind a header, which references "none" pad by a quarter."""

    def __init__(self, bundle_id: str = "00112233445566ff") -> None:
        self.bundle = SimpleNamespace(bundle_id=bundle_id)

    def encode(
        self, image_HW3: NDArray[np.uint8], quality: float = 50.0, references: str = "auto", *, effort: int = 5
    ) -> bytes:
        if references not in ("auto", "none"):
            raise InputError(f"references must be auto or none, not {references}")
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(image_HW3)).save(buffer, "WEBP", quality=round(quality), method=0)
        padding = b"" if references == "auto" else bytes(len(buffer.getvalue()) // 4)
        return struct.pack("<I", len(padding)) + padding + buffer.getvalue()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        if len(data) < 5:
            raise TruncatedStream("the stream ends within its header")
        (padding,) = struct.unpack_from("<I", data)
        with Image.open(io.BytesIO(data[4 + padding :])) as picture:
            return np.asarray(picture.convert("RGB"))


class ContainerCodec:
    """Stands in for `clc.codec.Codec` where only the container matters: real streams whose payload is a WebP file."""

    bundle_id = bytes.fromhex("00112233445566ff")

    def __init__(self) -> None:
        self.asked_for: list[tuple[float, object]] = []

    def encode(
        self,
        image_HW3: NDArray[np.uint8],
        quality: float = 50.0,
        references: object = "auto",
        *,
        effort: int = 5,
        alpha_HW: NDArray[np.uint8] | None = None,
        metadata: Metadata = NO_METADATA,
    ) -> bytes:
        self.asked_for.append((quality, references))
        quality = checked_quality(quality)
        buffer = io.BytesIO()
        Image.fromarray(image_HW3).save(buffer, "WEBP", quality=round(quality), method=0)
        height, width = image_HW3.shape[:2]
        sections = sections_of(alpha_HW, metadata, (height, width))
        return pack(
            Stream(PROFILE, width, height, round(quality * 64), self.bundle_id, (), 0, buffer.getvalue(), (), sections)
        )

    def encode_to(self, goal: Goal, *picture: object, **options: object) -> bytes:
        return self.encode(picture[0], goal.quality, *picture[1:], **options)  # type: ignore[arg-type]

    def at_qualities(self, image_HW3: NDArray[np.uint8], references: object, **options: object) -> object:
        return lambda quality: self.encode(image_HW3, quality, references, **options)  # type: ignore[arg-type]

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        return self.decode_picture(data).image_HW3

    def decode_picture(self, data: bytes) -> DecodedPicture:
        stream = parse(data)
        if stream.bundle_id != self.bundle_id:
            raise DictionaryMismatch("the stream was written with another bundle")
        with Image.open(io.BytesIO(stream.payload)) as picture:
            return with_beside(np.array(picture.convert("RGB")), stream.sections)

    def info(self, data: bytes) -> StreamInfo:
        return stream_info(data)


class OneCodec:
    """Stands in for `clc.codec.codecs.Codecs`: one codec for everything."""

    def __init__(self, codec: ContainerCodec) -> None:
        self.for_encoding = lambda: codec
        self.for_stream = lambda data: codec


@pytest.fixture
def container_codec() -> ContainerCodec:
    """Return a codec that is quick and writes real containers."""
    return ContainerCodec()


@pytest.fixture(scope="session")
def webp_codec() -> WebpCodec:
    """Return a codec with the interface of ours that needs no model."""
    return WebpCodec()


@pytest.fixture(scope="session")
def scene_HW3() -> NDArray[np.uint8]:
    """Return a 176x192 picture with shading, edges and grain, so that every codec has something to lose."""
    return make_scene(0)


@pytest.fixture(scope="session")
def make_scene_HW3():
    """Return the function that makes scenes of any seed and size."""
    return make_scene


def make_scene(seed: int, height: int = 176, width: int = 192) -> NDArray[np.uint8]:
    """Blobs of different size and colour over shading, with grain; the same for the same seed on every machine."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack([60 + 80 * x / width, 80 + 60 * y / height, 100 + 40 * (x + y) / (width + height)], axis=-1)
    for _ in range(40):
        centre, radius = generator.uniform(0, (height, width)), generator.uniform(3, 30)
        inside = np.hypot(y - centre[0], x - centre[1]) < radius
        image[inside] = generator.uniform(0, 255, 3)
    image += generator.normal(0, 6, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)
