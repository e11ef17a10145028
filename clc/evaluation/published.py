"""Published rate-distortion curves, read from a data file, to hold measured ones against.

`PUBLISHED` ships with the package: averages over Kodak, the two professional sets of CLIC 2020 and Tecnick, from the
public repositories that each codec's "source" names (PSNR of 8-bit RGB; "-paper" marks points read off a paper). They
are others' figures and were not measured here. A file is JSON:
{data set: {codec: {"psnr": {"bpp": [...], "value": [...]}, "source": ...}}}, each point an average over the data set;
"ms_ssim" is a ratio. The codec's name carries its version ("vtm-9.1"): another version is another anchor.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from clc.errors import InputError
from clc.evaluation.bd_rate import BdRate, RateCurve, bd_rate
from clc.evaluation.curves import CodecCurve
from clc.evaluation.scales import MS_SSIM, PSNR, Scale

Published = Mapping[Scale, Mapping[str, RateCurve]]
"""Published curves by measure and by codec."""

_NAMES = {PSNR.key: "psnr", MS_SSIM.key: "ms_ssim"}
"""What the file calls a measure."""

PUBLISHED = Path(__file__).parent / "published.json"
"""Published curves of 51 codecs and settings on Kodak, and of fewer on three other sets."""
ANCHOR = "vtm-9.1"
"""The codec that BD-rates of published curves are against: another version of VTM is another anchor."""

SHOWN = (
    ANCHOR,
    "hm",
    "bpg_444_x265_ycbcr",
    "av1",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "cheng2020-anchor",
    "elic2022-paper",
    "tcm-large-2023",
    "mlicplusplus-2023",
    "dcae-2025",
    "glic-2026",
    "cool-chic-v5.0.1",
    "webp",
    "jpeg",
)
"""What tables and reports show of a data set, in this order: fixed codecs, learned ones by age, and the oldest."""


def read_published(path: Path, dataset: str, scale: Scale = PSNR) -> dict[str, RateCurve]:
    """Return the curves of a data set over PSNR or MS-SSIM by codec; codecs published without it are left out.

    Raises:
        InputError: if the file is missing or malformed, or does not know the data set.
    """
    try:
        datasets = json.loads(path.read_bytes())
        if dataset not in datasets:
            raise InputError(f"{path} has no data set {dataset!r}; it has {', '.join(sorted(datasets))}")
        key = _NAMES[scale.key]
        found = {name: codec[key] for name, codec in datasets[dataset].items() if key in codec}
        return {
            name: RateCurve.of(name, points["bpp"], [scale.on_axis(value) for value in points["value"]], scale)
            for name, points in found.items()
        }
    except OSError as error:
        raise InputError(f"cannot read the published curves {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no file of published curves: {type(error).__name__} {error}") from error


def shown_curves(dataset: str, path: Path = PUBLISHED) -> Published:
    """Return what is shown of a data set beside measured curves, over PSNR and over MS-SSIM.

    Raises:
        InputError: as `read_published`.
    """
    found = {scale: read_published(path, dataset, scale) for scale in (PSNR, MS_SSIM)}
    return {scale: {name: curves[name] for name in SHOWN if name in curves} for scale, curves in found.items()}


def rates_against(published: Published, curve: CodecCurve) -> list[BdRate]:
    """Return what a measured codec takes against each published one, whose name then ends in ", published"."""
    return [
        bd_rate(RateCurve(f"{name}, published", one.points, scale), curve.on(scale))
        for scale, curves in published.items()
        for name, one in curves.items()
    ]
