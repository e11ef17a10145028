"""Fits a function and its latents to the latents y of one picture: bits + weight * w (y - y_hat)^T S (y - y_hat).

    warm-up of a few candidates -> latents softly rounded, with noise -> rounded once, frozen -> the networks alone
    -> weights rounded, each group to the step that costs least

Noise stands for rounding while latents move; straight-through rounding raised the rate by a fifth. Soft rounding before
and after the noise, growing harder, saves a quarter of the latents' bits beside plain uniform noise. Nothing here
decides how a stream is read; `clc.overfitted.coding` writes what comes out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clc.errors import InputError
from clc.overfitted.coding import weight_bits
from clc.overfitted.function import Function, laplace_bits
from clc.overfitted.importance import Importance
from clc.overfitted.integers import MAX_SHIFT, MAX_WEIGHT, FunctionIntegers, group_sizes, groups_of
from clc.overfitted.layout import layout_of

CANDIDATES, WARM_UP = 2, 60
"""Starts that are tried, and the iterations after which the best of them goes on."""

LATENT_RATE, WEIGHT_RATE, LAST_RATE = 0.2, 0.03, 0.02
"""Adam's learning rates at the start, and the share of them that is left at the end, along a cosine."""

TUNING, TUNING_RATE = 0.1, 0.009
"""Share of the iterations that tune the networks once latents are rounded, and their learning rate."""

BETAS = (0.9, 0.95)

NOISE, TEMPERATURE = (1.2, 0.7), (0.3, 0.1)
"""Width of the triangular noise in place of rounding, and temperature of soft rounding: at first and at last."""

USUAL_SHIFTS, WEIGHT_COST = (4, 4, 0, 5, 4, 6), 2.0
"""Steps that groups of weights mostly end with, 2**-shift, and the weight of log2(1 + |weight| / step) in the cost
while fitting: a stand-in for the weights' bits, which fall by a seventh at an equal cost in all. The taps start from a
bicubic upsampling and not from 0, and are hardly drawn."""

AGAIN = 0.4
"""Share of the iterations that a fit takes which starts from another one's end."""


class Fitted(NamedTuple):
    """A function as integers, the bits it should take, those of its weights, and its weighted squared error."""

    integers: FunctionIntegers
    estimated_bits: float
    weight_bits: float
    error: float


@dataclass
class _State:
    """What is optimised: a function, its latents, and the optimiser of both."""

    function: Function
    latents: torch.nn.Parameter
    optimiser: torch.optim.Adam


