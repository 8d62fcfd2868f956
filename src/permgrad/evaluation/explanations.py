"""``pg.evaluate``: is an explanation any good? Curves, infidelity, sensitivity, randomised weights, sparsity.

A measure is a function of a ``Tested`` that is registered with the direction that is better; it raises ``InputError``
where it cannot be taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import special
from torch import Tensor, nn

from permgrad.attribution.explain import explain as explain_again
from permgrad.attribution.explanation import MIXED, Explanation
from permgrad.attribution.method import Request, Scope, methods
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.donors import donor_rows
from permgrad.attribution.replace.game import loss_value
from permgrad.attribution.replace.moments import mean_over_rows
from permgrad.attribution.request import Arguments, build_request, find_method
from permgrad.base.checks import check_choice, check_confidence, check_names, check_number, check_whole
from permgrad.base.errors import InputError, keeping_warnings, listed
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.registry import Registry
from permgrad.evaluation.measures import (
    Booleans,
    Floats,
    RemovalCurves,
    area,
    draw_weights_anew,
    entropy,
    gini,
    infidelity,
    max_sensitivity,
    rank_agreement,
    removal_curves,
)
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

if TYPE_CHECKING:
    from permgrad.report.plots import PlotFigure

Better = Literal["higher", "lower"]

#: Steps of a curve at most; subsets of each row for each repeat; networks with other weights.
_POINTS, _SUBSETS, _NETWORKS = 32, 10, 3


# ---- the result ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Estimate:
    """One measure of an explanation, and the same of a random one where that says something."""

    value: float
    std: float = float("nan")
    random: float = float("nan")
    random_low: float = float("nan")
    random_high: float = float("nan")
    direction: Better | None = None  # where it depends on what is explained; None: the measure's own
    #: shares of the players, the mean curve, and those of random orders: mean, low, high, ``(5, points)``
    curve: Floats | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good an explanation is, by several measures.

    Args:
        estimates: by the measure's name.
        directions: ``"higher"`` or ``"lower"`` is better, for each.
        left_out: measures that could not be taken, and why.
        meta: method, rows, seed, repeats, what curves measure.

    Examples:
        >>> evaluation = Evaluation({"sparsity": Estimate(0.4, 0.1)}, {"sparsity": "higher"})
        >>> evaluation.to_frame()[["metric", "value", "direction"]].values.tolist()
        [['sparsity', 0.4, 'higher']]
    """

    estimates: dict[str, Estimate]
    directions: dict[str, Better]
    left_out: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self) -> pd.DataFrame:
        """Return one line per measure: ``metric, value, std, direction, random, random_low, random_high``.

        ``std`` is the standard error over rows. ``random`` is what a random explanation gets; of 100 random ones
        ``100 · confidence`` lie between ``random_low`` and ``random_high``. NaN where nothing is defined.
        """
        lines = [
            (name, one.value, one.std, self.directions[name], one.random, one.random_low, one.random_high)
            for name, one in self.estimates.items()
        ]
        columns = ["metric", "value", "std", "direction", "random", "random_low", "random_high"]
        return pd.DataFrame(lines, columns=columns)

    def plot(self, *, title: str | None = None) -> PlotFigure:
        """Draw the deletion and insertion curves with those of random orders.

        Raises:
            InputError: neither was taken.
        """
        from permgrad.report.plots.removal import removal

        return removal(self, title=title)

    def __repr__(self) -> str:
        return f"<Evaluation: {', '.join(f'{name} {one.value:.3g}' for name, one in self.estimates.items())}>"


