"""``pg.missing``: loss and scores of a model for every subset of its modalities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor

from permgrad.attribution.build import loss_unit
from permgrad.attribution.method import Request, Scope
from permgrad.attribution.players.space import PlayerSpace
from permgrad.attribution.replace.game import Game, loss_value
from permgrad.attribution.replace.moments import NO_DONOR, PairMoments, interval, mean_over_rows
from permgrad.attribution.replace.plays import EXACT_PLAYERS, Booleans, Floats, Integers, Play
from permgrad.attribution.replace.scoring import Judge, resolve_scorers, stored_predictions
from permgrad.attribution.request import Arguments, build_request
from permgrad.base.checks import check_choice, check_names
from permgrad.base.errors import InputError, listed
from permgrad.base.progress import Progress
from permgrad.data.types.column_notes import tell_of_other_order
from permgrad.models.batches import sparing
from permgrad.models.devices import full_float32

if TYPE_CHECKING:
    from permgrad.report.plots import PlotFigure

#: What stands in the place of a subset's name where no modality is present.
NOTHING = "nothing"
#: Numbers of predictions that are kept together for scorers.
_KEPT = 2**24


@dataclass(frozen=True, eq=False)
class Missing:
    """How well a model does with some of its modalities alone.

    Args:
        modalities: their names.
        present: for each subset which modalities are present, bool ``(subsets, modalities)``; all of them first, then
            fewer and fewer.
        measures: ``"loss"`` and each score, each ``(4, subsets)``: its mean, standard error and both ends of the
            interval.
        meta: seed, repeats, background, what was held, the loss and its unit.

    Examples:
        >>> numbers = np.array([[0.1, 0.4], [0.01, 0.02], [0.08, 0.36], [0.12, 0.44]])
        >>> missing = Missing(("image",), np.array([[True], [False]]), {"loss": numbers})
        >>> missing.to_frame()["present"].tolist()
        ['image', 'nothing']
    """

    modalities: tuple[str, ...]
    present: Booleans
    measures: dict[str, Floats]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The subsets in words, ``"image + table"``; ``"nothing"`` where none is present."""
        joined = (" + ".join(np.array(self.modalities, dtype=object)[subset]) for subset in self.present)
        return tuple(name or NOTHING for name in joined)

    def to_frame(self) -> pd.DataFrame:
        """Return one line per subset: ``present, loss, std, ci_low, ci_high``.

        Behind them stand each score and its own three, such as ``roc_auc, roc_auc_std, roc_auc_ci_low,
        roc_auc_ci_high``. Undefined is NaN.
        """
        columns: dict[str, Any] = {"present": list(self.names)}
        for measure, numbers in self.measures.items():
            ends = [f"{measure}_{part}" if measure != "loss" else part for part in ("std", "ci_low", "ci_high")]
            columns |= dict(zip([measure, *ends], numbers, strict=True))
        return pd.DataFrame(columns)

    def plot(self, measure: str = "loss", *, top_n: int | None = 32, title: str | None = None) -> PlotFigure:
        """Draw the subsets by rising loss (falling score) with their intervals; lines: everything and nothing present.

        Args:
            measure: ``"loss"`` or a score.
            top_n: how many subsets are drawn, the best ones; None: all.
            title: None: a default; ``""``: none.
        """
        from permgrad.report.plots.modality import missing

        check_choice("measure", measure, self.measures)
        return missing(self, measure, top_n=top_n, title=title)

    def __repr__(self) -> str:
        return f"<Missing: {len(self.present)} subsets of {listed(self.modalities)}>"


class _EverySubset:
    """What ``build_request`` asks of a method."""

    scopes: ClassVar[tuple[Scope, ...]] = ("global",)
    options: ClassVar[Mapping[str, Any]] = {}

    def __call__(self, request: Request) -> Any:
        raise NotImplementedError


