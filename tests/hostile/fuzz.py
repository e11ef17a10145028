"""Decodes mutated streams and watches what happens: `make fuzz`, or on every test run with fewer mutations.

    python -m tests.hostile.fuzz --mutations 10000 --seed 1
    python -m tests.hostile.fuzz --mutations 2000 --only with_sections

A child process decodes one mutant after the other and reports each before it starts and after it ended, so that the
parent knows which one took the child down; the child is then started again behind it. What a mutant may do is raise a
`BitstreamError` or a `LimitError`, or give the very picture of a valid stream (where the bits changed meant nothing),
with alpha, EXIF and XMP that some valid stream has. Well-formed sections of strange content, which a mutation wrote
with a right checksum of their own, are told apart: their outcome is "other sections".
With the latents' CRC put right a mutant is a stream that an encoder may have written: any picture of the claimed size.

Limits, each of which the kernel enforces on the child:

- 2 s of processor time a decode (ITIMER_PROF, by signal, so that it also ends C++ code) and 120 s of wall time.
  Processor time, because a loaded machine is no hang; wall time, because a deadlock takes no processor time.
- 512 MiB of address space more than after loading (RLIMIT_AS). Address space, not resident memory: it refuses an
  allocation before its pages are touched, and at the line that asks for it. What was resident at most is printed too.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from clc.bitstream.container import pack, parse
from clc.bitstream.sections import KIND_NAMES
from clc.codec import Codec
from clc.errors import BitstreamError, DecodeMismatch, LimitError
from tests.hostile.mutations import Mutant, claiming, mutant, prefixes
from tests.hostile.seeds import SEEDS, Seeds, make_seeds, with_self_prior

MAX_CPU_S = 2.0
MAX_WALL_S = 120.0
MAX_EXTRA_BYTES = 512 << 20
CLAIM_PX = 32_768
MAX_FAILURES = 10
SAME, OTHER, OTHER_SECTIONS = "same picture", "picture", "other sections"


@dataclass
class Row:
    """What became of the mutants of one kind; the worst processor time and resident memory of a decode."""

    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    worst_ms: float = 0.0
    peak_mib: float = 0.0


@dataclass
class Report:
    """`rows` by kind and repair; `failures` tell mutant, reason and bytes; `claim_ms`: refusing 32768x32768."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    claim_ms: float = 0.0

    @property
    def tried(self) -> int:
        """Mutants decoded in all."""
        return sum(row.tried for row in self.rows.values())


def fuzz(mutations: int, seed: int, *, only: str | None = None, with_progress: bool = False) -> Report:
    """Decode so many mutants, every prefix of the valid streams, and these themselves once more at the end.

    `only` is the name of one of `tests.hostile.seeds.SEEDS`, whose streams alone are mutated then, or
    "with_self_prior".
    """
    chosen = ["--only", only] if only else []
    report = Report()
    start: int | None = 0
    while start is not None and len(report.failures) < MAX_FAILURES:
        events = _child_events(["--seed", seed, "--mutations", mutations, "--start", start, *chosen])
        start = _collect(report, track(events, "decoding") if with_progress else events)
    return report


def _collect(report: Report, events: Iterator[dict[str, Any]]) -> int | None:
    """Read a child's events; the number of the mutant to go on with where the child died, else None."""
    begun: dict[str, Any] = {"index": -1, "kind": "start", "repair": "none", "data": ""}
    for event in events:
        if "data" in event:
            begun = event
        elif "died" in event:
            report.failures.append(f"{_name(begun)} ended the process: {event['died']}; bytes {begun['data']}")
            return int(begun["index"]) + 1 if begun["index"] >= 0 else None
        elif "claim_ms" in event:
            report.claim_ms = max(report.claim_ms, event["claim_ms"])
        else:
            row = report.rows.setdefault((begun["kind"], begun["repair"]), Row())
            row.tried += 1
            row.outcomes[event["outcome"]] += 1
            row.worst_ms, row.peak_mib = max(row.worst_ms, event["ms"]), max(row.peak_mib, event["mib"])
            if event["reason"]:
                report.failures.append(f"{_name(begun)}: {event['reason']}; bytes {begun['data']}")
    return None


def _name(begun: dict[str, Any]) -> str:
    return f"mutant {begun['index']} ({begun['kind']}, repaired: {begun['repair']})"


