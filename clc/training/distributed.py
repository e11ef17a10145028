"""Several processes that train one model under `torchrun`, each on crops of its own.

    torchrun --nproc_per_node 2 -m clc.training ...

Every process holds the whole model and sees the same sums of gradients, so that all parameters stay equal. The first
process alone logs, validates and saves, and its clock decides for all when the run ends. CPUs talk by gloo, GPUs by
nccl. Called by `clc.training`; a single process uses `Ranks()` and none of this.
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
    """Which of `count` processes this one is; alone by default."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process logs, validates and saves."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared.item())

    @torch.no_grad()
    def spread(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites the tensors with those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by its mean over the processes; one that no process has stays absent."""
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


@contextmanager
def joined(environment: Mapping[str, str], device: str) -> Iterator[tuple[Ranks, str]]:
    """The ranks that `torchrun` describes in the environment, and this process's own device, for the time of a run.

    Without `torchrun` it is one process on `device`. Raises `InputError` for a device that there is not.
    """
    kind = torch.device(device).type
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"no device {device!r} to train on here: say cpu, or cuda where torch finds one")
    count = int(environment.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(), device
        return
    if kind == "cuda":
        device = f"cuda:{environment.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), count), device
    finally:
        dist.destroy_process_group()
