"""What a run is called on Prefect's pages: its flow and what it works on. Prefect itself takes two random words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath

from prefect.runtime import flow_run

from storage.names import shown_name

_ADDRESS = re.compile(r"\w+://")


def run_name(template: str, **instead: str) -> Callable[[], str]:
    """Make a flow's `flow_run_name` of a template, "train-codec from {start}", whose fields are parameters of the flow.

    A path, pattern or address is shown as `collection_name` names it. `instead` says by parameter what stands for one
    that is empty.
    """

    def name() -> str:
        given = {key: "" if value is None else str(value) for key, value in flow_run.parameters.items()}
        empty = {key: instead.get(key, f"no {key}") for key in given}
        return template.format_map({key: collection_name(text) or empty[key] for key, text in given.items()})

    return name


def collection_name(source: str) -> str:
    """The name of a folder, file or set, in one line; of a pattern the folder that it searches.

    "train" of "data/train/*/**/*", "survey" of "s3://bucket/survey". What follows a "?" in an address may be a secret
    and is left out.
    """
    plain = source.partition("?")[0] if _ADDRESS.match(source) else source
    parts = [part for part in PurePath(plain).parts if not set(part) & set("*?[")]
    return shown_name(parts[-1] if parts else plain)
