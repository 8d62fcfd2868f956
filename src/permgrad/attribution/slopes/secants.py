"""Mean slopes along lines by walking through a hybrid network's layers: products of theirs, which telescope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from permgrad.attribution.slopes.gradients import Tensors, batch_size
from permgrad.attribution.slopes.lines import Lines
from permgrad.attribution.slopes.secant_rules import (
    Affine,
    Ends,
    Rule,
    TableEmbedding,
    is_affine_drawing,
    only_seen_windows,
    rule_of,
    through_drawing,
)
from permgrad.attribution.slopes.slopes import Slopes
from permgrad.models.network.network import HybridNetwork

#: Numbers that the layers of a batch may hold: on a processor they should stay near its caches.
_NUMBERS_CPU, _NUMBERS_ACCELERATOR = 2_000_000, 200_000_000
_MOST_POINTS_CPU, _MOST_POINTS_ACCELERATOR = 2048, 1_000_000
#: The walk is used where it gives the network's own outputs this closely, relative to their size.
_SAME_OUTPUTS = 1e-4


class _Chain:
    """Layers one after the other; the affine ones in front, where a line stays straight, are run at its ends alone."""

    def __init__(self, rules: Sequence[Rule], *, with_front: bool) -> None:
        split = next((place for place, rule in enumerate(rules) if not rule.affine), len(rules)) if with_front else 0
        self.front: list[Affine] = [rule for rule in rules[:split] if isinstance(rule, Affine)]
        self.rest = list(rules[split:])

    def enter(self, rows: Tensor) -> Tensor:
        """Return what the front makes of rows."""
        for rule in self.front:
            rows = rule.forward(rows)
        return rows

    def walk(self, values: Tensor) -> list[Tensor]:
        """Return the values before each layer behind the front, and after the last: ``(points, lines, *)`` each."""
        seen = [values]
        for rule in self.rest:
            seen.append(rule.forward(seen[-1].flatten(0, 1)).unflatten(0, values.shape[:2]))
        return seen

    def back(self, slopes: Tensor, seen: list[Tensor]) -> Tensor:
        """Carry slopes ``(stretches or 1, targets, *)`` back to the end of the front."""
        for rule, before, after in zip(self.rest[::-1], seen[-2::-1], seen[:0:-1], strict=True):
            slopes = rule.back(slopes, Ends(before, after))
        return slopes

    def leave(self, slopes: Tensor) -> Tensor:
        """Carry slopes ``(lines, targets, *)`` back through the front to the encoded columns."""
        for rule in self.front[::-1]:
            slopes = rule.pull(slopes)
        return slopes


class SecantLines(Lines):
    """Mean slopes over equal intervals, as products of each layer's own mean slope; estimates by encoded column."""

    rule = "secants of each layer"

    def __init__(self, slopes: Slopes, baselines: Tensors, most: int, chains: dict[str, _Chain], head: _Chain) -> None:
        super().__init__(slopes, baselines)
        self.subject, self.output = slopes.subject, slopes.request.output
        # Errors of many lines cancel. Where rectifiers switch, single values of coarse estimates can agree by luck:
        # starting from 8 instead of 4 cost no time on a trained network and divided the errors by three.
        rules = [rule for chain in (*chains.values(), head) for rule in chain.rest]
        one = 8 if any(getattr(rule, "kind", "") == "straight" for rule in rules) else 4
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
            seen, reference = lines._walk_at(few), module(few)
            numbers = sum(value.numel() for layers in lines._walk_at(few[:1]) for value in layers)
        outputs = seen[-1][-1][0]
        limit = _SAME_OUTPUTS * (1 + reference.abs().max())
        if outputs.shape != reference.shape or not bool((outputs - reference).abs().max() <= limit):
            return None
        cpu, accelerator = (_NUMBERS_CPU, _MOST_POINTS_CPU), (_NUMBERS_ACCELERATOR, _MOST_POINTS_ACCELERATOR)
        slopes.batch = batch_size(slopes.request, numbers, cpu, accelerator)
        return lines

    def by_player(self, values: Tensor) -> Tensor:
        """Return the estimates of each player's encoded columns together."""
        return self.slopes.sums(list(values.permute(1, 3, 0, 2)))

    def empty(self, rows: int) -> Tensor:
        """Return zeros for the estimates of rows."""
        shape = (rows, len(self._chains), self.baselines[0].shape[1], len(self._targets))
        return torch.zeros(shape, dtype=torch.float64, device=self.subject.device)

    def together(self, intervals: int) -> tuple[int, int]:
        """Return how many lines are walked along together, and the points of each: not all, if there is no memory."""
        points = min(intervals, max(1, self.slopes.batch - 1)) + 1
        return max(1, self.slopes.batch // points), points

    def _enter(self, rows: Tensor) -> dict[str, Tensor]:
        return {path: chain.enter(rows) for path, chain in self._chains.items()}

    def _walk_at(self, rows: Tensor) -> list[list[Tensor]]:
        return self._walk({path: value[None] for path, value in self._enter(rows).items()})

    def _walk(self, entered: dict[str, Tensor]) -> list[list[Tensor]]:
        """Return the values of all layers of each path and, last, of the head: ``(points, lines, *)`` each."""
        seen = [self._chains[path].walk(value) for path, value in entered.items()]
        joined = seen[0][-1] if len(seen) == 1 else torch.cat([layers[-1] for layers in seen], dim=2)
        return [*seen, self._head.walk(joined)]

    def estimate(self, rows: Tensors, intervals: int, coarser: Tensor | None = None) -> Tensor:  # noqa: ARG002 — of no use here
        """Return estimates float64 ``(rows, paths, encoded, targets)``; nothing of coarser ones can be reused."""

        def work(line: Tensor) -> Tensor:
            return self._line_slopes(rows[0], line, intervals, self.together(intervals)[1] - 1)

        with torch.no_grad():
            total = self.add_lines(len(rows[0]), intervals, work)
        if self._complement:
            # Minus the sum, written as 0 − sum: an unused column keeps the plain zero, not a negative one.
            total = torch.cat([total, 0 - total.sum(dim=3, keepdim=True)], dim=3)
        return total[..., self._places]

    def _line_slopes(self, rows: Tensor, line: Tensor, intervals: int, chunk: int) -> Tensor:
        """Return each line's attributions ``(lines, paths, encoded, targets)``, ``chunk`` intervals at a time."""
        baselines = self.baselines[0]
        owner, baseline = line // len(baselines), line % len(baselines)
        first_owner = int(owner[0])
        used, place = torch.unique(baseline, return_inverse=True)
        begin = {path: value[place] for path, value in self._enter(baselines[used]).items()}
        stops = rows[first_owner : int(owner[-1]) + 1]
        end = {path: value[owner - first_owner] for path, value in self._enter(stops).items()}
        sums: dict[str, Tensor] = {}
        for first in range(0, intervals, chunk):
            stretches = min(chunk, intervals - first)
            times = torch.arange(first, first + stretches + 1, dtype=rows.dtype, device=rows.device) / intervals
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
        difference = (rows[owner].double() - baselines[baseline].double())[:, :, None]
        means = [chain.leave(sums[path] / intervals).double() for path, chain in self._chains.items()]
        return torch.stack([mean.transpose(1, 2) * difference for mean in means], dim=1)

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


def _read(module: Any) -> tuple[dict[str, _Chain], _Chain] | None:
    """Read a hybrid network as chains of known layers: one for each path, and the head; None if that cannot be."""
    methods = ("forward", "embed", "embed_image", "fuse")
    if any(getattr(type(module), name, None) is not getattr(HybridNetwork, name) for name in methods):
        return None
    if module.members > 1 and module.options.normalization == "layer":
        return None  # the rule for it sees one vector per row
    chains: dict[str, _Chain] = {}
    for path in module.paths:
        first: list[Rule] = []
        if path == "tabular":
            branch = module.table_branch
            layers = list(branch.layers)
            if branch.embedding is not None:
                first.append(TableEmbedding(branch.embedding, branch.numeric, branch.other))
        elif is_affine_drawing(module.renderer):
            layers = list(module.image_branch)
            first.append(Affine(module.renderer, through_drawing))
        else:
            return None
        rules = _rules_of(layers)
        if rules is None:
            return None
        if path == "image":
            rules = only_seen_windows(module.renderer, layers, rules)
        chains[path] = _Chain([*first, *rules], with_front=True)
    rules = _rules_of(list(module.head))
    return None if rules is None else (chains, _Chain(rules, with_front=False))


def _rules_of(layers: Sequence[nn.Module]) -> list[Rule] | None:
    """Return the rule of each layer; None where one has none."""
    rules = [rule_of(layer) for layer in layers]
    return None if None in rules else [rule for rule in rules if rule is not None]
