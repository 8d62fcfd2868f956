"""Integrated gradients through both paths at once.

The renderer is differentiable, so one backward pass reaches the encoded columns by way of the table branch and by way
of the picture. Source: Sundararajan, Taly & Yan 2017 (arXiv 1703.01365), equation 1; averaged over background rows:
expected gradients, Erion et al. 2021 (arXiv 1906.10670), equation 3.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from permgrad._errors import InputError, PermgradWarning
from permgrad._progress import Progress
from permgrad.attribution.baselines import baseline_rows
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.gradients import gradient_batch_size, in_batches, output_gradients, outputs_sum_constant
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.result import describe, modalities, shown_values

Floats = npt.NDArray[np.float64]

#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000
_BLOCK_ROWS = 256
#: The first number of intervals at which an integral may count as settled: with one baseline, and with many (whose
#: errors cancel).
_FIRST_ONE, _FIRST_MANY = 8, 2


# ---- gradients along straight lines ----------------------------------------------------------------------------------


class _Lines:
    """Slopes of the outputs along the straight lines from each baseline to each row.

    Shape:
        Attributions are ``(rows, paths, encoded, targets)`` in float64.
    """

    def __init__(self, request: Request, baselines: npt.NDArray[np.float32]) -> None:
        self.subject = request.subject
        self.module = request.subject.module
        self.output = request.output
        self.targets = list(request.targets)
        self.batch = gradient_batch_size(request)
        self.constant_sum = outputs_sum_constant(request.subject, request.output)
        self.dtype = next(self.module.parameters()).dtype
        self.baselines = self.tensor(baselines)
        self.evaluations = 0
        points = self.gradients(self.baselines)
        wide = self.baselines.double()[:, None, :, None]
        #: Of the slopes at the lines' start, what is common to all rows.
        self._start_gradient = points.mean(dim=0)
        self._start_offset = (points * wide).mean(dim=0)
        self._centre = wide.mean(dim=0)

    def tensor(self, rows: npt.NDArray[np.float32]) -> Tensor:
        """Copy rows to the network's device and precision."""
        return torch.as_tensor(np.ascontiguousarray(rows), device=self.subject.device).to(self.dtype)

    def outputs(self, rows: Tensor) -> Tensor:
        """Return the outputs explained, float64 ``(rows, targets)``."""
        found = torch.empty(len(rows), len(self.targets), dtype=torch.float64, device=rows.device)

        def work(part: slice) -> None:
            with torch.no_grad():
                found[part] = self.subject.readout(self.module(rows[part]), self.output)[:, self.targets].double()

        self.batch = in_batches(len(rows), self.batch, work)
        return found

    def gradients(self, points: Tensor) -> Tensor:
        """Return the gradients at points ``(n, encoded)``: float64 ``(n, paths, encoded, targets)``, paths apart."""
        shape = (len(points), len(self.module.paths), points.shape[1], len(self.targets))
        found = torch.empty(shape, dtype=torch.float64, device=points.device)

        def work(part: slice) -> None:
            # One leaf for each path: the same numbers enter twice, and their gradients come back apart.
            with torch.inference_mode(mode=False), torch.enable_grad():
                leaves = [points[part].clone().requires_grad_() for _ in self.module.paths]
                embeddings = {
                    path: self.module.embed(path, leaf) for path, leaf in zip(self.module.paths, leaves, strict=True)
                }
                outputs = self.subject.readout(self.module.fuse(embeddings), self.output)
                own = output_gradients(outputs, self.targets, leaves, constant_sum=self.constant_sum)
            for place, gradient in enumerate(own):
                found[part, place] = gradient.permute(1, 2, 0).double()

        self.batch = in_batches(len(points), self.batch, work)
        self.evaluations += len(points)
        return found

    def ends(self, rows: Tensor) -> Tensor:
        """Return the trapezoid rule with one interval: half the slopes at the lines' start and end.

        Both ends cost one gradient for each row, however many baselines there are.
        """
        wide = rows.double()[:, None, :, None]
        start = wide * self._start_gradient - self._start_offset
        end = (wide - self._centre) * self.gradients(rows)
        return (start + end) / 2

    def middles(self, rows: Tensor, intervals: int) -> Tensor:
        """Return the mean slopes at the odd multiples of ``1 / intervals``: what halving the intervals adds."""
        times = torch.arange(1, intervals, 2, dtype=self.dtype, device=rows.device) / intervals
        lines = len(self.baselines) * len(times)
        total = torch.zeros(
            len(rows), len(self.module.paths), rows.shape[1], len(self.targets), dtype=torch.float64, device=rows.device
        )
        # Whole batches of (row, baseline, time), some rows at a time, so that memory stays bounded.
        together = max(1, self.batch // lines)
        for first in range(0, len(rows), together):
            some = rows[first : first + together]
            for begin in range(0, lines, max(self.batch, 1)):
                chosen = torch.arange(begin, min(begin + self.batch, lines), device=rows.device)
                baselines, at = self.baselines[chosen // len(times)], times[chosen % len(times)]
                difference = some[:, None, :] - baselines
                points = baselines + at[:, None] * difference
                slopes = self.gradients(points.flatten(0, 1)).unflatten(0, difference.shape[:2])
                total[first : first + together] += (slopes * difference.double()[:, :, None, :, None]).sum(dim=1)
        return total / lines


# ---- refining until the values add up --------------------------------------------------------------------------------


@dataclass
class _Integrals:
    """Integrated rows: ``values (rows, paths, encoded, targets)``; relative gap, last change and intervals by row."""

    values: Tensor
    gap: Tensor
    error: Tensor
    intervals: Tensor


@dataclass(frozen=True)
class _Rule:
    """When an integral counts as settled.

    Attributes:
        tolerance: as a share of the output's range, for the gap in the sum and for the change of every single
            attribution.
        max_steps: intervals at most.
        scale: range of each output, ``(targets,)``.
    """

    tolerance: float
    max_steps: int
    scale: Tensor


def _integrate(lines: _Lines, rows: Tensor, wanted: Tensor, rule: _Rule) -> _Integrals:
    """Integrate by the trapezoid rule, doubling the intervals of the rows that do not add up yet.

    NOTE: rectifiers and max pooling make slopes jump along the line, and then every rule converges like 1/n; per
        gradient the
    trapezoid, midpoint and Gauss–Legendre rules were equally good on a trained network, and only the trapezoid keeps
    all gradients when it is refined.

    Args:
        lines: gives the slopes.
        rows: ``(rows, encoded)``.
        wanted: what the attributions of each row and output should add up to, ``(rows, targets)``.
        rule: when to stop.
    """
    values = lines.ends(rows)
    count = len(rows)
    state = _Integrals(
        values=values,
        gap=torch.full((count,), torch.inf, dtype=torch.float64, device=rows.device),
        error=torch.full((count,), torch.inf, dtype=torch.float64, device=rows.device),
        intervals=torch.ones(count, dtype=torch.int64, device=rows.device),
    )
    state.gap = ((values.sum(dim=(1, 2)) - wanted).abs() / rule.scale).amax(dim=1)
    active = torch.arange(count, device=rows.device)
    first = _FIRST_ONE if len(lines.baselines) == 1 else _FIRST_MANY
    intervals = 1
    while len(active) and intervals * 2 <= rule.max_steps:
        intervals *= 2
        refined = (values + lines.middles(rows[active], intervals)) / 2
        change = ((refined - values).abs() / rule.scale).amax(dim=(1, 2, 3))
        gap = ((refined.sum(dim=(1, 2)) - wanted[active]).abs() / rule.scale).amax(dim=1)
        state.values[active], state.gap[active], state.error[active] = refined, gap, change
        state.intervals[active] = intervals
        # The sum may be right by luck while single values are not: both must have settled.
        unsettled = (gap > rule.tolerance) | (change > rule.tolerance)
        if intervals < first:
            unsettled = torch.ones_like(unsettled)
        active, values = active[unsettled], refined[unsettled]
    return state


# ---- the method ------------------------------------------------------------------------------------------------------


@methods.register("integrated_gradients")
class IntegratedGradients:
    """Attributions of each row's output to its features, which add up to output − output at the baseline.

    ``parts`` splits every value by the path through which it reached the output: ``tabular + image = values``. The
    encoded columns of a feature are added up. Nothing is corrected afterwards: ``meta["completeness_gap"]`` is the
    largest |Σ attributions − (f(x) − f(baseline))| over rows and outputs, as a share of the output's range over the
    background.

    The default baseline is the median row: numbers at their median, categories at their most frequent level. Unlike
    encoded zeros or means it is a row that could stand in the table (no half levels), drawn as a picture like any
    other; unlike the background it costs one line for each row.

    Options:
        baseline: ``"median"``, ``"mean"``, ``"zeros"`` (encoded 0), ``"background"`` (expected gradients: the mean
            over background rows), or rows like those explained.
        references: background rows that ``"background"`` averages over, at most.
        tolerance: a row is settled when its gap, and the last change of each of its attributions, are below this
            share of the output's range.
        max_steps: intervals of the quadrature at most.

    Examples:
        >>> import numpy as np, permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(80, 3)); y = X @ [2.0, 1.0, 0.0]
        >>> model = pg.HyNNRegressor(preset="fast", max_epochs=1, random_state=0).fit(X, y)
        >>> explanation = pg.explain(model, X[:5], method="integrated_gradients", progress=False)
        >>> total = explanation.base_values + explanation.values.sum(axis=1)
        >>> bool(np.abs(total - explanation.predictions).max() < 0.05)
        True
    """

    scopes: ClassVar[tuple[Scope, ...]] = ("local",)
    options: ClassVar[Mapping[str, Any]] = {
        "baseline": "median",
        "references": 50,
        "tolerance": 0.002,
        "max_steps": 1024,
    }

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        started = time.perf_counter()
        _check(request)
        options = {**self.options, **request.options}
        baselines, label = baseline_rows(request, options["baseline"], int(options["references"]))
        rows, paths = len(request.encoded), request.subject.module.paths
        values = np.zeros((rows, len(paths), len(request.players), len(request.targets)))
        gap, error = np.zeros(rows), np.zeros(rows)
        intervals = np.zeros(rows, dtype=np.int64)
        predictions = np.zeros((rows, len(request.targets)))
        with Progress(rows, "integrated gradients", request.progress) as progress, request.subject.open():
            lines = _Lines(request, baselines)
            base = lines.outputs(lines.baselines)
            scale = _output_range(request, lines, base)
            rule = _Rule(float(options["tolerance"]), int(options["max_steps"]), scale)
            for part in _blocks(rows, len(paths) * request.encoded.shape[1] * len(request.targets)):
                block = lines.tensor(request.encoded[part])
                output = lines.outputs(block)
                found = _integrate(lines, block, output - base.mean(dim=0), rule)
                values[part] = _by_player(found.values, request)
                predictions[part] = output.cpu().numpy()
                gap[part], error[part] = found.gap.cpu().numpy(), found.error.cpu().numpy()
                intervals[part] = found.intervals.cpu().numpy()
                progress.advance(part.stop - part.start)
        _warn_of_gap(gap, error, rule)
        return Explanation(
            values=values.sum(axis=1),
            names=tuple(request.players),
            modality=modalities(request),
            outputs=tuple(request.subject.output_names[target] for target in request.targets),
            method="integrated_gradients",
            scope="local",
            parts={path: values[:, place] for place, path in enumerate(paths)},
            level=request.level,
            additive=True,
            groups=request.groups,
            feature_values=shown_values(request),
            base_values=base.mean(dim=0).cpu().numpy(),
            predictions=predictions,
            meta=describe(
                request,
                quantity="output minus the output at the baseline",
                unit="y" if request.subject.task == "regression" else request.output,
                output=request.output,
                baseline=label,
                baseline_rows=len(baselines),
                completeness_gap=float(gap.max()),
                quadrature_error=float(error.max()),
                output_range=scale.cpu().tolist(),
                steps=int(intervals.max()),
                mean_steps=float(intervals.mean()),
                gradient_evaluations=lines.evaluations,
                seconds=time.perf_counter() - started,
            ),
        )


def _check(request: Request) -> None:
    """Refuse pictures without a gradient, and options that cannot be used."""
    module: Any = request.subject.module
    if "image" in module.paths and not getattr(module.renderer, "differentiable", True):
        raise InputError(
            "integrated_gradients needs a gradient through the picture, however: the pictures are drawn by foreign "
            "code; choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
        )
    for name, least in (("references", 1), ("max_steps", 2)):
        number = request.options.get(name, IntegratedGradients.options[name])
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < least:
            raise InputError(f"{name} must be an integer of at least {least}, however: {name}={number!r}")
    tolerance = request.options.get("tolerance", IntegratedGradients.options["tolerance"])
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < np.inf:
        raise InputError(
            f"tolerance must be a finite number of at least 0, however: tolerance={tolerance!r}; pass for example 0.002"
        )


def _output_range(request: Request, lines: _Lines, base: Tensor) -> Tensor:
    """Return each output's range over the background and the baselines, ``(targets,)``; 1 where it does not vary.

    Not over the rows explained: a row's result must not depend on which others are explained in the same call.
    """
    background: Any = request.background if request.background_kind == "given" else None
    if background is None:
        background = request.subject.background  # type: ignore[attr-defined]
    seen = torch.cat([lines.outputs(lines.tensor(background)), base])
    spread = seen.amax(dim=0) - seen.amin(dim=0)
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def _blocks(rows: int, numbers: int) -> list[slice]:
    """Cut the rows so that a block's attributions, ``numbers`` for each row, fit in memory."""
    size = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // max(numbers, 1)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _by_player(values: Tensor, request: Request) -> Floats:
    """Add up each player's encoded columns: ``(rows, paths, players, targets)``."""
    array = values.cpu().numpy()
    sums = [array[:, :, np.asarray(columns, dtype=np.intp)].sum(axis=2) for columns in request.players.values()]
    return np.stack(sums, axis=2)


def _warn_of_gap(gap: Floats, error: Floats, rule: _Rule) -> None:
    open_rows = int(((gap > rule.tolerance) | (error > rule.tolerance)).sum())
    if open_rows:
        warnings.warn(
            f"attributions should settle to {rule.tolerance:g} of the output's range, however: after {rule.max_steps} "
            f"steps {open_rows} of {len(gap)} rows have not (largest gap {gap.max():.2g}, largest change "
            f"{error.max():.2g}); raise max_steps or tolerance",
            PermgradWarning,
            stacklevel=3,
        )