# ---- what is measured ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Tested:
    """An explanation with its model: what measures are taken of. ``values`` are ``(rows, players)``, one row if global.

    Of a local explanation with several outputs each row is judged by the output that the model predicts for it.
    """

    explanation: Explanation
    model: Any
    inputs: Any
    request: Request
    call: dict[str, Any]  # what ``explain`` was, or is, called with
    explain: Callable[[Any, Any], Explanation]
    output: int | None
    n_repeats: int
    radius: float
    confidence: float
    seed: int

    @property
    def local(self) -> bool:
        """Whether each row has an explanation of its own."""
        return self.explanation.scope == "local"

    @cached_property
    def game(self) -> Blend:
        """What predicts rows in which players are replaced."""
        return Blend(self.request)

    @cached_property
    def columns(self) -> npt.NDArray[np.intp]:
        """The output that each row is judged by, ``(rows,)``."""
        count = self.request.count
        if self.output is not None or not self.local or self.request.subject.task == "regression":
            return np.full(count, self.output or 0)
        return np.asarray(self._readout(self.game.base()).argmax(axis=1))

    def pick(self, explanation: Explanation) -> Floats:
        """Return an explanation's numbers for the outputs that rows are judged by, ``(rows, players)``."""
        values = explanation.values
        if explanation.names != self.explanation.names or values.shape != self.explanation.values.shape:
            raise InputError(
                "Explaining once more gave other features, rows or outputs. Pass what explain was called with, such as "
                "segments=, or explain= with a function of model and inputs."
            )
        return values[np.arange(len(values)), :, self.columns] if self.local else values[:, self.output or 0][None]

    @cached_property
    def values(self) -> Floats:
        """The numbers that are judged, ``(rows, players)``."""
        return self.pick(self.explanation)

    def donors(self, purpose: str, repeat: int) -> npt.NDArray[np.int64]:
        """Return a background row for each row."""
        rows, count = np.arange(self.request.count), len(self.request.donors[0])
        return donor_rows(self.seed, f"evaluate {purpose}", repeat, rows, count, shared=self.request.shared)

    def measured(self, replaced: Booleans, donors: npt.NDArray[np.int64]) -> Floats:
        """Return the output (local) or the loss (global) of each row with players replaced, ``(rows,)``."""
        request, rows = self.request, np.arange(self.request.count)
        with request.subject.open():
            base = self.game.base()
            outputs = self.game.predict(rows, donors, replaced)
        if self.local:
            return self._readout(outputs)[rows, self.columns]
        return loss_value(request)(outputs, rows, base)[:, 0]

    @cached_property
    def curves(self) -> dict[str, tuple[Floats, Floats, Floats]]:
        """Shares, curves of rows ``(rows, points)`` and mean curves of random orders ``(repeats, points)``, by kind.

        Random orders meet the same donors, one each.
        """
        rows, players = self.request.count, self.values.shape[1]
        order = np.broadcast_to(np.argsort(-self.values, axis=1, kind="stable"), (rows, players))
        ranked: list[RemovalCurves] = []
        at_random: list[RemovalCurves] = []
        for repeat in range(self.n_repeats):
            keys = generator(self.seed, "evaluate order", repeat).random((rows if self.local else 1, players))
            mixed = np.broadcast_to(np.argsort(keys, axis=1), (rows, players))
            donors = self.donors("curves", repeat)
            for way, into in ((order, ranked), (mixed, at_random)):
                into.append(removal_curves(lambda replaced: self.measured(replaced, donors), way, _POINTS))  # noqa: B023 — taken at once
        return {
            kind: (
                ranked[0].shares,
                np.mean([getattr(one, kind) for one in ranked], axis=0),
                np.array([[self.mean(point)[0] for point in getattr(one, kind).T] for one in at_random]),
            )
            for kind in ("deletion", "insertion")
        }

    def explained(self, model: Any, inputs: Any) -> Floats:
        """Return the values of another explanation; what it warns of was said of the first."""
        with keeping_warnings():
            return self.pick(self.explain(model, inputs))

    def _readout(self, outputs: Tensor) -> Floats:
        read = self.request.subject.readout(outputs, self.request.output)[:, list(self.request.targets)]
        numbers: Floats = read.double().cpu().numpy()
        return numbers

    def mean(self, rows: Floats) -> tuple[float, float]:
        """Return the mean over rows for which a number is defined, and its standard error."""
        defined = np.isfinite(rows)
        if not defined.any():
            return float("nan"), float("nan")
        weights = self.explanation.meta.get("sample_weight") if len(rows) == self.request.count else None
        mean, std, _ = mean_over_rows(rows[defined], None if weights is None else np.asarray(weights)[defined])
        return float(mean), float(std)

    def spread(self, draws: Floats) -> tuple[float, float, float]:
        """Return the mean of random draws, and ends between which a further one lies: Student's t."""
        count = len(draws)
        width = float("nan")
        if count > 1:
            quantile = special.stdtrit(count - 1, 0.5 + self.confidence / 2)
            width = float(quantile * draws.std(ddof=1) * np.sqrt(1 + 1 / count))
        mean = float(draws.mean())
        return mean, mean - width, mean + width


