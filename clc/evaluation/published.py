"""Published rate-distortion curves, read from a data file, to hold measured ones against.

`PUBLISHED` ships with the package: averages over Kodak, the two professional sets of CLIC 2020 and Tecnick, from the
public repositories that each codec's "source" names (PSNR of 8-bit RGB; "-paper" marks points read off a paper). They
are others' figures and were not measured here. A file is JSON:
{data set: {codec: {"psnr": {"bpp": [...], "value": [...]}, "source": ...}}}, each point an average over the data set;
"ms_ssim" is a ratio. The codec's name carries its version ("vtm-9.1"): another version is another anchor.
"""

import json
from pathlib import Path

from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve
from clc.evaluation.scales import MS_SSIM, PSNR, Scale

_NAMES = {PSNR.key: "psnr", MS_SSIM.key: "ms_ssim"}
"""What the file calls a measure."""

PUBLISHED = Path(__file__).parent / "published.json"
"""Published curves of 51 codecs and settings on Kodak, and of fewer on three other sets."""
ANCHOR = "vtm-9.1"
"""The codec that BD-rates of published curves are against: another version of VTM is another anchor."""


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
