"""Bytes that streams in archives are made of: a change of the wire format shows here and nowhere else.

After a change that is meant (and raises the container's version), write the files anew and read the difference:

    CLC_REGENERATE_GOLDENS=1 python -m pytest tests/golden
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clc.bitstream.alignment import Alignment, identity, mesh_shape
from clc.bitstream.container import Stream, empty_stream, pack, pack_fields, parse, parse_with_fields, stream_id
from clc.bitstream.embedding import AV1_PROFILE, PNG_PROFILE, Embedding, Reason
from clc.bitstream.insets import Inset
from clc.bitstream.range_coder import CdfTable, Decoder, Encoder
from clc.bitstream.regions import Regions, map_shape
from clc.bitstream.sections import Section
from clc.codec.embedded import Copies, EmbeddedCodec, copied_parts, embedded_pixels, sealed, with_insets
from clc.codec.latent_coding import Analysed, decode_latents, encode_latents
from clc.codec.ways.exact import encode_exact
from clc.model.prior.walk import Conditions
from clc.overfitted.coding import decode_function, encode_function
from clc.overfitted.integers import FunctionIntegers, group_sizes
from clc.overfitted.layout import layout_of
from clc.payloads.avif import avif_payload
from clc.payloads.exact import Payload, exact_payload
from clc.payloads.png import png_payload
from clc.pictures.metadata import Metadata
from clc.references.key_pictures import WarpedKeyPictures
from tests.conftest import SMALL, Picture
from tests.self_prior import prior_of_integers

HERE = Path(__file__).parent

# Written as integers: a golden must not depend on how a machine rounds.
TABLE = CdfTable(
    cdf=np.array([[0, 3, 500, 65000, 65530, 65536, 65536], [0, 40000, 65536, 65536, 0, 0, 0]], dtype=np.int32),
    lengths=np.array([7, 4], dtype=np.int32),
    offsets=np.array([-2, 0], dtype=np.int32),
)
SYMBOLS = np.array([0, 0, 1, 1, -1, 0, 2, 0, -2, 1, 0, 5, 0, 0, -300, 7, 0, 1_000_000, 0, -1], dtype=np.int32)
INDEXES = np.array([0, 1] * 10, dtype=np.int32)
STREAM = Stream(
    profile=0,
    width=768,
    height=512,
    quality_q6=3200,
    bundle_id=bytes.fromhex("0123456789abcdef"),
    references=(1, 4095, 77),
    latents_crc32=0xDEADBEEF,
    payload=bytes(range(16)),
)

OFFSETS = np.arange(25 * 17 * 2) // 5 % 7 - 3
ALIGNED_STREAM = replace(
    STREAM,
    alignments=(
        Alignment(
            corners_q4=(-1336, -4671, 15536, -2566, -2736, 7152, 14974, 8937),
            gain_q6=(66, 64, 61),
            offset=(-4, 0, 11),
            mesh=OFFSETS.reshape(*mesh_shape(512, 768), 2).astype(np.int8),
        ),
        Alignment(corners_q4=(0, 0, 12288, 0, 0, 8192, 12288, 8192)),
        Alignment(
            corners_q4=(64, -64, 12300, 0, 5, 8192, 12288, 8200),
            mesh=np.where(np.arange(17 * 25 * 2) % 97 == 5, -128, 2).reshape(*mesh_shape(512, 768), 2).astype(np.int8),
        ),
    ),
)


EXIF_CONTENT = b"II*\0\x08\0\0\0" + b"EXIF of a picture. " * 6
SECTIONED_STREAM = replace(
    ALIGNED_STREAM,
    sections=(
        # Deflated elsewhere: zlib's bytes may differ by its version, and a stream keeps those that it was written with.
        Section(
            kind=1,
            stored=bytes.fromhex("78daf3f4d462e0606060708df07453c84f53485428c84c2e292d4ad553a0b110007ab1250d"),
            is_deflated=True,
            n_bytes=len(EXIF_CONTENT),
            crc32=3403299993,
        ),
        Section.of(2, b"<x:xmpmeta/>"),
        Section.of(3, bytes(range(40))),
        Section.of(127, b"of a later release"),
    ),
)


REFERRING_STREAM = replace(
    SECTIONED_STREAM,
    references=(7, 4095),
    alignments=ALIGNED_STREAM.alignments,
    streams=tuple(bytes(range(at, at + 8)) for at in range(len(ALIGNED_STREAM.alignments))),
)


VALUES = np.arange(32 * 48) // 7 % 11 * (np.arange(32 * 48) // 48 % 5 > 2)
REGIONAL_STREAM = replace(
    STREAM,
    alignments=(
        replace(
            ALIGNED_STREAM.alignments[0],
            regions=Regions(32, (), (np.arange(16 * 24) % 9 > 2).reshape(16, 24).astype(np.uint8)),
        ),
        replace(
            ALIGNED_STREAM.alignments[1],
            regions=Regions(
                16,
                tuple((131_072 * (at % 3) - 131_072 * (at % 2), 4 * at * at - 160) for at in range(9)),
                VALUES.reshape(map_shape(512, 768, 16)).astype(np.uint8),
            ),
        ),
    ),
)


def _spread(count: int, largest: int, start: int) -> np.ndarray:
    """Integers around 0, most of them small, made without a generator whose numbers a release might change."""
    places = (np.arange(count) + start) * 7919 % 104_729
    return np.round((places / 104_729 - 0.5) ** 3 * 8 * largest).astype(np.int32)


FUNCTION = FunctionIntegers(
    shape=(2, 5, 9),
    shifts=(5, 4, 8, 5, 4, 6),
    weights=tuple(_spread(size, 30, 1000 * group) for group, size in enumerate(group_sizes(2))),
    latents=_spread(layout_of(5, 9).n_latents, 6, 77),
)
_UNSEALED = replace(
    STREAM,
    profile=1,
    width=66,
    height=40,
    references=(),
    latents_crc32=0,
    payload=encode_function(FUNCTION),
    sections=SECTIONED_STREAM.sections[1:2],
)
OVERFITTED_STREAM = replace(_UNSEALED, latents_crc32=FUNCTION.crc32(empty_stream(pack_fields(_UNSEALED))))


def golden(name: str, current: bytes) -> bytes:
    """The stored bytes of `name`, hexadecimal in lines of 32; replaced by `current` first where that is asked for."""
    path = HERE / f"{name}.hex"
    if os.environ.get("CLC_REGENERATE_GOLDENS") == "1":
        path.write_text("".join(current[i : i + 32].hex() + "\n" for i in range(0, len(current), 32)))
    return bytes.fromhex(path.read_text())


def test_a_stream_of_version_1_keeps_its_bytes() -> None:
    stored = golden("stream_v1", pack(STREAM))
    assert pack(STREAM) == stored
    assert parse(stored) == STREAM


def test_a_stream_of_version_2_keeps_its_bytes() -> None:
    stored = golden("stream_v2", pack(ALIGNED_STREAM))
    assert pack(ALIGNED_STREAM) == stored
    assert parse(stored) == ALIGNED_STREAM


def test_a_stream_of_version_3_keeps_its_bytes() -> None:
    stored = golden("stream_v3", pack(SECTIONED_STREAM))
    assert pack(SECTIONED_STREAM) == stored
    parsed = parse(stored)
    assert parsed == SECTIONED_STREAM
    contents = [section.content() for section in parsed.sections]
    assert contents == [EXIF_CONTENT, b"<x:xmpmeta/>", bytes(range(40)), b"of a later release"]


def test_a_stream_of_version_4_keeps_its_bytes() -> None:
    stored = golden("stream_v4", pack(REFERRING_STREAM))
    assert pack(REFERRING_STREAM) == stored
    assert parse(stored) == REFERRING_STREAM
    plain = replace(REFERRING_STREAM, sections=())
    stored = golden("stream_v4_without_sections", pack(plain))
    assert pack(plain) == stored
    assert parse(stored) == plain


def test_a_stream_with_regions_keeps_its_bytes() -> None:
    stored = golden("stream_v2_with_regions", pack(REGIONAL_STREAM))
    assert pack(REGIONAL_STREAM) == stored
    assert parse(stored) == REGIONAL_STREAM


def test_an_overfitted_stream_keeps_its_bytes_and_its_integers() -> None:
    """Weights, latents and the tables that code them are integers, so a payload is the same on every machine."""
    stored = golden("stream_overfitted", pack(OVERFITTED_STREAM))
    assert pack(OVERFITTED_STREAM) == stored
    parsed = parse_with_fields(stored)
    assert parsed.stream == OVERFITTED_STREAM
    function = decode_function(parsed.stream.payload, FUNCTION.shape)
    assert function.crc32(empty_stream(parsed.fields)) == parsed.stream.latents_crc32
    assert (function.latents == FUNCTION.latents).all()


def test_the_first_overfitted_streams_are_decoded_under_their_nearer_tables() -> None:
    stored = bytes.fromhex((HERE / "stream_overfitted_near.hex").read_text())
    parsed = parse_with_fields(stored)
    function = decode_function(parsed.stream.payload, FUNCTION.shape)
    assert function.crc32(empty_stream(parsed.fields)) == parsed.stream.latents_crc32 == OVERFITTED_STREAM.latents_crc32
    assert (function.latents == FUNCTION.latents).all()


def test_a_stream_keeps_its_id() -> None:
    assert stream_id(pack(REFERRING_STREAM)) == stream_id(pack(replace(REFERRING_STREAM, sections=())))
    assert stream_id(pack(REFERRING_STREAM)).hex() == "0df9e3639c3c5c98"
    assert stream_id(pack(STREAM)).hex() == "d667e59bb6c9c3e6"


def test_a_payload_keeps_its_bytes() -> None:
    encoder = Encoder(TABLE)
    encoder.push(SYMBOLS, INDEXES)
    payload = encoder.finish()
    stored = golden("payload_v1", payload)
    assert payload == stored
    assert Decoder(TABLE, stored, SYMBOLS.size).pop(INDEXES).tolist() == SYMBOLS.tolist()


def test_a_payload_of_one_symbol_keeps_its_bytes() -> None:
    encoder = Encoder(TABLE)
    encoder.push(SYMBOLS[:1], INDEXES[:1])
    payload = encoder.finish()
    stored = golden("payload_of_one_symbol_v1", payload)
    assert payload == stored
    assert Decoder(TABLE, stored, 1).pop(INDEXES[:1]).tolist() == SYMBOLS[:1].tolist()


def _plane() -> np.ndarray:
    rows, columns = np.mgrid[0:24, 0:33]
    return np.stack([rows * 7 + columns, columns * 5 % 200, (rows + columns) // 9 * 30], axis=-1).astype(np.uint8)


PLANE = _plane()
CLEAR = Image.fromarray(np.dstack((PLANE, PLANE[..., 0])))


def _embedded(name: str) -> bytes:
    """The stream of a way as it is coded now; that of a golden was coded once and has to decode for ever."""
    if name == "webp":
        return encode_exact(PLANE)
    if name == "steps":
        return encode_exact(PLANE, 3, metadata=Metadata(b"", b"<x:xmpmeta/>"))
    if name == "png":
        payload = Payload(PNG_PROFILE, png_payload(CLEAR))
        return sealed(PLANE, PLANE[..., 0], payload, Embedding(Reason.CHEAPER, 6400), ())[0]
    payload = Payload(AV1_PROFILE, avif_payload(Image.fromarray(PLANE), 80, 6))
    return sealed(PLANE, None, payload, Embedding(Reason.TARGET_PSNR, 40 * 64), ())[0]


@pytest.mark.parametrize("name", ["webp", "steps", "png", "avif"])
def test_a_stream_of_version_5_decodes_to_its_picture(name: str) -> None:
    """Exact payloads carry the CRC of their samples; a lossy one is near its picture, whatever converts its colours."""
    stored = golden(f"stream_v5_{name}", _embedded(name))
    stream = parse(stored)
    assert pack(stream) == stored
    decoded = EmbeddedCodec().decode_picture(stored)
    error = np.abs(decoded.image_HW3.astype(int) - PLANE).max()
    assert error <= {"webp": 0, "steps": 3, "png": 0, "avif": 16}[name]
    assert (decoded.alpha_HW is not None) == (name == "png")
    assert decoded.metadata.xmp == (b"<x:xmpmeta/>" if name == "steps" else b"")


class Beside:
    """Gives the plane, turned about, for whatever stream is copied from."""

    def read(self, reference: int | bytes, /) -> Picture:
        return np.ascontiguousarray(PLANE[::-1])


def _copying(name: str) -> bytes:
    """A picture that copies from another stream, as this release codes it."""
    height, width = PLANE.shape[:2]
    blocks = (np.arange(-(-height // 16) * -(-width // 16)) % 3).astype(np.uint8)
    regions = Regions(16, ((8, -4),), blocks.reshape(-(-height // 16), -1))
    copies = Copies((bytes(range(8)),), (replace(identity(height, width), regions=regions),), Beside())
    if name == "webp":
        return sealed(PLANE, None, exact_payload(PLANE), Embedding(Reason.CHEAPER, 6400), (), copies)[0]
    payload = Payload(AV1_PROFILE, avif_payload(Image.fromarray(PLANE), 80, 6))
    return sealed(PLANE, None, payload, Embedding(Reason.CHEAPER, 3200), (Section.of(2, b"<x/>"),), copies)[0]


@pytest.mark.parametrize(("name", "crc32"), [("webp", 1640762709), ("avif", 2326700999)])
def test_a_stream_of_version_6_decodes_to_its_picture(name: str, crc32: int) -> None:
    """The pixels are the same everywhere, of AV1 too, so that other streams may refer to them."""
    stored = golden(f"stream_v6_{name}", _copying(name))
    stream = parse(stored)
    assert pack(stream) == stored
    decoded = embedded_pixels(stream, Beside())
    assert decoded.crc32 == crc32
    copied = copied_parts(stream, WarpedKeyPictures(Beside()))
    assert (decoded.image_HW3[copied.inside] == copied.pixels[copied.inside]).all()
    error = np.abs(decoded.image_HW3.astype(int) - PLANE)[~copied.inside].max()
    assert error <= {"webp": 0, "avif": 16}[name]


COMPOUND_STREAM = Stream(
    profile=PNG_PROFILE,
    width=33,
    height=24,
    quality_q6=3200,
    bundle_id=bytes.fromhex("0123456789abcdef"),
    references=(),
    latents_crc32=0,
    # Of a white page, deflated elsewhere: zlib's bytes may differ by its version.
    payload=bytes.fromhex("0063fccfc0c0d0c8c4c0c0c0c030184800e28c01b0"),
    sections=(Section.of(2, b"<x/>"),),
    embedding=Embedding(Reason.CHEAPER, 3200),
    insets=(
        Inset(0, 5, 16, 19, 3200, 0xDEADBEEF, bytes(range(9))),
        Inset(17, 0, 16, 16, 6400, 7, bytes(range(200))),
    ),
)


def test_a_stream_of_version_7_keeps_its_bytes() -> None:
    """What lies below the insets decodes to its picture; these are streams of version 1 without a header."""
    of = replace(COMPOUND_STREAM, latents_crc32=embedded_pixels(COMPOUND_STREAM, Beside(), is_checked=False).crc32)
    stored = golden("stream_v7", pack(of))
    assert pack(of) == stored
    parsed = parse(stored)
    assert parsed == of
    assert (embedded_pixels(parsed, Beside()).image_HW3 == 255).all()
    pasted = with_insets(
        np.zeros((24, 33, 3), np.uint8),
        parsed,
        lambda one: np.full((one.height, one.width, 3), one.latents_crc32 % 251),
    )
    assert (pasted[5:, :16] == 0xDEADBEEF % 251).all()
    assert (pasted[:16, 17:] == 7).all()
    assert not pasted[:5, :17].any()
    assert not pasted[16:, 16:].any()
    assert [pack(one)[4] for one in parsed.inset_streams] == [1, 1]


@pytest.mark.parametrize("channels", [0, 4])
def test_the_latents_of_a_model_keep_their_bytes_with_a_self_generated_prior_and_without(channels: int) -> None:
    prior, numbers = prior_of_integers(channels), np.random.default_rng(7)

    def whole(limit: int, *size: int) -> torch.Tensor:
        return torch.from_numpy(numbers.integers(-limit, limit + 1, size).astype(np.float64))

    z, y = whole(3, 1, SMALL.hyper, 1, 2), whole(400, 1, SMALL.latents, 4, 8) / 64.0
    analysed = Analysed(y, z, None, whole(5, 1, channels, 2, 4) if channels else None)
    rows = 64 * SMALL.first_phases + 2 * SMALL.hyper + channels
    # Rows that differ, so that a symbol under another table is seen.
    cdf = np.array([[0, 1000 + 50 * row, 30000 + 60 * row, 65536, 65536] for row in range(rows)], dtype=np.int32)
    table = CdfTable(cdf, np.full(rows, 5, dtype=np.int32), np.full(rows, -1, dtype=np.int32))
    conditions = Conditions(3200, torch.zeros(1, 0, SMALL.token, dtype=torch.float64))
    payload, coded = encode_latents(prior, table, analysed, conditions)
    stored = golden(f"payload_of_latents{'_with_self_prior' if channels else ''}", payload)
    assert payload == stored
    decoded = decode_latents(prior, table, stored, (SMALL.hyper, 1, 2), conditions)
    assert decoded.crc32 == coded.crc32
    assert torch.equal(decoded.y_hat, coded.y_hat)