@dataclass(frozen=True)
class Measure:
    """A registered measure."""

    take: Callable[[Tested], Estimate]
    direction: Better


explanation_measures: Registry[Measure] = Registry("metric")


def measure(name: str, direction: Better) -> Callable[[Callable[[Tested], Estimate]], Callable[[Tested], Estimate]]:
    """Return a decorator that registers a measure of explanations with the direction that is better."""

    def enter(take: Callable[[Tested], Estimate]) -> Callable[[Tested], Estimate]:
        explanation_measures.register(name)(Measure(take, direction))
        return take

    return enter


@measure("deletion", "lower")
def _deletion(case: Tested) -> Estimate:
    return _curve(case, "deletion")


@measure("insertion", "higher")
def _insertion(case: Tested) -> Estimate:
    return _curve(case, "insertion")


def _curve(case: Tested, kind: Literal["deletion", "insertion"]) -> Estimate:
    """Return the area under a curve, and those of random orders."""
    shares, of_rows, at_random = case.curves[kind]
    value, std = case.mean(area(shares, of_rows))
    ranked = [case.mean(point)[0] for point in of_rows.T]
    bands = [case.spread(point) for point in at_random.T]
    better: Better = "lower" if (kind == "deletion") is case.local else "higher"  # a loss rises where an output falls
    curve = np.stack([shares, ranked, *np.array(bands).T])
    return Estimate(value, std, *case.spread(area(shares, at_random)), direction=better, curve=curve)


@measure("infidelity", "lower")
def _infidelity(case: Tested) -> Estimate:
    """Random subsets of every size are replaced by background rows; random: values exchanged among the players."""
    if not case.local:
        raise InputError("infidelity needs attributions of single rows. Explain with scope='local'.")
    rows, players = case.values.shape
    before = case.measured(np.zeros((rows, players), dtype=bool), np.zeros(rows, dtype=np.int64))
    subsets, changes = [], []
    for draw in range(_SUBSETS * case.n_repeats):
        rng = generator(case.seed, "evaluate subsets", draw)
        place = np.argsort(rng.random((rows, players)), axis=1)
        subsets.append(place < rng.integers(1, players + 1, size=(rows, 1)))
        changes.append(before - case.measured(subsets[-1], case.donors("subsets", draw)))
    scaled = case.explanation.base_values is None  # values that add up to an output are in its units
    replaced, moved = np.stack(subsets), np.stack(changes)
    value, std = case.mean(infidelity(case.values, replaced, moved, scaled=scaled))
    rng = generator(case.seed, "evaluate values")
    others = [rng.permuted(case.values, axis=1) for _ in range(case.n_repeats)]
    at_random = np.array([case.mean(infidelity(one, replaced, moved, scaled=scaled))[0] for one in others])
    return Estimate(value, std, *case.spread(at_random))


@measure("sensitivity", "lower")
def _sensitivity(case: Tested) -> Estimate:
    """Real numbers of the inputs move by up to ``radius`` standard deviations."""
    moved = []
    for draw in range(case.n_repeats):
        inputs, count = _moved(case.inputs, generator(case.seed, "evaluate noise", draw), case.radius)
        if not count:
            raise InputError("sensitivity moves real numbers a little, but the inputs hold none. Leave it out.")
        moved.append(case.explained(case.model, inputs))
    return Estimate(*case.mean(max_sensitivity(case.values, np.stack(moved))))


