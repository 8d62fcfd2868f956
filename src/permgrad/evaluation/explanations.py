"""``pg.evaluate``: the quality of an explanation. Curves, infidelity, sensitivity, randomised weights, sparsity.

A measure is a function of a ``Tested``, registered with the direction that is better. It raises ``InputError`` where it
cannot be computed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from permgrad.attribution.explain import explain as explain_again
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import MIXED
from permgrad.attribution.explanation.statistics import mean_over_rows
from permgrad.attribution.method.captum import find_method
from permgrad.attribution.players.space import NOBODY, PlayerSpace
from permgrad.attribution.replace.coalitions import Blend
from permgrad.attribution.replace.donors import Lenders
from permgrad.attribution.replace.game import loss_value
from permgrad.attribution.request import Request, methods
from permgrad.attribution.request.arguments import Arguments, NoMethod
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related import with_columns
from permgrad.attribution.request.result import digests_of
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_choice, check_confidence, check_names, check_number, check_whole
from permgrad.base.errors import InputError, counted, error_in_words, keeping_warnings, listed, two_sentences
from permgrad.base.frames import Library, as_library
from permgrad.base.progress import Progress
from permgrad.base.random import derive_seed, generator, resolve_seed
from permgrad.base.registry import Registry
from permgrad.base.shown import show
from permgrad.base.significance import t_quantile
from permgrad.evaluation import measures
from permgrad.evaluation.measures import RemovalCurves
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from permgrad.base.figures import PlotFigure

Better = Literal["higher", "lower"]

#: Largest number of steps of a curve, subsets of each row for each repeat, and networks with other weights.
_POINTS, _SUBSETS, _NETWORKS = 32, 10, 3


# ---- the result ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Estimate:
    """One measure of an explanation, and its value for random explanations where that is meaningful."""

    value: float
    std: float = float("nan")
    random: float = float("nan")
    random_low: float = float("nan")
    random_high: float = float("nan")
    direction: Better | None = None  # where it depends on the explained quantity, else the measure's
    #: shares of the players, the mean curve, and those of random orders: mean, low, high, ``(5, points)``
    curve: Floats | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The quality of an explanation by several measures.

    Args:
        estimates: the estimate of each measure.
        directions: whether ``"higher"`` or ``"lower"`` is better, for each measure.
        left_out: measures that could not be computed, and why.
        meta: method, rows, seed, repeats, the quantity of the curves.

    Examples:
        >>> evaluation = Evaluation({"sparsity": Estimate(0.4, 0.1)}, {"sparsity": "higher"})
        >>> evaluation.to_frame()[["metric", "value", "direction"]].values.tolist()
        [['sparsity', 0.4, 'higher']]
    """

    estimates: dict[str, Estimate]
    directions: dict[str, Better]
    left_out: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per measure: ``metric, value, std, direction, random, random_low, random_high``.

        ``std`` is the standard error over rows. ``random`` is the mean for random explanations, and the share
        ``confidence`` of them is between ``random_low`` and ``random_high``. Undefined numbers are NaN.
        """
        lines = [
            (name, one.value, one.std, self.directions[name], one.random, one.random_low, one.random_high)
            for name, one in self.estimates.items()
        ]
        columns = ["metric", "value", "std", "direction", "random", "random_low", "random_high"]
        return as_library(pd.DataFrame(lines, columns=columns), library)

    def plot(self, *, title: str | None = None, ax: Axes | None = None) -> PlotFigure:
        """Draw the deletion and insertion curves with those of random orders.

        With ``ax``, the curves are drawn into these matplotlib axes, and their figure is returned.

        Raises:
            InputError: neither curve was computed.
        """
        return show("Evaluation.plot", self, title=title, ax=ax)

    def __repr__(self) -> str:
        return f"<Evaluation: {', '.join(f'{name} {one.value:.3g}' for name, one in self.estimates.items())}>"


# ---- measures --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Tested:
    """An explanation with its model, the input of measures. ``values`` are ``(rows, players)``, one row if global.

    In a local explanation with several outputs, each row is judged by the output that the model predicts for it.
    """

    explanation: Explanation
    model: Any
    inputs: Any
    request: Request
    call: dict[str, Any]  # the arguments of ``explain``
    explain: Callable[[Any, Any], Explanation]
    output: int | None
    n_repeats: int
    radius: float
    confidence: float
    seed: int

    @property
    def local(self) -> bool:
        """Whether each row has a separate explanation."""
        return self.explanation.scope == "local"

    @cached_property
    def game(self) -> Blend:
        """Predicts rows in which players are replaced."""
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
            hint = (
                "Pass the arguments of the call of explain, such as segments=, or explain= with a function of "
                "model and inputs."
            )
            raise InputError("The repeated explanation has other features, rows or outputs", hint=hint, code="PG006")
        return values[np.arange(len(values)), :, self.columns] if self.local else values[:, self.output or 0][None]

    @cached_property
    def values(self) -> Floats:
        """The numbers that are judged, ``(rows, players)``."""
        return self.pick(self.explanation)

    @cached_property
    def _lenders(self) -> Lenders:
        return Lenders.of(self.request)

    def donors(self, purpose: str, repeat: int) -> Integers:
        """Return a background row for each row."""
        return self._lenders.draw(self.seed, f"evaluate {purpose}", repeat, np.arange(self.request.count))

    def measured(self, replaced: Booleans, donors: Integers) -> Floats:
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

        Random orders use the same donors, one each.
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
                into.append(measures.removal_curves(lambda replaced: self.measured(replaced, donors), way, _POINTS))  # noqa: B023 — taken at once
        return {
            kind: (
                ranked[0].shares,
                np.mean([getattr(one, kind) for one in ranked], axis=0),
                np.array([[self.mean(point)[0] for point in getattr(one, kind).T] for one in at_random]),
            )
            for kind in ("deletion", "insertion")
        }

    def explained(self, model: Any, inputs: Any) -> Floats:
        """Return the values of another explanation, without its warnings, which repeat those of the first."""
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
        weights, units = self.explanation.meta.get("sample_weight"), self.request.units
        if len(rows) != self.request.count:
            weights = units = None
        mean, std, _ = mean_over_rows(
            rows[defined],
            None if weights is None else np.asarray(weights)[defined],
            None if units is None else units.take(np.flatnonzero(defined)),
        )
        return float(mean), float(std)

    def spread(self, draws: Floats) -> tuple[float, float, float]:
        """Return the mean of random draws and Student's t interval for a further one."""
        count = len(draws)
        width = float("nan")
        if count > 1:
            quantile = t_quantile(0.5 + self.confidence / 2, count - 1)
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


