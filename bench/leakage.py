"""Is an evaluation picture a near-duplicate of a training or dictionary picture? Prints the pairs, or that none is.

    python bench/leakage.py --evaluation ../shared/data/kodak --known ../shared/data/train

Exit status 1 when a pair is found. The test is that of `evaluate-codec` (`clc.pictures.near_duplicates`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from clc.pictures.folders import find_pictures
from clc.pictures.images import read_image
from clc.pictures.near_duplicates import Fingerprint, find_duplicates, fingerprint
from storage.names import shown_name


def fingerprints(folder: Path) -> Iterator[Fingerprint]:
    """One fingerprint for each picture below `folder`, named by its path there."""
    found = find_pictures(folder)
    for path, reason in found.unreadable:
        print(f"warning: {shown_name(str(path))} is left out: {reason}", file=sys.stderr)
    for path in found.files:
        yield fingerprint(shown_name(path.relative_to(folder).as_posix()), read_image(path))


def main() -> int:
    """Compares two folders; returns the exit status."""
    parser = argparse.ArgumentParser(description="Look for near-duplicates between two folders of pictures.")
    parser.add_argument("--evaluation", type=Path, required=True)
    parser.add_argument("--known", type=Path, required=True)
    options = parser.parse_args()
    for folder in (options.evaluation, options.known):
        if not folder.is_dir():
            print(f"error: {folder}: no such folder of pictures", file=sys.stderr)
            return 2
    evaluated, known = list(fingerprints(options.evaluation)), list(fingerprints(options.known))
    found = find_duplicates(evaluated, known)
    for pair in found:
        print(f"{pair.evaluated} ~ {pair.known} (correlation {pair.correlation:.2f})")
    print(f"{len(evaluated)} evaluation pictures, {len(known)} known pictures, {len(found)} near-duplicates")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
