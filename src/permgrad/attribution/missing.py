"""``pg.missing_modalities``: loss and scores of a model for every subset of its
modalities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from torch import Tensor

from permgrad.attribution.explanation.statistics import interval, mean_over_rows
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.game import Game, loss_value
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments
from permgrad.attribution.replace.plays import EXACT_PLAYERS, Play, Value
from permgrad.attribution.replace.scoring import Judge, resolve_scorers
from permgrad.attribution.request import Request
from permgrad.attribution.request.arguments import Arguments
from permgrad.attribution.request.reading import build_request
from permgrad.attribution.request.related_rows import tell_of_dependence
from permgrad.attribution.request.result import independent_facts
from permgrad.base.arrays import Booleans, Floats, Integers
from permgrad.base.checks import check_choice
from permgrad.base.errors import InputError, listed
from permgrad.base.frames import Library, as_library
from permgrad.base.near_names import with_near_names
from permgrad.base.progress import Progress, ProgressMode
from permgrad.base.shown import in_words, show
from permgrad.data.types.findings import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from permgrad.base.figures import PlotFigure

#: Name of the subset without any modality.
NOTHING = "nothing"
#: How many predictions are stored together for scorers.
_KEPT = 2**24


@dataclass(frozen=True, eq=False)
class Missing:
    """Loss and scores of a model for every subset of its modalities.

    Args:
        modalities: names of the modalities.
        present: which modalities each subset has, bool ``(subsets, modalities)``: all
            of them first, then fewer.
        measures: ``"loss"`` and each score, each ``(4, subsets)``: mean, standard error
            and both ends of the interval.
        meta: seed, repeats, background, held inputs, the loss and its unit.

    Examples:
        >>> numbers = [[0.1, 0.4], [0.01, 0.02], [0.08, 0.36], [0.12, 0.44]]
        >>> metrics = {"loss": np.array(numbers)}
        >>> missing = Missing(("image",), np.array([[True], [False]]), metrics)
        >>> missing.to_frame()["present"].tolist()
        ['image', 'nothing']
        >>> print(missing.summary())
        The loss with only some modalities present.
          image    0.100  (0.0800 to 0.120)
          nothing  0.400  (0.360 to 0.440)
    """

    modalities: tuple[str, ...]
    present: Booleans
    measures: dict[str, Floats]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the subsets, such as ``"image + table"``.

        The empty one is ``"nothing"``.
        """
        joined = (
            " + ".join(np.array(self.modalities, dtype=object)[subset])
            for subset in self.present
        )
        return tuple(subset_name or NOTHING for subset_name in joined)

    def to_frame(self, library: Library = "pandas") -> Any:
        """Return one line per subset: ``present, loss, std_error, ci_low, ci_high``.

        Each score follows with three columns more, such as ``roc_auc,
        roc_auc_std_error, roc_auc_ci_low, roc_auc_ci_high``. Undefined numbers are NaN.
        """
        columns: dict[str, Any] = {"present": list(self.names)}
        for measure, numbers in self.measures.items():
            column_names = []
            for column_suffix in ("std_error", "ci_low", "ci_high"):
                if measure != "loss":
                    column_names.append(f"{measure}_{column_suffix}")
                else:
                    column_names.append(column_suffix)
            columns |= dict(zip([measure, *column_names], numbers, strict=True))
        return as_library(pd.DataFrame(columns), library)

    def summary(self, measure: str = "loss", *, top_n: int = 8) -> str:
        """Return a few lines of plain text: the best subsets with their intervals.

        Args:
            measure: ``"loss"`` or a score.
            top_n: how many subsets to list.
        """
        check_choice("measure", measure, self.measures)
        return show("Missing.summary", self, measure, top_n)

    _repr_html_ = in_words

    def plot(
        self,
        measure: str = "loss",
        *,
        top_n: int | None = 32,
        title: str | None = None,
        ax: Axes | None = None,
    ) -> PlotFigure:
        """Draw the subsets by rising loss (falling score) with their intervals.

        Two lines show the values with all modalities and with none.

        Args:
            measure: ``"loss"`` or a score.
            top_n: how many of the best subsets to draw. None: all.
            title: the title. None: a default. ``""``: none.
            ax: Axes of matplotlib to draw into. The figure returned is then theirs.
        """
        check_choice("measure", measure, self.measures)
        return show(
            "Missing.plot", self, measure=measure, top_n=top_n, title=title, ax=ax
        )

    def __repr__(self) -> str:
        return f"<Missing: {len(self.present)} subsets of {listed(self.modalities)}>"