def _child_events(arguments: list[Any]) -> Iterator[dict[str, Any]]:
    """Run a child and yield its events, then one that says how it died, if it did."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", "--child", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            yield json.loads(line)
        trouble = child.stderr.read().strip().splitlines()[-6:]
    if child.returncode < 0:
        yield {"died": f"{signal.Signals(-child.returncode).name} {' '.join(trouble)}"}
    elif child.returncode:
        yield {"died": " | ".join(trouble)}


class Judge:
    """Decodes mutants of one set of seeds in this process, which it limits."""

    def __init__(self, seeds: Seeds) -> None:
        self._codec = seeds.codec
        self._originals = {_digest(self._codec, data) for data in seeds.streams}
        self._contents = {content for data in seeds.streams for content in _contents(data)}
        self._resident = _status_kib("VmRSS")
        limit = _status_kib("VmSize") * 1024 + MAX_EXTRA_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    def decode(self, made: Mutant) -> dict[str, Any]:
        """Outcome, a reason where it must not be, processor time and memory."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak of resident memory counts from here
        signal.setitimer(signal.ITIMER_PROF, MAX_CPU_S)
        signal.setitimer(signal.ITIMER_REAL, MAX_WALL_S)
        started = time.process_time()
        outcome, reason = self._judged(made)
        spent = time.process_time() - started
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        peak = max(0, _status_kib("VmHWM") - self._resident) / 1024
        return {"outcome": outcome, "reason": reason, "ms": spent * 1e3, "mib": peak}

    def _judged(self, made: Mutant) -> tuple[str, str]:
        try:
            digest = _digest(self._codec, made.data)
        except DecodeMismatch as error:
            return self._judged_with_crc(made.data, str(error)) if made.repair == "both" else ("DecodeMismatch", "")
        except (BitstreamError, LimitError) as error:
            return type(error).__name__, ""
        if digest not in self._originals:
            return OTHER, "it gave a picture that nobody encoded"
        if _contents(made.data) <= self._contents:
            return SAME, ""
        return OTHER_SECTIONS, "" if made.kind == "sections" else "it gave metadata or alpha that nobody encoded"

    def _judged_with_crc(self, data: bytes, mismatch: str) -> tuple[str, str]:
        """Decode again with the CRC that the decoder found: garbage latents, but the stream's own."""
        found = re.search(r"CRC ([0-9a-f]{8})", mismatch)
        if found is None:
            return "DecodeMismatch", f"the message does not name the CRC that was found: {mismatch}"
        stream = replace(parse(data), latents_crc32=int(found[1], 16))
        picture = self._codec.decode(pack(stream))
        is_sized = picture.shape == (stream.height, stream.width, 3)
        return OTHER, "" if is_sized else f"{picture.shape} for {stream.width}x{stream.height} px"


def child(seed: int, mutations: int, start: int, folder: Path, only: str | None = None) -> None:
    """Decode the mutants from `start` on, then every prefix, then what was valid; print an event a line."""
    seeds = make_seeds(folder, only)
    judge = Judge(seeds)
    cut = prefixes(seeds.streams)
    for index in range(start, mutations + len(cut)):
        made = mutant(seed, index, seeds.streams) if index < mutations else cut[index - mutations]
        _tell({"index": index, "kind": made.kind, "repair": made.repair, "data": made.data.hex()})
        _tell(judge.decode(made))
    for i, data in enumerate(seeds.streams):
        _tell({"index": mutations + len(cut) + i, "kind": "unaltered", "repair": "none", "data": data.hex()})
        told = judge.decode(Mutant("unaltered", "none", data))
        _tell(told if told["outcome"] == SAME else {**told, "reason": "a valid stream no longer decodes"})
    _tell({"claim_ms": claim_ms(seeds)})


def claim_ms(seeds: Seeds) -> float:
    """The time in which 40 bytes that claim 32768x32768 px are refused, the best of five."""
    data, times = claiming(CLAIM_PX, CLAIM_PX, seeds.streams[0]), []
    for _ in range(5):
        started = time.perf_counter()
        try:
            seeds.codec.decode(data)
        except LimitError:
            times.append((time.perf_counter() - started) * 1e3)
    return min(times)


def _tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _digest(codec: Codec, data: bytes) -> str:
    picture = codec.decode_picture(data).image_HW3
    return f"{picture.shape} {hashlib.sha256(picture.tobytes()).hexdigest()}"


def _contents(data: bytes) -> set[tuple[int, bytes]]:
    """What the sections of a stream hold, those of unknown kinds left out as a decoder leaves them."""
    return {(section.kind, section.content()) for section in parse(data).sections if section.kind in KIND_NAMES}


def _status_kib(name: str) -> int:
    """A number of /proc/self/status, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


def print_report(report: Report) -> None:
    """Print a row for each kind and repair, then the failures."""
    table = Table("kind", "repaired", "tried", "ended as", "worst CPU ms", "peak MiB")
    for (kind, repair), row in sorted(report.rows.items()):
        ended = ", ".join(f"{name} {count}" for name, count in row.outcomes.most_common())
        table.add_row(kind, repair, str(row.tried), ended, f"{row.worst_ms:.1f}", f"{row.peak_mib:.0f}")
    console = Console(width=160)
    console.print(table)
    console.print(f"{report.tried} streams; {CLAIM_PX}x{CLAIM_PX} px in 40 bytes: refused in {report.claim_ms:.3f} ms")
    for failure in report.failures:
        console.print(f"FAILED {failure}", highlight=False, markup=False, soft_wrap=True)
    console.print("no failure" if not report.failures else f"{len(report.failures)} failures")


def main() -> int:
    """Run the fuzzer as a person does, or as its own child."""
    parser = argparse.ArgumentParser(description="Decode mutated streams and watch what happens.")
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    kinds = [make.__name__ for make in (*SEEDS, with_self_prior)]
    parser.add_argument("--only", choices=kinds, help="mutate streams of one kind alone")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            child(options.seed, options.mutations, options.start, Path(folder) / "bundle", options.only)
        return 0
    report = fuzz(options.mutations, options.seed, only=options.only, with_progress=sys.stdout.isatty())
    print_report(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
