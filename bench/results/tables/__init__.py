"""All measurements, blocks and sentences: a module for each part of the pages."""

from bench.results.measurement import Exempt, Registry
from bench.results.tables import adaptation, archives, compound, disk, front, graphics, kodak, speed, whole_range

REGISTRY = Registry(
    measurements=(
        *kodak.MEASUREMENTS,
        *whole_range.MEASUREMENTS,
        *compound.MEASUREMENTS,
        *speed.MEASUREMENTS,
        *adaptation.MEASUREMENTS,
        *archives.MEASUREMENTS,
        *graphics.MEASUREMENTS,
        *disk.MEASUREMENTS,
    ),
    blocks=(
        *front.BLOCKS,
        *kodak.BLOCKS,
        *whole_range.BLOCKS,
        *compound.BLOCKS,
        *speed.BLOCKS,
        *adaptation.BLOCKS,
        *archives.BLOCKS,
        *disk.BLOCKS,
    ),
    phrases=(
        *front.PHRASES,
        *kodak.PHRASES,
        *whole_range.PHRASES,
        *speed.PHRASES,
        *adaptation.PHRASES,
        *archives.PHRASES,
        *graphics.PHRASES,
        *disk.PHRASES,
    ),
    exempt=(*front.EXEMPT, *kodak.EXEMPT, *speed.EXEMPT, *adaptation.EXEMPT),
    pages=("README.md", "docs/results.md", "docs/encoding.md"),
)
"""What the pages of this project quote."""

__all__ = ["REGISTRY", "Exempt"]