@with_near_names
def missing_modalities(
    model: Any,
    X: Any,
    y: Any = None,
    *,
    groups: Mapping[str, Iterable[str]] | None = None,
    scoring: Any = None,
    background: Any = None,
    loss: Any = "auto",
    row_groups: Any = None,
    n_repeats: int | Literal["auto"] = "auto",
    random_state: Any = 0,
    progress: ProgressMode = "auto",
) -> Missing:
    """Measure the loss and scores of a model for every subset of its modalities.

    Missing modalities are replaced by those of one background row, so they fit each
    other but not the rest of the row. Texts and images of an estimator's table are
    missing as in a row without them: they become empty cells. The other columns are the
    modality ``table``, which is replaced by that of a background row. The loss of a
    subset is the mean over rows and donors, and its interval covers the randomness of
    both (``PairMoments``). What each modality adds alone, last and together with
    another is ``pg.explain(..., groups="modality",
    method=pg.methods.PermGrad(order=2))``.

    Args:
        model: a torch network of several inputs, an estimator that reads texts or
            images beside other columns, any other model with ``groups=``, or a
            ``pg.Model``, whose ``hold=`` names inputs that are always present.
        X: the rows, as for ``pg.explain``.
        y: their targets.
        groups: columns, features or inputs that form one modality: name to members. All
            others stay with their input: the other columns of a table form the modality
            ``table``.
        scoring: one or several names of scikit-learn scorers, or callables. Each adds
            columns to the result.
        background: rows that donors are drawn from, in the form of ``X``. Default as
            for ``pg.explain``.
        loss: loss computed for each row. ``"auto"`` is the model's own.
        row_groups: which rows depend on each other, as for ``pg.explain``.
        n_repeats: donors per row. ``"auto"``: ten.
        random_state: seed. The same seed gives the same donors for any batch size or
            order.
        progress: a bar on stderr, as for ``pg.explain``.

    Returns:
        A ``Missing``, with ``to_frame()``, ``summary()`` and ``plot()``.

    Raises:
        InputError: an argument cannot be used, or the number of modalities is 1 or more
            than 12.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3))
        >>> model = pg.Model(lambda table: table @ [2.0, 1.0, 0.0], task="regression")
        >>> groups = {"first": ["x0"], "others": ["x1", "x2"]}
        >>> result = pg.missing_modalities(
        ...     model, X, X @ [2.0, 1.0, 0.0], groups=groups, n_repeats=2
        ... )
        >>> result.to_frame()["present"].tolist()
        ['first + others', 'first', 'others', 'nothing']
        >>> result.to_frame()["loss"].round(1).tolist()[0]
        0.0
    """
    if scoring is None:
        scorers = None
    else:
        scorers = resolve_scorers(scoring)
    arguments = Arguments(
        model,
        X,
        y,
        groups=groups or "modality",
        background=background,
        loss=loss,
        row_groups=row_groups,
        n_repeats=n_repeats,
        random_state=random_state,
        progress=progress,
    )
    if arguments.y is None:
        hint = "Pass the targets of the rows."
        raise InputError(
            "missing_modalities needs y to measure the loss", hint=hint, code="PG005"
        )
    tell_of_other_order(arguments.X, y=arguments.y, row_groups=row_groups)
    with sparing(), full_float32():
        request = build_request(arguments, None, "missing_modalities")
        return _play(replace(request, space=_modalities(request.space)), scorers)


def _modalities(space: PlayerSpace) -> PlayerSpace:
    """Return the space of modalities and groups that may be missing, or refuse it."""
    remaining = {}
    for player_name, input_name in zip(space.names, space.modality, strict=True):
        if player_name not in space.groups:
            remaining[player_name] = input_name
    clash = []
    for group_name in space.groups:
        if group_name in remaining.values():
            clash.append(group_name)
    if clash:
        problem = (
            f"Group {clash[0]!r} has the name of an input that also has features "
            "outside it"
        )
        raise InputError(problem, hint="Rename the group.", code="PG008")
    space = space.coarse(remaining, space.groups)
    if len(space) < 2:
        problem = (
            "missing_modalities needs at least 2 modalities, and "
            f"{space.names[0]!r} is the only one"
        )
        raise InputError(
            problem,
            hint="Pass groups={'name': ['feature', …]} to define modalities.",
            code="PG039",
        )
    if len(space) > EXACT_PLAYERS:
        problem = (
            f"missing_modalities works with at most {EXACT_PLAYERS} modalities, "
            f"got {len(space)}"
        )
        raise InputError(problem, hint="Join some with groups=.", code="PG002")
    return space


