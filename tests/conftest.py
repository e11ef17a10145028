"""What several folders of tests share: the shipped codec, a photograph that a wheel carries, and a Prefect server."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import settings

from clc.codec import Codec
from clc.codec.info import stream_info
from clc.model.config import ModelConfig
from clc.pictures.images import read_image
from clc.quality import rate_distortion_lambda

# Prefect makes its folder when it is imported; the tests' lies neither in a workspace nor in the user's home.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="clc-tests-prefect-")
atexit.register(shutil.rmtree, os.environ["PREFECT_HOME"], ignore_errors=True)

# A loaded machine is no reason to fail: what must not hang is bounded by faulthandler_timeout.
settings.register_profile("clc", deadline=None)
settings.load_profile("clc")

Picture = npt.NDArray[np.uint8]

SMALL = ModelConfig(
    slices=(8, 8),
    narrow=16,
    wide=16,
    hyper=8,
    hyper_width=8,
    features=16,
    token=8,
    reference=8,
    aligned=8,
    context=16,
    refresh_before=1,
)


def cost(image: Picture, codec: Codec, data: bytes) -> float:
    """Rate + lambda * distortion in bits a pixel, what the encoder minimises."""
    quality = torch.tensor(stream_info(data).quality)
    error = float(np.square(image.astype(float) - codec.decode(data)).mean())
    return stream_info(data).bpp + rate_distortion_lambda(quality) * error


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """Have each test begin with denormals, whichever program an earlier one ran in this process."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def shipped() -> Codec:
    return Codec.load()


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle of a small untrained model with three entries; nobody writes into it."""
    from tests.small_bundle import make_bundle

    return make_bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture(scope="session")
def photo() -> Picture:
    """A photograph of a cat, uint8 (300, 451, 3)."""
    return read_image((files("skimage") / "data" / "chelsea.png").read_bytes())


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Have a Prefect server with a database of its own while the session lasts; flows called in a test talk to it."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
