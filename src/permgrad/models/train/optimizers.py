"""Adam and AdamW by torch's fused kernels, with the states of ``torch.optim``.

``torch.optim``'s own classes load torch's compiler when the first is made, which takes longer than many trainings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw

_BETAS, _EPS, _MOMENTS = (0.9, 0.999), 1e-8, ("exp_avg", "exp_avg_sq")


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1), or AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101)."""

    def __init__(self, groups: Sequence[Mapping[str, Any]], *, lr: float, weight_decay: float, decoupled: bool) -> None:
        common = {"lr": lr, "betas": _BETAS, "eps": _EPS, "weight_decay": weight_decay}
        self.param_groups = [{**common, **group, "params": list(group["params"])} for group in groups]
        self._weights = [weight for group in self.param_groups for weight in group["params"]]
        self._update = adamw if decoupled else adam
        self._state: dict[nn.Parameter, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights that have gradients."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for weight in weights:
                if weight not in self._state:
                    moments = {name: torch.zeros_like(weight) for name in _MOMENTS}
                    self._state[weight] = {"step": torch.zeros((), device=weight.device), **moments}
            slopes, names = [weight.grad for weight in weights], (*_MOMENTS, "step")
            first, second, steps = ([self._state[weight][name] for weight in weights] for name in names)
            (beta1, beta2), numbers = group["betas"], {name: group[name] for name in ("lr", "weight_decay", "eps")}
            how = {"fused": True, "amsgrad": False, "maximize": False, "beta1": beta1, "beta2": beta2, **numbers}
            self._update(weights, slopes, first, second, [], steps, **how)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimiser as ``torch.optim`` writes it. Weights that never moved have none."""
        place = {weight: number for number, weight in enumerate(self._weights)}
        groups = [{**group, "params": [place[weight] for weight in group["params"]]} for group in self.param_groups]
        return {"state": {place[weight]: dict(state) for weight, state in self._state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state, also from one of ``torch.optim.Adam`` or ``AdamW`` over the same weights."""
        for group, stored in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: stored[name] for name in ("lr", "betas", "eps", "weight_decay")})
        self._state = {}
        for place, stored in state_dict["state"].items():
            weight = self._weights[place]
            moments = {name: torch.zeros_like(weight).copy_(stored[name]) for name in _MOMENTS}
            self._state[weight] = {"step": torch.zeros((), device=weight.device).copy_(stored["step"]), **moments}


Optimizer: TypeAlias = Adam | torch.optim.SGD
