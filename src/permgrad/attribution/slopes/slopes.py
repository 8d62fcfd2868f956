"""Gradients of any network towards the inputs that players own, and their sums over
players.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import Request
from permgrad.attribution.request.result import build
from permgrad.attribution.slopes.gradients import (
    Tensors,
    batch_size,
    copied_rows,
    output_gradients,
)
from permgrad.attribution.slopes.references import Reference, with_slopes
from permgrad.attribution.slopes.rescale import SecantWalk
from permgrad.attribution.subject.inner import InnerSubject
from permgrad.attribution.subject.outputs import output_range
from permgrad.base.arrays import Floats
from permgrad.base.errors import InputError
from permgrad.base.sequences import values_at
from permgrad.models.batches import in_batches

#: Background rows over which the range of the outputs is taken, at most.
_RANGE_ROWS = 1000
#: Rows that go through a network together where no gradient is followed, if memory
#: allows.
_FORWARD_ROWS = 128


class SlopeStep(NamedTuple):
    """A single step from one end of a line to the other.

    Attributes:
        before: All outputs at its start, ``(rows, K)``.
        after: All outputs at its end, ``(rows, K)``.
        attributions: Those of the step.
        matched: Whether all calls had partners.
    """

    before: Tensor
    after: Tensor
    attributions: Tensor
    matched: bool


class Slopes:
    """Gradients of the chosen outputs towards the ``free`` inputs.

    ``parts`` are the separate paths, or one.
    """

    def __init__(self, request: Request, method: str, *, by_path: bool = False) -> None:
        self.places = with_slopes(request, method)
        self.request = self.places.request
        self.subject = self.places.subject
        segments = self.places.segments
        self.targets = list(request.targets)
        self.free = tuple(
            input_index
            for input_index, owners in enumerate(segments)
            if bool((owners >= 0).any())
        )
        if not self.free:
            problem = (
                f"{method} needs features to attribute to, and none owns a "
                "position of the inputs"
            )
            raise InputError(
                problem,
                hint="Pass pg.Model(..., segments=), or X with columns",
                code="PG039",
            )
        self.subject.check_slopes(method, self.free)
        self._by_path = by_path and bool(self.subject.paths)
        if self._by_path:
            self.parts = tuple(self.subject.paths)
        else:
            self.parts = ("",)
        self._masks = tuple(
            None if bool((owners >= 0).all()) else (owners >= 0).to(self.subject.device)
            for owners in segments
        )
        self.whole = len(self.free) == len(segments) and all(
            mask is None for mask in self._masks
        )
        inputs = tuple(values_at(self.subject.input_names, self.free))
        self.space = replace(
            self.request.space,
            inputs=inputs,
            segments=tuple(values_at(segments, self.free)),
        )
        self.constant_sum = request.scale.sum_is_constant(self.subject.outputs)
        self.evaluations = 0
        self.model_rows = 0
        self._forward_batch: int | None = None

    @cached_property
    def batch(self) -> int:
        """Rows per pass, from the memory that the network's functions need for one row.

        It may be set.
        """
        first_row = self.rows(slice(0, 1))
        secant_walk = self.walk(first_row)
        secant_walk.stand(self.leaves(first_row))
        held_tensors = [
            *first_row,
            *chain.from_iterable(secant_walk.calls),
        ]
        return batch_size(self.request, sum(tensor.numel() for tensor in held_tensors))

    def rows(self, row_slice: slice, source: Sequence[Tensor] | None = None) -> Tensors:
        """Return copies of rows on the network's device, one tensor per input, ready
        for gradients.
        """
        source_rows = copied_rows(
            self.subject, self.request.inputs if source is None else source, row_slice
        )
        if not (self.places.lookups and isinstance(self.subject, InnerSubject)):
            return source_rows
        with torch.inference_mode(mode=False), torch.no_grad():
            return self.subject.lift(source_rows)

    def references(self, source: Sequence[Tensor]) -> Tensors:
        """Return copies of reference rows, as ``rows``.

        Of inputs that are looked up only the vectors are read.
        """
        if not (self.places.lookups and isinstance(self.subject, InnerSubject)):
            return self.rows(slice(None), source)
        with torch.inference_mode(mode=False), torch.no_grad():
            return self.subject.lift_references(
                copied_rows(self.subject, source, slice(None)), self.request.method
            )

    def at_reference(self, rows: Tensors, references: Sequence[Tensor]) -> Tensors:
        """Return the rows with the players' values taken from references ``(b or 1,
        *)``, and the rest unchanged.
        """
        points = list(rows)
        for input_index in self.free:
            input_rows = rows[input_index]
            mask = self._masks[input_index]
            reference_rows = (
                references[input_index].to(input_rows).expand_as(input_rows)
            )
            if mask is None:
                points[input_index] = reference_rows
            else:
                points[input_index] = torch.where(mask, reference_rows, input_rows)
        return tuple(points)

    def leaves(self, points: Tensors) -> list[Tensor]:
        """Return the leaves of the gradient at points: the free inputs, or the table
        once for each path.
        """
        if self._by_path:
            return [points[0] for _ in self.parts]
        return values_at(points, self.free)

    def explained(self, fixed: Tensors, leaves: Sequence[Tensor]) -> Tensor:
        """Return all outputs in the quantity explained, ``(b, K)``.

        Inputs that nobody owns come from ``fixed``.
        """
        return self.request.scale.read(self.subject.outputs, self.raw(fixed, leaves))

    def raw(self, fixed: Tensors, leaves: Sequence[Tensor]) -> Tensor:
        """Return all outputs as the network does, ``(b, K)``."""
        subject = self.subject
        if self._by_path:
            module = subject.module
            embeddings = {
                path_name: module.embed(path_name, leaf)
                for path_name, leaf in zip(self.parts, leaves, strict=True)
            }
            return module.fuse(embeddings)
        tensors = list(fixed)
        for input_index, leaf in zip(self.free, leaves, strict=True):
            tensors[input_index] = leaf
        return subject.forward(tensors)

    def walk(self, fixed: Tensors) -> SecantWalk:
        """Return a walk of secants for rows whose other inputs are ``fixed``."""
        return SecantWalk(partial(self.explained, fixed))

    def step(self, start: Tensors, stop: Tensors) -> SlopeStep:
        """Return all outputs at both ends, the attributions of a single step, and
        whether all calls had partners.
        """
        secant_walk = self.walk(stop)
        before = secant_walk.stand(self.leaves(start))
        after, means = secant_walk.step(
            self.leaves(stop), self.targets, constant_sum=self.constant_sum, last=True
        )
        return SlopeStep(
            before, after, self.attributions(means, start, stop), secant_walk.matched
        )

    def outputs(self, points: Tensors) -> Tensor:
        """Return the outputs asked for, float64 ``(b, targets)``."""
        count = len(points[0])
        outputs = torch.empty(
            count, len(self.targets), dtype=torch.float64, device=self.subject.device
        )
        if self._forward_batch is None:
            # Without gradients less of each row is held.
            if self.request.batch_size == "auto":
                least = _FORWARD_ROWS
            else:
                least = self.batch
            self._forward_batch = max(self.batch, min(least, self.subject.most_rows()))

        def work(row_slice: slice) -> None:
            with torch.no_grad():
                raw_outputs = self.subject.predict(
                    [tensor[row_slice] for tensor in points]
                )
                outputs[row_slice] = self.request.scale.read(
                    self.subject.outputs, raw_outputs
                )[:, self.targets].double()

        self._forward_batch = in_batches(count, self._forward_batch, work)
        self.model_rows += count
        return outputs

    def output_range(self, base: Tensor) -> Tensor:
        """Return each output's range over background rows and references,
        ``(targets,)``, or 1 if it does not vary.
        """
        count = len(self.request.donors[0])
        range_rows = slice(0, count, max(1, -(-count // _RANGE_ROWS)))
        range_outputs = torch.cat(
            [self.outputs(self.rows(range_rows, self.request.donors)), base]
        )
        alike = all(
            torch.equal(tensor, tensor[:1].expand_as(tensor))
            for tensor in self.request.donors
        )
        return output_range(range_outputs, self.subject.dtype, alike=alike)

    def gradients(self, points: Tensors) -> tuple[Tensor, list[Tensor]]:
        """Return outputs ``(b, K)`` and gradients ``(targets, b, *)`` towards each leaf
        at points of one batch.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaves = []
            for leaf in self.leaves(points):
                leaves.append(leaf.detach().clone().requires_grad_())
            outputs = self.explained(points, leaves)
            slopes = output_gradients(
                outputs, self.targets, leaves, constant_sum=self.constant_sum
            )
        self.evaluations += len(points[0])
        self.model_rows += len(points[0])
        return outputs.detach(), slopes

    def sums(self, values: Sequence[Tensor]) -> Tensor:
        """Add up ``(targets, b, *)`` of each leaf by player: ``(b, parts, players,
        targets)``.
        """
        if self._by_path:
            part_values = [[value] for value in values]
        else:
            part_values = [list(values)]
        player_sums = []
        for tensors in part_values:
            player_sums.append(
                self.space.sums([tensor.flatten(0, 1) for tensor in tensors])
            )
        return torch.stack(
            [
                part_sums.unflatten(0, values[0].shape[:2]).permute(1, 2, 0)
                for part_sums in player_sums
            ],
            dim=1,
        )

    def attributions(
        self, slopes: Sequence[Tensor], start: Tensors, stop: Tensors
    ) -> Tensor:
        """Return slopes times changes from ``start`` to ``stop``, added up by player:
        float64.
        """
        pairs = zip(slopes, self.leaves(start), self.leaves(stop), strict=True)
        return self.sums(
            [
                slope.double() * (after.double() - before.double())
                for slope, before, after in pairs
            ]
        )


