"""Networks with branches beside the head: a line and steps, which stand for boosted trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.models.network.additive import LinearBranch


class Steps(torch.nn.Module):
    """Piecewise constant in the first and the last encoded column, without a slope."""

    leaves: Tensor

    def __init__(self, outputs: int, seed: int = 0, *, rates: bool = False) -> None:
        super().__init__()
        self.register_buffer("leaves", torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 2, outputs))))
        self.rates = rates

    @torch.no_grad()
    def forward(self, encoded: Tensor) -> Tensor:
        said = self.leaves[(encoded[:, 0] > 0.1).long(), (encoded[:, -1] > 0).long()].to(encoded.dtype)
        return said.exp() if self.rates else said


def line(encoded: int, outputs: int, seed: int = 1, *, rates: bool = False) -> LinearBranch:
    """Return a line with drawn weights."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(outputs, encoded)), rng.normal(size=outputs)
    return LinearBranch(encoded, outputs, rates=rates).fill(weight, bias)


def with_branches(model: Any, *names: str) -> Any:
    """Give a fitted model's network branches beside the head, and return it."""
    module = model.module_
    sizes = module.encoded, module.outputs
    for name in names:
        rates = {"rates": module.rates}
        branch = line(*sizes, **rates) if name == "linear" else Steps(module.outputs, **rates)
        module.add_path(name, branch.to(next(module.parameters()).dtype), 0.4)
    return model