class Fitter:
    """The fits of one picture at one weight after another.

    Args:
        y_1Chw: The autoencoder's latents, float32 (1, C, h, w).
        importance: What an error of the latents costs (`clc.overfitted.importance`).
        iterations: How many steps a first fit takes, warm-up not counted; 10 at least.
        seed: Of noise and starts. The same seed gives the same function on the same machine.
    """

    def __init__(self, y_1Chw: Tensor, importance: Importance, iterations: int, seed: int = 0) -> None:
        self._y = y_1Chw.contiguous(memory_format=torch.channels_last)
        self._root = importance.root()
        self._places = importance.places_hw.flatten()
        self._iterations = max(iterations, 10)
        self._generator = torch.Generator().manual_seed(seed)
        self._layout = layout_of(y_1Chw.shape[2], y_1Chw.shape[3])
        self._contexts = torch.from_numpy(self._layout.contexts.T.copy()).flatten()
        sizes = torch.tensor(group_sizes(y_1Chw.shape[1]))
        self._per_step = torch.exp2(torch.tensor(USUAL_SHIFTS).float()).repeat_interleave(sizes)
        self._state: _State | None = None

    @torch.enable_grad()
    def fit(self, weight: float) -> Fitted:
        """The function at `weight` bits for each unit of weighted squared error.

        The first call starts anew, a later one from the end of the one before, which takes two fifths of the time.
        """
        iterations, share = self._iterations, 1.0
        if self._state is None:
            self._state = self._best_start(weight)
        else:
            iterations, share = max(10, round(iterations * AGAIN)), AGAIN
        tuning = max(1, round(iterations * TUNING))
        self._move(self._state, weight, iterations - tuning, share)
        latents = torch.round(self._state.latents.detach())
        kept = {name: value.clone() for name, value in self._state.function.state_dict().items()}
        self._tune(self._state.function, latents, weight, tuning)
        fitted = self._rounded(self._state.function, latents, weight)
        self._state.function.load_state_dict(kept)  # rounding is no place for another fit to start from
        return fitted

    def _best_start(self, weight: float) -> _State:
        candidates = [self._start() for _ in range(CANDIDATES)]
        warm_up = min(WARM_UP, self._iterations // 4)
        for candidate in candidates:
            self._move(candidate, weight, warm_up, 1.0, is_warm_up=True)
        with torch.no_grad():
            costs = [self._cost(one.function, torch.round(one.latents), weight).item() for one in candidates]
        return candidates[int(np.argmin(costs))]

    def _start(self) -> _State:
        with torch.random.fork_rng(devices=[]):  # torch's layers know the global generator alone
            torch.manual_seed(int(torch.randint(1 << 31, (1,), generator=self._generator)))
            function = Function(self._y.shape[1])
        with torch.no_grad():
            mean = self._y.mean(dim=(0, 2, 3))
            dict(function.synthesis.spread.named_parameters())["bias"].copy_(mean)
        latents = torch.nn.Parameter(torch.zeros(self._layout.n_latents))
        groups = [{"params": [latents]}, {"params": list(function.parameters())}]
        return _State(function, latents, torch.optim.Adam(groups, lr=LATENT_RATE, betas=BETAS, fused=True))

    def _move(self, state: _State, weight: float, steps: int, share: float, *, is_warm_up: bool = False) -> None:
        """Optimises latents and networks, for `share` of the schedule's end or, as a warm-up, at its beginning."""
        for step in range(steps):
            done = 0.0 if is_warm_up else 1.0 - share * (1.0 - step / steps)
            rate = max(LAST_RATE, 0.5 * (1.0 + math.cos(math.pi * done)))
            for group, first in zip(state.optimiser.param_groups, (LATENT_RATE, WEIGHT_RATE), strict=True):
                group["lr"] = first * rate
            cost = self._cost(state.function, self._noisy(state.latents, done), weight)
            self._step(state.optimiser, cost + self._weights(state.function))

    def _tune(self, function: Function, latents: Tensor, weight: float, steps: int) -> None:
        optimiser = torch.optim.Adam(function.parameters(), lr=TUNING_RATE, betas=BETAS, fused=True)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = TUNING_RATE * (1.0 - step / steps)
            self._step(optimiser, self._cost(function, latents, weight) + self._weights(function))

    def _step(self, optimiser: torch.optim.Optimizer, cost: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        (cost / self._y.numel()).backward()
        optimiser.step()

    def _noisy(self, latents: Tensor, done: float) -> Tensor:
        """Latents softly rounded with noise between, harder the more of the schedule is `done`, 0 to 1."""
        width, temperature = (first + (last - first) * done for first, last in (NOISE, TEMPERATURE))
        noise = torch.rand((2, *latents.shape), generator=self._generator).mean(dim=0) - 0.5
        return soft_round(soft_round(latents, temperature) + noise * width, temperature)

    def _cost(self, function: Function, latents: Tensor, weight: float) -> Tensor:
        return self._bits(function, latents) + weight * self._error(function, latents)

    def _bits(self, function: Function, latents: Tensor) -> Tensor:
        contexts = F.pad(latents, (0, 1)).index_select(0, self._contexts).view(-1, latents.numel())
        return laplace_bits(latents, *function.context(contexts)).sum()

    def _weights(self, function: Function) -> Tensor:
        flat = torch.cat([one.flatten() for group in groups_of(function) for one in group])
        return WEIGHT_COST * torch.log2(1.0 + flat.abs() * self._per_step).sum()

    def _error(self, function: Function, latents: Tensor) -> Tensor:
        error = function(latents, self._layout) - self._y
        return (self._root @ error[0].flatten(1)).square().sum(dim=0) @ self._places

    @torch.no_grad()
    def _rounded(self, function: Function, latents: Tensor, weight: float) -> Fitted:
        """The function as integers: each group of weights in turn takes the step of the least cost in all."""
        shifts, integers, total_bits = [], [], 0.0
        for group in groups_of(function):
            exact = torch.cat([one.detach().flatten() for one in group])
            costs, best = [], None
            for shift in range(MAX_SHIFT):
                rounded = torch.round(exact * 2.0**shift)
                if float(rounded.abs().max()) > MAX_WEIGHT:
                    break
                _set(group, rounded * 2.0**-shift)
                bits = float(weight_bits(rounded.numpy().astype(np.int32)).min())
                costs.append(bits + float(self._cost(function, latents, weight)))
                if costs[-1] <= min(costs):
                    best = shift, rounded, bits
                if len(costs) > 3 and min(costs[-3:]) > min(costs):  # finer steps only cost more bits by now
                    break
            if best is None:
                raise InputError("the fit ran away: a weight of the function is out of range; try another effort")
            _set(group, best[1] * 2.0 ** -best[0])
            shifts.append(best[0])
            integers.append(best[1].numpy().astype(np.int32))
            total_bits += best[2]
        shape = (self._y.shape[1], self._y.shape[2], self._y.shape[3])
        held = FunctionIntegers(shape, tuple(shifts), tuple(integers), latents.numpy().astype(np.int32))
        bits = float(self._bits(function, latents)) + total_bits
        return Fitted(held, bits, total_bits, float(self._error(function, latents)))


def soft_round(x: Tensor, temperature: float) -> Tensor:
    """Rounding with a slope: integers stay, and the lower the temperature, the nearer all else comes to them."""
    middle = torch.floor(x) + 0.5
    return middle + torch.tanh((x - middle) / temperature) / (2.0 * math.tanh(0.5 / temperature))


def _set(group: tuple[Tensor, ...], values: Tensor) -> None:
    for parameter, part in zip(group, values.split([one.numel() for one in group]), strict=True):
        parameter.copy_(part.view(parameter.shape))