def missing(
    model: Any,
    inputs: Any,
    y: Any,
    *,
    hold: Iterable[str] = (),
    groups: Mapping[str, Iterable[str]] | None = None,
    scoring: Any = None,
    background: Any = None,
    loss: Any = "auto",
    sample_weight: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    n_repeats: int = 10,
    batch_size: int | Literal["auto"] = "auto",
    random_state: Any = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> Missing:
    """Measure how well a model does when some of its modalities are missing: loss and scores of every subset.

    A modality that is missing is replaced by that of a background row, the same row for all that are missing: they fit
    each other, and not the row. The loss of a subset is the mean over rows and donors; its interval holds the chance of
    both (``PairMoments``). All modalities present is the model as it is. The Shapley value of this game is
    ``pg.explain(..., level="modality")``.

    Args:
        model: a torch network of several inputs, or any other model with ``groups=``.
        inputs: the rows, as for ``pg.explain``.
        y: their targets.
        hold: modalities that are always present, such as masks and lengths.
        groups: columns, features or inputs that are one modality: name to members. What is in no group stays with the
            input that it belongs to: a table's other columns are together the modality ``table``.
        scoring: one scikit-learn scorer's name, or several, or callables: columns of the result beside the loss.
        background: rows that donors are drawn from, in the form of ``inputs``; default as for ``pg.explain``.
        loss: of each row; ``"auto"`` is the model's own.
        sample_weight: weights of the rows, ``(rows,)``.
        confidence: confidence level of the intervals.
        n_repeats: donors per row.
        batch_size: rows per forward; ``"auto"`` fits the cache.
        random_state: seed; the same seed gives the same donors whatever the batch size or order.
        progress: a bar on stderr, as for ``pg.explain``.
        **options: what describes a network or predictor, as for ``pg.explain``: ``head``, ``output_kind``, ``task``,
            ``class_names``, ``segments``.

    Returns:
        A ``Missing``, with ``to_frame()`` and ``plot()``.

    Raises:
        InputError: an argument cannot be used, there is one modality alone, or more than 12.

    Examples:
        >>> import permgrad as pg
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 3))
        >>> result = pg.missing(lambda table: table @ [2.0, 1.0, 0.0], X, X @ [2.0, 1.0, 0.0], task="regression",
        ...                     groups={"first": ["x0"], "others": ["x1", "x2"]}, random_state=0, n_repeats=2)
        >>> result.to_frame()["present"].tolist()
        ['first + others', 'first', 'others', 'nothing']
        >>> result.to_frame()["loss"].round(1).tolist()[0]
        0.0
    """
    if y is None:
        raise InputError("missing measures the loss and needs y. Pass the targets of the rows.")
    held = check_names("hold", hold, "pass for example hold=('attention_mask',)")
    scorers = None if scoring is None else resolve_scorers(scoring)
    arguments = Arguments(
        model, inputs, y, level="feature" if groups else "modality", groups=groups, background=background, loss=loss,
        sample_weight=sample_weight, confidence=confidence, n_repeats=n_repeats, batch_size=batch_size,
        random_state=random_state, progress=progress, options=options,
    )  # fmt: skip
    tell_of_other_order(inputs, y=y, sample_weight=sample_weight)
    with sparing(), full_float32():
        request = build_request(arguments, _EverySubset(), "missing")
        request = replace(request, space=_modalities(request.space, held))
        return _play(request, scorers, held)


def _modalities(space: PlayerSpace, held: Sequence[str]) -> PlayerSpace:
    """Return the space of modalities and groups that may be missing, or refuse it."""
    remaining = {
        name: modality for name, modality in zip(space.names, space.modality, strict=True) if name not in space.groups
    }
    clash = [name for name in space.groups if name in remaining.values()]
    if clash:
        raise InputError(
            f"Group {clash[0]!r} has the name of an input with other features beside it. Rename the group."
        )
    space = space.coarse(remaining, space.groups)
    if len(space) < 2:
        raise InputError(
            f"{space.names[0]!r} is the only modality, so that there is no subset of them. Pass "
            "groups={'name': ['feature', …]} to say which features belong together."
        )
    for name in held:
        # Masks and lengths are held by themselves.
        check_choice("hold", name, dict.fromkeys([*space.names, *space.inputs]))
    space = space.without(held)
    if not len(space):
        raise InputError("hold= names every modality, so that none can be missing. Leave one out.")
    if len(space) > EXACT_PLAYERS:
        raise InputError(
            f"missing tries every subset of at most {EXACT_PLAYERS} modalities, got {len(space)}. Join some with "
            "groups=, or keep some with hold=."
        )
    return space


def _play(request: Request, scorers: dict[str, Any] | None, held: Sequence[str]) -> Missing:
    """Play all subsets of modalities and return their numbers."""
    count, modalities = request.count, len(request.space)
    absent = np.arange(2**modalities)[:, None] >> np.arange(modalities)[::-1] & 1 > 0
    absent = absent[np.argsort(absent.sum(axis=1), kind="stable")]

    def value(outputs: Tensor, rows: slice | Integers, base: Tensor) -> Floats:
        loss = loss_value(request)(outputs, rows, base)
        return loss if scorers is None else np.concatenate([loss, stored_predictions(request, outputs)], axis=1)

    game = Game(request, value, joint=True)
    outputs = game.outputs()
    base = value(outputs, slice(0, count), outputs)
    judge = None if scorers is None else Judge(request, scorers, base[:, 1:])
    pairs = count * request.n_repeats * base.shape[1]
    size = len(absent) if judge is None else max(1, _KEPT // pairs)
    rows, nobody = np.arange(count), np.full(count, NO_DONOR, dtype=np.int64)
    parts = [_as_it_is(request, judge, base, rows, nobody)]
    with Progress(count * request.n_repeats * -(-(len(absent) - 1) // size), "missing", request.progress) as progress:
        parts += [
            _some_subsets(game, judge, base[:, 0], absent[start : start + size], progress)
            for start in range(1, len(absent), size)
        ]
    if judge is not None:
        judge.tell_of_undefined()
    estimates = np.concatenate(parts, axis=2)  # (mean | std | size, measures, subsets)
    measures = {
        name: np.stack([mean, std, *interval(mean, std, effective, request.confidence)[:2]])
        for name, (mean, std, effective) in zip(("loss", *(scorers or ())), estimates.swapaxes(0, 1), strict=True)
    }
    facts = request.subject.facts
    about = {
        "loss": request.loss,
        "unit": loss_unit(request, request.loss),
        "groups": request.space.groups,
        "seed": request.seed,
        "n_repeats": request.n_repeats,
        "confidence": request.confidence,
        "rows": count,
        "background": {"kind": request.background_kind, "rows": len(request.donors[0])},
        "task": request.subject.task,
        **facts,
        "held": list(dict.fromkeys([*facts.get("held", ()), *held])),
    }
    return Missing(request.space.names, ~absent, measures, about)


def _as_it_is(request: Request, judge: Judge | None, base: Floats, rows: Integers, nobody: Integers) -> Floats:
    """Return mean, standard error and effective number of rows of the model itself, ``(3, measures, 1)``."""
    loss = np.array(mean_over_rows(base[:, 0], request.sample_weight), dtype=np.float64)[:, None, None]
    if judge is None:
        return loss
    unchanged = np.zeros((len(rows), 1, base.shape[1] - 1))
    return np.concatenate([loss, np.stack(judge.scores((rows, nobody, unchanged)))], axis=1)


def _some_subsets(game: Game, judge: Judge | None, base: Floats, absent: Booleans, progress: Progress) -> Floats:
    """Return mean, standard error and effective number of rows of some subsets, ``(3, measures, subsets)``."""
    request, subsets = game.request, len(absent)
    play = Play("modalities", ("subsets",), np.arange(absent.shape[1]), absent[..., None], np.eye(subsets)[None])
    moments = PairMoments(request.count, game.back_end.donors, game.back_end.shared, 1, subsets)
    kept: list[tuple[Integers, Integers, Floats]] = []

    def collect(_name: str, rows: Integers, donors: Integers, effects: Floats) -> None:
        weights = None if request.sample_weight is None else request.sample_weight[rows]
        # The loss itself, not its rise: their errors differ.
        moments.add(rows, donors, effects[:, :, 0] + base[rows, None], weights=weights)
        if judge is not None:
            kept.append((rows, donors, effects[:, :, 1:]))

    game.play([play], range(request.n_repeats), collect, progress)
    losses = np.stack(moments.estimate())[:, None]
    if judge is None:
        return losses
    rows, donors, changes = (np.concatenate(each) for each in zip(*kept, strict=True))
    return np.concatenate([losses, np.stack(judge.scores((rows, donors, changes)))], axis=1)
