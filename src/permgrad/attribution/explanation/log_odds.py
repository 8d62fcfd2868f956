"""Attributions of single rows to the scores of two classes, as attributions to the log-odds of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from permgrad.attribution.explanation import Explanation


def in_log_odds(explanation: Explanation) -> Explanation:
    """Return attributions of two classes to their log-odds, where they are to a score of each class.

    A model with two outputs has a score for each class, and only their difference makes the probability. The
    attributions of a difference are the difference of the attributions. The other class's have the opposite sign.

    Examples:
        >>> import numpy as np
        >>> from permgrad import Explanation
        >>> names = ("a",), ("table",), ("no", "yes")
        >>> facts = {"additive": True, "base_values": np.array([0.5, 1.0]), "meta": {"unit": "logit"}}
        >>> odds = in_log_odds(Explanation(np.array([[[-1.0, 0.25]]]), *names, "shapley", "local", **facts))
        >>> odds.values[0, 0].tolist(), odds.base_values.tolist(), odds.meta["unit"]
        ([-1.25, 1.25], [-0.5, 0.5], 'log-odds')
    """
    about, values, count = (
        explanation.meta,
        explanation.values,
        len(explanation.outputs),
    )
    if (
        explanation.scope != "local"
        or about.get("unit") != "logit"
        or about.get("task") == "multilabel"
    ):
        return explanation
    # Without a note on it, one output makes scores that differ only in sign.
    mirrored = count == 2 and np.array_equal(
        values[..., 0], -values[..., 1], equal_nan=True
    )
    columns = about.get("output_columns", 1 if mirrored else count)
    changed: dict[str, Any] = {"meta": {**about, "unit": "log-odds"}}
    if columns == 2 == count and explanation.additive:
        for name in ("values", "base_values", "predictions"):
            scores = getattr(explanation, name)
            changed[name] = None if scores is None else scores - scores[..., ::-1]
        changed["parts"] = {
            name: part - part[..., ::-1] for name, part in explanation.parts.items()
        }
        changed |= dict.fromkeys(("std_error", "low", "high", "p_values")) | {
            "part_std": {}
        }
    elif columns != 1 or about.get("task") != "classification":
        return explanation
    return replace(explanation, **changed)
