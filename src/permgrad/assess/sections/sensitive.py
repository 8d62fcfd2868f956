"""For whom the model is right: rates, errors and reliance by the levels of columns that need not be features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from permgrad.assess.sections.ranking import explain_rows, first_ranking
from permgrad.assess.work import Work
from permgrad.base.arrays import Integers
from permgrad.base.errors import InputError, keeping_warnings
from permgrad.base.random import generator
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.segments import FEWEST_ROWS
from permgrad.evaluation.sensitive import ByLevel, audit, clear_ones, largest, merged_levels, told_by

#: Features whose importance is compared between levels, the most important of those that clearly matter.
MOST_FEATURES = 10


def sensitive(work: Work) -> None:
    """Fill ``sensitive``: the ``positive`` class, and for each of the ``columns`` what ``audit`` and ``told_by`` say.

    ``reliance`` are the differences of importances between levels, and ``is_feature`` says whether the model reads it.
    """
    columns, predicted, model = work.test.sensitive, work.predictions, work.model
    assert columns is not None
    two, codes = len(predicted.classes) == 2, model.na_codes
    place = work.content.positive_place(predicted.classes)
    options: dict[str, Any] = {"na_codes": codes, "dependence": work.test.dependence, "seed": work.budget.seed}
    with keeping_warnings():
        told = audit(columns, predicted.scored, positive=place, labels_only=predicted.labels_only, **options)
    table = None if work.test.table is None else blank_codes(work.test.table, codes)
    for facts in told:
        name = facts["column"]
        levels = merged_levels(columns, name, codes)[:2]
        facts["is_feature"] = table is not None and name in table
        facts["reliance"] = _reliance(work, *levels)
        facts["told_by"] = None
        if table is not None:
            order = [str(one) for one in work.content.explanation.ranking()] if work.content.explanation else []
            first = [one for one in order if one in table]
            others = [one for one in (*first, *(set(table) - set(first))) if one != name and one not in work.texts]
            cells = blank_codes(columns[[name]], codes)[name]
            with keeping_warnings():
                facts["told_by"] = told_by(table[others], cells, levels, work.test.dependence, work.budget.seed)
    clear_ones([test for facts in told for test in facts["reliance"]])
    work.put(sensitive={"positive": predicted.classes[place] if two else None, "columns": told})


def _reliance(work: Work, codes: Integers, levels: Sequence[str]) -> list[dict[str, Any]]:
    """Explain the rows of each level alone, with the same replacements, and compare the importances of features."""
    main, places = work.content.explanation, first_ranking(work)[0]
    if main is None or main.std is None:
        return []
    explained = work.places if places is None else work.places[places]
    values, errors, rows = (np.full((len(main.names), len(levels)), np.nan) for _ in range(3))
    for at in range(len(levels)):
        of_level = np.flatnonzero(codes[explained] == at)
        if len(of_level) < FEWEST_ROWS:
            continue
        try:
            one = explain_rows(work, of_level if places is None else places[of_level])
        except InputError:  # such as too few groups
            continue
        if one.std is not None and one.names == main.names:
            values[:, at], errors[:, at], rows[:, at] = one.values[:, 0], one.std[:, 0], len(of_level)
    lines = []
    for name in main.clearly_matter()[:MOST_FEATURES]:
        line = main.names.index(name)
        of_feature = ByLevel(values[line], values[line], errors[line], rows[line])
        if found := largest([of_feature], generator(work.budget.seed, "reliance", name), levels):
            by_level = dict(zip(levels, values[line].tolist(), strict=True))
            lines.append({"feature": name, "levels": by_level, **found})
    return lines
