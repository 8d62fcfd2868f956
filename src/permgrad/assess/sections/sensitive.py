"""For whom the model is right: rates, errors and reliance by the levels of columns that need not be features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from permgrad.assess.work import Work
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.significance import NORMAL_95
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.segments import FEWEST_ROWS
from permgrad.evaluation.sensitive import audit, largest, levels_by, mark_clear, told_by

#: Features whose importance is compared, and columns by which a level is predicted: the most important ones.
MOST_FEATURES, MOST_COLUMNS = 10, 50


def sensitive(work: Work) -> None:
    """Fill ``sensitive``: the ``positive`` class, and by column ``audit``, ``told_by`` and ``_reliance``."""
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
            **usual,
        )
        for facts in told:
            members, levels, _ = levels_by(columns, name := facts["column"], codes)
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
            facts["reliance"] = _reliance(work, members, levels)
    # All that can become a sentence is one family of tests.
    mark_clear(
        [line for facts in told for line in (*facts["measures"], *facts["reliance"])]
    )
    work.put(
        sensitive={
            "positive": predicted.classes[place]
            if len(predicted.classes) == 2
            else None,
            "columns": told,
        }
    )


def _reliance(
    work: Work, codes: Integers, levels: Sequence[str]
) -> list[dict[str, Any]]:
    """Explain the rows of each level alone, with the same replacements, and compare importances as measures are."""
    main, model, rows, clock = (
        work.content.explanation,
        work.model,
        work.explained,
        work.budget.clock,
    )
    places, seconds, asked = work.ranked
    options = dict(asked)
    assert main is not None
    if clock.left() < 2 * seconds:
        clock.cut.append("reliance by level: it was not measured")
        return []
    places = np.arange(len(rows)) if places is None else places
    if not model.is_own_network and "background" not in model.options:
        options["background"] = getattr(model, "background", rows.inputs)
    values, errors = (np.full((len(levels), len(main.names)), np.nan) for _ in range(2))
    for at in range(len(levels)):
        some = rows.take(places[codes[work.places[places]] == at])
        if len(some) < FEWEST_ROWS:
            continue
        try:
            one = model.explain(
                some, some.y, **{"method": "permgrad", **options}, scope="global"
            )
        except InputError:  # such as too few groups
            continue
        if one.std_error is not None:
            values[at], errors[at] = one.values[:, 0], one.std_error[:, 0]
    lines = []
    for name in clearly_matter(main)[:MOST_FEATURES]:
        value, error = (one[:, main.names.index(name)] for one in (values, errors))
        ends = np.column_stack(
            [value, value - NORMAL_95 * error, value + NORMAL_95 * error]
        ).tolist()
        line = {
            "measure": name,
            "share": False,
            "levels": dict(zip(levels, ends, strict=True)),
        }
        lines.append(
            {**line, **largest([(value, value, error)], levels, work.budget.seed)}
        )
    return lines