def _play(request: Request, scorers: dict[str, Any] | None) -> Missing:
    """Play all subsets of modalities and return their numbers."""
    count = request.count
    modalities = len(request.space)
    absent = _subsets(modalities)

    value = _loss_with_predictions(request)
    if scorers is None:
        value = loss_value(request)
    subset_game = Game(request, value, joint=True)
    # Who lends is drawn among all rows, and a missing text or image is nobody's.
    subset_game.back_end.request = replace(
        request, donors=request.subject.lacking(request.donors)
    )
    outputs = subset_game.back_end.explained()
    tell_of_dependence(request, outputs)
    base_values = value(outputs, slice(0, count), outputs)
    if scorers is None:
        judge = None
    else:
        judge = Judge(request, scorers, subset_game, base_values[:, 1:])
    pairs = count * request.n_repeats * base_values.shape[1]
    if judge is None:
        subset_chunk = len(absent)
    else:
        subset_chunk = max(1, _KEPT // pairs)
    # Mean, standard error and effective number of rows of the model itself, ``(4,
    # measures, 1)``, then of subsets.
    subset_estimates = [_whole_loss(request, base_values[:, 0])]
    if judge is not None:
        unchanged = _unchanged_scores(judge, absent[:1], base_values[:, 1:])
        subset_estimates = [np.concatenate([*subset_estimates, unchanged], axis=1)]
    step_count = -(-(len(absent) - 1) // subset_chunk)
    with request.bar(
        count * request.n_repeats * step_count, "missing modalities"
    ) as progress:
        for start in range(1, len(absent), subset_chunk):
            subset_estimates.append(
                _some_subsets(
                    subset_game, judge, absent[start : start + subset_chunk], progress
                )
            )
    if judge is not None:
        judge.tell_of_undefined()
    estimates = np.concatenate(
        subset_estimates, axis=2
    )  # (mean | std | size of both ends, measures, subsets)
    names = ("loss", *(scorers or ()))
    measures = {}
    for name, numbers in zip(names, estimates.swapaxes(0, 1), strict=True):
        measures[name] = _with_interval(numbers, request.confidence)
    return Missing(request.space.names, ~absent, measures, _facts(request))


def _subsets(modalities: int) -> Booleans:
    """Return which modalities each subset leaves out, those that leave out few
    first.
    """
    numbers = np.arange(2**modalities)[:, None]
    absent = numbers >> np.arange(modalities)[::-1] & 1 > 0
    return absent[np.argsort(absent.sum(axis=1), kind="stable")]


def _loss_with_predictions(request: Request) -> Value:
    """Return what measures the loss of outputs, with the predictions after it."""
    loss = loss_value(request)

    def value(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:
        predicted = request.subject.outputs.predicted(outputs)
        return np.concatenate([loss(outputs, rows, base), predicted], axis=1)

    return value


def _unchanged_scores(judge: Judge, nothing: Booleans, predictions: Floats) -> Floats:
    """Return the scores of the model itself, as ``_stacked`` lays them out."""
    modalities = nothing.shape[1]
    count = len(predictions)
    play = Play(
        "modalities", ("subsets",), np.arange(modalities), nothing[:, :, None], None
    )
    pairs = (np.arange(count), np.full(count, NO_DONOR), predictions[:, None])
    return _stacked(judge.scores(play, pairs))


def _with_interval(numbers: Floats, confidence: float) -> Floats:
    """Return mean, error and interval of one measure from mean, error and both
    sizes.
    """
    mean, std, *sizes = numbers
    low, high = interval(mean, std, np.stack(sizes), confidence)[:2]
    return np.stack([mean, std, low, high])


def _whole_loss(request: Request, losses: Floats) -> Floats:
    """Return the loss of the model itself, its error and numbers of rows ``(4, 1,
    1)``.
    """
    mean, std, sizes = mean_over_rows(losses, request.sample_weight, request.units)
    return np.array([mean, std, *sizes], dtype=np.float64)[:, None, None]


def _facts(request: Request) -> dict[str, Any]:
    """Return the facts of what was measured, and on which rows."""
    independent: dict[str, Any] = {}
    if request.units is not None:
        independent = {"independent": independent_facts(request.units)}
    return {
        "loss": str(request.loss),
        "unit": request.loss.unit,
        "groups": request.space.groups,
        "seed": request.seed,
        "n_repeats": request.n_repeats,
        "confidence": request.confidence,
        "rows": request.count,
        **independent,
        "background": {"kind": request.background_kind, "rows": len(request.donors[0])},
        "task": request.subject.task.name,
        **request.subject.facts,
    }


def _some_subsets(
    game: Game, judge: Judge | None, absent: Booleans, progress: Progress
) -> Floats:
    """Return mean, standard error and effective number of rows of some subsets, ``(4,
    measures, subsets)``.
    """
    request = game.request
    subsets = len(absent)
    modality_play = Play(
        "modalities", ("subsets",), np.arange(absent.shape[1]), absent[..., None], None
    )
    moments = PairMoments(
        request.count, game.donors, game.shared, 1, subsets, request.units
    )
    kept_predictions: list[tuple[Integers, Integers, Floats]] = []

    def collect(_name: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        if request.sample_weight is None:
            weights = None
        else:
            weights = request.sample_weight[rows]
        # The loss itself, not its increase: their errors differ.
        moments.add(rows, donors, effects[:, :, 0], weights=weights)
        if judge is not None:
            kept_predictions.append((rows, donors, effects[:, :, 1:]))

    game.play([modality_play], range(request.n_repeats), collect, progress)
    losses = _stacked(moments.estimate())[:, None]
    if judge is None:
        return losses
    row_indices, donors, predictions = (
        np.concatenate(collected_arrays)
        for collected_arrays in zip(*kept_predictions, strict=True)
    )
    return np.concatenate(
        [
            losses,
            _stacked(judge.scores(modality_play, (row_indices, donors, predictions))),
        ],
        axis=1,
    )


def _stacked(estimate: tuple[Floats, Floats, Floats]) -> Floats:
    """Return mean, standard error and the effective number of rows of both ends, ``(4,
    *)``.
    """
    return np.stack([*estimate[:2], *estimate[2]])