@measure("randomisation", "lower")
def _randomisation(case: Tested) -> Estimate:
    """Agree with explanations of networks whose weights were drawn anew: a good explanation does not."""
    of_model = isinstance(case.model, nn.Module)
    if not of_model and not isinstance(getattr(case.model, "module_", None), nn.Module):
        raise InputError(
            f"randomisation draws the weights of a torch network anew, got a {type(case.model).__name__}. Leave it out."
        )
    agreements = []
    for draw in range(_NETWORKS):
        try:
            other = copy.deepcopy(case.model)
        except Exception as error:
            raise InputError(f"randomisation needs a copy of the network, which failed: {error}") from error
        draw_weights_anew(other if of_model else other.module_, derive_seed(case.seed, "evaluate weights", draw))
        agreement = rank_agreement(case.values, case.explained(other, case.inputs))
        agreements.append(case.mean(agreement)[0])
    defined = np.array(agreements)[np.isfinite(agreements)]
    if not len(defined):
        return Estimate(float("nan"))
    std = float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else float("nan")
    return Estimate(float(defined.mean()), std)


@measure("sparsity", "higher")
def _sparsity(case: Tested) -> Estimate:
    return Estimate(*case.mean(gini(case.values)))


@measure("complexity", "lower")
def _complexity(case: Tested) -> Estimate:
    return Estimate(*case.mean(entropy(case.values)))


# ---- rows moved a little ---------------------------------------------------------------------------------------------
def _moved(inputs: Any, rng: np.random.Generator, radius: float) -> tuple[Any, int]:
    """Return inputs whose real numbers moved by at most ``radius`` of their standard deviation, and how many did.

    Of tables the deviation is each column's. Whole numbers, levels and words stay.
    """
    if isinstance(inputs, Mapping):
        moved = {name: _moved(part, rng, radius) for name, part in inputs.items()}
        return {name: part for name, (part, _) in moved.items()}, sum(count for _, count in moved.values())
    if isinstance(inputs, (tuple, list)):
        parts = [_moved(part, rng, radius) for part in inputs]
        return type(inputs)(part for part, _ in parts), sum(count for _, count in parts)
    if isinstance(inputs, pd.DataFrame):
        table, count = inputs.copy(), 0
        for place, kind in enumerate(inputs.dtypes):
            if pd.api.types.is_float_dtype(kind):
                column: Any = inputs.iloc[:, place]
                table.isetitem(place, column + rng.uniform(-radius, radius, len(column)) * (column.std() or 0.0))
                count += len(column)
        return table, count
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        numbers = _moved_numbers(inputs.detach().double().cpu().numpy(), rng, radius)
        return torch.as_tensor(numbers, dtype=inputs.dtype, device=inputs.device), numbers.size
    if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
        return _moved_numbers(inputs, rng, radius), inputs.size
    return inputs, 0


def _moved_numbers(numbers: npt.NDArray[Any], rng: np.random.Generator, radius: float) -> npt.NDArray[Any]:
    scale = np.nanstd(numbers, axis=0 if numbers.ndim == 2 else None) if numbers.size else 0.0
    moved: npt.NDArray[Any] = (numbers + rng.uniform(-radius, radius, numbers.shape) * scale).astype(numbers.dtype)
    return moved


