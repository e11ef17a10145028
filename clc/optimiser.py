"""The optimiser of a training run: AdamW, or Muon for the kernels of the convolutions and AdamW for the rest.

Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024) steps along the nearest orthogonal
matrix to the momentum of a matrix. The kernel of a convolution is the matrix of its outputs by all that each of them is
made of. With the scale of Liu et al. ("Muon is scalable for LLM training", 2025) its steps are as large as AdamW's, so
that one learning rate serves both. Called by `clc.trainer`; `clc.checkpoint` keeps the state.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

ADAMW, MUON = "adamw", "muon"
OPTIMISERS = (ADAMW, MUON)
LEAST_SIDE = 32
"""Matrices with a shorter side are AdamW's: they have few directions to be told apart."""
LINEAR = (".linear.", ".klt.")
"""In the names of the linear paths, which start as the KLT and move slower; never Muon's."""


class Optimiser:
    """One step at a time for the parameters that require a gradient, by the names that they have in the model.

    `rate` is the peak of the learning rate, `linear_factor` what the linear paths have of it. Kernels must be dense;
    their storage must not be replaced afterwards, only written to.
    """

    def __init__(
        self, named: Iterable[tuple[str, nn.Parameter]], rate: float, linear_factor: float, kind: str = ADAMW
    ) -> None:
        self.rate = self._peak = rate
        wanted = {name: parameter for name, parameter in named if parameter.requires_grad}
        self._kernels = {name: p for name, p in wanted.items() if kind == MUON and _is_for_muon(name, p)}
        self._matrices = {name: _columns_like(p, p.detach()).view(len(p), -1) for name, p in self._kernels.items()}
        others = {name: p for name, p in wanted.items() if name not in self._kernels}
        groups: dict[bool, list[Tensor]] = {False: [], True: []}
        for name, parameter in others.items():
            groups[_is_linear(name)].append(parameter)
        rates = (rate, rate * linear_factor)
        described = [{"params": part, "lr": lr} for part, lr in zip(groups.values(), rates, strict=True)]
        self._held: dict[str, dict[str, Tensor]] = {"adam": {**others}, "muon": self._matrices}
        self._parts: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.AdamW(described, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
        }
        if self._matrices:
            matrices = list(self._matrices.values())
            muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
            self._parts["muon"] = muon
        self._groups = [(group, group["lr"]) for part in self._parts.values() for group in part.param_groups]

    def set_rate(self, factor: float) -> None:
        """Makes the learning rates so much of their peaks."""
        self.rate = self._peak * factor
        for group, peak in self._groups:
            group["lr"] = peak * factor

    def step(self) -> None:
        """Moves the parameters that have a gradient."""
        for name, kernel in self._kernels.items():
            gradient = kernel.grad
            self._matrices[name].grad = None if gradient is None else _columns_like(kernel, gradient).flatten(1)
        for part in self._parts.values():
            part.step()

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to go on from here, as `adam.NAME.WHAT` or `muon.NAME.WHAT`."""
        return {
            f"{kind}.{name}.{key}": value
            for kind, held in self._held.items()
            for name, parameter in held.items()
            for key, value in self._parts[kind].state[parameter].items()
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes what `state` gave, on the device of the parameters; what is not for a parameter here is left out."""
        for key, value in state.items():
            kind, _, rest = key.partition(".")
            name, _, what = rest.rpartition(".")
            if name in self._held.get(kind, {}):
                self._parts[kind].state[self._held[kind][name]][what] = value


def _is_linear(name: str) -> bool:
    return any(part in name for part in LINEAR)


def _is_for_muon(name: str, parameter: Tensor) -> bool:
    """Whether this is the kernel of a convolution that joins channels, and large enough."""
    if parameter.ndim != 4 or _is_linear(name):
        return False
    outputs, inputs, height, width = parameter.shape
    return inputs > 1 and min(outputs, inputs * height * width) >= LEAST_SIDE


def _columns_like(kernel: Tensor, values: Tensor) -> Tensor:
    """Values of a kernel's shape in the order in which the kernel lies in memory, (outputs, ...)."""
    return values if kernel.is_contiguous() else values.permute(0, 2, 3, 1)
