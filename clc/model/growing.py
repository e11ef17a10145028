"""What a module says of itself so that a trained model can be made larger.

Blocks and channels can be added to a trained model without changing what it computes. Which layers that takes, each
module knows best: it declares them by the classes below, and `clc.training.growth` asks for them. A module that
declares nothing is either of one size or needs no care.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import nn


class ResidualBranches(ABC):
    """A module that adds the outputs of branches to its input: with zeros in a branch's last layer it adds nothing."""

    @abstractmethod
    def last_layers(self) -> Iterable[nn.Module]:
        """The last layer of each branch."""


class JoinedInputs(ABC):
    """A module with layers whose input is several tensors, one behind the other by channel."""

    @abstractmethod
    def input_parts(self) -> dict[str, tuple[int, ...]]:
        """The channels of each of these tensors in their order, by the name of the layer."""