def _curve(kind: Literal["deletion", "insertion"], case: Tested) -> Estimate:
    """Return the area under a curve, and those of random orders."""
    shares, of_rows, at_random = case.curves[kind]
    value, std = case.mean(measures.area(shares, of_rows))
    ranked = [case.mean(point)[0] for point in of_rows.T]
    bands = [case.spread(point) for point in at_random.T]
    better: Better = "lower" if (kind == "deletion") is case.local else "higher"  # a loss rises when an output falls
    curve = np.stack([shares, ranked, *np.array(bands).T])
    return Estimate(value, std, *case.spread(measures.area(shares, at_random)), direction=better, curve=curve)


measure("deletion", "lower")(partial(_curve, "deletion"))
measure("insertion", "higher")(partial(_curve, "insertion"))


@measure("infidelity", "lower")
def _infidelity(case: Tested) -> Estimate:
    """Replace random subsets of every size by background rows. Random explanations permute values among players."""
    if not case.local:
        raise InputError("infidelity needs a local explanation", hint="Pass scope='local' to explain.", code="PG004")
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
    value, std = case.mean(measures.infidelity(case.values, replaced, moved, scaled=scaled))
    rng = generator(case.seed, "evaluate values")
    permuted = [rng.permuted(case.values, axis=1) for _ in range(case.n_repeats)]
    at_random = np.array([case.mean(measures.infidelity(one, replaced, moved, scaled=scaled))[0] for one in permuted])
    return Estimate(value, std, *case.spread(at_random))


