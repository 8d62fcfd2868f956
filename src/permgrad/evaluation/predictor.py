"""Permutation importance of any predictor, by the same donors and the same estimate as ``method="permutation"``.

A tree ensemble is no network, so ``permgrad.explain`` cannot take it. Here a model is a function from encoded rows to
predictions; the players, the counter-based donors, the pair moments and the intervals are those of the networks' own
explanations. With the same rows, seed and loss, a network explained here and by ``permgrad.explain`` has the same
importances up to rounding, which makes numbers of both kinds comparable.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from permgrad.attribution.explanation import Explanation
from permgrad.attribution.replace.donors import MarginalSampler
from permgrad.attribution.replace.moments import PairMoments, interval
from permgrad.base.checks import as_numbers, check_choice, check_class_names, check_confidence, check_names, check_whole
from permgrad.base.errors import InputError, shown
from permgrad.models.batches import halved, in_batches, sparing

Floats = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]

CLASS_LOSSES = ("brier", "cross_entropy", "zero_one")
NUMBER_LOSSES = ("squared_error", "absolute_error")


def loss_of(task: Literal["classification", "regression"], loss: str) -> str:
    """Return the loss's registered name; ``"auto"`` is one that is finite for every kind of model.

    NOTE[DIFF]: networks are explained by their log loss unless asked otherwise. A forest may give the true class a
    probability of exactly 0, whose log loss is infinite; the Brier score (Brier 1950) is proper too, and bounded.

    Examples:
        >>> loss_of("classification", "auto"), loss_of("regression", "auto")
        ('brier', 'squared_error')
    """
    choices = CLASS_LOSSES if task == "classification" else NUMBER_LOSSES
    check_choice("loss", loss, ("auto", *choices))
    return choices[0] if loss == "auto" else loss


def row_losses(predictions: npt.NDArray[Any], y: npt.NDArray[Any], loss: str) -> Floats:
    """Return each row's loss in float64 of probabilities ``(rows, classes)`` or of predicted numbers ``(rows,)``.

    Examples:
        >>> row_losses(np.array([[0.5, 0.5], [0.0, 1.0]]), np.array([0, 1]), "brier").round(9).tolist()
        [0.5, 0.0]
    """
    import torch

    from permgrad.models.losses import losses

    table = np.asarray(predictions, dtype=np.float64)
    # The registered losses take logits; the logarithms of probabilities are logits of the same probabilities.
    outputs = table[:, None] if table.ndim == 1 else np.log(np.clip(table, np.finfo(np.float64).eps, None))
    rows: Floats = losses.get(loss)(torch.tensor(outputs), torch.tensor(np.asarray(y))).numpy()
    return rows


@sparing()
def predictor_importance(
    predict: Predict,
    encoded: npt.ArrayLike,
    y: npt.ArrayLike,
    players: Mapping[str, npt.NDArray[Any]],
    *,
    loss: str,
    class_names: Sequence[str] = (),
    background: npt.ArrayLike | None = None,
    n_repeats: int = 10,
    seed: int = 0,
    confidence: float = 0.95,
    batch_rows: int = 20_000,
) -> Explanation:
    """Return how much worse the loss becomes when a feature's encoded columns are taken from a donor row.

    Args:
        predict: Encoded rows ``(rows, encoded)`` to probabilities ``(rows, classes)`` or numbers ``(rows,)``.
        encoded: The rows explained ``(rows, encoded)``.
        y: Class indexes, or numbers, ``(rows,)``.
        players: Feature name to its encoded columns, as ``TableEncoder.features()`` gives them; a feature without
            columns has importance exactly 0.
        loss: A registered loss, see ``loss_of``.
        class_names: Names of the classes for classification; empty for regression.
        background: Rows that donors come from ``(donors, encoded)``; None: the rows explained themselves.
        n_repeats: Donors per row and feature.
        seed: Of the donors: the same seed gives the donors that ``permgrad.explain(random_state=seed)`` draws.
        confidence: Of the intervals.
        batch_rows: Rows per call of ``predict``.

    Returns:
        A global ``Explanation`` by the method ``"permutation"``.

    Raises:
        InputError: Shapes do not fit together, or a class is called ``"all"``.

    Examples:
        >>> rows = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
        >>> found = predictor_importance(lambda own: 2.0 * own[:, 0], rows, 2.0 * rows[:, 0].astype(np.float64),
        ...                              {"a": np.array([0]), "b": np.array([1])}, loss="squared_error")
        >>> found.values[1, 0].item(), bool(abs(found.values[0, 0] - 2 * 4 * rows[:, 0].var()) < 0.8)
        (0.0, True)
    """
    started = time.perf_counter()
    class_names = check_names("class_names", class_names, "pass for example ('no', 'yes')")
    check_class_names(class_names)
    confidence = check_confidence(confidence)
    check_choice("loss", loss, (*CLASS_LOSSES, *NUMBER_LOSSES))
    check_whole("n_repeats", n_repeats, "pass for example 10")
    check_whole("batch_rows", batch_rows, "pass for example 20_000")
    rows, target, donors = _tables(encoded, y, background, class_names)
    if not isinstance(players, Mapping):
        raise InputError(
            f"players must map features to their encoded columns, however: players={shown(players)}; pass "
            "TableEncoder.features()"
        )
    sampler = MarginalSampler(donors, seed, shared=background is None)
    base = np.empty(len(rows))

    def measure(part: slice) -> None:
        base[part] = row_losses(predict(rows[part]), target[part], loss)

    in_batches(len(rows), len(rows), measure)
    groups = target.astype(np.int64) if len(class_names) else None
    outputs = ("all", *class_names)
    numbers = np.zeros((5, len(players), len(outputs)))
    numbers[4] = 1.0
    for place, (name, columns) in enumerate(players.items()):
        if not len(columns):
            continue
        moments = PairMoments(len(rows), len(donors), background is None, max(len(class_names), 1), 1)
        for pairs in _effects(predict, rows, target, base, sampler, (name, columns), (n_repeats, batch_rows), loss):
            moments.add(*pairs, classes=None if groups is None else groups[pairs[0]])
        numbers[:, place] = _estimates(moments, len(outputs), confidence)
    return Explanation(
        values=numbers[0],
        names=tuple(players),
        modality=("table",) * len(players),
        outputs=outputs,
        method="permutation",
        scope="global",
        std=numbers[1],
        low=numbers[2],
        high=numbers[3],
        p_values=numbers[4],
        meta={
            "seed": seed,
            "n_repeats": n_repeats,
            "rows_explained": len(rows),
            "background": {"kind": "rows explained" if background is None else "given", "rows": len(donors)},
            "confidence": confidence,
            "quantity": "increase of the loss",
            "loss": loss,
            "seconds": time.perf_counter() - started,
        },
    )


def _tables(
    encoded: npt.ArrayLike, y: npt.ArrayLike, background: npt.ArrayLike | None, class_names: Sequence[str]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[np.float32]]:
    """Return rows, targets and the rows that donors come from, which must fit together."""
    fix = "pass rows of an encoder and their targets"
    rows = np.ascontiguousarray(as_numbers("encoded", encoded, fix), dtype=np.float32)
    target = np.asarray(y)
    if rows.ndim != 2 or target.shape != (len(rows),) or not len(rows):
        raise InputError(
            "predictor_importance needs rows of shape (rows, encoded) and as many y, however: "
            f"their shapes are {rows.shape} and {target.shape}; {fix}"
        )
    if class_names and not np.isin(target, np.arange(len(class_names))).all():
        raise InputError(
            f"y must hold indexes of the {len(class_names)} classes, however: y={shown(target)} and class_names="
            f"{shown(class_names)}; name every class"
        )
    if background is None:
        return rows, target, rows
    donors = np.ascontiguousarray(as_numbers("background", background, fix), dtype=np.float32)
    if donors.ndim != 2 or donors.shape[1:] != rows.shape[1:] or not len(donors):
        raise InputError(
            f"background must be rows like encoded, however: their shapes are {donors.shape} and {rows.shape}; "
            "pass rows of the same encoder"
        )
    return rows, target, donors


def _estimates(moments: PairMoments, outputs: int, confidence: float) -> Floats:
    """Return mean, standard error, both ends of the interval and p-value of each output, ``(5, outputs)``."""
    columns = []
    for column in range(outputs):
        mean, std, count = moments.estimate(None if column == 0 else column - 1)
        columns.append([float(each[0]) for each in (mean, std, *interval(mean, std, count, confidence))])
    return np.array(columns).T


def _effects(
    predict: Predict,
    rows: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    base: Floats,
    sampler: MarginalSampler,
    player: tuple[str, npt.NDArray[Any]],
    sizes: tuple[int, int],
    loss: str,
) -> Any:
    """Yield rows, donors ``(pairs,)`` and effects ``(pairs, 1)``, in batches of whole repeats."""
    (name, columns), (n_repeats, batch_rows) = player, sizes
    at_once = max(1, batch_rows // len(rows))
    every = np.arange(len(rows), dtype=np.int64)
    for start in range(0, n_repeats, at_once):
        repeats = range(start, min(start + at_once, n_repeats))
        drawn = [sampler.draw(name, columns, every, repeat) for repeat in repeats]
        donors, values = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        receivers = np.tile(every, len(drawn))
        # A row whose donor has the same values keeps its prediction: nothing to compute, and exactly 0.
        changed = np.flatnonzero((values != rows[receivers][:, columns]).any(axis=1))
        effects = np.zeros(len(receivers))
        done = 0
        while done < len(changed):
            chosen = changed[done : done + batch_rows]
            places = receivers[chosen]
            replaced = rows[places]
            replaced[:, columns] = values[chosen]
            try:
                effects[chosen] = row_losses(predict(replaced), y[places], loss) - base[places]
            except (RuntimeError, MemoryError) as error:
                batch_rows = halved(len(chosen), error)
            else:
                done += len(chosen)
        yield receivers, donors, effects[:, None]
