"""Importances in units that people speak: the log loss or RMSE without a feature,
beside that of the model.

A loss in squared dollars says little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from permgrad.base.arrays import Floats
from permgrad.evaluation.metrics import metrics
from permgrad.models.losses import named_loss
from permgrad.pages.words import clean, shorten

if TYPE_CHECKING:
    from permgrad.assess.assessment import Assessment
    from permgrad.attribution.explanation import Explanation


#: Units in plain words.
_PLAIN = {"nats": "log loss"}


def plain_units(explanation: Any) -> Any:
    """Return an explanation in a unit, and by a name, that every reader knows.

    None stays None.

    Examples:
        >>> import numpy as np
        >>> from permgrad import Explanation
        >>> names = ("a",), ("table",), ("all",)
        >>> explained = Explanation(
        ...     np.ones((1, 1)), *names, "permgrad", "global", meta={"unit": "nats"}
        ... )
        >>> plain_units(explained).meta["unit"]
        'log loss'
    """
    if explanation is None:
        return None
    plain = _PLAIN.get(str(explanation.meta.get("unit")))
    if plain is None:
        return explanation
    loss = named_loss(explanation.meta.get("loss"))
    if loss is not None and loss.by_y:
        plain = loss.label
    return replace(explanation, meta={**explanation.meta, "unit": plain})


def in_plain_units(content: Assessment) -> Assessment:
    """Return content whose explanations have units that every reader knows."""
    listed = content.listed
    together = content.together
    if listed is not None:
        listed = replace(
            listed,
            local=[
                replace(local_rows, explanation=plain_units(local_rows.explanation))
                for local_rows in listed.local
            ],
        )
    if together is not None and together.pairs is not None:
        together = replace(together, pairs=plain_units(together.pairs))
    row_sections = []
    for row_section in content.rows:
        row_sections.append(
            replace(row_section, explanation=plain_units(row_section.explanation))
        )
    explanations = {}
    for field_name in ("explanation", "local", "refits"):
        explanations[field_name] = plain_units(getattr(content, field_name))
    return replace(
        content, rows=row_sections, listed=listed, together=together, **explanations
    )


def output_words(explanation: Explanation, target: str, output: int) -> str:
    """Return what the parts of an output add up to: ``log-odds of default``, or the
    target's name.
    """
    unit_words = clean(explanation.meta.get("unit") or "output")
    if unit_words == "y":
        return shorten(target, 60)
    if explanation.outputs[output] == "all":
        return unit_words
    return f"{unit_words} of {shorten(explanation.outputs[output], 40)}"


class Loss(NamedTuple):
    """A loss in its metric: that of the model and of a constant, and ``without`` a
    feature by its importance.
    """

    metric: str
    model: float
    constant: float
    without: Callable[[float], float]

    @property
    def label(self) -> str:
        """The name of the metric."""
        return metrics.get(self.metric).label

    @property
    def grown(self) -> str:
        """What ``growth`` returns."""
        return f"growth of the {self.label} when it is shuffled"

    def growth(self, importances: npt.ArrayLike) -> Floats:
        """Return how much the loss grows without features of these importances, of any
        shape.
        """
        values = np.asarray(importances, dtype=np.float64)
        return (
            np.array(list(map(self.without, values.ravel().tolist()))).reshape(
                values.shape
            )
            - self.model
        )


def loss_without(about: Mapping[str, Any], measured: Mapping[str, Any]) -> Loss | None:
    """Return the log loss or RMSE of the model, and what it is without a feature.

    ``about`` is the explanation's ``meta``, ``measured`` is ``metrics.json``. None: the
    model has learned nothing, or the losses of both are not the same.

    Examples:
        >>> about = {"loss": "squared_error", "quantity": "increase of the loss"}
        >>> constant = {"mse": 100.0, "learnt": True}
        >>> loss = loss_without(about, {"test": {"mse": 9.0}, "constant": constant})
        >>> loss.model, loss.constant, loss.without(16.0)
        (3.0, 10.0, 5.0)
    """
    record = named_loss(about.get("loss"))
    if record is None or record.metric is None:
        return None
    if "increase" not in str(about.get("quantity")):
        return None
    metric = record.metric
    scores_of_constant = measured.get("constant") or {}
    model = (measured.get("test") or {}).get(metric)
    constant = scores_of_constant.get(metric)
    if model is None or constant is None or not scores_of_constant.get("learnt", False):
        return None
    if constant <= model:
        return None
    if metric != "mse":
        return Loss(metric, model, constant, lambda importance: model + importance)

    def error(importance: float) -> float:
        if math.isfinite(importance):
            return math.sqrt(max(model + importance, 0.0))
        return math.nan

    return Loss("rmse", error(0.0), error(constant - model), error)