# ---- the call --------------------------------------------------------------------------------------------------------
def evaluate(
    explanation: Explanation,
    model: Any,
    inputs: Any,
    y: Any = None,
    *,
    metrics: str | Iterable[str] | None = None,
    background: Any = None,
    output: str | int | None = None,
    explain: Callable[[Any, Any], Explanation] | None = None,
    n_repeats: int = 10,
    radius: float = 0.1,
    confidence: float = 0.95,
    random_state: Any = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> Evaluation:
    """Measure how good an explanation is, for any model and modality.

    ================ ========= =======================================================================================
    metric           better    what it is
    ================ ========= =======================================================================================
    deletion         lower     area under the output, the most important features replaced first; of a global
                               explanation the loss, where higher is better (Petsiuk et al. 2018, arXiv 1806.07421)
    insertion        higher    the same with the most important features alone left; of a loss lower is better
    infidelity       lower     E (Σ φ of a random subset − change of the output as it is replaced)² (Yeh et al. 2019,
                               arXiv 1901.09392, definition 2.1); values that do not add up to an output are scaled by
                               the best constant first; local explanations
    sensitivity      lower     largest relative change of the explanation as inputs move a little (there, equation 3)
    randomisation    lower     Spearman's correlation of sizes with the explanations of 3 copies of the network whose
                               weights are drawn anew (Adebayo et al. 2018, arXiv 1810.03292); torch networks
    sparsity         higher    Gini index of sizes (Chalasani et al. 2020, arXiv 1810.06583)
    complexity       lower     entropy of shares (Bhatt et al. 2020, arXiv 2005.00631), in nats
    ================ ========= =======================================================================================

    Curves take replaced values from background rows, the same ones for every order. Beside deletion, insertion and
    infidelity stand those of random explanations. Curves tell whether a ranking fits this model; none of these measures
    tells whether an importance is true.

    Args:
        explanation: of these rows, by any method; of a local one each row is judged by the output that the model
            predicts for it.
        model: the model that was explained; sensitivity and randomisation explain it, and copies of it, again.
        inputs: the rows that were explained.
        y: their targets; needed for explanations of the loss.
        metrics: one name or several; None: all that can be taken. ``Evaluation.left_out`` names the others.
        background: rows that replacement values are drawn from; what ``explain`` was given.
        output: judge this output, by name or position, of all rows.
        explain: ``(model, inputs) -> Explanation``, to explain again; None: the call that ``explanation.meta`` keeps.
        n_repeats: donors of each row, random orders, and moved inputs.
        radius: how far inputs move for ``sensitivity``, in standard deviations.
        confidence: share of random explanations between ``random_low`` and ``random_high``.
        random_state: seed of donors, orders and noise.
        progress: a bar on stderr, one step per metric.
        **options: options of ``explain`` that the explanation cannot keep, such as arrays: ``segments``, ``baseline``.

    Returns:
        An ``Evaluation``, with ``to_frame()`` and ``plot()``.

    Raises:
        InputError: the explanation is of other rows or features, an argument cannot be used, or a metric that was named
            cannot be taken.

    Examples:
        >>> import permgrad as pg
        >>> X = np.random.default_rng(0).normal(size=(60, 3))
        >>> model = lambda table: table @ [3.0, 1.0, 0.0]
        >>> explanation = pg.explain(model, X, method="shapley", task="regression", random_state=0)
        >>> frame = pg.evaluate(explanation, model, X, metrics=["deletion", "sparsity"], random_state=0).to_frame()
        >>> frame[["metric", "direction"]].values.tolist()
        [['deletion', 'lower'], ['sparsity', 'higher']]
        >>> bool(frame["value"][0] < frame["random_low"][0])
        True
    """
    chosen = explanation_measures.names() if metrics is None else check_names("metrics", metrics, "pass metric names")
    for name in chosen:
        check_choice("metric", name, explanation_measures.names())
    check_whole("n_repeats", n_repeats, "pass for example 10")
    check_number("radius", radius, "pass for example 0.1")
    check_confidence(confidence)
    call = _call(explanation, y, background, options)
    with sparing(), full_float32():
        request = _request(explanation, model, inputs, y, call)
        case = Tested(
            explanation=explanation, model=model, inputs=inputs, request=request, call=call,
            explain=explain or (lambda model, inputs: _again(explanation, model, inputs, y, call)),
            output=None if output is None else explanation.output_index(output), n_repeats=n_repeats,
            radius=float(radius), confidence=float(confidence), seed=resolve_seed(random_state),
        )  # fmt: skip
        estimates: dict[str, Estimate] = {}
        left_out: dict[str, str] = {}
        with Progress(len(chosen), "evaluate", progress) as bar:
            for name in chosen:
                try:
                    estimates[name] = explanation_measures.get(name).take(case)
                except InputError as error:
                    if metrics is not None:
                        raise
                    left_out[name] = str(error)
                bar.advance()
    directions = {name: one.direction or explanation_measures.get(name).direction for name, one in estimates.items()}
    measured = "output" if case.local else "divergence" if y is None else "loss"
    about = {"method": explanation.method, "rows": request.count, "measured": measured, "seed": case.seed}
    return Evaluation(estimates, directions, left_out, {**about, "n_repeats": n_repeats, "confidence": confidence})


def _call(explanation: Explanation, y: Any, background: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return what ``explain`` was called with, as far as the explanation tells, or refuse what it cannot tell."""
    if not isinstance(explanation, Explanation):
        raise InputError(f"explanation must be an Explanation, got {type(explanation).__name__}. Call pg.explain.")
    meta, local = explanation.meta, explanation.scope == "local"
    if explanation.method == MIXED:
        raise InputError("Each modality was explained by a method of its own. Evaluate one method at a time.")
    if not local and y is None and meta.get("loss", "divergence") != "divergence":
        raise InputError("The explanation measures the loss. Pass y, the targets of its rows.")
    if background is None and meta.get("background", {}).get("kind") == "given":
        raise InputError(
            f"The explanation was made with a background of {meta['background']['rows']} rows. Pass the same "
            "background=."
        )
    lost = [name for name in meta.get("options_not_kept", ()) if name not in options]
    if lost:
        raise InputError(
            f"The explanation was made with {listed([f'{name}=' for name in lost])}, which it does not keep. Pass it "
            "again."
        )
    kept = {name: tuple(one) if isinstance(one, list) else one for name, one in meta.get("options", {}).items()}
    asked, loss = {**kept, **options}, meta.get("loss", "auto")
    return {
        "scope": explanation.scope,
        "target": list(explanation.outputs) if local and asked.get("row_target") is None else None,
        "output": meta.get("output", "logit"),
        "level": explanation.level,
        "groups": explanation.groups or None,
        "background": background,
        "sampling": meta.get("sampling", "marginal"),
        "loss": "auto" if local or loss == "divergence" else loss,
        "scoring": list(meta["scores"]) if "scores" in meta else None,
        "n_repeats": meta.get("n_repeats", 10),
        "random_state": meta.get("seed", 0),
        "options": asked,
    }


def _again(explanation: Explanation, model: Any, inputs: Any, y: Any, call: dict[str, Any]) -> Explanation:
    """Explain again as the explanation was made."""
    if explanation.method not in methods:
        raise InputError(
            f"{explanation.method!r} cannot be called again by its name. Pass explain=, a function of model and inputs."
        )
    arguments = {**call, **call["options"]}
    del arguments["options"]
    return explain_again(model, inputs, y, method=explanation.method, progress=False, **arguments)


class _AnyMethod:
    """What ``build_request`` asks of a method, where the explanation's has no name here."""

    scopes: ClassVar[tuple[Scope, ...]] = ("local", "global")
    options: ClassVar[Mapping[str, Any]] = {"**": None}

    def __call__(self, request: Request) -> Any:
        raise NotImplementedError


def _request(explanation: Explanation, model: Any, inputs: Any, y: Any, call: dict[str, Any]) -> Request:
    """Return the request that the explanation answered, with the explanation's own players."""
    arguments = Arguments(model, inputs, y, **call, progress=False)
    known = explanation.method in methods
    chosen, name = find_method(explanation.method) if known else (_AnyMethod(), explanation.method)
    request = build_request(replace(arguments, sampling="marginal"), chosen, name)
    rows = len(explanation.values) if explanation.scope == "local" else explanation.meta.get("rows_explained")
    if rows not in (None, request.count):
        raise InputError(f"The explanation is of {rows} rows, got {request.count}. Pass the rows that were explained.")
    return replace(request, space=_space(explanation, request.space))


def _space(explanation: Explanation, space: PlayerSpace) -> PlayerSpace:
    """Return the explanation's players: segments where it keeps them, else those with its names."""
    if space.names == explanation.names and not any(f"segments:{name}" in explanation.maps for name in space.inputs):
        return space
    place = {name: index for index, name in enumerate(explanation.names)}
    table = torch.tensor([*(place.get(name, NOBODY) for name in space.names), NOBODY])
    segments = []
    for name, owners in zip(space.inputs, space.segments, strict=True):
        kept = explanation.maps.get(f"segments:{name}")
        fits = kept is not None and kept.shape == tuple(owners.shape)
        segments.append(torch.as_tensor(np.array(kept), dtype=torch.int64) if fits else table[owners.cpu()])
    made = PlayerSpace(explanation.names, explanation.modality, space.inputs, tuple(segments), explanation.groups)
    lost = [name for name, size in zip(made.names, made.sizes(), strict=True) if not size]
    if lost and len(lost) > len(set(space.names) & set(made.names)):
        raise InputError(
            f"The explanation's features are not those of the inputs: {listed(lost, 3, show=repr)}. Pass the inputs "
            "that were explained, and segments= as they were."
        )
    return made
