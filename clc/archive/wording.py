"""How quality is put into words wherever an archive is told of: `clc list`, the summary, the page, the flow."""

from __future__ import annotations

WITHOUT_LOSS_DB = 100.0
"""From here on a picture is without loss."""


def asked_text(quality: float, max_error: int | None) -> str:
    """What was asked of a picture: "quality 45"; "lossless" or "within 2 levels" where its samples were promised.

    `quality` is 0..100; `max_error` is by how many levels of 0..255 a sample may be off, None where that was not said.
    """
    if max_error is None:
        return f"quality {quality:g}"
    return "lossless" if max_error == 0 else f"within {max_error} level{'s' if max_error > 1 else ''}"


def decibels_text(psnr_db: float) -> str:
    """A PSNR, dB, with its unit; "no loss" from `WITHOUT_LOSS_DB` on."""
    return f"{psnr_db:.2f} dB" if psnr_db < WITHOUT_LOSS_DB else "no loss"
