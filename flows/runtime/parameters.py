"""The limits of flows' parameters: part of each deployment's schema, so that a wrong value is refused when submitted.

Prefect checks them by pydantic, before a run exists. What depends on the pictures is checked by the flows themselves.
"""

from typing import Annotated, Literal

from pydantic import Field

from clc.bitstream.embedding import MAX_ERROR
from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_SEARCHED_ENTRIES
from clc.quality import MAX_QUALITY

Count = Annotated[int, Field(ge=1)]
"""How many of something that there must be."""

Device = Literal["cpu", "cuda"]
"""What is trained on; which of several GPUs, `CUDA_VISIBLE_DEVICES` says."""

Entries = Annotated[int, Field(ge=1, le=MAX_DICTIONARY_ENTRIES)]
"""Entries of a dictionary that goes into a bundle."""

ManyEntries = Annotated[int, Field(ge=1, le=MAX_SEARCHED_ENTRIES)]
"""Entries of a dictionary, which may be one that is only searched."""

Candidates = Annotated[int, Field(ge=1, le=MAX_SEARCHED_ENTRIES)]
"""Entries that are clustered before all but the most relevant are evicted."""

PatchSide = Annotated[int, Field(ge=16)]
"""Side of a patch, in pixels."""

Some = Annotated[int, Field(ge=0)]
"""How many of something, or none; a seed."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A part of one, or all or nothing of it."""

Part = Annotated[float, Field(gt=0.0, lt=1.0)]
"""A part of one that leaves something for others."""

Above0 = Annotated[float, Field(gt=0.0)]
"""A time budget, or a rate."""

Quality = Annotated[float, Field(ge=0.0, le=MAX_QUALITY)]
"""A quality of the codec."""

Decibels = Annotated[float, Field(gt=0.0, lt=100.0)]
"""A PSNR that is asked for."""

Error = Annotated[int, Field(ge=0, le=MAX_ERROR)]
"""Levels of 0..255 that a sample may be off at most."""

Mode = Literal["auto", "learned"]
"""The ways in which an archive's pictures may be coded."""

Levels = Annotated[int, Field(ge=1, le=3)]
"""How many streams may have to be decoded for one picture of an archive."""

Effort = Annotated[int, Field(ge=0, le=9)]
"""How long to search for a picture."""
