"""The command `info` of `clc.codec.cli.main`: what streams say of themselves, without torch and without a bundle."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path

from clc.codec.cli.single_file import name_of, read_stream
from clc.codec.files import STREAM_SUFFIXES, find, nothing_found
from clc.codec.info import stream_info
from clc.console import complain, reason_of, say, shown
from clc.errors import ClcError, InputError


def info_command(options: Namespace) -> int:
    """Shows the headers of the streams that the arguments name; returns the exit status."""
    found = [find(path, STREAM_SUFFIXES) for path in options.paths]
    files = [file for one in found for file in one.files]
    unreadable = [folder for one in found for folder in one.unreadable]
    if not files:
        passed_over = sum((Counter(one.passed_over) for one in found), Counter[str]())
        raise InputError(nothing_found(options.paths, STREAM_SUFFIXES, passed_over, unreadable))
    for path, reason in unreadable:
        complain(f"error: {shown(path)}: {reason}")
    is_failed = bool(unreadable)
    for file in files:
        try:
            text = _described(file, is_json=options.json, is_named=len(files) > 1)
        except ClcError as error:
            complain(f"error: {shown(name_of(file))}: {reason_of(error, name_of(file))}")
            is_failed = True
            continue
        if not say(text):
            return 1
    return int(is_failed)


def _described(file: Path, *, is_json: bool, is_named: bool) -> str:
    fields = stream_info(read_stream(file)).to_json()
    if is_json:
        return json.dumps({"file": str(file), **fields})
    fields["sections"] = ", ".join(f"{name} {size} bytes" for name, size in fields["sections"].items()) or "none"
    lines = [f"{shown(name_of(file))}:"] if is_named else []
    for name, value in fields.items():
        lines.append(f"{name:>15}  " + (f"{value:.4f}" if name == "bpp" else str(value)))
    return "\n".join(lines)
