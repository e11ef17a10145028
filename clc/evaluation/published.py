"""Published rate-distortion curves, read from a data file, to hold measured ones against.

`PUBLISHED` ships with the package: averages over Kodak, the two professional sets of CLIC 2020 and Tecnick, from the
public repositories that each codec's "source" names (PSNR of 8-bit RGB; "-paper" marks points read off a paper). They
are others' figures and were not measured here. A file is JSON:
{data set: {codec: {"psnr": {"bpp": [...], "value": [...]}, "source": ...}}}, each point an average over the data set.
The codec's name carries its version ("vtm-9.1"): another version is another anchor.
"""

import json
from pathlib import Path

from clc.errors import InputError
from clc.evaluation.bd_rate import RateCurve

PUBLISHED = Path(__file__).parent / "published.json"
"""Published curves of 51 codecs and settings on Kodak, and of fewer on three other sets."""
ANCHOR = "vtm-9.1"
"""The codec that BD-rates of published curves are against: another version of VTM is another anchor."""


def read_published(path: Path, dataset: str) -> dict[str, RateCurve]:
    """Return the PSNR curves of a data set by codec; codecs that were published with MS-SSIM alone are left out.

    Raises:
        InputError: if the file is missing or malformed, or does not know the data set.
    """
    try:
        datasets = json.loads(path.read_bytes())
        if dataset not in datasets:
            raise InputError(f"{path} has no data set {dataset!r}; it has {', '.join(sorted(datasets))}")
        found = {name: codec["psnr"] for name, codec in datasets[dataset].items() if "psnr" in codec}
        return {name: RateCurve.of(name, psnr["bpp"], psnr["value"]) for name, psnr in found.items()}
    except OSError as error:
        raise InputError(f"cannot read the published curves {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no file of published curves: {type(error).__name__} {error}") from error
