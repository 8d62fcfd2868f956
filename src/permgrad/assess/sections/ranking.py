"""What the model relies on: the ranking of its features, its paths and inputs, and the features that move together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from permgrad.assess.budget import AT_ONCE, FEWEST_ROWS, FIRST_ROWS, PAPER_ROWS
from permgrad.assess.rows import Places
from permgrad.assess.work import Work, section
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.request import methods
from permgrad.base.random import generator
from permgrad.evaluation.related import (
    MATRIX_FEATURES,
    RELATED_FEATURES,
    related_columns,
    related_features,
    related_matrix,
)

#: Features whose raw values are kept of each test row: residuals are drawn against them.
MOST_STRONGEST = 3
#: Very wide tables are not compared column by column.
_MOST_COMPARED = 1000


@section()
def ranking(work: Work) -> None:
    """Fill ``explanation`` and all that follows from it, ``paper`` and ``branches``.

    Branches are the weights of the paths, also as published, or those of the inputs of a network with images.
    """
    started = time.monotonic()
    places = first_places(work)
    options = ranking_options(work, some=places is not None)
    main = rank(work, places, options)
    work.first_ranking = (places, time.monotonic() - started, options)
    explained, model = work.explained, work.model
    if model.encoder is None:
        return
    if model.images:
        work.put(branches=_inputs_importance(model.explain(explained, explained.y, level="modality")))
        return
    branches = {**(main.branches or {}), "paper": None}
    if {"tabular", "image"} <= set(model.paths):
        # The method computes each row anew for each feature, so that few rows do.
        some = np.arange(len(explained)) if work.budget.clock.thorough else draw_rows(work, PAPER_ROWS)
        rows = explained.take(some)
        paper = model.explain(rows, rows.y, method="permgrad-paper")
        work.put(paper=paper)
        branches["paper"] = paper.branches
    work.put(branches=branches)


def ranking_options(work: Work, *, some: bool) -> dict[str, Any]:
    """Return the options of a ranking that the user left open. A model that permgrad did not train has none."""
    if work.model.encoder is None:
        return {}
    options = work.budget.ranking_options(len(work.explained), work.model.width, some=some)
    method = work.budget.method
    known = methods.get(method).options if method in methods else {}
    open_options = {"n_repeats", *known} - set(work.model.options)
    return {name: value for name, value in options.items() if name in open_options}


def explain_model(work: Work) -> Explanation:
    """Explain what a model relies on, on the rows of the first ranking."""
    places = first_places(work)
    return _explained(work, places, ranking_options(work, some=places is not None))


def _explained(work: Work, places: Places | None, options: Mapping[str, Any]) -> Explanation:
    rows = work.explained if places is None else work.explained.take(places)
    return work.model.explain(rows, rows.y, method=work.budget.method, scope="global", **options)


def rank(work: Work, places: Places | None, options: Mapping[str, Any]) -> Explanation:
    """Explain what the model relies on, on some of the rows (None: all), and which features move together."""
    if places is not None:
        work.budget.say(f"  importances are computed on {len(places):,} of {len(work.explained):,} test rows")
    main = _explained(work, places, options)
    work.put(explanation=main)
    cells = work.undated
    if cells is None:
        return main
    ranked = [name for name in main.ranking() if name in cells.columns]
    clear = [name for name in main.clearly_matter() if name in cells.columns][:RELATED_FEATURES]
    work.put(
        related=related_features(cells, clear) if clear else [],
        matrix=related_matrix(cells, ranked[:MATRIX_FEATURES]),
    )
    if not work.model.classes and work.test.table is not None and main.level == "feature":
        names = [name for name in main.ranking() if name in work.test.table.columns][:MOST_STRONGEST]
        work.put(residual_features=work.blanked(work.test.table[names]).reset_index(drop=True))
    return main


def column_groups(work: Work) -> dict[str, list[str]]:
    """Return groups of columns that move together in the training rows, in the form of ``--groups``."""
    cells = work.undated
    assert cells is not None
    return related_columns(cells) if 1 < cells.shape[1] <= _MOST_COMPARED and len(cells) > 3 else {}


def first_places(work: Work) -> Places | None:
    """Return the rows of the first ranking, or None for all of them. A limit that is near makes them fewer."""
    rows, budget, model = len(work.explained), work.budget, work.model
    most = budget.most_rows
    if most == "auto" and model.encoder is not None:
        if model.images or budget.clock.thorough:
            return None
        first = rows if rows <= AT_ONCE else FIRST_ROWS
        first = budget.in_time(first, FEWEST_ROWS, model.width, work.outputs, len(work.test))
        return None if first == rows else draw_rows(work, first)
    most = FIRST_ROWS if most == "auto" else most
    if most is None or rows <= most:
        return None
    return np.sort(generator(budget.seed, "explained rows").permutation(rows)[:most])


def draw_rows(work: Work, count: int) -> Places:
    """Return random rows in their order. Of a class that a small draw would miss, one row is among them."""
    order = generator(work.budget.seed, "rows explained first").permutation(len(work.explained))
    drawn = order[:count]
    if work.model.classes:
        drawn = np.union1d(drawn, np.unique(work.seen.codes, return_index=True)[1])
    return np.sort(drawn)


def _inputs_importance(modalities: Explanation) -> dict[str, Any]:
    """Return the importance of whole inputs: importance, interval, share, alone, last."""
    if modalities.branches:
        return dict(modalities.branches)
    low, high = modalities.ci()
    entries: dict[str, Any] = {}
    for place, name in enumerate(modalities.names):
        entries[name] = {"importance": modalities.values[place, 0], "ci_low": low[place, 0], "ci_high": high[place, 0]}
        entries[name] |= {part: values[place, 0] for part, values in modalities.parts.items()}
    return entries
