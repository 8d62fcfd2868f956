"""Mean slopes along lines by walking through a hybrid network's layers: products of theirs, which telescope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.slopes.gradients import Tensors, batch_size
from permgrad.attribution.slopes.lines import Lines
from permgrad.attribution.slopes.secant_rules import (
    Rule,
    adjoint,
    only_seen_windows,
    rule_of,
    table_embedding,
)
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.imaging.render import Renderer
from permgrad.models.network.network import HybridNetwork

#: Numbers that the layers of a batch may hold: on a processor they should stay near its caches.
_NUMBERS_CPU, _NUMBERS_ACCELERATOR = 2_000_000, 200_000_000
_MOST_POINTS_CPU, _MOST_POINTS_ACCELERATOR = 2048, 1_000_000
#: The walk is used where it gives the network's own outputs this closely, relative to their size.
_SAME_OUTPUTS = 1e-4


@dataclass(frozen=True)
class Chain:
    """Layers one after the other; the affine ones in front, where a line stays straight, are run at its ends alone."""

    front: list[Rule]
    rest: list[Rule]

    def walk(self, values: Tensor) -> list[Tensor]:
        """Return the values before each layer behind the front, and after the last: ``(points, lines, *)`` each."""
        seen = [values]
        for rule in self.rest:
            seen.append(rule.forward(seen[-1].flatten(0, 1)).unflatten(0, values.shape[:2]))
        return seen

    def back(self, slopes: Tensor, seen: list[Tensor]) -> Tensor:
        """Carry slopes ``(stretches or 1, targets, *)`` back to the end of the front."""
        for rule, before, after in zip(self.rest[::-1], seen[-2::-1], seen[:0:-1], strict=True):
            slopes = rule.back(slopes, before, after)
        return slopes


class SecantLines(Lines):
    """Mean slopes over equal intervals, as products of each layer's own mean slope; estimates by encoded column."""

    rule = "secants of each layer"

    def __init__(self, slopes: Slopes, baselines: Tensors, most: int, chains: dict[str, Chain], head: Chain) -> None:
        super().__init__(slopes, baselines)
        self.subject, self.output = slopes.subject, slopes.request.output
        # Errors of many lines cancel. Where rectifiers switch, single values of coarse estimates can agree by luck:
        # starting from 8 instead of 4 cost no time on a trained network and divided the errors by three.
        rules = [rule for chain in (*chains.values(), head) for rule in chain.rest]
        one = 8 if any(rule.kind == "straight" for rule in rules) else 4
        self.first = 1 if self.count > 1 else min(one, most)
        self.settled_from = 2 * self.first
        self._chains, self._head = chains, head
        every = list(dict.fromkeys(slopes.targets))
        # Where outputs add up to a constant, the last one's slopes are minus the sum of the others'.
        self._complement = slopes.constant_sum and len(every) == len(self.subject.output_names) > 1
        self._targets = every[:-1] if self._complement else every
        self._places = [every.index(target) for target in slopes.targets]

    @classmethod
    def fitting(cls, slopes: Slopes, baselines: Tensors, most: int) -> SecantLines | None:
        """Return the lines, or None where the network, in eval mode, has layers without a rule."""
        module = slopes.subject.module
        chains = _read(module) if slopes.whole and slopes.parts == tuple(slopes.subject.paths) else None
        if chains is None:
            return None
        lines = cls(slopes, baselines, most, *chains)
        # The walk must be the network: a guard against forward passes that it does not know.
        few = baselines[0][:8]
        with torch.no_grad():
            reference, entered = module(few), lines._enter(few)
            seen = lines._walk({path: values[None] for path, values in entered.items()})
        outputs = seen[-1][-1][0]
        limit = _SAME_OUTPUTS * (1 + reference.abs().max())
        if outputs.shape != reference.shape or not bool((outputs - reference).abs().max() <= limit):
            return None
        numbers = sum(values.numel() for layers in seen for values in layers) // len(few)
        cpu, accelerator = (_NUMBERS_CPU, _MOST_POINTS_CPU), (_NUMBERS_ACCELERATOR, _MOST_POINTS_ACCELERATOR)
        slopes.batch = batch_size(slopes.request, numbers, cpu, accelerator)
        return lines

    def empty(self, rows: int) -> Tensor:
        """Return zeros for the estimates of rows, ``(rows, paths, encoded, targets)``."""
        shape = (rows, len(self._chains), self.baselines[0].shape[1], len(self._places))
        return torch.zeros(shape, dtype=torch.float64, device=self.subject.device)

    def together(self, intervals: int) -> tuple[int, int]:
        """Return how many lines are walked along together, and the points of each: not all, if there is no memory."""
        points = min(intervals, max(1, self.slopes.batch - 1)) + 1
        return max(1, self.slopes.batch // points), points

    def _enter(self, rows: Tensor) -> dict[str, Tensor]:
        """Return what the front of each path makes of rows."""
        entered = dict.fromkeys(self._chains, rows)
        for path, chain in self._chains.items():
            for rule in chain.front:
                entered[path] = rule.forward(entered[path])
        return entered

    def _walk(self, entered: dict[str, Tensor]) -> list[list[Tensor]]:
        """Return the values of all layers of each path and, last, of the head: ``(points, lines, *)`` each."""
        seen = [self._chains[path].walk(value) for path, value in entered.items()]
        joined = seen[0][-1] if len(seen) == 1 else torch.cat([layers[-1] for layers in seen], dim=2)
        return [*seen, self._head.walk(joined)]

    @torch.no_grad()
    def line_values(self, rows: Tensors, line: Tensor, intervals: int) -> Tensor:
        """Return each line's attributions ``(lines, paths, encoded, targets)``, some intervals at a time."""
        baselines, chunk = self.baselines[0], self.together(intervals)[1] - 1
        owner, baseline = line // len(baselines), line % len(baselines)
        first_owner = int(owner[0])
        used, place = torch.unique(baseline, return_inverse=True)
        begin = {path: value[place] for path, value in self._enter(baselines[used]).items()}
        stops = rows[0][first_owner : int(owner[-1]) + 1]
        end = {path: value[owner - first_owner] for path, value in self._enter(stops).items()}
        sums: dict[str, Tensor] = {}
        for first in range(0, intervals, chunk):
            stretches = min(chunk, intervals - first)
            times = torch.arange(first, first + stretches + 1, dtype=stops.dtype, device=stops.device) / intervals
            self.slopes.model_rows += len(times) * len(line)
            entered = {
                path: torch.lerp(begin[path], end[path], times.reshape(-1, *[1] * begin[path].ndim))
                for path in self._chains
            }
            seen = self._walk(entered)
            slopes = self._head.back(self._readout_slopes(seen[-1][-1]), seen[-1])
            parts = slopes.split([layers[-1].shape[2] for layers in seen[:-1]], dim=2)
            for path, part, layers in zip(self._chains, parts, seen[:-1], strict=True):
                slopes = self._chains[path].back(part, layers)
                # Slopes that are the same in all stretches come once.
                alike = slopes.shape[0] == 1 < stretches * len(line)
                wide = slopes.expand(stretches * len(line), *slopes.shape[1:]) if alike else slopes
                sums[path] = sums.get(path, 0) + wide.unflatten(0, (stretches, len(line))).sum(dim=0)
        means = []
        for path, chain in self._chains.items():
            slopes = sums[path] / intervals
            for rule in chain.front[::-1]:
                slopes = rule.back(slopes)
            means.append(slopes.double().transpose(1, 2))
        difference = (rows[0][owner].double() - baselines[baseline].double())[:, :, None]
        values = torch.stack([mean * difference for mean in means], dim=1)
        if self._complement:
            # Minus the sum, written as 0 − sum: an unused column keeps the plain zero, not a negative one.
            values = torch.cat([values, 0 - values.sum(dim=3, keepdim=True)], dim=3)
        return values[..., self._places]

    def _readout_slopes(self, outputs: Tensor) -> Tensor:
        """Return slopes of what is explained towards outputs ``(points, lines, outputs)``.

        A softmax's by Gauss's rule.
        """
        width = outputs.shape[2]
        spread = torch.eye(width, dtype=outputs.dtype, device=outputs.device)
        if self.output != "probability" or self.subject.task != "classification":
            corners = self.subject.readout(torch.cat([outputs.new_zeros(1, width), spread]), self.output)
            return (corners[1:] - corners[:1]).T[self._targets][None].to(outputs.dtype)
        if width == 1:  # one logit is spread over two classes, see Subject.readout
            spread = outputs.new_tensor([[-0.5], [0.5]])
        start, stop = (outputs[:-1].flatten(0, 1) @ spread.T, outputs[1:].flatten(0, 1) @ spread.T)
        places, weights = np.polynomial.legendre.leggauss(5)
        mean = torch.zeros(len(start), len(self._targets), len(spread), dtype=outputs.dtype, device=outputs.device)
        ones = torch.eye(len(spread), dtype=outputs.dtype, device=outputs.device)[self._targets]
        for place, weight in zip(places.tolist(), weights.tolist(), strict=True):
            likely = torch.softmax(torch.lerp(start, stop, (place + 1) / 2), dim=1)
            mean += weight / 2 * likely[:, self._targets, None] * (ones - likely[:, None, :])
        return mean @ spread


def _read(module: Any) -> tuple[dict[str, Chain], Chain] | None:
    """Read a hybrid network as chains of known layers: one for each path, and the head; None if that cannot be."""
    methods = ("forward", "embed", "embed_image", "fuse")
    if any(getattr(type(module), name, None) is not getattr(HybridNetwork, name) for name in methods):
        return None
    if module.members > 1 and module.options.normalization == "layer":
        return None  # the rule for it sees one vector per row
    head: list[Any] = [rule_of(layer) for layer in module.head]
    chains: dict[str, Chain] = {}
    for path in module.paths:
        layers = list(module.table_branch.layers if path == "tabular" else module.image_branch)
        rules: list[Any] = [rule_of(layer) for layer in layers]
        if None in rules:
            return None
        if path == "image":
            # Neither values that are cut off, nor a blur, nor the largest of several columns are affine in the row.
            renderer = module.renderer
            if type(renderer) is not Renderer or renderer.clip or renderer.blur is not None:
                return None
            if renderer.overlap == "maximum" and renderer.layout.collisions:
                return None
            rules = [Rule(renderer, adjoint), *only_seen_windows(renderer, layers, rules)]
        elif module.table_branch.embedding is not None:
            branch = module.table_branch
            rules = [table_embedding(branch.embedding, branch.numeric, branch.other), *rules]
        split = next((place for place, rule in enumerate(rules) if rule.kind != "affine"), len(rules))
        chains[path] = Chain(rules[:split], rules[split:])
    return None if None in head else (chains, Chain([], head))
