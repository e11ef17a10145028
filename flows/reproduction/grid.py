"""The grid of the flows `ablate` and `perturb`: what is varied, read from one YAML file and checked before any work."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clc.errors import InputError
from clc.limits import MAX_DICTIONARY_ENTRIES, MAX_REFERENCES
from clc.model.config import ModelConfig
from clc.quality import MAX_QUALITY
from storage.names import shown_name
from storage.regular import read_regular

DEFAULT = Path(__file__).parent / "grid.yaml"
ALL = "all components"
"""The row of the components that the others are held against."""
_MOST_BYTES = 2**20
_SWITCHES = frozenset(one.name for one in fields(ModelConfig))

Entries = Annotated[int, Field(ge=1, le=MAX_DICTIONARY_ENTRIES)]
References = Annotated[int, Field(ge=1, le=MAX_REFERENCES)]
Quality = Annotated[float, Field(ge=0.0, le=MAX_QUALITY)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Whole = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Windows(_Part):
    """Windows of 256 px that entries are chosen from: one every `stride_px`, at most `most`, evenly apart."""

    stride_px: Annotated[int, Field(ge=8, le=256)] = 32
    most: Whole = 6000


class ReferenceNumbers(_Part):
    """Table 1: numbers of references, with a dictionary of so many entries."""

    numbers: tuple[References, ...] = (1, 2, 3, 4, 5)
    entries: Entries = 1000


class Dictionary(_Part):
    """Table 2: sizes of the dictionary."""

    entries: tuple[Entries, ...] = (1000, 2000, 3000, 4000)
    references: References = 3


class Components(_Part):
    """Table 3: rows by name, each with the fields of `ModelConfig` that differ; the budget of each training."""

    steps: Whole = 1000
    crops: Whole = 4
    entries: Entries = 64
    references: References = 3
    photos: Annotated[int, Field(ge=2)] = 400
    model: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}

    @field_validator("model", "rows")
    @classmethod
    def _names_fields(cls, value: dict[str, Any]) -> dict[str, Any]:
        switches = [one for one in value.values() if isinstance(one, dict)] or [value]
        unknown = sorted({name for one in switches for name in one} - _SWITCHES)
        if unknown:
            raise ValueError(f"a model has no {', '.join(unknown)}")
        if ALL in value:
            raise ValueError(f"{ALL!r} is measured in any case")
        return value

    @model_validator(mode="after")
    def _has_models(self) -> Self:
        try:
            self.models()
        except (InputError, TypeError) as error:
            raise ValueError(str(error)) from error
        return self

    def models(self) -> dict[str, ModelConfig]:
        """The model of each row, that with all components first. Raises `InputError` where there can be none."""
        common = {**ModelConfig().to_json(), "references": self.references, **self.model}
        return {name: ModelConfig.from_json({**common, **row}) for name, row in {ALL: {}, **self.rows}.items()}


class Alignment(_Part):
    """Key pictures, aligned: numbers of references. Tokens are of few windows of its own."""

    windows: Windows = Windows(stride_px=128, most=400)
    references: tuple[References, ...] = (1, 2, 3)
    key_pictures: Whole = 64
    entries: Entries = 64


class Perturbation(_Part):
    """Figure 6: probabilities of a random match; each picture is coded with so many draws."""

    probabilities: tuple[Probability, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    draws: Whole = 2
    references: References = 3
    entries: Entries = 1000

    @field_validator("probabilities")
    @classmethod
    def _holds_zero(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({0.0, *value}))


class Grid(_Part):
    """All of it. `qualities` are four or more, for a BD-rate takes as many; `crop_px` codes the middles of pictures."""

    qualities: Annotated[tuple[Quality, ...], Field(min_length=4)] = (5.0, 25.0, 50.0, 75.0, 95.0)
    crop_px: Annotated[int, Field(ge=64)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    windows: Windows = Windows()
    references: ReferenceNumbers = ReferenceNumbers()
    dictionary: Dictionary = Dictionary()
    components: Components = Components()
    alignment: Alignment = Alignment()
    perturbation: Perturbation = Perturbation()

    @field_validator("qualities")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each quality once")
        return tuple(sorted(value))


def read_grid(path: str = "") -> Grid:
    """Read a grid, the one beside this file where none is named.

    Raises `InputError`, one sentence that names the key, for what is no grid.
    """
    file = Path(path).expanduser() if path else DEFAULT
    shown = shown_name(str(file))
    try:
        values = yaml.safe_load(read_regular(file, _MOST_BYTES))
    except OSError as error:
        raise InputError(f"the grid {shown} cannot be read: {error.strerror or error}; name a YAML file") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the grid {shown} is no YAML: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"the grid {shown} holds no keys; see flows/reproduction/{DEFAULT.name}")
    try:
        return Grid.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        meant = "there is no such key" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(
            f"the grid {shown}: {where}: {meant}; {DEFAULT.name} beside the flow shows a whole one"
        ) from error
