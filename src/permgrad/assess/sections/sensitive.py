"""For whom the model is right: rates, errors and reliance by the levels of columns that need not be features."""

from __future__ import annotations

from typing import Any

import numpy as np

from permgrad.assess.work import Work
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.arrays import Booleans, Floats
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.sensitive import audit, levels_by, told_by

#: Features whose importance is compared, and columns by which a level is predicted: the most important ones.
MOST_FEATURES, MOST_COLUMNS = 10, 50


def sensitive(work: Work) -> None:
    """Fill ``sensitive``: the ``positive`` class, and by column ``audit``, with the reliance, and ``told_by``."""
    columns, predicted, codes = work.test.sensitive, work.predictions, work.model.na
    main, between, seed = (
        work.content.explanation,
        work.test.dependence,
        work.budget.seed,
    )
    assert columns is not None and main is not None  # noqa: PT018 — the capability, and the section before
    place = work.content.positive_place(predicted.classes)
    usual: dict[str, Any] = {"na": codes, "dependence": between, "seed": seed}
    table = (
        columns.iloc[:, :0]
        if work.test.table is None
        else work.test.table.drop(columns=work.texts)
    )
    with keeping_warnings():
        told = audit(
            columns,
            predicted.scored,
            positive=place,
            labels_only=predicted.labels_only,
            reliance=_reliance(work),
            **usual,
        )
        for facts in told:
            members, _, _ = levels_by(columns, name := facts["column"], codes)
            first = [
                one
                for one in dict.fromkeys([*main.ranking(), *table])
                if one in table and one != name
            ]
            cells = blank_codes(table[first[:MOST_COLUMNS]], codes)
            facts |= {
                "is_feature": name in table,
                "told_by": told_by(cells, members, between, seed) if first else None,
            }
    work.put(
        sensitive={
            "positive": predicted.classes[place]
            if len(predicted.classes) == 2
            else None,
            "columns": told,
        }
    )


def _reliance(work: Work) -> dict[str, tuple[Floats, Booleans]]:
    """Return by feature how much each test row's loss grows without it, and of which rows that is known."""
    main, model, clock = work.content.explanation, work.model, work.budget.clock
    places, seconds, asked = work.ranked
    assert main is not None
    names = clearly_matter(main)[:MOST_FEATURES]
    if not names:
        return {}
    if clock.left() < seconds:
        clock.cut.append("reliance by level: it was not measured")
        return {}
    places = np.arange(len(work.explained)) if places is None else places
    rows = work.explained.take(places)
    try:
        losses = model.row_losses(rows, **{"method": "permgrad", **asked})
    except InputError:  # such as too few groups
        return {}
    member = np.zeros(len(work.test), dtype=bool)
    member[work.places[places]] = True
    reliance = {}
    for name in names:
        if name in losses:
            values = np.zeros(len(work.test))
            values[work.places[places]] = losses[name]
            reliance[name] = values, member
    return reliance