def walks_truly(slopes: Slopes, rows: Tensors, outputs: Tensor) -> bool:
    """Return whether all outputs of a walk of secants are the network's own for rows.

    Args:
        slopes: The network's slopes.
        rows: ``(b, *)`` for each input.
        outputs: All outputs of a walk of secants, ``(b, K)``.
    """
    network_outputs = slopes.outputs(rows)
    walk_outputs = outputs[:, slopes.targets].double()
    finite = torch.isfinite(network_outputs) & torch.isfinite(walk_outputs)
    if not bool(finite.any()):
        return True
    float_info = torch.finfo(outputs.dtype)
    # The root of 0, as a distance of equal rows, is that of the smallest number in a
    # walk.
    allowed = (
        min(1024 * float_info.eps, 0.02) * float(network_outputs[finite].abs().max())
        + 1024 * float_info.tiny**0.5
    )
    return float((network_outputs - walk_outputs)[finite].abs().max()) <= allowed


class Additive:
    """Values that add up to the output less that at a reference, ``(rows, parts,
    players, targets)``.
    """

    def __init__(self, slopes: Slopes, reference: Reference) -> None:
        self.slopes = slopes
        self.reference = reference
        request = slopes.request
        self.values = np.zeros(
            (request.count, len(slopes.parts), len(request.space), len(request.targets))
        )
        self.predictions, self.base = np.zeros((2, request.count, len(request.targets)))

    def keep(
        self, row_slice: slice, values: Tensor, predictions: Tensor, base: Tensor
    ) -> None:
        """Store the numbers of some rows."""
        self.values[row_slice] = values.cpu().numpy()
        self.predictions[row_slice] = predictions.double().cpu().numpy()
        self.base[row_slice] = base.double().cpu().numpy()

    def explanation(self, method: str, scale: Floats, **facts: Any) -> Explanation:
        """Return the result, with the worst gap of a row's sums as a share of
        ``scale``.
        """
        # Predictions that are no numbers are refused once the explanation is made.
        with np.errstate(invalid="ignore"):
            completeness_gaps = (
                np.abs(self.values.sum(axis=(1, 2)) - (self.predictions - self.base))
                / scale
            )
        if self.slopes.parts != ("",):
            part_names = self.slopes.parts
        else:
            part_names = ()
        described = {
            "quantity": "output minus the output at the baseline",
            "baseline": self.reference.words,
            "baseline_name": self.reference.name,
            "baseline_rows": len(self.reference.rows[0]),
            "completeness_gap": float(completeness_gaps.max()),
            "output_range": scale.tolist(),
            "gradient_evaluations": self.slopes.evaluations,
            "model_rows": self.slopes.model_rows,
            **self.slopes.places.facts,
            **facts,
        }
        return build(
            self.slopes.request,
            method,
            self.values.sum(axis=1) if part_names else self.values[:, 0],
            described,
            parts={
                part_name: self.values[:, part_index]
                for part_index, part_name in enumerate(part_names)
            },
            additive=True,
            base_values=self.base[0] if self.slopes.whole else self.base,
            predictions=self.predictions,
        )
