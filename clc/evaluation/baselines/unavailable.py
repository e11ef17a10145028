"""Why a baseline cannot be had on this machine."""

from clc.errors import ClcError, InputError


class Unavailable(ClcError):
    """A baseline cannot be had; the message says why, and what brings it."""


def check_quality(name: str, quality: float) -> float:
    """Return a quality; `InputError` where it does not lie within 0 and 100."""
    if not 0 <= quality <= 100:
        raise InputError(f"{name} quality must lie in 0..100, not {quality}")
    return quality
