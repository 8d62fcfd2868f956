"""What the model relies on: the ranking of its features, its paths and inputs, and the
features that move together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from permgrad.assess.assessed_rows import Places
from permgrad.assess.budget import AT_ONCE, FEWEST_ROWS, FIRST_ROWS, PAPER_ROWS
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.random import generator
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.related import MATRIX_FEATURES, RELATED_FEATURES, related
from permgrad.models.branches import joined_branches

#: Features whose raw values are kept of each test row: residuals are drawn against
#: them.
MOST_STRONGEST = 3


def ranking(work: Work) -> None:
    """Fill ``explanation`` and all that follows from it, ``paper`` and ``branches``.

    Branches are the weights of the paths, also as published, or of the kinds of
    columns, if texts or photos count.
    """
    started = time.monotonic()
    row_indices, options = rows_and_options(work)
    main_explanation = rank(work, row_indices, options)
    work.ranked = (row_indices, time.monotonic() - started, options)
    _rank_by_absolute_errors(work, row_indices, options)
    explained = work.explained
    model = work.model
    if model.encoder is None:
        return
    branches = {**(main_explanation.branches or {}), "paper": None}
    if len(set(main_explanation.modality)) > 1 and main_explanation.level.of_features:
        if row_indices is None:
            ranked_rows = explained
        else:
            ranked_rows = explained.take(row_indices)
        alone = {"groups": "modality", "n_repeats": options.get("n_repeats", "auto")}
        branches = {
            **(
                model.explain(
                    ranked_rows,
                    ranked_rows.y,
                    method="permgrad",
                    scope="global",
                    **alone,
                ).branches
                or branches
            )
        }
    if (
        set(model.paths) == {*joined_branches()} and work.test.weights is None
    ):  # it is not defined for weights
        # The method computes each row anew for each feature, so that few rows do.
        if work.budget.clock.thorough:
            paper_rows = np.arange(len(explained))
        else:
            paper_rows = draw_rows(work, PAPER_ROWS)
        ranked_rows = explained.take(paper_rows)
        paper = model.explain(ranked_rows, ranked_rows.y, method="permgrad_paper")
        work.put(paper=paper)
        if "paper" in branches:
            branches["paper"] = paper.branches
    work.put(branches=branches)


def _rank_by_absolute_errors(
    work: Work, row_indices: Places | None, options: Mapping[str, Any]
) -> None:
    """Fill ``absolute``, the ranking by absolute errors, where few rows decide the
    squared ones, and time is left.

    These rows make the error, or the importance of a feature.
    """
    main = work.content.explanation
    deciding_rows = (work.content.metrics or {}).get("few_rows_decide")
    if deciding_rows is None and main is not None:
        deciding_rows = main.meta.get("few_rows")
    has_own_loss = "loss" in work.model.options or "loss" in options
    if deciding_rows is None or not work.model.task.numeric or has_own_loss:
        return
    if work.budget.clock.left() < 2 * work.ranked[1]:
        work.budget.clock.cut.append("ranking by absolute errors: it was not computed")
        return
    if row_indices is None:
        ranked_rows = work.explained
    else:
        ranked_rows = work.explained.take(row_indices)
    explain_options = {"method": "permgrad", **options, "loss": "absolute_error"}
    work.put(
        absolute=work.model.explain(
            ranked_rows, ranked_rows.y, **explain_options, scope="global"
        )
    )


def rank(
    work: Work, row_indices: Places | None, options: Mapping[str, Any]
) -> Explanation:
    """Explain what the model relies on, on some of the rows (None: all), and which
    features move together.
    """
    if row_indices is not None:
        work.budget.say(
            f"  importances are computed on {len(row_indices):,} of "
            f"{len(work.explained):,} test rows"
        )
    if row_indices is None:
        ranked_rows = work.explained
    else:
        ranked_rows = work.explained.take(row_indices)
    main_explanation = work.model.explain(
        ranked_rows, ranked_rows.y, **{"method": "permgrad", **options}, scope="global"
    )
    for few in main_explanation.meta.get("few_rows", {}).values():
        if not few["lend"]:  # donors of a background are no rows of the table
            few["numbers"] = ranked_rows.numbers[few["places"]].tolist()
    work.put(explanation=main_explanation)
    cells = work.undated
    if cells is None:
        return main_explanation
    ranked = []
    for feature_name in main_explanation.ranking():
        if feature_name in cells.columns:
            ranked.append(feature_name)
    clear = [
        feature_name
        for feature_name in clearly_matter(main_explanation)
        if feature_name in cells.columns
    ][:RELATED_FEATURES]
    pairs, matrix = related(cells, clear, ranked[:MATRIX_FEATURES])
    work.put(related=pairs, matrix=matrix)
    if (
        not work.model.classes
        and work.test.table is not None
        and main_explanation.level.of_features
    ):
        table = work.model.with_parts(work.test.table)
        names = [
            feature_name
            for feature_name in main_explanation.ranking()
            if feature_name in table.columns
        ][:MOST_STRONGEST]
        strongest = blank_codes(table[names], work.model.na)
        work.put(residual_features=strongest.reset_index(drop=True))
    return main_explanation


def rows_and_options(work: Work) -> tuple[Places | None, dict[str, Any]]:
    """Return the rows of the ranking, None for all of them, and the options that the
    user left open.

    A limit that is near makes the rows fewer. A model that permgrad did not train has
    no such options.
    """
    row_count = len(work.explained)
    budget = work.budget
    model = work.model
    max_rows = budget.max_rows
    row_indices = None
    if max_rows == "auto" and model.encoder is not None:
        if not budget.clock.thorough:
            if row_count <= AT_ONCE:
                first = row_count
            else:
                first = FIRST_ROWS
            first = budget.in_time(
                first, FEWEST_ROWS, model.width, len(model.classes), len(work.test)
            )
            if first == row_count:
                row_indices = None
            else:
                row_indices = draw_rows(work, first)
    else:
        if max_rows == "auto":
            max_rows = FIRST_ROWS
        if max_rows is not None and row_count > max_rows:
            row_indices = np.sort(
                generator(budget.seed, "explained rows").permutation(row_count)[
                    :max_rows
                ]
            )
    if model.encoder is None:
        return row_indices, {}
    options = budget.ranking_options(model.width)
    return row_indices, {
        option_name: value
        for option_name, value in options.items()
        if option_name not in model.options
    }


def draw_rows(work: Work, count: int) -> Places:
    """Return random rows in their order.

    Of a class that a small draw would miss, one row is among them.
    """
    order = generator(work.budget.seed, "rows explained first").permutation(
        len(work.explained)
    )
    drawn = order[:count]
    if work.model.classes:
        drawn = np.union1d(drawn, np.unique(work.seen.codes, return_index=True)[1])
    return np.sort(drawn)
