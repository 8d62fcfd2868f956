"""What the model relies on: the ranking of its features, its paths and inputs, and the features that move together."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from permgrad.assess.budget import AT_ONCE, FEWEST_ROWS, FIRST_ROWS, PAPER_ROWS
from permgrad.assess.rows import Places
from permgrad.assess.work import Work
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation import clearly_matter
from permgrad.base.random import generator
from permgrad.data.read.table import blank_codes
from permgrad.evaluation.related import MATRIX_FEATURES, RELATED_FEATURES, related

#: Features whose raw values are kept of each test row: residuals are drawn against them.
MOST_STRONGEST = 3


def ranking(work: Work) -> None:
    """Fill ``explanation`` and all that follows from it, ``paper`` and ``branches``.

    Branches are the weights of the paths, also as published, or of the kinds of columns, if texts or photos count.
    """
    started = time.monotonic()
    places, options = rows_and_options(work)
    main = rank(work, places, options)
    work.ranked = (places, time.monotonic() - started, options)
    _rank_by_absolute_errors(work, places, options)
    explained, model = work.explained, work.model
    if model.encoder is None:
        return
    branches = {**(main.branches or {}), "paper": None}
    if len(set(main.modality)) > 1 and main.level == "feature":
        rows = explained if places is None else explained.take(places)
        alone = {"groups": "modality", "n_repeats": options.get("n_repeats", "auto")}
        branches = {
            **(
                model.explain(
                    rows, rows.y, method="permgrad", scope="global", **alone
                ).branches
                or branches
            )
        }
    if (
        set(model.paths) == {"tabular", "image"} and work.test.weights is None
    ):  # it is not defined for weights
        # The method computes each row anew for each feature, so that few rows do.
        some = (
            np.arange(len(explained))
            if work.budget.clock.thorough
            else draw_rows(work, PAPER_ROWS)
        )
        rows = explained.take(some)
        paper = model.explain(rows, rows.y, method="permgrad_paper")
        work.put(paper=paper)
        if "paper" in branches:
            branches["paper"] = paper.branches
    work.put(branches=branches)


def _rank_by_absolute_errors(
    work: Work, places: Places | None, options: Mapping[str, Any]
) -> None:
    """Fill ``absolute``, the ranking by absolute errors, where few rows decide the squared ones, and time is left.

    These rows make the error, or the importance of a feature.
    """
    main = work.content.explanation
    few = (work.content.metrics or {}).get("few_rows_decide")
    if few is None and main is not None:
        few = main.meta.get("few_rows")
    asked = "loss" in work.model.options or "loss" in options
    if few is None or work.model.task != "regression" or asked:
        return
    if work.budget.clock.left() < 2 * work.ranked[1]:
        work.budget.clock.cut.append("ranking by absolute errors: it was not computed")
        return
    rows = work.explained if places is None else work.explained.take(places)
    loss = {"method": "permgrad", **options, "loss": "absolute_error"}
    work.put(absolute=work.model.explain(rows, rows.y, **loss, scope="global"))


def rank(work: Work, places: Places | None, options: Mapping[str, Any]) -> Explanation:
    """Explain what the model relies on, on some of the rows (None: all), and which features move together."""
    if places is not None:
        work.budget.say(
            f"  importances are computed on {len(places):,} of {len(work.explained):,} test rows"
        )
    rows = work.explained if places is None else work.explained.take(places)
    main = work.model.explain(
        rows, rows.y, **{"method": "permgrad", **options}, scope="global"
    )
    for few in main.meta.get("few_rows", {}).values():
        if not few["lend"]:  # donors of a background are no rows of the table
            few["numbers"] = rows.numbers[few["places"]].tolist()
    work.put(explanation=main)
    cells = work.undated
    if cells is None:
        return main
    ranked = [name for name in main.ranking() if name in cells.columns]
    clear = [name for name in clearly_matter(main) if name in cells.columns][
        :RELATED_FEATURES
    ]
    pairs, matrix = related(cells, clear, ranked[:MATRIX_FEATURES])
    work.put(related=pairs, matrix=matrix)
    if (
        not work.model.classes
        and work.test.table is not None
        and main.level == "feature"
    ):
        table = work.model.with_parts(work.test.table)
        names = [name for name in main.ranking() if name in table.columns][
            :MOST_STRONGEST
        ]
        strongest = blank_codes(table[names], work.model.na)
        work.put(residual_features=strongest.reset_index(drop=True))
    return main


def rows_and_options(work: Work) -> tuple[Places | None, dict[str, Any]]:
    """Return the rows of the ranking, None for all of them, and the options that the user left open.

    A limit that is near makes the rows fewer. A model that permgrad did not train has no such options.
    """
    rows, budget, model = len(work.explained), work.budget, work.model
    most, places = budget.max_rows, None
    if most == "auto" and model.encoder is not None:
        if not budget.clock.thorough:
            first = rows if rows <= AT_ONCE else FIRST_ROWS
            first = budget.in_time(
                first, FEWEST_ROWS, model.width, len(model.classes), len(work.test)
            )
            places = None if first == rows else draw_rows(work, first)
    else:
        most = FIRST_ROWS if most == "auto" else most
        if most is not None and rows > most:
            places = np.sort(
                generator(budget.seed, "explained rows").permutation(rows)[:most]
            )
    if model.encoder is None:
        return places, {}
    options = budget.ranking_options(model.width)
    return places, {
        name: value for name, value in options.items() if name not in model.options
    }


def draw_rows(work: Work, count: int) -> Places:
    """Return random rows in their order. Of a class that a small draw would miss, one row is among them."""
    order = generator(work.budget.seed, "rows explained first").permutation(
        len(work.explained)
    )
    drawn = order[:count]
    if work.model.classes:
        drawn = np.union1d(drawn, np.unique(work.seen.codes, return_index=True)[1])
    return np.sort(drawn)