@measure("sensitivity", "lower")
def _sensitivity(case: Tested) -> Estimate:
    """Move the real numbers of the inputs by up to ``radius`` standard deviations."""
    moved = []
    for draw in range(case.n_repeats):
        inputs, count = measures.moved_inputs(case.inputs, generator(case.seed, "evaluate noise", draw), case.radius)
        if not count:
            what = "sensitivity needs inputs with real numbers, but they hold only whole numbers, text or dates"
            raise InputError(what, hint="Leave it out.", code="PG004")
        moved.append(case.explained(case.model, inputs))
    return Estimate(*case.mean(measures.max_sensitivity(case.values, np.stack(moved))))


@measure("randomisation", "lower")
def _randomisation(case: Tested) -> Estimate:
    """Compare with explanations of networks with new random weights. A good explanation does not agree with them."""
    of_model = isinstance(case.model, nn.Module)
    if not of_model and not isinstance(getattr(case.model, "module_", None), nn.Module):
        problem = f"randomisation needs a torch network to draw new weights for, got {type(case.model).__name__}"
        raise InputError(problem, hint="Leave it out.", code="PG034")
    agreements = []
    for draw in range(_NETWORKS):
        try:
            other = copy.deepcopy(case.model)
        except Exception as error:
            why = f"randomisation cannot copy the network: {error_in_words(error)}"
            raise InputError(why, hint="Leave it out.", code="PG031") from error
        measures.draw_weights_anew(
            other if of_model else other.module_, derive_seed(case.seed, "evaluate weights", draw)
        )
        agreement = measures.rank_agreement(case.values, case.explained(other, case.inputs))
        agreements.append(case.mean(agreement)[0])
    defined = np.array(agreements)[np.isfinite(agreements)]
    if not len(defined):
        return Estimate(float("nan"))
    std = float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else float("nan")
    return Estimate(float(defined.mean()), std)


def _of_sizes(of_rows: Callable[[Floats], Floats], case: Tested) -> Estimate:
    return Estimate(*case.mean(of_rows(case.values)))


measure("sparsity", "higher")(partial(_of_sizes, measures.gini))
measure("complexity", "lower")(partial(_of_sizes, measures.entropy))


