"""Data-parallel training: several processes under `torchrun` train one model, each on crops of its own.

    torchrun --nproc_per_node 2 -m clc.training ...

Every process holds the whole model. The contract: the processes apply the same averaged gradients, so that their
parameters stay equal. The first process alone logs, validates and saves, and its clock decides for all when the run
ends. CPUs communicate by gloo, GPUs by nccl. Called by the command line of `clc.training` and by the trainer; a process
alone has `ALONE`, with which nothing is communicated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from clc.errors import InputError


@dataclass(frozen=True)
class Ranks:
    """The rank of this process, 0 to `count` - 1, among the processes of the run; one process by default."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The value that the first process gave, in every process."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared.item())

    @torch.no_grad()
    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors with those of the first process, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the processes; a parameter without one in all of them has none."""
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        has_gradient = torch.tensor([float(p.grad is not None) for p in trained], device=trained[0].device)
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
        flat = torch.cat([*parts, has_gradient])
        dist.all_reduce(flat)
        *sums, holders = flat.split([*(part.numel() for part in parts), len(trained)])
        for parameter, total, held_by in zip(trained, sums, holders.tolist(), strict=True):
            parameter.grad = (total / self.count).view_as(parameter) if held_by else None


ALONE = Ranks()


def check_device(device: str, processes: int = 1) -> str:
    """The kind of a device that so many processes of this machine are to train on: "cpu" or "cuda".

    Raises `InputError` for a device of another kind, for cuda where there is none, and for fewer GPUs than processes,
    each of which needs one of its own.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:  # torch lists all the kinds that it was ever built for
        kind = ""
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"no device {device!r} to train on here: say cpu, or cuda where torch finds one")
    if kind == "cuda" and processes > torch.cuda.device_count():
        raise InputError(
            f"{processes} processes are to train on a GPU each, and torch finds {torch.cuda.device_count()}; say fewer"
        )
    return kind


@contextmanager
def joined(environment: Mapping[str, str], device: str) -> Iterator[tuple[Ranks, str]]:
    """Joins the processes of `torchrun` for the time of a run: (rank of this process, its device).

    `environment` has the variables of `torchrun`; without them the process is alone, on `device`. On GPUs each process
    has one of its own. Raises `InputError` for a device other than cpu or cuda, for cuda where there is none, and for
    variables that are no numbers.
    """
    kind = check_device(device)
    count, local = (_whole(environment, name, default) for name, default in (("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    if count == 1:
        yield Ranks(), device
        return
    if kind == "cuda":
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit()):
        raise InputError(f"{name} is {text!r}, no whole number: start with torchrun, which sets it, or unset it")
    return int(text)
