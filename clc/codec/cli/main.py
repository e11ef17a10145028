"""The command line `clc`, or `python -m clc.codec`: encode, decode, info, collect, selftest.

    encode INPUT OUTPUT    encode INPUT... --out FOLDER    encode - -    (decode likewise)

Any mistake is one line on stderr that says what, where and what to do, a non-zero exit, and no output file: outputs are
written under a temporary name and renamed when they are complete. Of many files those that fail are named at the end,
and the others are done. What exists is not replaced without --overwrite. Where the output is `-`, stdout holds it and
nothing else. Exit statuses:

    0    done; also where the summary could not be shown
    1    an error, or one file of many that failed, or results that stdout did not take
    2    wrong arguments
    130  interrupted by Ctrl-C; 143 by SIGTERM, 129 by SIGHUP; what was written is whole

What the commands do stands in `clc.codec.cli.encode_decode`, `many_files`, `show_info` and `collect`; torch is only
imported once they run.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from clc.codec.cli.arguments import Further, parsed
from clc.codec.cli.encode_decode import decode_command, encode_command, load_codecs
from clc.codec.cli.show_info import info_command
from clc.codec.cli.single_file import name_of
from clc.console import DONE, FAILED, complain, one_line, reason_of, say, shown, status_of, steady
from clc.errors import BitstreamError, ClcError


def main(arguments: Sequence[str] | None = None, further: Further | None = None) -> int:
    """Runs one command; returns the exit status. Wrong arguments and --help exit.

    `further` adds commands of rooms above this one.
    """
    with steady():
        options = parsed(arguments, _COMMANDS, further)
        try:
            return int(options.run(options))
        except KeyboardInterrupt as error:
            complain("interrupted: no output is half-written")
            return status_of(error)
        # The boundary of the program: whatever is raised is a line.
        except Exception as error:
            complain(f"error: {_described(error, options)}")
            return FAILED


def _described(error: Exception, options: Namespace) -> str:
    """An error as one line that says where."""
    names = [name_of(path) for path in getattr(options, "paths", [])]
    if isinstance(error, BitstreamError):
        return f"{shown(names[0])}: {one_line(str(error), *names)}" if names else one_line(str(error))
    if isinstance(error, ClcError):
        return one_line(str(error), *names)
    if isinstance(error, OSError):
        return f"{shown(error.filename or 'output')}: {reason_of(error)}"
    return ": ".join([*map(shown, names[:1]), reason_of(error)])


def _collect(options: Namespace) -> int:
    from clc.codec.cli.collect import collect_command

    return collect_command(options)


def _selftest(options: Namespace) -> int:
    """Replays the self-test of every bundle that is named, that very copy; one that fails costs no other its turn."""
    from clc.codec.codec import Codec
    from clc.codec.selftest import replay

    is_failed = False
    for folder in load_codecs(options).shelf.named():
        try:
            codec = Codec.load(folder, options.device)
            result = replay(codec)
        except ClcError as error:
            complain(f"error: {one_line(str(error))}")
            is_failed = True
            continue
        if result.first_difference is not None:
            complain(
                f"error: {shown(folder)}: this machine differs from the exporter first in '{result.first_difference}': "
                "streams would not decode here; try another version of torch"
            )
            is_failed = True
            continue
        is_failed |= not say(
            f"selftest: bundle {codec.bundle.bundle_id}, {result.steps} intermediate results, all equal"
        )
    is_failed |= not _payloads_are_sound()
    return FAILED if is_failed else DONE


def _payloads_are_sound() -> bool:
    """Codes a picture by each of the other codecs that this installation has, decodes it, and says so."""
    from clc.codec.selftest import probe_picture
    from clc.codec.ways.payload_check import check_payloads

    try:
        sound, missing = check_payloads(probe_picture())
    except ClcError as error:
        complain(f"error: {one_line(str(error))}")
        return False
    lacking = f"; this Pillow lacks {' and '.join(missing)}" if missing else ""
    return say(f"selftest: payloads of {', '.join(sound)} decode as they should{lacking}")


_COMMANDS = {
    "encode": encode_command,
    "decode": decode_command,
    "info": info_command,
    "collect": _collect,
    "selftest": _selftest,
}
