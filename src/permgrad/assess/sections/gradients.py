"""Integrated gradients of all test rows, of networks that are explained by them first,
as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from permgrad.assess.store import storable
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.method.integrated_gradients import IntegratedGradients
from permgrad.base.arrays import Floats
from permgrad.base.sequences import values_at

#: A row that could occur in the table, and the published choice, where no category has
#: any level.
BASELINES = ("median", "zeros")
#: How the report describes each.
_REPORTED = (
    *(
        "baseline_name",
        "baseline",
        "unit",
        "rule",
        "completeness_gap",
        "quadrature_error",
    ),
    *("output_range", "steps", "mean_steps"),
)


@storable
@dataclass(kw_only=True)
class GradientSection:
    """Integrated gradients summed up over all test rows.

    The table has one row per encoded input (``level = "input"``) and per feature
    (``level = "feature"``) with ``baseline, name, mean, mean_absolute, published``.
    ``facts["baselines"]`` lists ``baseline_name, baseline`` (in words),
    ``completeness_gap, quadrature_error``.
    """

    table: pd.DataFrame
    facts: Mapping[str, Any]


def gradients(work: Work) -> None:
    """Fill ``gradients``: explain every test row from each of ``BASELINES``."""
    model = work.model
    encoder = work.model.encoder
    methods = {}
    for baseline_name in BASELINES:
        methods[baseline_name] = IntegratedGradients(
            baseline=baseline_name, players="encoded"
        )
    explanations = {}
    for baseline_name, method in methods.items():
        explanations[baseline_name] = model.explain(
            work.explained, method=method, target=model.positive
        )
    tables = []
    for baseline_name, encoded in explanations.items():
        tables.append(summary(baseline_name, encoded, encoder))
    first = explanations[BASELINES[0]]
    facts = {
        "output": first.outputs[0],
        "rows": len(first.values),
        **({"part": first.meta["part"]} if "part" in first.meta else {}),
        "baselines": [
            {fact_name: explanation.meta.get(fact_name) for fact_name in _REPORTED}
            for explanation in explanations.values()
        ],
    }
    work.put(
        gradients=GradientSection(
            table=pd.concat(tables, ignore_index=True), facts=facts
        )
    )
    work.all_rows = first


def by_feature(encoded: Explanation, encoder: Any) -> tuple[list[str], Floats]:
    """Add up the encoded inputs of each feature: names, and ``(rows, features)`` for
    the first output.
    """
    names = list(map(str, encoder.features()))
    columns = []
    for encoded_columns in encoder.features().values():
        columns.append(np.asarray(encoded_columns, dtype=np.intp))
    return names, np.stack(
        [
            encoded.values[:, encoded_columns, 0].sum(axis=1)
            for encoded_columns in columns
        ],
        axis=1,
    )


def summary(baseline: str, encoded: Explanation, encoder: Any) -> pd.DataFrame:
    """Return one line for each encoded input, then one for each feature."""
    names, feature_sums = by_feature(encoded, encoder)
    owner = {}
    for feature_name, encoded_columns in encoder.features().items():
        for column in encoded_columns:
            owner[int(column)] = feature_name
    owners = values_at(owner, range(encoded.values.shape[1]))
    sides = (
        ("input", owners, encoded.names, encoded.values[:, :, 0]),
        ("feature", names, names, feature_sums),
    )
    tables = []
    for level, features, shown, values in sides:
        total = values.sum(axis=0)
        total_norm = float(np.abs(values.sum(axis=0)).sum())
        facts = {
            "baseline": baseline,
            "level": level,
            "feature": features,
            "name": list(shown),
        }
        means = {
            "mean": values.mean(axis=0),
            "mean_absolute": np.abs(values).mean(axis=0),
        }
        tables.append(
            pd.DataFrame(
                {
                    **facts,
                    **means,
                    "published": total / total_norm if total_norm > 0 else 0.0 * total,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)
