"""For whom the model is right: rates, errors and reliance by the levels of columns that
need not be features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.assess.work import Work
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.sensitive import audit, by_threshold, levels_by, told_by
from permgrad.models.decision import HALF

#: Features whose importance is compared, and columns by which a level is predicted: the
#: most important ones.
MOST_FEATURES = 10
MOST_COLUMNS = 50


def sensitive(work: Work) -> None:
    """Fill ``sensitive``: the ``positive`` class, and by column ``audit``, with the
    reliance, and ``told_by``.
    """
    columns = work.test.sensitive
    predicted = work.predictions
    codes = work.model.na
    main_explanation = work.content.explanation
    between = work.test.dependence
    random_seed = work.budget.seed
    assert columns is not None and main_explanation is not None  # noqa: PT018 — the capability, and the section before
    class_index = work.content.positive_place(predicted.classes)
    usual: dict[str, Any] = {"na": codes, "dependence": between, "seed": random_seed}
    if work.test.table is None:
        table = columns.iloc[:, :0]
    else:
        table = work.test.table.drop(columns=work.texts)
    with keeping_warnings():
        column_facts = audit(
            columns,
            predicted.scored,
            positive=class_index,
            labels_only=predicted.labels_only,
            reliance=_reliance(work),
            **usual,
        )
        for facts in column_facts:
            members, levels, _ = levels_by(
                columns, column_name := facts["column"], codes
            )
            if len(predicted.classes) == 2 and not predicted.labels_only:
                facts["thresholds"] = by_threshold(
                    members,
                    levels,
                    predicted.scored,
                    class_index,
                    _threshold_of(work, class_index),
                    between,
                )
            first = []
            for feature_name in dict.fromkeys([*main_explanation.ranking(), *table]):
                if feature_name in table and feature_name != column_name:
                    first.append(feature_name)
            cells = blank_codes(table[first[:MOST_COLUMNS]], codes)
            facts |= {
                "is_feature": column_name in table,
                "told_by": told_by(cells, members, between, random_seed)
                if first
                else None,
            }
    work.put(
        sensitive={
            "positive": predicted.classes[class_index]
            if len(predicted.classes) == 2
            else None,
            "columns": column_facts,
        }
    )


def _threshold_of(work: Work, class_index: int) -> float:
    """Return the probability of a class from which on the model predicts it."""
    decision = work.model.decision
    if decision is None:
        return HALF
    return decision.of(class_index)


def _reliance(work: Work) -> dict[str, tuple[Floats, Booleans]]:
    """Return by feature how much each test row's loss grows without it, and of which
    rows that is known.
    """
    main_explanation = work.content.explanation
    model = work.model
    clock = work.budget.clock
    row_indices, seconds, asked_options = work.ranked
    assert main_explanation is not None
    names = clearly_matter(main_explanation)[:MOST_FEATURES]
    if not names:
        return {}
    if clock.left() < seconds:
        clock.cut.append("reliance by level: it was not measured")
        return {}
    if row_indices is None:
        row_indices = np.arange(len(work.explained))
    ranked_rows = work.explained.take(row_indices)
    try:
        losses = model.row_losses(
            ranked_rows, **{"method": "permgrad", **asked_options}
        )
    except InputError:  # such as too few groups
        return {}
    member = np.zeros(len(work.test), dtype=bool)
    member[work.places[row_indices]] = True
    reliance = {}
    for feature_name in names:
        if feature_name in losses:
            values = np.zeros(len(work.test))
            values[work.places[row_indices]] = losses[feature_name]
            reliance[feature_name] = values, member
    return reliance
