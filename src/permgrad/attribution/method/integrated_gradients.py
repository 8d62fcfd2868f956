"""Integrated gradients through both paths at once.

The renderer is differentiable, so slopes reach the encoded columns by way of the table branch and by way of the
picture. Source: Sundararajan, Taly & Yan 2017 (arXiv 1703.01365), equation 1; averaged over background rows: expected
gradients, Erion et al. 2021 (arXiv 1906.10670), equation 3. How the integral is taken: ``secants`` and ``lines``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from permgrad.attribution.build import describe, modalities, shown_values
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method import Request, Scope, methods, refuse_conditional
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.slopes.baselines import background_rows, baseline_rows
from permgrad.attribution.slopes.integrals import integrate_network
from permgrad.attribution.slopes.lines import GradientLines, Lines
from permgrad.attribution.slopes.secants import SecantLines
from permgrad.attribution.subject.output_range import output_range
from permgrad.base.checks import check_choice, check_number, check_whole
from permgrad.base.errors import InputError, warn_user
from permgrad.base.progress import Progress
from permgrad.models.devices import rows_at_once

Floats = npt.NDArray[np.float64]

#: Numbers that a block of rows may hold while its integrals are refined.
_BLOCK_NUMBERS = 4_000_000
_BLOCK_ROWS, _BLOCK_ROWS_ACCELERATOR = 256, 8192


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


def _lines(request: Request, baselines: npt.NDArray[np.float32]) -> Lines:
    """Return the fast way to find mean slopes where the network's layers are known, else the general one."""
    return SecantLines.fitting(request, baselines) or GradientLines(request, baselines)


def _integrate(lines: Lines, rows: Tensor, wanted: Tensor, rule: _Rule) -> _Integrals:
    """Integrate, doubling the intervals of the rows that have not settled yet.

    Args:
        lines: gives the slopes.
        rows: ``(rows, encoded)``.
        wanted: what the attributions of each row and output should add up to, ``(rows, targets)``.
        rule: when to stop.
    """
    values, intervals = lines.start(rows)
    count = len(rows)
    state = _Integrals(
        values=values,
        gap=((values.sum(dim=(1, 2)) - wanted).abs() / rule.scale).amax(dim=1),
        error=torch.full((count,), torch.inf, dtype=torch.float64, device=rows.device),
        intervals=torch.full((count,), intervals, dtype=torch.int64, device=rows.device),
    )
    active = torch.arange(count, device=rows.device)
    while len(active) and intervals * 2 <= rule.max_steps:
        intervals *= 2
        refined = lines.refine(rows[active], values, intervals)
        change = ((refined - values).abs() / rule.scale).amax(dim=(1, 2, 3))
        gap = ((refined.sum(dim=(1, 2)) - wanted[active]).abs() / rule.scale).amax(dim=1)
        state.values[active], state.gap[active], state.error[active] = refined, gap, change
        state.intervals[active] = intervals
        # The sum may be right, by luck or by the rule, while single values are not: both must have settled.
        unsettled = (gap > rule.tolerance) | (change > rule.tolerance)
        if intervals < lines.settled_from:
            unsettled |= True
        active, values = active[unsettled], refined[unsettled]
    return state


