"""Payloads of other codecs: what is left out of a file is put back, and samples come out as they went in."""

import io
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clc.bitstream.embedding import AV1_PROFILE, PNG_PROFILE, WEBP_PROFILE, Embedding, Reason
from clc.bitstream.stream import NO_BUNDLE, Stream
from clc.errors import CorruptStream, DecodeMismatch, InputError
from clc.payloads import avif, webp
from clc.payloads.av1 import FRAME, SEQUENCE_HEADER, checked_sequence, units
from clc.payloads.avif import avif_file, avif_payload, rgb_of
from clc.payloads.exact import Payload, exact_payload, payload_within
from clc.payloads.pixels import Pixels, decode_payload
from clc.payloads.png import png_file, png_payload
from clc.payloads.steps import numbers_of, samples_of
from clc.payloads.webp import webp_file, webp_payload

Array = NDArray[np.uint8]


def scene(height: int, width: int) -> Array:
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([rows * 7 + columns, columns * 5, rows * columns // 3], axis=-1) % 256
    return picture.astype(np.uint8)


def stream_of(image: Array, alpha: Array | None, payload: Payload) -> Stream:
    reason = Reason.MAX_ERROR if payload.step_error else Reason.LOSSLESS
    if payload.profile == AV1_PROFILE:
        reason = Reason.CHEAPER
    embedding = Embedding(reason, payload.step_error, payload.step_error, alpha is not None)
    step = payload.step_error
    pixels = Pixels(samples_of(numbers_of(image, step), step) if step else image, alpha)
    crc32 = 0 if payload.profile == AV1_PROFILE else pixels.crc32
    size = image.shape[1], image.shape[0]
    return Stream(payload.profile, *size, 0, NO_BUNDLE, (), crc32, payload.data, embedding=embedding)


def image_of(picture: Array, alpha: Array | None = None) -> Image.Image:
    return Image.fromarray(picture if alpha is None else np.dstack((picture, alpha)))


GREY = np.repeat(scene(9, 31)[..., :1], 3, axis=2)
PICTURES = {
    "colours": scene(40, 33),
    "one pixel": scene(1, 1),
    "one row": scene(1, 70),
    "grey": GREY,
    "black and white": (GREY > 40).astype(np.uint8) * 255,
    "three greys": GREY // 30 * 100,
    "two colours": np.where(GREY > 40, np.uint8((200, 10, 3)), np.uint8((0, 90, 255))).astype(np.uint8),
    "one colour": np.full((50, 20, 3), 77, np.uint8),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("has_alpha", [False, True])
def test_exact_payloads_give_back_every_sample(name: str, has_alpha: bool) -> None:
    picture = PICTURES[name]
    alpha = scene(*picture.shape[:2])[..., 2] // 2 if has_alpha else None
    found = [
        Payload(WEBP_PROFILE, webp_payload(image_of(picture, alpha))),
        Payload(PNG_PROFILE, png_payload(image_of(picture, alpha))),
    ]
    for payload in found:
        decoded = decode_payload(stream_of(picture, alpha, payload))
        assert (decoded.image_HW3 == picture).all()
        assert decoded.alpha_HW is None if alpha is None else (decoded.alpha_HW == alpha).all()
    smallest = exact_payload(picture, alpha)
    assert len(smallest.data) == min(len(payload.data) for payload in found)


def test_a_side_that_webp_has_no_number_for_is_kept_as_rows_of_a_png() -> None:
    picture = np.zeros((2, 16_500, 3), np.uint8)
    picture[1, ::3] = 9
    payload = exact_payload(picture)
    assert payload.profile == PNG_PROFILE
    assert (decode_payload(stream_of(picture, None, payload)).image_HW3 == picture).all()
    with pytest.raises(InputError, match="no number for"):
        webp_file(b"", 16_500, 2, has_alpha=False)


def test_a_payload_of_webp_is_25_bytes_shorter_than_its_file_and_the_file_comes_back() -> None:
    image = image_of(scene(40, 33))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=100, method=6, exact=True)
    payload = webp_payload(image)
    assert len(payload) <= len(buffer.getvalue()) - 25
    if len(payload) == len(buffer.getvalue()) - 25:
        assert webp_file(payload, 33, 40, has_alpha=False) == buffer.getvalue()


@pytest.mark.parametrize("error", [1, 2, 3, 10, 64, 127])
def test_steps_are_never_further_off_than_their_error(error: int) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, -1, 1).repeat(3, axis=2)
    back = samples_of(numbers_of(levels, error), error)
    assert np.abs(back.astype(int) - levels).max() == error
    assert len(np.unique(numbers_of(levels, error))) == (255 + error) // (2 * error + 1) + 1


def test_few_colours_stay_exact_where_steps_save_nothing() -> None:
    assert payload_within(PICTURES["two colours"], None, 3).step_error == 0
    noise = np.random.default_rng(3).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    payload = payload_within(noise, None, 3)
    assert payload.step_error == 3
    assert len(payload.data) < 0.75 * len(exact_payload(noise).data)
    decoded = decode_payload(stream_of(noise, None, payload)).image_HW3
    assert np.abs(decoded.astype(int) - noise).max() == 3


@pytest.mark.parametrize("size", [(1, 1), (24, 33), (70, 65)])
def test_avif_without_its_boxes_decodes_to_the_pixels_of_its_file_but_for_their_rounding(size: tuple[int, int]) -> None:
    picture = scene(*size)
    payload = avif_payload(image_of(picture), 60, 8)
    assert [unit.kind for unit in units(payload)] == [SEQUENCE_HEADER, FRAME]
    buffer = io.BytesIO()
    options = {"speed": 8, "subsampling": "4:4:4", "codec": "aom", "autotiling": False, "advanced": {"tune": "psnr"}}
    image_of(picture).save(buffer, "AVIF", quality=60, **options)
    assert len(payload) < len(buffer.getvalue()) - 250
    with Image.open(io.BytesIO(buffer.getvalue())) as whole:
        expected = np.asarray(whole.convert("RGB"))
    decoded = decode_payload(stream_of(picture, None, Payload(AV1_PROFILE, payload)))
    difference = np.abs(decoded.image_HW3.astype(int) - expected)  # libavif rounds chroma another way
    assert difference.max() <= 1
    assert difference.mean() < 0.25


def test_colours_of_luma_and_chroma_are_those_of_bt_601() -> None:
    levels = np.random.default_rng(8).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    red, luma, blue = (levels[..., place].astype(float) for place in range(3))
    expected = np.stack(
        (
            luma + 1.402 * (red - 128),
            luma - (0.299 * 1.402 * (red - 128) + 0.114 * 1.772 * (blue - 128)) / 0.587,
            luma + 1.772 * (blue - 128),
        ),
        axis=2,
    )
    assert np.abs(rgb_of(levels) - expected.clip(0, 255)).max() <= 0.5
    grey = np.full((1, 1, 3), (128, 77, 128), np.uint8)
    assert (rgb_of(grey) == 77).all()


@pytest.fixture(scope="module")
def frame() -> bytes:
    return avif_payload(image_of(scene(24, 33)), 60, 9)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(frame: bytes) -> None:
    assert checked_sequence(frame, 33, 24)[2:] == (33, 24)
    with pytest.raises(CorruptStream, match="is a picture of 33x24 px, the stream says 33x25"):
        avif_file(frame, 33, 25)


def test_what_is_no_sequence_header_and_one_frame_is_refused(frame: bytes) -> None:
    header, picture = (unit.whole for unit in units(frame))
    # A second sequence header could claim any size behind the first one, which was checked.
    for payload in (header, picture, picture + header, frame + header, header + header + picture, b""):
        with pytest.raises(CorruptStream, match="not a sequence header and one frame"):
            avif_file(payload, 33, 24)
    for payload in (frame[:-1], frame + b"\x32", header[:1] + b"\xff" * 9, b"\x08" + header[1:], b"\xff" + frame[1:]):
        with pytest.raises(CorruptStream):
            avif_file(payload, 33, 24)
    with pytest.raises(CorruptStream, match="cut short"):
        avif_file(b"\x0a\x01\x38" + picture, 33, 24)
    with pytest.raises(CorruptStream, match="no still picture in 4:4:4"):
        avif_file(header[:2] + bytes((header[2] & 0x1F,)) + header[3:] + picture, 33, 24)


def test_kinds_of_png_that_no_encoder_writes_are_refused() -> None:
    payload = png_payload(image_of(PICTURES["two colours"]))
    assert payload[0] >> 2 == 3
    assert payload[1] == 1
    for damaged in (
        b"\x1f" + payload[1:],
        b"\x04" + payload[1:],
        payload[:1],
        payload[:4],
        payload[:1] + b"\xff" + payload,
    ):
        with pytest.raises(CorruptStream):
            png_file(damaged, 31, 9, has_alpha=False)
    with pytest.raises(CorruptStream, match="no encoder writes"):
        png_file(payload, 31, 9, has_alpha=True)


def test_other_pixels_than_the_encoder_had_are_no_picture() -> None:
    picture = PICTURES["colours"]
    stream = stream_of(picture, None, exact_payload(picture))
    with pytest.raises(DecodeMismatch, match="CRC"):
        decode_payload(replace(stream, latents_crc32=stream.latents_crc32 ^ 1))


def test_pillow_without_a_format_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, frame: bytes) -> None:
    for module, payload in ((avif, Payload(AV1_PROFILE, frame)), (webp, exact_payload(scene(24, 33)))):
        stream = stream_of(scene(24, 33), None, payload)
        monkeypatch.setattr(module, "is_available", lambda: False)
        with pytest.raises(InputError, match="this installation of Pillow cannot decode; install one"):
            decode_payload(stream)
    assert exact_payload(scene(24, 33)).profile == PNG_PROFILE
