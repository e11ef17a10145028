"""The command `info` of `clc.codec.cli.main`: what streams and bundles say of themselves, without torch.

A folder that is a bundle is shown as one, or what is broken of its manifest is named; any other folder is searched for
streams.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from clc.bundle.description import bundle_info
from clc.bundle.identity import is_bundle, manifest_problem
from clc.codec.cli.single_file import name_of, read_stream
from clc.codec.files import STREAM_SUFFIXES, find, nothing_found
from clc.codec.info import stream_info
from clc.console import complain, one_line, reason_of, say, shown
from clc.errors import ClcError, InputError
from clc.pictures.folders import is_folder


def info_command(options: Namespace) -> int:
    """Shows the streams and bundles that the arguments name; returns the exit status."""
    bundles = [path for path in options.paths if is_folder(path) and is_bundle(path)]
    broken = [problem for path in options.paths if path not in bundles and (problem := manifest_problem(path))]
    found = [find(path, STREAM_SUFFIXES) for path in options.paths if path not in bundles]
    files = [file for one in found for file in one.files]
    unreadable = [folder for one in found for folder in one.unreadable]
    if not (files or bundles or broken):
        passed_over = sum((Counter(one.passed_over) for one in found), Counter[str]())
        raise InputError(nothing_found(options.paths, STREAM_SUFFIXES, passed_over, unreadable))
    for path, reason in unreadable:
        complain(f"error: {shown(path)}: {reason}")
    for problem in broken:
        complain(f"error: {one_line(problem, *options.paths)}")
    is_failed = bool(unreadable or broken)
    is_named = len(files) + len(bundles) > 1
    for file in bundles + files:
        try:
            describe = _bundle if file in bundles else _stream
            text = describe(file, is_json=options.json, is_named=is_named)
        except ClcError as error:
            complain(f"error: {shown(name_of(file))}: {reason_of(error, name_of(file))}")
            is_failed = True
            continue
        if not say(text):
            return 1
    return int(is_failed)


def _stream(file: Path, *, is_json: bool, is_named: bool) -> str:
    fields = stream_info(read_stream(file)).to_json()
    if is_json:
        return json.dumps({"file": str(file), **fields})
    fields["sections"] = ", ".join(f"{name} {size} bytes" for name, size in fields["sections"].items()) or "none"
    fields["quality"] = "none" if fields["quality"] is None else fields["quality"]
    fields["bundle_id"] = fields["bundle_id"] or "none is needed"
    fields["release"] = fields["release"] or "none that is known"
    fields["insets"] = [_inset(inset) for inset in fields["insets"]] or ["none"]
    fields["bpp"] = f"{fields['bpp']:.4f}"
    return _lines(name_of(file), fields, is_named=is_named)


def _inset(inset: dict[str, Any]) -> str:
    """One rectangle in words."""
    place = f"{inset['width']}x{inset['height']} px at {inset['left']},{inset['top']}"
    return f"{place}: {inset['payload_bytes']} bytes at quality {inset['quality']:g}"


def _bundle(folder: Path, *, is_json: bool, is_named: bool) -> str:
    fields = bundle_info(folder).to_json()
    if is_json:
        return json.dumps({"bundle": str(folder), **fields})
    fields["parent"] = fields["parent"] or "not recorded"
    fields["release"] = fields["release"] or "none that is known"
    fields["model"] = f"{fields.pop('parameters'):,} parameters, {fields.pop('model_bytes'):,} bytes"
    fields["sources"] = fields["sources"] or ["none"]
    fields["training"] = fields["training"] or ["not recorded"]
    return _lines(str(folder), fields, is_named=is_named)


def _lines(title: str, fields: dict[str, Any], *, is_named: bool) -> str:
    """One line a field; a list takes a line for each of its values."""
    lines = [f"{shown(title)}:"] if is_named else []
    for name, value in fields.items():
        values = value if name in ("sources", "training", "insets") else [value]
        for label, one in zip([name] + [""] * len(values), values, strict=False):
            lines.append(f"{label:>15}  {shown(str(one))}")
    return "\n".join(lines)
