"""`python -m clc.codec collect`: a bundle for overlapping pictures, made in a minute, without training.

Finds which pictures overlap, chooses the key pictures that serve most of the others, and writes a bundle that holds
them beside everything of the one it started from. What is then encoded with it may be aligned with a key picture.
"""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from clc.bundle.bundle import SHIPPED, Bundle
from clc.bundle.extend import add_pictures
from clc.codec.files import find
from clc.codec.selftest import write_vectors
from clc.errors import InputError
from clc.pictures.images import read_image
from clc.pictures.picture import PICTURE_SUFFIXES
from clc.references.overlaps import Overlap, choose_key_pictures, find_overlaps


def collect_command(options: Namespace) -> int:
    """Makes the bundle and says what is in it; returns the exit status."""
    paths = [path for given in options.paths for path in find(given, PICTURE_SUFFIXES)[0]]
    if not paths:
        raise InputError(f"{', '.join(map(str, options.paths))}: no picture there")
    pictures = [read_image(path) for path in paths]
    overlaps = find_overlaps(pictures)
    keys = choose_key_pictures(overlaps, len(pictures), options.keys)
    provenance = [
        {"name": paths[key].name, "photo": paths[key].name, "source": options.source, "licence": options.licence}
        for key in keys
    ]
    base = options.bundle or SHIPPED
    add_pictures(base, options.out, [pictures[key] for key in keys], provenance, options.format)
    write_vectors(options.out)
    made = Bundle.load(options.out)
    covered = _covered(overlaps, keys, len(pictures))
    for entry, key in enumerate(keys, start=len(made.entries) - len(keys)):
        stored = made.entries.pictures[entry]
        print(f"entry {entry}: {paths[key]}, {stored.width}x{stored.height} px, {stored.file_bytes} bytes")
    print(
        f"{options.out}: bundle {made.bundle_id}, {len(keys)} key pictures of {len(pictures)}; they show "
        f"{100 * covered:.0f} % of the others. Next: python -m clc.codec encode PICTURE OUT.clc --bundle {options.out}"
    )
    return 0


def _covered(overlaps: list[Overlap], keys: list[int], pictures: int) -> float:
    """Mean share of a picture, of those that are no key, that its best key picture shows."""
    best = np.zeros(pictures)
    for overlap in overlaps:
        if overlap.reference in keys:
            best[overlap.target] = max(best[overlap.target], overlap.registration.coverage)
    others = np.delete(best, keys)
    return float(others.mean()) if len(others) else 1.0
