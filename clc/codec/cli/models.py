"""`clc models`: which models are here, and what each is good for; `clc models keep`: one for decoding alone.

Where models are looked for says `clc.bundle.locate`, what is kept of one `clc.bundle.decoder_bundle`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from clc.console import DONE, FAILED, complain, say, shown
from clc.errors import InputError

if TYPE_CHECKING:
    from clc.bundle.inventory import ListedModel

_SHIPPED = "shipped"


def add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the parser of `clc`."""
    command = commands.add_parser(
        "models",
        help="list the models that are here, or keep a released one for decoding",
        description="List the models within reach by their ids: which release shipped them, where they lie, whether "
        "they encode or only decode, how large they are, and their licence. Nothing is downloaded.",
    )
    command.add_argument("--json", action="store_true", help="as one JSON object a line")
    command.set_defaults(run=_list, parser=command)
    actions = command.add_subparsers(dest="action", metavar="keep")
    keeping = actions.add_parser(
        "keep",
        help="write the decoder's bundle of a released model",
        description="Write what decoding needs of a released model into a new folder, checked. It has the same id, "
        "and decodes every stream of the model to the same pixels; encoding needs the whole bundle.",
    )
    keeping.add_argument("bundle", metavar="FOLDER|ID|shipped", help="the whole bundle")
    keeping.add_argument("out", type=Path, metavar="OUT", help="the new folder")
    keeping.set_defaults(run=_keep, parser=keeping)


def _list(options: argparse.Namespace) -> int:
    from clc.bundle.inventory import inventory
    from clc.bundle.locate import Shelf

    found = inventory(Shelf(tell=_warn))
    if options.json:
        return DONE if all(say(json.dumps(one.to_json())) for one in found) else FAILED
    for one in found:
        if not say("\n".join(_lines(one))):
            return FAILED
    return DONE


def _lines(one: ListedModel) -> list[str]:
    """A row of five columns, and lines below it that say where the model lies and what is wrong."""
    size = f"{one.n_bytes / 1e6:.1f} MB" if one.n_bytes else "-"
    row = f"{one.bundle_id}  {one.release or 'your own':9}  {one.use:19}  {size:>8}  {one.licence or '-'}"
    return [row, *(f"{'':18}{shown(text)}" for text in (one.folder, one.note) if text)]


def _keep(options: argparse.Namespace) -> int:
    from clc.bundle.decoder_bundle import keep
    from clc.bundle.identity import SHIPPED
    from clc.bundle.locate import SERVICE, Shelf

    if options.bundle == SERVICE:
        raise InputError('"service" may be another bundle tomorrow; name the folder or the id of the one to keep')
    source = SHIPPED if options.bundle == _SHIPPED else Shelf([options.bundle], _warn).first()
    bundle_id = keep(source, options.out.absolute())
    is_said = say(f"{bundle_id}: decoder's bundle in {shown(options.out)}; name it with --bundle, or in CLC_BUNDLES")
    return DONE if is_said else FAILED


def _warn(line: str) -> None:
    complain(f"warning: {line}")
