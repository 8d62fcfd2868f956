"""Adam and AdamW by torch's fused kernel, called directly; other optimizers are torch's own.

``torch.optim`` loads torch's compiler, half a second and more, when its first optimizer is made; and in a step of a
small network, finding and sorting the weights anew takes longer than changing them. States are those of
``torch.optim``, so that either reads the other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

_BETAS, _EPS = (0.9, 0.999), 1e-8
#: What is kept for each weight, in the words of ``torch.optim``.
_STATE = ("step", "exp_avg", "exp_avg_sq")


class Optimizer(Protocol):
    """What a training asks of an optimizer; those of ``torch.optim`` can be used too."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Change the weights."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Throw gradients away."""

    def state_dict(self) -> dict[str, Any]:
        """Return what coming steps depend on."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state."""


class Adam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980, algorithm 1), or AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).

    Args:
        groups: ``{"params": weights, "weight_decay": ...}``, the decay only where it is another than ``weight_decay``;
            all weights on one device and of one type.
        lr: learning rate; steps read it from ``param_groups``.
        weight_decay: of weights whose group says nothing.
        decoupled: whether weights decay by themselves (AdamW), or by their gradient (Adam).

    Examples:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = Adam([{"params": [weight]}], lr=0.1, weight_decay=0.0, decoupled=True)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> [round(value, 4) for value in weight.tolist()]
        [0.9, 0.9]
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], *, lr: float, weight_decay: float, decoupled: bool) -> None:
        common = {"lr": lr, "betas": _BETAS, "eps": _EPS, "weight_decay": weight_decay}
        self.param_groups = [{**common, **group, "params": list(group["params"])} for group in groups]
        self._kernel = torch.ops.aten._fused_adamw_ if decoupled else torch.ops.aten._fused_adam_
        self._weights = weights = [weight for group in self.param_groups for weight in group["params"]]
        self._means = [torch.zeros_like(weight) for weight in weights]
        self._squares = [torch.zeros_like(weight) for weight in weights]
        # One count for all weights, as long as every step has a gradient for each of them.
        started = torch.zeros((), device=weights[0].device) if weights else torch.zeros(())
        self._steps = [started] * len(weights)

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights that have gradients."""
        places = self._count()
        first = 0
        for group in self.param_groups:
            own = [place for place in places if first <= place < first + len(group["params"])]
            if own:
                self._move(group, own)
            first += len(group["params"])

    def _move(self, group: Mapping[str, Any], own: Sequence[int]) -> None:
        self._kernel(
            [self._weights[place] for place in own],
            [self._weights[place].grad for place in own],
            [self._means[place] for place in own],
            [self._squares[place] for place in own],
            [],
            [self._steps[place] for place in own],
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _count(self) -> list[int]:
        """Return the places of the weights that have gradients, whose steps are one more now."""
        places = [place for place, weight in enumerate(self._weights) if weight.grad is not None]
        if len(places) < len(self._weights):
            moved = set(places)
            still = {id(self._steps[place]) for place in range(len(self._weights)) if place not in moved}
            for place in places:
                if id(self._steps[place]) in still:
                    self._steps[place] = self._steps[place].clone()
        for count in {id(self._steps[place]): self._steps[place] for place in places}.values():
            count.add_(1)
        return places

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 — as in torch
        """Throw gradients away."""
        for weight in self._weights:
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return what coming steps depend on, as ``torch.optim`` writes it; weights that never moved have no state."""
        groups, first = [], 0
        for group in self.param_groups:
            places = list(range(first, first + len(group["params"])))
            groups.append({**group, "params": places})
            first += len(places)
        # Counts of their own: torch.optim would count a shared one once for each weight.
        kept = zip((count.clone() for count in self._steps), self._means, self._squares, strict=True)
        state = {place: dict(zip(_STATE, own, strict=True)) for place, own in enumerate(kept) if float(own[0])}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state, also from one of ``torch.optim.Adam`` or ``AdamW`` over the same weights."""
        for group, given in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update({name: given[name] for name in ("lr", "betas", "eps", "weight_decay")})
        counts: dict[float, Tensor] = {}
        for place in range(len(self._means)):
            mean, own = self._means[place], state_dict["state"].get(place)
            taken = float(own["step"]) if own else 0.0
            if taken not in counts:
                counts[taken] = torch.full((), taken, device=mean.device)
            self._steps[place] = counts[taken]
            for kept, name in ((mean, "exp_avg"), (self._squares[place], "exp_avg_sq")):
                if own:
                    kept.copy_(own[name])
                else:
                    kept.zero_()
