"""Overfitted streams through every door: the codec's class, `import clc`, the command line and Pillow."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import clc
from clc.bitstream.container import pack, parse
from clc.codec import Codec
from clc.codec.cli.main import main
from clc.codec.overfitted import ITERATIONS, Fitting, OverfittedCodec
from clc.errors import ClcError, DecodeMismatch, DictionaryMismatch, InputError
from clc.pictures.images import png_bytes, read_image
from clc.pictures.metadata import Metadata
from tests.conftest import Picture
from tests.tiny_autoencoder import make_autoencoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_autoencoder(tmp_path_factory.mktemp("made") / "autoencoder")


@pytest.fixture(scope="module")
def codec(folder: Path) -> OverfittedCodec:
    return OverfittedCodec.load(folder)


@pytest.fixture(scope="module")
def image(photo: Picture) -> Picture:
    return np.ascontiguousarray(photo[60:100, 100:157])


@pytest.fixture(scope="module")
def stream(codec: OverfittedCodec, image: Picture) -> bytes:
    return codec.encode(image, 60, effort=1)


def test_a_stream_says_that_it_is_overfitted_and_by_which_autoencoder(codec: OverfittedCodec, stream: bytes) -> None:
    info = codec.info(stream)
    assert (info.mode, info.profile, info.version) == ("overfitted", 1, 1)
    assert (info.width, info.height, info.quality) == (57, 40, 60.0)
    assert info.bundle_id == codec.autoencoder.id_bytes.hex()
    assert info.overhead_bytes <= 40


def test_the_picture_is_what_the_autoencoder_makes_of_nearby_latents(
    codec: OverfittedCodec, image: Picture, stream: bytes
) -> None:
    autoencoder = codec.autoencoder
    best = autoencoder.decode(autoencoder.encode(image), 57, 40).astype(float)
    decoded = codec.decode(stream)
    assert decoded.shape == image.shape
    assert np.square(decoded - best).mean() < 0.5 * np.square(best - best.mean(axis=(0, 1))).mean() + 4.0


def test_transparency_and_metadata_come_back(codec: OverfittedCodec, image: Picture) -> None:
    alpha = np.indices(image.shape[:2])[1].astype(np.uint8)
    metadata = Metadata(xmp=b"<x:xmpmeta/>")
    data = codec.encode(image, 20, effort=0, alpha_HW=alpha, metadata=metadata)
    picture = codec.decode_picture(data)
    assert picture.alpha_HW is not None
    assert (picture.alpha_HW == alpha).all()
    assert picture.metadata == metadata
    assert clc.info(data).version == 3


def test_one_picture_at_several_qualities_is_larger_at_the_higher(codec: OverfittedCodec, image: Picture) -> None:
    encode = codec.at_qualities(image, effort=1)
    assert len(encode(0)) < len(encode(100))


def test_the_python_interface_codes_and_decodes(folder: Path, image: Picture) -> None:
    data = clc.encode(image, 30, autoencoder=folder, effort=0)
    assert clc.decode(data, autoencoder=str(folder)).shape == image.shape
    assert clc.decode_picture(data, autoencoder=folder).alpha_HW is None
    with pytest.raises(InputError, match="give one of them"):
        clc.encode(image, autoencoder=folder, bundle="service")
    with pytest.raises(InputError, match="an autoencoder is a folder's path"):
        clc.decode(data, autoencoder=7)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no references"):
        clc.encode(image, references="aligned", autoencoder=folder)


def test_without_its_autoencoder_a_stream_is_refused_by_name(
    codec: OverfittedCodec, shipped: Codec, stream: bytes, tmp_path: Path
) -> None:
    named = codec.autoencoder.id_bytes.hex()
    for decode in (clc.decode, shipped.decode):
        with pytest.raises(DictionaryMismatch, match=f"overfitted in the latents of autoencoder {named}"):
            decode(stream)
    other = OverfittedCodec.load(make_autoencoder(tmp_path / "other", seed=3))
    with pytest.raises(DictionaryMismatch, match=f"written with autoencoder {named}"):
        other.decode(stream)
    with pytest.raises(DictionaryMismatch, match="written with bundle"):
        codec.decode(shipped.encode(np.zeros((16, 16, 3), np.uint8), effort=0))


def test_other_integers_than_the_encoders_give_no_picture(codec: OverfittedCodec, stream: bytes) -> None:
    parsed = parse(stream)
    with pytest.raises(DecodeMismatch):
        codec.decode(pack(replace(parsed, latents_crc32=parsed.latents_crc32 ^ 1)))
    with pytest.raises(DecodeMismatch):  # the fields are covered, too
        codec.decode(pack(replace(parsed, quality_q6=parsed.quality_q6 + 1)))


def test_damaged_payloads_raise_errors_of_the_library(codec: OverfittedCodec, stream: bytes) -> None:
    generator = np.random.default_rng(0)
    parsed = parse(stream)
    for _ in range(150):
        payload = bytearray(parsed.payload)
        for at in generator.integers(0, len(payload), generator.integers(1, 4)):
            payload[at] = int(generator.integers(256))
        cut = int(generator.integers(1, len(payload) + 1)) if generator.random() < 0.2 else len(payload)
        damaged = bytes(payload[:cut])
        if damaged != parsed.payload:
            with pytest.raises(ClcError):
                codec.decode(pack(replace(parsed, payload=damaged)))


def test_a_payload_for_another_size_of_picture_is_refused(codec: OverfittedCodec, stream: bytes) -> None:
    for width, height in ((8, 8), (2048, 2048), (1, 8192), (65_535, 1)):
        with pytest.raises(ClcError):
            codec.decode(pack(replace(parse(stream), width=width, height=height)))


def test_every_effort_has_its_iterations() -> None:
    assert len(ITERATIONS) == 10
    assert list(ITERATIONS) == sorted(ITERATIONS)


def test_the_command_line_goes_both_ways(
    folder: Path, image: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, data, back = tmp_path / "a.png", tmp_path / "a.clc", tmp_path / "back.png"
    picture.write_bytes(png_bytes(image))
    mode = ["--mode", "overfitted", "--autoencoder", str(folder)]
    assert main(["encode", str(picture), str(data), *mode, "--effort", "0"]) == 0
    assert "references none" in capsys.readouterr().out
    assert main(["decode", str(data), str(back), "--autoencoder", str(folder)]) == 0
    assert read_image(back).shape == image.shape
    capsys.readouterr()
    assert main(["info", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "overfitted"
    assert main(["encode", str(picture), "--out", str(tmp_path / "many"), *mode, "--effort", "0"]) == 0
    assert main(["decode", str(tmp_path / "many"), "--out", str(tmp_path / "b"), "--autoencoder", str(folder)]) == 0
    assert read_image(tmp_path / "b" / "a.png").shape == image.shape


def test_a_size_is_met(folder: Path, photo: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, data = tmp_path / "a.png", tmp_path / "a.clc"
    picture.write_bytes(png_bytes(np.ascontiguousarray(photo[:96, :128])))
    command = ["encode", str(picture), str(data), "--mode", "overfitted", "--autoencoder", str(folder), "--effort", "1"]
    assert main([*command, "--quality", "45"]) == 0
    target = data.stat().st_size
    assert main([*command, "--overwrite", "--target-bytes", str(target)]) == 0
    assert "quality" in capsys.readouterr().out
    assert abs(data.stat().st_size - target) <= 0.1 * target


def test_pillow_says_what_it_lacks(stream: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.clc"
    path.write_bytes(stream)
    with Image.open(path) as picture, pytest.raises(OSError, match="overfitted in the latents of autoencoder"):
        picture.load()


def test_another_process_makes_the_same_picture_of_a_file_as_large_as_the_fit_said(
    codec: OverfittedCodec, folder: Path, photo: Picture, tmp_path: Path
) -> None:
    data, fitted = Fitting(codec.autoencoder, np.ascontiguousarray(photo[:192, :256]), effort=2).fitted(80)
    stream, picture = tmp_path / "a.clc", tmp_path / "a.png"
    stream.write_bytes(data)
    command = [sys.executable, "-m", "clc.codec", "decode", str(stream), str(picture), "--autoencoder", str(folder)]
    subprocess.run(command, check=True, cwd=Path(clc.__file__).parents[1])
    assert np.abs(read_image(picture).astype(int) - codec.decode(data)).max() <= 1  # floats may differ by a rounding
    payload = len(parse(data).payload)
    assert fitted.estimated_bits < 8 * payload < 1.02 * fitted.estimated_bits


def test_an_autoencoder_that_does_not_work_is_told_once_for_many_pictures(
    folder: Path, image: Picture, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for picture in pictures:
        picture.write_bytes(png_bytes(image))
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    decoder = damaged / "decoder.safetensors"
    decoder.write_bytes(decoder.read_bytes()[:-40])
    command = ["encode", *map(str, pictures), "--out", str(tmp_path / "out"), "--mode", "overfitted"]
    assert main([*command, "--autoencoder", str(damaged)]) == 1
    assert capsys.readouterr().err.count("decoder.safetensors: Error while deserializing") == 1
    assert not (tmp_path / "out").exists()


def test_an_interrupted_fit_leaves_no_file_and_the_one_that_was_there(
    folder: Path, image: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, data = tmp_path / "a.png", tmp_path / "a.clc"
    picture.write_bytes(png_bytes(image))
    command = ["encode", str(picture), str(data), "--mode", "overfitted", "--autoencoder", str(folder)]
    monkeypatch.setattr("clc.codec.overfitted.encode_function", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setattr("clc.codec.overfitted.ITERATIONS", (10,) * 10)
    assert main(command) == 130
    assert list(tmp_path.iterdir()) == [picture]
    data.write_bytes(b"an older one")
    assert main(command) == 1
    assert main([*command, "--overwrite"]) == 130
    assert data.read_bytes() == b"an older one"
    assert sorted(tmp_path.iterdir()) == [data, picture]
