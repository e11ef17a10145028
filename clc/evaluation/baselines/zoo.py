"""CompressAI's zoo: learned codecs whose weights lie on this machine, coded to whole files and back.

The weights are those that CompressAI publishes, in the folder where torch keeps what it loads from a hub. Nothing is
downloaded here: without them a codec is missing, and the reason names the folder. What is read from there is data alone
(no code of a pickle runs), and its SHA-256 must begin as its name says.

A file is what the codec's entropy coder wrote, with the least that a decoder needs beside it: the quality, the size of
the picture and of the hyper latent, and the length of each string.
"""

import functools
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clc.errors import StorageError
from clc.evaluation.baselines.unavailable import Unavailable, check_quality
from storage.digest import sha256_file

ARCHITECTURES = ("bmshj2018-hyperprior", "mbt2018-mean", "cheng2020-attn")
"""Learned codecs of the zoo, trained for the mean squared error."""
_STRIDE_PX = 64
_HEADER = struct.Struct(">BHHHHB")
_LENGTH = struct.Struct(">I")
_HASH = re.compile(r"-([0-9a-f]{8,})\.pth\.tar$")


@dataclass(frozen=True)
class ZooCoder:
    """A codec of the zoo; quality 0..100 is spread over the `urls` of its weights, by the zoo's own quality."""

    name: str
    settings: str
    qualities: tuple[float, ...]
    urls: tuple[tuple[int, str], ...]
    folder: Path
    references: str = "-"

    def encode(self, image_HW3: NDArray[np.uint8], quality: float) -> bytes:
        """Code a uint8 (H, W, 3) picture at a quality 0..100; the nearest one of which there are weights is taken."""
        place = round(check_quality(self.name, quality) / 100 * (len(self.urls) - 1))
        height, width = image_HW3.shape[:2]
        x_1CHW = torch.from_numpy(np.ascontiguousarray(image_HW3)).permute(2, 0, 1)[None].float() / 255
        padding = (0, -width % _STRIDE_PX, 0, -height % _STRIDE_PX)
        with torch.inference_mode():
            coded = self._model(place).compress(torch.nn.functional.pad(x_1CHW, padding, mode="replicate"))
        strings = [one[0] for one in coded["strings"]]
        header = _HEADER.pack(place, height, width, *coded["shape"], len(strings))
        return header + b"".join(_LENGTH.pack(len(one)) + one for one in strings)

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """Decode a file that `encode` wrote to uint8 (H, W, 3)."""
        place, height, width, *shape, count = _HEADER.unpack_from(data)
        strings, start = [], _HEADER.size
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, start)
            start += _LENGTH.size
            strings.append([data[start : start + length]])
            start += length
        with torch.inference_mode():
            x_1CHW = self._model(place).decompress(strings, shape)["x_hat"]
        image_HW3 = (x_1CHW[0, :, :height, :width].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
        return np.ascontiguousarray(image_HW3.numpy())

    def _model(self, place: int) -> Any:
        return _loaded(self.name, self.urls[place][1], self.folder)


def zoo_coder(architecture: str) -> ZooCoder:
    """Return a codec of the zoo with the qualities of which weights are here; `Unavailable` where there are none."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    reason = f"no weights of {architecture} in {folder}; put there what CompressAI publishes, under its names"
    if not any(
        folder.glob(f"{architecture.split('-')[0]}*.pth.tar")
    ):  # before compressai, which takes seconds to import
        raise Unavailable(reason)
    published = _zoo().model_urls[architecture]["mse"]
    urls = tuple((quality, url) for quality, url in sorted(published.items()) if (folder / Path(url).name).is_file())
    if not urls:
        raise Unavailable(reason)
    last = max(1, len(urls) - 1)
    ladder = tuple(float(round(100 * place / last)) for place in range(len(urls)))
    settings = f"CompressAI's weights for MSE, qualities {', '.join(str(quality) for quality, _ in urls)}"
    return ZooCoder(architecture, settings, ladder, urls, folder)


@functools.lru_cache(16)
def _loaded(architecture: str, url: str, folder: Path) -> Any:
    path = folder / Path(url).name
    stated = _HASH.search(path.name)
    if stated is None or not sha256_file(path).startswith(stated[1]):
        raise StorageError(f"{path} is not the file that CompressAI published: its SHA-256 differs; get it again")
    from compressai.zoo.pretrained import load_pretrained

    weights = torch.hub.load_state_dict_from_url(
        url, model_dir=str(folder), map_location="cpu", progress=False, weights_only=True
    )
    model = _zoo().model_architectures[architecture].from_state_dict(load_pretrained(weights)).eval()
    model.update()
    return model


def _zoo() -> Any:
    from clc.retrieval.torchvision_compat import declare_missing_operators

    declare_missing_operators()
    from compressai.zoo import image  # here, because it takes seconds to import

    return image
