"""Permutation importance of any predictor, a function from encoded rows, as ``method="permutation"`` estimates it.

With the same rows, seed and loss, a network has the importances of its own explanation up to rounding.
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
from permgrad.base.checks import check_choice, check_class_names
from permgrad.models.batches import in_batches, sparing

Floats = npt.NDArray[np.float64]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]

#: Rows per call of a predictor.
BATCH_ROWS = 20_000
CONFIDENCE = 0.95
_LOSSES = {"classification": ("brier", "cross_entropy", "zero_one"), "regression": ("squared_error", "absolute_error")}


def loss_of(task: Literal["classification", "regression"], loss: str) -> str:
    """Return the loss's registered name; ``"auto"`` is one that is finite for every kind of model.

    NOTE[DIFF]: networks are explained by their log loss unless asked otherwise. A forest may give the true class a
    probability of exactly 0, whose log loss is infinite; the Brier score (Brier 1950) is proper too, and bounded.
    """
    check_choice("loss", loss, ("auto", *_LOSSES[task]))
    return _LOSSES[task][0] if loss == "auto" else loss


def row_losses(predictions: npt.NDArray[Any], y: npt.NDArray[Any], loss: str) -> Floats:
    """Return each row's loss in float64 of probabilities ``(rows, classes)`` or of predicted numbers ``(rows,)``."""
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
    encoded: npt.NDArray[np.float32],
    y: npt.NDArray[Any],
    players: Mapping[str, npt.NDArray[Any]],
    sampler: MarginalSampler,
    *,
    loss: str,
    class_names: Sequence[str] = (),
    n_repeats: int = 10,
) -> Explanation:
    """Return how much the loss grows when a feature's encoded columns are taken from a donor row.

    ``predict`` takes rows ``(rows, encoded)`` to probabilities ``(rows, classes)`` or numbers ``(rows,)``; ``y`` are
    class indexes, or numbers (without ``class_names``). ``players`` are the columns of each feature, without any its
    importance is exactly 0.
    """
    started = time.perf_counter()
    check_class_names(class_names)
    rows = np.ascontiguousarray(encoded, dtype=np.float32)
    every, base = np.arange(len(rows), dtype=np.int64), np.empty(len(rows))

    def measure(part: slice) -> None:
        base[part] = row_losses(predict(rows[part]), y[part], loss)

    def effects_of(columns: npt.NDArray[Any], receivers: npt.NDArray[np.int64], values: Any, size: int) -> Any:
        """Return effects ``(pairs,)`` and the batch size that was good enough."""
        # A row whose donor has the same values keeps its prediction: nothing to compute, and exactly 0.
        changed = np.flatnonzero((values != rows[receivers][:, columns]).any(axis=1))
        effects = np.zeros(len(receivers))

        def replace(part: slice) -> None:
            places = receivers[changed[part]]
            replaced = rows[places]
            replaced[:, columns] = values[changed[part]]
            effects[changed[part]] = row_losses(predict(replaced), y[places], loss) - base[places]

        return effects, in_batches(len(changed), size, replace)

    in_batches(len(rows), len(rows), measure)
    outputs = ("all", *class_names)
    # Mean, standard error, both ends of the interval, p-value.
    numbers = np.zeros((5, len(players), len(outputs)))
    numbers[4] = 1.0
    batch_rows, at_once = BATCH_ROWS, max(1, BATCH_ROWS // len(rows))
    for place, (name, columns) in enumerate(players.items()):
        if not len(columns):
            continue
        moments = PairMoments(len(rows), sampler.donors, sampler.shared, max(len(class_names), 1), 1)
        for start in range(0, n_repeats, at_once):
            repeats = range(start, min(start + at_once, n_repeats))
            drawn = [sampler.draw(name, columns, every, repeat) for repeat in repeats]
            lenders, values = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
            receivers = np.tile(every, len(drawn))
            effects, batch_rows = effects_of(columns, receivers, values, batch_rows)
            moments.add(receivers, lenders, effects[:, None], classes=y[receivers] if class_names else None)
        for column in range(len(outputs)):
            mean, std, count = moments.estimate(column - 1 if column else None)
            numbers[:, place, column] = np.concatenate([mean, std, *interval(mean, std, count, CONFIDENCE)])
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
            "seed": sampler.seed,
            "n_repeats": n_repeats,
            "rows_explained": len(rows),
            "background": {"kind": "rows explained" if sampler.shared else "given", "rows": sampler.donors},
            "confidence": CONFIDENCE,
            "quantity": "increase of the loss",
            "loss": loss,
            "seconds": time.perf_counter() - started,
        },
    )
