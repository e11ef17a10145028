"""A pretrained autoencoder in a folder: pictures to latents and back.

    autoencoder.json       architecture, stride, channels, scale, shift; see `Description`
    encoder.safetensors    decoder.safetensors    of the architecture "taesd" (`clc.overfitted.taesd`)
    encoder.onnx           decoder.onnx           of the architecture "onnx": one input and one output each

A stream names its autoencoder by the head of a digest of what decoding depends on: the description and the decoder's
file. The encoder's file is read where something is encoded, and may be missing elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from clc.errors import InputError, LimitError
from clc.limits import MAX_BUNDLE_FILE_BYTES, MAX_OVERFITTED_PIXELS, MAX_OVERFITTED_SIDE_PX
from clc.overfitted.importance import Importance, importance_by_differences, importance_by_gradients
from clc.overfitted.taesd import STRIDE, decoder_of, encoder_of
from clc.pictures.picture import Picture
from storage.extras import need
from storage.regular import read_regular

DESCRIPTION = "autoencoder.json"
ID_BYTES = 8

SUFFIXES = {"taesd": ".safetensors", "onnx": ".onnx"}
"""The architectures, and how the names of their files end."""

MAX_DESCRIPTION_BYTES = 1 << 16

CHECKED_PX = 64
"""Side of the picture that `Autoencoder.check` takes through, where the stride is no larger."""

MAX_CHANNELS, MAX_STRIDE = 256, 64

Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Description:
    """What `autoencoder.json` says.

    - `architecture`: "taesd" or "onnx".
    - `stride`: pixels that one latent stands for in each direction, 1 to 64.
    - `channels`: channels of the latents, 1 to 256. An encoder may give more, as one that adds variances to its means
      does; the first ones count.
    - `scale`, `shift`: the latents y are (encoder's output - shift) * scale, so that they have a spread near 1; a
      number each, or a list with one for each channel.
    - `pixels`: the levels of black and white that the networks take and give, [0, 1] if left out.

    Raises `InputError` on construction where a value is out of range.
    """

    architecture: str
    stride: int
    channels: int
    scale: tuple[float, ...]
    shift: tuple[float, ...]
    pixels: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.architecture not in SUFFIXES:
            raise InputError(f'the architecture is "taesd" or "onnx", not {self.architecture!r}')
        for name, most in (("stride", MAX_STRIDE), ("channels", MAX_CHANNELS)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InputError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
        if self.architecture == "taesd" and self.stride != STRIDE:
            raise InputError(f'the stride of the architecture "taesd" is {STRIDE}, not {self.stride}')
        if any(len(values) not in (1, self.channels) for values in (self.scale, self.shift)):
            raise InputError(f"scale and shift are one number each, or one for each of the {self.channels} channels")
        if not all(map(math.isfinite, (*self.scale, *self.shift, *self.pixels))) or 0.0 in self.scale:
            raise InputError("scale, shift and pixels must be finite numbers, and no scale 0")
        if len(self.pixels) != 2 or self.pixels[0] == self.pixels[1]:
            raise InputError("pixels are the two levels of black and white, as [0, 1] or [-1, 1]")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Description:
        """The description of a JSON object; raises `InputError` for a field that is missing, unknown or malformed."""
        names = ("architecture", "stride", "channels", "scale", "shift", "pixels")
        unknown, missing = set(fields) - set(names), set(names[:-1]) - set(fields)
        if unknown or missing:
            what = f"has a field {min(unknown)!r}" if unknown else f"lacks the field {min(missing)!r}"
            raise InputError(f"{what}; its fields are {', '.join(names[:-1])} and, if wanted, pixels")
        return cls(
            fields["architecture"],
            fields["stride"],
            fields["channels"],
            _numbers(fields["scale"], "scale"),
            _numbers(fields["shift"], "shift"),
            _numbers(fields.get("pixels", [0, 1]), "pixels"),  # type: ignore[arg-type]  # the length is checked
        )

    def canonical(self) -> bytes:
        """The same bytes for the same description, however its file is written."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


class Autoencoder:
    """An autoencoder's two networks, loaded when they are first needed; see the module.

    Raises `InputError` for a folder that holds none, or one that is described wrongly.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description = _described(folder)

    @cached_property
    def id_bytes(self) -> bytes:
        """The 8 bytes by which a stream names it."""
        decoder = hashlib.sha256(self._file("decoder")).digest()
        return hashlib.sha256(self.description.canonical() + decoder).digest()[:ID_BYTES]

    @cached_property
    def digest(self) -> str:
        """The SHA-256, in hex, of the description and both networks: of all that a stream and its picture depend on."""
        halves = [hashlib.sha256(self._file(half)).digest() for half in ("encoder", "decoder")]
        return hashlib.sha256(self.description.canonical() + b"".join(halves)).hexdigest()

    @torch.no_grad()
    def check(self) -> None:
        """Raises `InputError` unless both networks load and take a small grey picture to latents and back.

        Networks of the architecture "onnx" are loaded alone, for they may take one size of picture only.
        """
        for half in ("_encoder", "_decoder"):
            getattr(self, half)  # loaded here
        if self.description.architecture == "onnx":
            return
        side = max(CHECKED_PX, self.description.stride)
        y = self.encode(np.full((side, side, 3), 128, np.uint8))
        self.decode(y, side, side)
        if not bool(torch.isfinite(self._pixels(y)).all()):
            raise InputError(f"{self.folder}: the decoder gives numbers that are not finite")

    def latents_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(channels, h, w) of the latents of a picture; raises `LimitError` for one that is too large for this mode."""
        if width * height > MAX_OVERFITTED_PIXELS or max(width, height) > MAX_OVERFITTED_SIDE_PX:
            raise LimitError(
                f"the picture is {width}x{height} px, but overfitting ends at {MAX_OVERFITTED_PIXELS // 2**20} Mi "
                f"pixels and {MAX_OVERFITTED_SIDE_PX} px a side: scale or cut it first, or code it without "
                "--mode overfitted"
            )
        stride = self.description.stride
        return self.description.channels, -(-height // stride), -(-width // stride)

    @torch.no_grad()
    def encode(self, image_HW3: Picture) -> Tensor:
        """Latents y, float32 (1, C, h, w), of a uint8 picture, whose last rows and columns fill it up to the stride."""
        channels, rows, columns = self.latents_shape(image_HW3.shape[1], image_HW3.shape[0])
        stride, (black, white) = self.description.stride, self.description.pixels
        x = torch.from_numpy(image_HW3.astype(np.float32)).permute(2, 0, 1)[None] / 255.0
        bottom, right = rows * stride - x.shape[2], columns * stride - x.shape[3]
        x = F.pad(x, (0, right, 0, bottom), mode="replicate") * (white - black) + black
        raw = self._encoder(x.contiguous(memory_format=torch.channels_last))
        if raw.ndim != 4 or raw.shape[1] < channels or raw.shape[2:] != (rows, columns):
            raise InputError(
                f"{self.folder}: the encoder gives {tuple(raw.shape)} for a picture of {tuple(x.shape)}, not "
                f"(1, {channels}, {rows}, {columns}): {DESCRIPTION} does not describe it"
            )
        scale, shift = self._affine()
        y = (raw[:, :channels] - shift) * scale
        if not bool(torch.isfinite(y).all()):
            raise InputError(f"{self.folder}: the encoder gives numbers that are not finite")
        return y

    @torch.no_grad()
    def decode(self, y_1Chw: Tensor, width: int, height: int) -> Picture:
        """The uint8 picture (height, width, 3) of latents y; numbers that are not finite become black."""
        levels = torch.nan_to_num(self._pixels(y_1Chw), 0.0, 1.0, 0.0).clamp(0.0, 1.0)[0, :, :height, :width]
        image: Picture = (levels * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        if image.shape != (height, width, 3):
            raise InputError(
                f"{self.folder}: the decoder gives {tuple(image.shape)} for a picture of {(height, width, 3)}: "
                f"{DESCRIPTION} does not describe it"
            )
        return image

    def importance(self, y_1Chw: Tensor, seed: int = 0) -> Importance:
        """How much an error of these latents shows in the picture (`clc.overfitted.importance`)."""
        generator = torch.Generator().manual_seed(seed)
        if self.description.architecture == "onnx":
            return importance_by_differences(self._pixels, y_1Chw, generator)
        return importance_by_gradients(self._pixels, y_1Chw, generator)

    def _pixels(self, y_1Chw: Tensor) -> Tensor:
        """Pixels around 0..1 of latents y."""
        scale, shift = self._affine()
        black, white = self.description.pixels
        return (self._decoder((y_1Chw / scale + shift).contiguous(memory_format=torch.channels_last)) - black) / (
            white - black
        )

    def _affine(self) -> tuple[Tensor, Tensor]:
        described = self.description
        scale, shift = (torch.tensor(values).view(1, -1, 1, 1) for values in (described.scale, described.shift))
        return scale, shift

    @cached_property
    def _encoder(self) -> Network:
        return self._network("encoder")

    @cached_property
    def _decoder(self) -> Network:
        return self._network("decoder")

    def _network(self, half: str) -> Network:
        data = self._file(half)
        if self.description.architecture == "onnx":
            return _onnx(data, self._path(half))
        try:
            return {"encoder": encoder_of, "decoder": decoder_of}[half](load(data))
        except (SafetensorError, InputError) as error:
            raise InputError(f"{self._path(half)}: {error}") from error

    def _path(self, half: str) -> Path:
        return self.folder / (half + SUFFIXES[self.description.architecture])

    def _file(self, half: str) -> bytes:
        path = self._path(half)
        try:
            return read_regular(path, MAX_BUNDLE_FILE_BYTES)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}; an autoencoder's folder holds this file") from error


def _described(folder: Path) -> Description:
    path = folder / DESCRIPTION
    try:
        fields = json.loads(read_regular(path, MAX_DESCRIPTION_BYTES))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; --autoencoder takes a folder that holds it") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is no JSON ({error})") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: is no JSON object")
    try:
        return Description.from_json(fields)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _numbers(value: Any, name: str) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
        raise InputError(f"{name} must be a number or a list of numbers")
    return tuple(map(float, values))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _onnx(data: bytes, path: Path) -> Network:
    """The network of an ONNX file: its first input, float32 (1, C, H, W), and its first output."""
    need("pipeline", "onnxruntime")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
    # The runtime has exceptions of its own, a class for each of its status codes, all below RuntimeError or Exception.
    except Exception as error:
        raise InputError(f"{path}: is no ONNX network ({_first_line(error)})") from error

    def run(x: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run(None, {name: x.contiguous().numpy()})[0])
        except Exception as error:
            raise InputError(f"{path}: cannot take {tuple(x.shape)} ({_first_line(error)})") from error

    return run