# ---- the call --------------------------------------------------------------------------------------------------------
def evaluate(
    explanation: Explanation,
    model: Any,
    inputs: Any,
    y: Any = None,
    *,
    metrics: str | Iterable[str] | None = None,
    background: Any = None,
    row_groups: Any = None,
    row_time: Any = None,
    output: str | int | None = None,
    explain: Callable[[Any, Any], Explanation] | None = None,
    n_repeats: int = 10,
    radius: float = 0.1,
    confidence: float = 0.95,
    random_state: Any = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> Evaluation:
    """Measure the quality of an explanation, for any model and modality.

    ================ ========= =======================================================================================
    metric           better    definition
    ================ ========= =======================================================================================
    deletion         lower     area under the output while the most important features are replaced first. For a global
                               explanation: the loss, where higher is better (Petsiuk et al. 2018, arXiv 1806.07421)
    insertion        higher    the same with only the most important features kept. For a loss lower is better
    infidelity       lower     E (Σ φ of a random subset − change of the output when it is replaced)² (Yeh et al. 2019,
                               arXiv 1901.09392, definition 2.1). Values that do not add up to an output are scaled by
                               the best constant first. Local explanations only
    sensitivity      lower     largest relative change of the explanation when inputs change slightly (equation 3 there)
    randomisation    lower     Spearman's correlation of sizes with the explanations of 3 copies of the network with
                               new random weights (Adebayo et al. 2018, arXiv 1810.03292). Torch networks only
    sparsity         higher    Gini index of sizes (Chalasani et al. 2020, arXiv 1810.06583)
    complexity       lower     entropy of shares (Bhatt et al. 2020, arXiv 2005.00631), in nats
    ================ ========= =======================================================================================

    Curves take replacement values from background rows, the same ones for every order. Deletion, insertion and
    infidelity are also computed for random explanations. Curves show whether a ranking fits this model. None of these
    measures shows whether an importance is true.

    Args:
        explanation: an explanation of these rows by any method. In a local one, each row is judged by the output that
            the model predicts for it.
        model: the model that was explained. Sensitivity and randomisation explain it, and copies of it, again.
        inputs: the rows that were explained.
        y: their targets, needed for explanations of the loss.
        metrics: one or several names. None: all that can be computed. ``Evaluation.left_out`` names the others.
        background: rows that replacement values are drawn from, the same as for ``explain``.
        row_groups: which rows depend on each other, as for ``explain``.
        row_time: the time of each row, as for ``explain``.
        output: judge this output, by name or position, for all rows.
        explain: ``(model, inputs) -> Explanation``, to explain again. None: the call stored in ``explanation.meta``.
        n_repeats: donors of each row, random orders, and changed inputs.
        radius: largest change of inputs for ``sensitivity``, in standard deviations.
        confidence: share of random explanations between ``random_low`` and ``random_high``.
        random_state: seed of donors, orders and noise.
        progress: a bar on stderr, one step per metric.
        **options: options of ``explain`` that the explanation cannot store, such as arrays: ``segments``, ``baseline``.

    Returns:
        An ``Evaluation``, with ``to_frame()`` and ``plot()``.

    Raises:
        InputError: the explanation is of other rows or features, an argument cannot be used, or a requested metric
            cannot be computed.

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
    chosen = list(explanation_measures) if metrics is None else check_names("metrics", metrics, "pass metric names")
    for name in chosen:
        check_choice("metric", name, list(explanation_measures))
    check_whole("n_repeats", n_repeats, "pass for example 10")
    check_number("radius", radius, "pass for example 0.1")
    check_confidence(confidence)
    related = {"row_groups": row_groups, "row_time": row_time}
    call = _call(explanation, y, background, related, options)
    explanation = explanation.of_order(1)
    with sparing(), full_float32():
        # Columns that are named are read once, and leave the inputs.
        arguments = with_columns(Arguments(model, inputs, y, **call, progress=False))
        inputs, call = arguments.inputs, {name: getattr(arguments, name) for name in call}
        request = _request(explanation, arguments)
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
                    left_out[name] = two_sentences(error.problem)
                bar.advance()
    directions = {name: one.direction or explanation_measures.get(name).direction for name, one in estimates.items()}
    measured = "output" if case.local else "divergence" if y is None else "loss"
    about = {"method": explanation.method, "rows": request.count, "measured": measured, "seed": case.seed}
    return Evaluation(estimates, directions, left_out, {**about, "n_repeats": n_repeats, "confidence": confidence})


def _check_given(explanation: Explanation, y: Any, background: Any, related: dict[str, Any], options: Any) -> None:
    """Refuse explanations that do not store all of the call of ``explain``, where the rest is not given."""
    if not isinstance(explanation, Explanation):
        problem = f"explanation must be a permgrad.Explanation, got {type(explanation).__module__}."
        raise InputError(problem + type(explanation).__name__, hint="Call pg.explain.", code="PG001")
    meta = explanation.meta
    if explanation.method == MIXED:
        why = "each modality was explained by a different method"
        raise InputError(f"evaluate needs one method, but {why}", hint="Evaluate one at a time.", code="PG004")
    if explanation.scope == "global" and y is None and meta.get("loss", "divergence") != "divergence":
        raise InputError("The explanation measures the loss and needs y", hint="Pass its targets.", code="PG005")
    if background is None and meta.get("background", {}).get("kind") == "given":
        used = f"a background of {counted(meta['background']['rows'], 'row')}"
        raise InputError(f"The explanation was made with {used}", hint="Pass the same background=.", code="PG005")
    by = meta.get("independent", {}).get("by")
    if by is not None and related.get(by) is None:
        raise InputError(f"The explanation was made with {by}=", hint=f"Pass the same {by}=.", code="PG005")
    lost = [name for name in meta.get("options_not_kept", ()) if name not in options]
    if lost:
        used = f"{listed([f'{name}=' for name in lost])}, which it cannot store"
        raise InputError(f"The explanation was made with {used}", hint="Pass it again.", code="PG005")


def _call(explanation: Explanation, y: Any, background: Any, related: Any, options: Any) -> dict[str, Any]:
    """Return the arguments of the call of ``explain``."""
    _check_given(explanation, y, background, related, options)
    meta, local = explanation.meta, explanation.scope == "local"
    kept = {name: tuple(one) if isinstance(one, list) else one for name, one in meta.get("options", {}).items()}
    kept |= {"interactions": 1} if "interactions" in kept else {}
    asked, loss = {**kept, **options}, meta.get("loss", "auto")
    return {
        "scope": explanation.scope,
        "target": list(explanation.outputs) if local and asked.get("row_target") is None else None,
        "output": meta.get("output", "logit"),
        "level": explanation.level,
        # Without any, none is searched for: changed inputs could have others.
        "groups": explanation.groups or (None if "as_one" in meta or explanation.level != "feature" else {}),
        "background": background,
        "sampling": meta.get("sampling", "marginal"),
        "loss": "auto" if local or loss == "divergence" else loss,
        "scoring": list(meta["scores"]) if "scores" in meta else None,
        "n_repeats": meta.get("n_repeats", 10),
        "random_state": meta.get("seed", 0),
        "options": asked,
        **related,
    }


def _again(explanation: Explanation, model: Any, inputs: Any, y: Any, call: dict[str, Any]) -> Explanation:
    """Repeat the call that made the explanation."""
    if explanation.method not in methods:
        problem = f"{explanation.method!r} is not a registered method and cannot be called again"
        raise InputError(problem, hint="Pass explain=, a function of model and inputs.", code="PG005")
    arguments = {**call, **call["options"]}
    del arguments["options"]
    return explain_again(model, inputs, y, method=explanation.method, progress=False, **arguments)


class _AnyOptions(NoMethod):
    options: ClassVar[Mapping[str, Any]] = {"**": None}


def _request(explanation: Explanation, arguments: Arguments) -> Request:
    """Return the request of the explanation, with the explanation's players."""
    is_method = explanation.method in methods
    chosen, name = find_method(explanation.method) if is_method else (_AnyOptions(), explanation.method)
    request = build_request(replace(arguments, sampling="marginal"), chosen, name)
    rows = len(explanation.values) if explanation.scope == "local" else explanation.meta.get("rows_explained")
    if rows not in (None, request.count):
        problem = f"The explanation is of {counted(rows, 'row')}, got {request.count}"
        raise InputError(problem, hint="Pass the rows that were explained.", code="PG007")
    given = explanation.meta.get("digests") or {}
    for what, digest in digests_of(request).items() if given else ():
        if digest != given.get(what):
            words = "other rows" if what == "rows" else "another background"
            problem = f"The explanation was made with {words}"
            raise InputError(problem, hint=f"Pass the {what} of the call of explain, in the same order.", code="PG007")
    return replace(request, space=_space(explanation, request.space))


def _space(explanation: Explanation, space: PlayerSpace) -> PlayerSpace:
    """Return the explanation's players: its segments where it stores them, else those with its names."""
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
        problem = f"The inputs lack features of the explanation: {listed(lost, 3, show=repr)}"
        raise InputError(problem, hint="Pass the inputs that were explained, with the same segments=.", code="PG007")
    return made
