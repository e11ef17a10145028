"""Lets `import torchvision` work beside a torch that its compiled operators were not built for.

The torchvision wheel on a package index may be a CUDA build; beside a CPU build of torch its library `_C` does not
load, and the import stops at `operator torchvision::nms does not exist`. Declaring the schemas of the operators that
the import looks up is enough for models and transforms; calling such an operator still fails, as it should.

Whoever needs torchvision, directly or through compressai, calls `declare_missing_operators` first.
"""

import functools
import importlib.util
import logging
import sys
from pathlib import Path

import torch

log = logging.getLogger(__name__)

# Exactly what torchvision's meta registrations look up while it is imported.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare `torchvision::nms` and `torchvision::qnms` where torchvision's own library does not load.

    Returns the declaring library, which lives as long as this cached result does, or None where nothing was missing.
    Call it before the first `import torchvision`; later calls do nothing.
    """
    if "torchvision" in sys.modules or _own_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    log.debug("torchvision_operators=declared torch=%s", torch.__version__)
    return library


def _own_operators_load() -> bool:
    """Whether the operators that torchvision was compiled with load into this torch."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    libraries = sorted(Path(spec.origin).parent.glob("_C*.so")) + sorted(Path(spec.origin).parent.glob("_C*.pyd"))
    try:
        for library in libraries:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(libraries)
