"""One picture of an evaluation as work for another process: digests and paths in, rows out.

`flows.evaluation.measuring` hands plans to the workers of a Dask cluster, which import no pipeline. A worker loads a
bundle once for all its plans, and refuses one that is another than the plan was made with.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

from clc.codec.codec import Codec
from clc.errors import InputError
from clc.evaluation.coders import TEST, CodecUnderTest
from clc.evaluation.measure import PictureUnderTest, Row, evaluate
from clc.evaluation.perceptual import find_perceptual
from clc.pictures.images import read_image
from storage.blobs import BlobStore


@dataclass(frozen=True, kw_only=True)
class PicturePlan:
    """What a worker needs: the picture's blob, where blobs are, and the codec with its ladder.

    `bundle` is its folder, None for the shipped one, and `bundle_id` what it must be. `perceptual` names the measures
    beside those that are always taken.
    """

    item_id: str
    name: str
    blob: str
    blobs_root: Path
    bundle: Path | None
    bundle_id: str
    settings: str
    qualities: tuple[float, ...]
    perceptual: tuple[str, ...]


def measure_plan(plan: PicturePlan) -> list[Row]:
    """Return the rows of a picture that lies in the blob store.

    Raises:
        InputError: if this machine has another bundle, or lacks a measure that the plan names.
        DecodeMismatch: as `clc.evaluation.measure.evaluate`.
    """
    codec = _loaded(plan.bundle)
    if codec.bundle.bundle_id != plan.bundle_id:
        raise InputError(f"a worker has bundle {codec.bundle.bundle_id} in place of {plan.bundle_id}; share the folder")
    found = find_perceptual(plan.perceptual)
    lacking = [key for key in plan.perceptual if key not in found.available]
    if lacking:
        raise InputError(f"a worker cannot measure {lacking[0]}: {found.missing[lacking[0]]}")
    coder = CodecUnderTest(codec, TEST, plan.settings, plan.qualities)
    picture = PictureUnderTest(plan.item_id, plan.name, lambda: read_image(BlobStore(plan.blobs_root).get(plan.blob)))
    return evaluate([coder], [picture], perceptual={key: found.available[key] for key in plan.perceptual})


@functools.lru_cache(maxsize=1)
def _loaded(bundle: Path | None) -> Codec:
    return Codec.load(bundle)
