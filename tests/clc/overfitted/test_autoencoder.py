"""The folder of an autoencoder: what it says, what it makes, and how it is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from clc.errors import InputError, LimitError
from clc.overfitted.autoencoder import Autoencoder
from clc.overfitted.taesd import decoder_of, encoder_of
from tests.conftest import Picture
from tests.tiny_autoencoder import CHANNELS, DESCRIPTION, make_autoencoder

BACKBONE = Path(__file__).parents[2] / "golden" / "tiny_backbone.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_autoencoder(tmp_path / "autoencoder")


def described(folder: Path, **changes: Any) -> Autoencoder:
    fields = {key: value for key, value in (DESCRIPTION | changes).items() if value is not None}
    (folder / "autoencoder.json").write_text(json.dumps(fields))
    return Autoencoder(folder)


def test_latents_and_pictures_have_the_sizes_that_the_stride_says(folder: Path, photo: Picture) -> None:
    autoencoder = Autoencoder(folder)
    image = np.ascontiguousarray(photo[:37, :50])
    y = autoencoder.encode(image)
    assert y.shape == (1, CHANNELS, 5, 7) == (1, *autoencoder.latents_shape(50, 37))
    assert autoencoder.decode(y, 50, 37).shape == image.shape
    assert autoencoder.importance(y).places_hw.shape == (5, 7)


def test_latents_are_shifted_and_scaled_and_back(folder: Path, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[:32, :32])
    plain, moved = described(folder, scale=1, shift=0), None
    y = plain.encode(image)
    decoded = plain.decode(y, 32, 32)
    moved = described(folder, scale=[2.0, 4.0, 0.5], shift=[1.0, -1.0, 0.0])
    y_moved = moved.encode(image)
    torch.testing.assert_close(y_moved[:, 1], (y[:, 1] + 1.0) * 4.0)
    assert np.abs(moved.decode(y_moved, 32, 32).astype(int) - decoded).max() <= 1


def test_levels_other_than_0_to_1_reach_the_networks(folder: Path, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[:16, :16])
    weights = load_file(folder / "encoder.safetensors")
    x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255.0
    expected = encoder_of(weights)(x * 2.0 - 1.0)
    torch.testing.assert_close(described(folder, scale=1, shift=0, pixels=[-1, 1]).encode(image), expected)


def test_the_id_is_that_of_the_decoder_and_its_description(folder: Path, tmp_path: Path) -> None:
    one = Autoencoder(folder).id_bytes
    written = json.loads((folder / "autoencoder.json").read_text())
    (folder / "autoencoder.json").write_text(json.dumps(written, indent=4, sort_keys=True))
    (folder / "encoder.safetensors").unlink()
    assert Autoencoder(folder).id_bytes == one
    assert described(folder, scale=2.0).id_bytes != one
    other = make_autoencoder(tmp_path / "other", seed=1)
    assert Autoencoder(other).id_bytes != one


def test_a_decoder_needs_no_encoder(folder: Path, photo: Picture) -> None:
    (folder / "encoder.safetensors").unlink()
    autoencoder = Autoencoder(folder)
    assert autoencoder.decode(torch.zeros(1, CHANNELS, 2, 2), 16, 16).shape == (16, 16, 3)
    with pytest.raises(InputError, match=r"encoder\.safetensors: No such file"):
        autoencoder.encode(np.ascontiguousarray(photo[:16, :16]))


def test_numbers_that_are_not_finite_make_a_picture_all_the_same(folder: Path) -> None:
    y = torch.full((1, CHANNELS, 2, 2), float("nan"))
    y[..., 1] = float("inf")
    assert Autoencoder(folder).decode(y, 16, 16).dtype == np.uint8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "vae"}, 'the architecture is "taesd" or "onnx"'),
        ({"stride": 16}, "the stride of the architecture"),
        ({"stride": 0}, "stride must be a whole number from 1 to 64"),
        ({"channels": True}, "channels must be a whole number"),
        ({"channels": None}, "lacks the field 'channels'"),
        ({"scales": 1}, "has a field 'scales'"),
        ({"scale": "1"}, "scale must be a number"),
        ({"scale": 0}, "no scale 0"),
        ({"shift": [0, 1]}, "one for each of the 3 channels"),
        ({"pixels": [0]}, "two levels of black and white"),
    ],
)
def test_a_description_that_is_wrong_is_told_with_its_file(folder: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        described(folder, **changes)
    assert str(folder / "autoencoder.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 5000, "\xff"])
def test_what_is_no_description_is_refused(folder: Path, text: str) -> None:
    (folder / "autoencoder.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match="is no JSON"):
        Autoencoder(folder)


def test_weights_of_another_layout_are_refused(folder: Path, photo: Picture) -> None:
    shutil.copy(folder / "decoder.safetensors", folder / "encoder.safetensors")
    with pytest.raises(InputError, match=r"encoder\.safetensors: these are no weights of the taesd layout: 0\.weight"):
        Autoencoder(folder).encode(np.ascontiguousarray(photo[:16, :16]))
    weights = load_file(folder / "decoder.safetensors")
    del weights["19.bias"]
    with pytest.raises(InputError, match="no weights of the taesd layout"):
        decoder_of(weights)
    (folder / "decoder.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match=r"decoder\.safetensors: "):
        Autoencoder(folder).decode(torch.zeros(1, CHANNELS, 2, 2), 16, 16)


def test_weights_with_other_channels_than_described_are_told(folder: Path, photo: Picture) -> None:
    with pytest.raises(InputError, match="does not describe it"):
        described(folder, channels=5, shift=0).encode(np.ascontiguousarray(photo[:16, :16]))


def test_a_check_takes_both_networks_through_a_small_picture(folder: Path, tmp_path: Path) -> None:
    Autoencoder(folder).check()
    weights = load_file(folder / "decoder.safetensors")
    weights["19.bias"][0] = float("nan")
    save_file(weights, folder / "decoder.safetensors")
    with pytest.raises(InputError, match="the decoder gives numbers that are not finite"):
        Autoencoder(folder).check()
    (folder / "decoder.safetensors").unlink()
    with pytest.raises(InputError, match=r"decoder\.safetensors: No such file"):
        Autoencoder(folder).check()
    (folder / "encoder.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"encoder\.safetensors: "):
        Autoencoder(folder).check()


def test_the_digest_is_that_of_the_description_and_both_networks(folder: Path, tmp_path: Path) -> None:
    digests = [Autoencoder(folder).digest, described(folder, scale=2.0).digest]
    for half in ("encoder", "decoder"):
        shutil.copy(make_autoencoder(tmp_path / half, seed=1) / f"{half}.safetensors", folder)
        digests.append(Autoencoder(folder).digest)
    assert len(set(digests)) == 4


def test_a_picture_that_is_too_large_is_refused_before_it_is_coded(folder: Path) -> None:
    autoencoder = Autoencoder(folder)
    for width, height in ((8193, 16), (4096, 1025)):
        with pytest.raises(LimitError, match="overfitting ends at 4 Mi pixels"):
            autoencoder.latents_shape(width, height)


def test_half_precision_weights_are_taken(folder: Path, photo: Picture) -> None:
    image = np.ascontiguousarray(photo[:16, :16])
    exact = Autoencoder(folder).encode(image)
    weights = load_file(folder / "encoder.safetensors")
    save_file({name: weight.half() for name, weight in weights.items()}, folder / "encoder.safetensors")
    torch.testing.assert_close(Autoencoder(folder).encode(image), exact, atol=0.05, rtol=0.05)


def test_networks_of_the_onnx_kind_are_run(folder: Path, photo: Picture) -> None:
    pytest.importorskip("onnxruntime")
    shutil.copy(BACKBONE, folder / "encoder.onnx")
    image = np.ascontiguousarray(photo[:64, :96])
    stride, channels = onnx_shape(folder)
    autoencoder = described(folder, architecture="onnx", stride=stride, channels=channels, scale=1, shift=0)
    assert autoencoder.encode(image).shape == (1, channels, 64 // stride, 96 // stride)
    (folder / "decoder.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"decoder\.onnx: is no ONNX network"):
        autoencoder.decode(torch.zeros(1, channels, 2, 2), 2 * stride, 2 * stride)


def onnx_shape(folder: Path) -> tuple[int, int]:
    """Stride and channels of the network in encoder.onnx."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "encoder.onnx")
    name = session.get_inputs()[0].name
    made = session.run(None, {name: np.zeros((1, 3, 64, 64), np.float32)})[0]
    return 64 // made.shape[2], made.shape[1]