@methods.register("integrated_gradients")
class IntegratedGradients:
    """Attributions of each row's output to its features, which add up to output − output at the baseline.

    ``parts`` splits every value by the path through which it reached the output: ``tabular + image = values``. The
    encoded columns of a feature move together along the line and are added up; ``players="encoded"`` shows them apart.

    Nothing is corrected afterwards. ``meta["completeness_gap"]`` is the largest |Σ attributions − (f(x) −
    f(baseline))| over rows and outputs, as a share of the output's range over the background. Where secants are used
    (``meta["rule"]``) the sum is right to rounding with any number of steps, so it says nothing about the single
    values: their accuracy is ``meta["quadrature_error"]``, the largest change of any attribution when the intervals of
    its row were last halved, as a share of the same range.

    On any torch network the same is done from its inputs, see ``network_integrals``; values are there summed over each
    player's positions.

    The default baseline (``"auto"``) is the median row: numbers at their median, categories at their most frequent
    level. Unlike encoded zeros or means it is a row that could stand in the table (no half levels), drawn as a picture
    like any other; unlike the background it costs one line for each row.

    The answer depends on the baseline: ``meta["baseline"]`` says in words what it was.

    Options:
        baseline: ``"auto"`` (the median; zeros where a network is explained without a background), ``"median"``,
            ``"mean"``, ``"zeros"`` (encoded 0), ``"background"`` (expected gradients: the mean over background rows),
            ``"class:<label>"`` (the same over background rows of one class), or rows like those explained.
        references: background rows that ``"background"`` and ``"class:<label>"`` average over, at most.
        reference_class: a class; ``"median"``, ``"mean"`` and ``"background"`` are then taken over its rows alone.
        players: ``"features"``, or ``"encoded"``: one value for each number that the network sees, by its name in
            ``preprocessor_.encoded_names_``.
        tolerance: a row is settled when its gap, and the last change of each of its attributions, are below this
            share of the output's range.
        max_steps: intervals of the quadrature at most.
        steps: exactly so many gradients for each row and baseline, by the midpoint rule and without any refinement, as
            other libraries count them; None: as many as it takes.

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
        "baseline": "auto",
        "references": 50,
        "reference_class": None,
        "players": "features",
        "tolerance": 0.002,
        "max_steps": 1024,
        "steps": None,
    }

    def __call__(self, request: Request) -> Explanation:
        """Compute the explanation."""
        refuse_conditional(request, "integrated_gradients")
        options = {**self.options, **request.options}
        _check_numbers(request)
        if request.subject.kind == "network" or options["steps"] is not None:
            return integrate_network(request, options)
        _check_pictures(request)
        return self._through_both_paths(_with_players(request), options)

    def _through_both_paths(self, request: Request, options: Mapping[str, Any]) -> Explanation:
        started = time.perf_counter()
        name = (
            "median" if isinstance(options["baseline"], str) and options["baseline"] == "auto" else options["baseline"]
        )
        baseline = baseline_rows(request, name, int(options["references"]), options["reference_class"])
        baselines = baseline.rows
        rows, paths = len(request.encoded), request.subject.module.paths
        values = np.zeros((rows, len(paths), len(request.players), len(request.targets)))
        gap, error = np.zeros(rows), np.zeros(rows)
        intervals = np.zeros(rows, dtype=np.int64)
        predictions = np.zeros((rows, len(request.targets)))
        with Progress(rows, "integrated gradients", request.progress) as progress, request.subject.open():
            lines = _lines(request, baselines)
            base = lines.outputs(lines.baselines)
            scale = _output_range(request, lines, base)
            rule = _Rule(float(options["tolerance"]), int(options["max_steps"]), scale)
            for part in _blocks(
                rows, len(paths) * request.encoded.shape[1] * len(request.targets), request.subject.device
            ):
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
            feature_values=_shown(request),
            base_values=base.mean(dim=0).cpu().numpy(),
            predictions=predictions,
            meta=describe(
                request,
                quantity="output minus the output at the baseline",
                unit="y" if request.subject.task == "regression" else request.output,
                output=request.output,
                baseline=baseline.words,
                baseline_name=baseline.name,
                players=options["players"],
                rule=lines.rule,
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


def _check_pictures(request: Request) -> None:
    """Refuse pictures without a gradient."""
    module: Any = request.subject.module
    if "image" in module.paths and not getattr(module.renderer, "differentiable", True):
        raise InputError(
            "integrated_gradients needs a gradient through the picture, however: the pictures are drawn by foreign "
            "code; choose method='permgrad', 'permutation' or 'ablation', or a layout of permgrad"
        )


def _check_numbers(request: Request) -> None:
    """Refuse options that cannot be used."""
    for name, least in (("references", 1), ("max_steps", 2)):
        number = request.options.get(name, IntegratedGradients.options[name])
        check_whole(name, number, "pass such a number", least=least)
    tolerance = request.options.get("tolerance", IntegratedGradients.options["tolerance"])
    check_number("tolerance", tolerance, "pass for example 0.002")


def _with_players(request: Request) -> Request:
    """Return the request with one player for each encoded column, if they were asked for."""
    wanted = request.options.get("players", "features")
    check_choice("players", wanted, ("features", "encoded"))
    if wanted == "features":
        return request
    if request.level != "feature":
        raise InputError(
            "players='encoded' explains each encoded column by itself, "
            f"however: level={request.level!r} asks for columns to be added up; leave out level= and groups="
        )
    names = tuple(request.subject.preprocessor.encoded_names_)
    space = PlayerSpace(names, ("table",) * len(names), ("table",), (torch.arange(len(names)),))
    return replace(request, space=space, level="input")


def _shown(request: Request) -> pd.DataFrame | None:
    """Return the values of the players for plots: raw ones, or what the network sees."""
    if request.level != "input":
        shown: pd.DataFrame | None = shown_values(request)
        return shown
    return pd.DataFrame(request.encoded, columns=list(request.players))


def _output_range(request: Request, lines: Lines, base: Tensor) -> Tensor:
    """Return each output's range over the background and the baselines, ``(targets,)``; 1 where it does not vary.

    Not over the rows explained: a row's result must not depend on which others are explained in the same call.
    """
    background, _ = background_rows(request)
    seen = torch.cat([lines.outputs(lines.tensor(background)), base])
    return output_range(seen, request.subject.dtype, alike=bool((background == background[:1]).all()))


def _blocks(rows: int, numbers: int, device: torch.device) -> list[slice]:
    """Cut the rows so that a block's attributions, ``numbers`` for each row, fit in memory."""
    most = rows_at_once(device, on_processor=_BLOCK_ROWS, on_accelerator=_BLOCK_ROWS_ACCELERATOR)
    size = max(1, min(most, _BLOCK_NUMBERS // max(numbers, 1)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _by_player(values: Tensor, request: Request) -> Floats:
    """Add up each player's encoded columns: ``(rows, paths, players, targets)``."""
    array = values.cpu().numpy()
    sums = [array[:, :, np.asarray(columns, dtype=np.intp)].sum(axis=2) for columns in request.players.values()]
    return np.stack(sums, axis=2)


def _warn_of_gap(gap: Floats, error: Floats, rule: _Rule) -> None:
    open_rows = int(((gap > rule.tolerance) | (error > rule.tolerance)).sum())
    if open_rows:
        warn_user(
            f"attributions should settle to {rule.tolerance:g} of the output's range, however: after {rule.max_steps} "
            f"steps {open_rows} of {len(gap)} rows have not (largest gap {gap.max():.2g}, largest change "
            f"{error.max():.2g}); raise max_steps or tolerance"
        )
