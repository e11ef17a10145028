"""SSIMULACRA2 and shift-tolerant LPIPS: what eyes were asked, by the packages of the extra `perceptual`.

`clc.evaluation.measure` asks `find_perceptual` for them, and `bench/overfitted.py` does. Both take seconds a picture,
against tenths of a second for what `clc.evaluation.metrics` has, so an evaluation measures them only where it is told
to. A measure that is not to be had comes back with its reason.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from clc.errors import InputError, MissingExtra
from clc.evaluation.scales import SSIMULACRA2, ST_LPIPS
from clc.pictures.picture import Picture
from clc.retrieval.torchvision_compat import declare_missing_operators
from storage.extras import need

Measure = Callable[[Picture, Picture], float]

SMALLEST_SIDE_PX = 32
"""AlexNet, behind LPIPS, ends in a map of no pixels for less; SSIMULACRA2 has one scale of its six at 8."""

PERCEPTUAL = (SSIMULACRA2.key, ST_LPIPS.key)
"""Keys of the measures of this module."""
FAST, ALL = "fast", "all"
"""Words for none and for both of them."""
NOT_ASKED = "it was not asked for, for it takes seconds a picture"


@dataclass(frozen=True)
class PerceptualMeasures:
    """The measures of this installation by the key of their scale, and the reason for each one that is missing."""

    available: Mapping[str, Measure]
    missing: Mapping[str, str]


def measures_named(text: str) -> tuple[str, ...]:
    """Return the keys that "fast", "all", or keys with commas between them name. Raises `InputError`."""
    names = {FAST: (), ALL: PERCEPTUAL}.get(text, tuple(text.split(",")))
    if not set(names) <= set(PERCEPTUAL):
        raise InputError(f"measures is {text!r}; choose {FAST}, {ALL}, or of {', '.join(PERCEPTUAL)}")
    return tuple(key for key in PERCEPTUAL if key in names)


def find_perceptual(wanted: Collection[str] = PERCEPTUAL) -> PerceptualMeasures:
    """Return the measures whose keys are `wanted`, and the reason for each one that is not, or is not to be had."""
    available: dict[str, Measure] = {}
    missing: dict[str, str] = {}
    for key, make in ((SSIMULACRA2.key, _ssimulacra2), (ST_LPIPS.key, _st_lpips)):
        if key not in wanted:
            missing[key] = NOT_ASKED
            continue
        try:
            available[key] = make()
        except MissingExtra as error:
            missing[key] = str(error)
    return PerceptualMeasures(available, missing)


def _ssimulacra2() -> Measure:
    """100 is equal, 90 hardly told apart, 50 fair, below 30 poor; it may be negative."""
    need("perceptual", "ssimulacra2")
    from ssimulacra2 import compute_ssimulacra2

    def measure(image_HW3: Picture, other_HW3: Picture) -> float:
        return float(compute_ssimulacra2(_png(image_HW3), _png(other_HW3)))

    return measure


def _st_lpips() -> Measure:
    """Shift-tolerant LPIPS (AlexNet), 0 for equal pictures; its weights come in the package."""
    need("perceptual", "stlpips_pytorch")
    declare_missing_operators()
    with _stand_ins():
        from stlpips_pytorch import stlpips

    network = _network(stlpips.LPIPS)

    def measure(image_HW3: Picture, other_HW3: Picture) -> float:
        with torch.no_grad():
            return float(network(_signed_BCHW(image_HW3), _signed_BCHW(other_HW3)))

    return measure


@cache
def _network(make: Callable[..., torch.nn.Module]) -> torch.nn.Module:
    """Load the weights once a process."""
    return make(net="alex", variant="shift_tolerant", verbose=False)


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Let empty packages stand in, while stlpips-pytorch is imported, for two that it imports and never uses.

    They are gone afterwards: matplotlib, for one, takes a loaded IPython for a real one.
    """
    missing = [
        (name, use) for name, use in (("IPython", "embed"), ("torchsummary", "summary")) if name not in sys.modules
    ]
    for name, use in missing:
        sys.modules[name] = ModuleType(name)
        setattr(sys.modules[name], use, None)
    try:
        yield
    finally:
        for name, _ in missing:
            del sys.modules[name]


def _png(image_HW3: Picture) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image_HW3)).save(buffer, "PNG", compress_level=1)
    buffer.seek(0)
    return buffer


def _signed_BCHW(image_HW3: Picture) -> torch.Tensor:
    """Values from -1 to 1."""
    return torch.from_numpy(image_HW3.transpose(2, 0, 1).astype(np.float32))[None] / 127.5 - 1
