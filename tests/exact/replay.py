"""What one process computes on the exact path in every way that its settings leave open: a digest for each way.

    python -m tests.exact.replay BUNDLE STREAMS

`tests.exact.test_same_bits_everywhere` starts it under different instruction sets, which a process cannot change once
it runs, and compares. Every digest covers every intermediate result, so equal digests mean equal bits throughout.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from clc.bitstream.container import parse, parse_with_fields
from clc.codec import Codec
from clc.codec.selftest import replay
from clc.model import tiling
from clc.model.prior import matching
from clc.model.prior.walk import Conditions, HyperLatents, Turn, walk
from tests.hostile.seeds import beside_streams
from tests.self_prior import SELF_PRIOR, prior_of_integers

FIXED_BITS = 20
BATCH = 4
Z_SHAPE = (2, 2)
Digest = Any


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


SETTINGS: dict[str, Callable[[], Any]] = {
    "1 thread": nullcontext,
    "2 threads": lambda: threads(2),
    "without oneDNN": lambda: torch.backends.mkldnn.flags(enabled=False),
    "7 positions at once": lambda: mock.patch.object(matching, "POSITIONS_AT_ONCE", 7),
    "tiles of 4 by 4": lambda: mock.patch.multiple(tiling, WHOLE_LATENTS=16, WIDEST_LATENTS=4),
}


class Inputs(NamedTuple):
    """What `walk` is run on without a range coder: z_hat (4, Z, h/4, w/4), symbols (4, M, h, w), conditions."""

    z_hat: Tensor
    symbols: Tensor
    conditions: Conditions


def streams_digest(codec: Codec, streams: Sequence[bytes]) -> str:
    """Of all intermediate results of decoding the latents of all streams."""
    digest = hashlib.sha256()
    for data in streams:
        codec.trace(data, lambda name, values: _add(digest, name, values))
    return digest.hexdigest()


def make_inputs(codec: Codec, data: bytes) -> Inputs:
    """Hyper-latents and symbols at random, many small and some huge, under the conditions of one stream."""
    generator = torch.Generator().manual_seed(11)
    config = codec.bundle.config
    conditions = codec.decoder.conditions(parse_with_fields(data))
    if conditions.aligned is not None:
        crops = [part if part.shape[-1] == 1 else _tiled(part) for part in conditions.aligned]
        conditions = Conditions(conditions.quality_q6, conditions.tokens_1NT, b"", type(conditions.aligned)(*crops))
    rows, columns = Z_SHAPE
    z_hat = torch.randint(-12, 13, (BATCH, config.hyper, rows, columns), generator=generator).double()
    size = (BATCH, config.latents, 4 * rows, 4 * columns)
    # Uniform numbers and powers of two are the same bits under every instruction set; torch's normal ones are not.
    spread = (1 << torch.randint(0, 12, size, generator=generator)).double() / 4.0
    symbols = torch.round((torch.rand(size, generator=generator, dtype=torch.float64) - 0.5) * spread)
    return Inputs(z_hat, symbols, conditions)


def walk_digest(codec: Codec, inputs: Inputs, batch: int, memory_format: torch.memory_format) -> str:
    """Of all intermediate results for the pictures of `inputs`, `batch` of them at a time, picture by picture."""
    digests = [hashlib.sha256() for _ in range(BATCH)]
    for first in range(0, BATCH, batch):
        part = slice(first, first + batch)
        symbols = inputs.symbols[part]

        def exchange(turn: Turn, mean: Tensor, level: Tensor, symbols: Tensor = symbols) -> Tensor:
            del level
            return turn.of(symbols) + mean

        def trace(name: str, values: Tensor, first: int = first) -> None:
            for i, picture in enumerate(values):
                _add(digests[first + i], name, picture)

        z_hat = inputs.z_hat[part].contiguous(memory_format=memory_format)
        decoded = walk(codec.bundle.prior, z_hat, _repeated(inputs.conditions, batch), exchange, trace)
        for i in range(batch):
            _add(digests[first + i], "y_hat", decoded.y_hat[i])
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def self_prior_digest() -> str:
    """Of all intermediate results of a small model with a self-generated prior, whose symbols are small and huge."""
    prior, generator, digest = (
        prior_of_integers(SELF_PRIOR.self_prior),
        torch.Generator().manual_seed(13),
        hashlib.sha256(),
    )
    rows, columns = Z_SHAPE
    p_hat = torch.randint(-3000, 3001, (1, SELF_PRIOR.self_prior, 2 * rows, 2 * columns), generator=generator).double()
    p_hat[..., ::2] = torch.remainder(p_hat[..., ::2], 5.0)
    z_hat = torch.randint(-12, 13, (1, SELF_PRIOR.hyper, rows, columns), generator=generator).double()
    symbols = torch.randint(-9, 10, (1, SELF_PRIOR.latents, 4 * rows, 4 * columns), generator=generator).double()

    def exchange(turn: Turn, mean: Tensor, level: Tensor) -> Tensor:
        del level
        return turn.of(symbols) + mean

    conditions = Conditions(3210, torch.zeros(1, 0, SELF_PRIOR.token, dtype=torch.float64))
    walk(prior, HyperLatents(z_hat, p_hat), conditions, exchange, lambda name, values: _add(digest, name, values))
    return digest.hexdigest()


def ways(codec: Codec, streams: Sequence[bytes]) -> Iterator[tuple[str, str, str]]:
    """What was computed, the way, and its digest: everything under one name must be equal."""
    aligned = next(data for data in streams if parse(data).alignments)
    inputs = {"alone": make_inputs(codec, streams[0]), "aligned": make_inputs(codec, aligned)}
    with torch.no_grad():
        for name, given in inputs.items():
            yield name, "one by one", walk_digest(codec, given, 1, torch.contiguous_format)
        for way, setting in SETTINGS.items():
            with setting():
                yield "streams", way, streams_digest(codec, streams)
                yield "self-generated prior", way, self_prior_digest()
                for name, given in inputs.items():
                    said = f"{way}, batch of {BATCH}, channels last"
                    yield name, said, walk_digest(codec, given, BATCH, torch.channels_last)


def _repeated(conditions: Conditions, batch: int) -> Conditions:
    tokens = conditions.tokens_1NT.expand(batch, -1, -1)
    aligned = conditions.aligned
    if aligned is not None:
        aligned = type(aligned)(*(part.expand(batch, -1, -1, -1) for part in aligned))
    return Conditions(conditions.quality_q6, tokens, b"", aligned)


def _tiled(part: Tensor) -> Tensor:
    """Warped pixels (1, C, H, W) of any size, repeated to that of the inputs."""
    height, width = (64 * side for side in Z_SHAPE)
    repeats = (1, 1, -(-height // part.shape[2]), -(-width // part.shape[3]))
    return part.repeat(repeats)[:, :, :height, :width]


def _add(digest: Digest, name: str, values: Tensor) -> None:
    integers = torch.round(values * (1 << FIXED_BITS)).to(torch.int64).contiguous().numpy()
    digest.update(name.encode())
    digest.update(integers.astype("<i8").tobytes())


def main(bundle: Path, folder: Path, keys: Path) -> None:
    """Print the instruction set, the result of the shipped self-test and the digests as JSON."""
    torch.set_num_threads(1)
    codec = beside_streams(Codec.load(bundle), [(path.read_bytes(), path.name) for path in sorted(keys.iterdir())])
    streams = [path.read_bytes() for path in sorted(folder.iterdir())]
    told = {
        "capability": torch.backends.cpu.get_cpu_capability(),
        "first_difference": replay(Codec.load()).first_difference,
        "digests": list(ways(codec, streams)),
        "cores": os.cpu_count(),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
